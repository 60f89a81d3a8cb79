//! A tenant's bytes lie only where its own document places them.

use std::time::Duration;

use keymesh_agent::keyfile::{self, KeyKind};
use keymesh_wire::api::Blob;
use keymesh_wire::ids::{DocumentId, TenantId};
use serde_json::json;

use super::{AWS, GCP, Scene};
use crate::error::{TestnetError, promised};
use crate::report::Step;
use crate::search::{self, Needle};
use crate::setup::Tenant;
use crate::testnet::parsed;

pub(super) const SECOND_TENANT: Step<Scene> = Step {
    name: "second-tenant",
    title: "A second tenant on two zones only: its bytes are found on no disk elsewhere",
    run: |scene, seen| {
        let birch = scene.net.create_tenant("birchwood", &["birch-admin"], &[AWS, GCP])?;
        let custodians = ["aws-1", "aws-2", "gcp-1", "gcp-2"];
        let (root, _) = scene.net.create_root(&birch, &custodians, 3)?;
        scene.net.act(&birch, &["namespace", "create", "timberline"])?;
        scene.net.act(&birch, &["keyring", "create", "timberline/sawdust", "--class", "leased"])?;
        scene.net.act(&birch, &["key", "create", "timberline/sawdust/larch-key"])?;
        scene.net.act(&birch, &["keyring", "create", "timberline/resin", "--class", "quorum"])?;
        scene.net.act(&birch, &["key", "create", "timberline/resin/pine-key"])?;
        let homes: Vec<usize> = custodians.iter().map(|name| scene.net.at(name)).collect();
        scene.net.wait_equal(&homes, Duration::from_secs(20))?;

        let needles = needles(scene, &birch, &root)?;
        let mut per_node = Vec::new();
        for index in scene.net.all() {
            let node = &scene.net.nodes[index];
            let (sightings, bytes) = search::files(&node.dir, &needles)?;
            let kinds = |prefix: &str| {
                let mut found: Vec<_> =
                    sightings.iter().filter(|seen| seen.needle.starts_with(prefix)).map(|seen| &seen.needle).collect();
                found.sort();
                found.dedup();
                found.len()
            };
            let (ids, names, ciphertexts) = (kinds("id"), kinds("name"), kinds("ciphertext"));
            let home = homes.contains(&index);
            seen.say(format!(
                "{:<8} {:>5} KiB searched: {ids} of its ids, {names} of its names, {ciphertexts} of its ciphertexts",
                node.place.name,
                bytes >> 10
            ));
            per_node.push(json!({ "node": node.place.name, "placed": home, "bytes": bytes, "ids": ids, "names": names, "ciphertexts": ciphertexts }));
            if home {
                promised!(
                    ids > 0 && names > 0,
                    "the search finds nothing on {}, where the tenant lies",
                    node.place.name
                );
            } else if let Some(seen) = sightings.first() {
                return Err(TestnetError::Unexpected(format!("{} is in {}", seen.needle, seen.file.display())));
            }
        }
        seen.note("tenant", birch.id.clone());
        seen.note("needles", needles.len());
        seen.note("nodes", per_node);
        scene.tenants.insert("birchwood", birch);
        Ok(())
    },
};

/// What the tenant's bytes look like: its ids, its names, its ciphertexts.
fn needles(scene: &Scene, birch: &Tenant, root: &str) -> Result<Vec<Needle>, TestnetError> {
    let tenant = birch.id.as_str();
    let id: TenantId = parsed(tenant)?;
    let admin = keyfile::load(&scene.net.key_of("birch-admin"), KeyKind::Person)
        .map_err(|error| TestnetError::Unexpected(format!("the admin's key file: {error}")))?;
    let mut session = scene.net.nodes[0].client()?.open_session(&admin, id)?;
    let mut needles = Vec::new();
    for statement in scene.net.statements(birch)? {
        let text = statement.id().to_string();
        needles.push(Needle::new(format!("id {text}"), statement.id().as_bytes().to_vec()));
    }
    let digits = |id: &str| id.rsplit('_').next().unwrap_or(id).to_owned();
    needles.push(Needle::new("id of the tenant, hex", digits(tenant)));
    needles.push(Needle::new("id of the root, hex", digits(root)));
    for name in ["birchwood", "timberline", "sawdust", "larch-key", "resin", "pine-key"] {
        needles.push(Needle::new(format!("name {name}"), name));
    }
    let listed = scene.net.cli_as("birch-admin").with(["--tenant", tenant]).json(["key", "list"])?;
    for key in listed.list("/keys")? {
        let Some(hash) = key["versions"][0]["ciphertext"].as_str() else { continue };
        let path = format!("/v1/documents/{}/blobs/{hash}", DocumentId::from(id));
        let blob: Blob = session.get_json(&path)?;
        let from = blob.bytes.len() / 2;
        let part = blob.bytes.get(from..(from + 24).min(blob.bytes.len())).unwrap_or_default();
        needles.push(Needle::new(format!("ciphertext {hash}"), part.to_vec()));
        needles.push(Needle::new(format!("ciphertext name {hash}"), digits(hash)));
    }
    Ok(needles)
}
