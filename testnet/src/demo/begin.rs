//! From nothing to a tenant with a root: people, nodes, endorsements, key generation (I1, I2).

use std::time::Duration;

use super::{AWS, AZURE, GCP, Scene};
use crate::error::{TestnetError, promised};
use crate::metadata::{CERTIFICATE_FILE, make_signer};
use crate::report::{Observed, Step};
use crate::setup::waiting;

pub(super) const GENESIS: Step<Scene> = Step {
    name: "genesis",
    title: "Two founders begin a mesh: its id is the hash of the genesis one of them signed",
    run: |scene, seen| {
        let founded = scene.net.found("demo", &["founder-1", "founder-2"], 2)?;
        let mesh = founded.text("/mesh")?;
        seen.say(format!("{mesh}\nguarded changes of the mesh need both founders"));
        seen.note("mesh", mesh);
        seen.note("endorsements", 2);
        Ok(())
    },
};

pub(super) const NODES: Step<Scene> = Step {
    name: "nodes",
    title: "Five nodes in three clouds set themselves up and start, each as a process of its own",
    run: |scene, seen| {
        scene.net.init_nodes()?;
        let took = scene.net.start(&scene.net.all())?;
        for node in &scene.net.nodes {
            let (name, zone, mesh, door) = (node.place.name, node.place.zone, node.addresses.mesh, node.door());
            let pid = node.pid().unwrap_or_default();
            seen.say(format!("{name:<8} {zone:<20} pid {pid:<7} nodes at {mesh}, agents and people at {door}"));
        }
        seen.say(format!("all five answer {} ms after the first was started", took.as_millis()));
        seen.note("pids", scene.net.pids());
        seen.note("answering_after_ms", millis(took));
        Ok(())
    },
};

pub(super) const ADMIT: Step<Scene> = Step {
    name: "admit",
    title: "A founder proposes to admit them by their invites; they belong to the mesh when the other one endorsed it",
    run: |scene, seen| {
        let proposed = scene.net.propose_admission("founder-1")?;
        let waits = waiting(&proposed)?;
        promised!(waits.len() == 5, "five admissions should wait for the second founder, {} do", waits.len());
        let before = scene.net.cli().json(["mesh", "show"])?;
        promised!(before.list("/nodes")?.is_empty(), "one founder alone admitted nodes: {}", before.value["nodes"]);
        seen.say("five proposals by founder-1, each with 1 of 2 endorsements: still no node belongs to the mesh");
        scene.net.endorse_all(&proposed, &["founder-2"])?;
        let after = scene.net.cli().json(["mesh", "show"])?;
        promised!(after.list("/nodes")?.len() == 5, "five nodes should be admitted: {}", after.value["nodes"]);
        seen.say("endorsed by founder-2: five nodes belong to the mesh");
        seen.note("statements", waits);
        seen.note("admitted", 5);
        Ok(())
    },
};

pub(super) const PEERS: Step<Scene> = Step {
    name: "peers",
    title: "The nodes find one another over libp2p and hold the same",
    run: |scene, seen| {
        let all = scene.net.all();
        let connected = scene.net.wait_connected(&all, Duration::from_secs(20))?;
        scene.net.wait_equal(&all, Duration::from_secs(20))?;
        seen.say(format!("every node reaches the four others after another {} ms", connected.as_millis()));
        seen.say(scene.net.status_words()?);
        seen.note("connected_after_ms", millis(connected));
        seen.note("digests", scene.net.digests(&all)?);
        Ok(())
    },
};

pub(super) const TENANT: Step<Scene> = Step {
    name: "tenant",
    title: "Tenant acme with two admins: a change that needs both waits for the second",
    run: |scene, seen| {
        let acme = scene.net.create_tenant("acme", &["admin-1", "admin-2"], &[AWS, GCP, AZURE])?;
        seen.say(format!("acme is {}", acme.id));
        make_signer(&scene.net.dir)?;
        let certificate = scene.net.dir.join(CERTIFICATE_FILE);
        let certificate = certificate.to_string_lossy();
        let proposed = scene.net.act(&acme, &["evidence", "trust", "--cert", &certificate])?;
        let listed = scene.net.act(&acme, &["pending"])?;
        let waits = waiting(&proposed)?;
        let known = listed.list("/pending")?.iter().filter(|entry| waits.iter().any(|id| entry["statement"] == **id));
        promised!(known.count() == 1 && waits.len() == 1, "the change should wait: {}", listed.value);
        let trusted = |scene: &Scene| -> Result<usize, TestnetError> {
            Ok(scene.net.act(&acme, &["evidence", "list"])?.list("/evidence")?.len())
        };
        promised!(trusted(scene)? == 0, "one admin alone made the tenant trust a certificate");
        seen.say(
            "admin-1 proposes to trust the certificate that signs instance identities: it waits, nothing is trusted",
        );
        scene.net.endorse_all(&proposed, &["admin-2"])?;
        promised!(trusted(scene)? == 1, "two admins agreed and the certificate is not trusted");
        seen.say("admin-2 endorses it: trusted");
        seen.note("tenant", acme.id.clone());
        seen.note("waited", waits);
        scene.tenants.insert("acme", acme);
        Ok(())
    },
};

pub(super) const ROOT: Step<Scene> = Step {
    name: "root",
    title: "The five nodes make acme's root among themselves, 3 of 5: nobody ever holds it whole (I1)",
    run: |scene, seen| {
        let names = scene.net.names(&scene.net.all());
        let refused = scene.net.cli_as("admin-1").with(["--tenant", &scene.acme()?.id]).run([
            "root",
            "create",
            "--threshold",
            "2",
            "--custodians",
            "aws-1",
            "aws-2",
            "gcp-1",
        ])?;
        promised!(!refused.succeeded(), "a layout that lets one provider open the root was taken");
        seen.say("2 of 3 with two shares at aws: refused, one provider could open it alone");
        let (root, took) = scene.net.create_root(scene.acme()?, &names, 3)?;
        seen.say(format!(
            "{root}\nevery custodian attested it within {} ms of the second admin's endorsement",
            took.as_millis()
        ));
        seen.note("root", root.clone());
        seen.note("generated_ms", millis(took));
        scene.ids.insert("root", root);
        Ok(())
    },
};

pub(super) const TRUST_REPORT: Step<Scene> = Step {
    name: "trust-report",
    title: "Who could open what, in words: keymesh tenant trust-report acme",
    run: |scene, seen| {
        let report = scene.net.act(scene.acme()?, &["tenant", "trust-report", "acme"])?;
        let alone = report.list("/roots/0/providers_that_open_alone")?;
        promised!(alone.is_empty(), "a provider could open the root alone: {alone:?}");
        let words = scene.net.words_as("admin-1", &["tenant", "trust-report", "acme"])?;
        seen.say(words);
        seen.note("report", report.value);
        Ok(())
    },
};

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Digests of all documents at these nodes, said and noted.
pub(super) fn say_digests(scene: &Scene, seen: &mut Observed, nodes: &[usize]) -> Result<(), TestnetError> {
    for (node, documents) in scene.net.documents(nodes)? {
        for document in documents {
            let digest = document.digest.get(..16).unwrap_or(&document.digest);
            seen.say(format!("{node:<8} {:<12} {:>4} statements  {digest}…", document.name, document.statements));
        }
    }
    seen.note("digests", scene.net.digests(nodes)?);
    Ok(())
}
