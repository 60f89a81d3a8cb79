//! A node whose filesystem is full, a real small one: what was acknowledged stays, the node says so, `/healthz` fails, and
//! when there is room again it serves, after a restart where the store had to stop. Mounts a tmpfs and needs root.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keymesh_wire::api::{Submit, Submitted};
use keymesh_wire::body::{Body, NewNamespace};
use keymesh_wire::ids::{DocumentId, StatementId};
use keymesh_wire::statement::Checked;

use crate::door_support::raw::Raw;
use crate::door_support::{admin, connect, eventually, wall};
use crate::support::{Acme, Mesh};

/// The node on the small filesystem.
const SMALL: usize = 2;

/// A small filesystem, unmounted when dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn mount(at: &Path, megabytes: u32) -> Self {
        fs::create_dir_all(at).expect("a folder");
        let size = format!("size={megabytes}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "keymesh-test"]).arg(at).output();
        let mounted = mounted.expect("this test needs mount(8), package `mount`");
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test mounts a {megabytes} MiB tmpfs and must run as root: {why}");
        Self { at: at.to_owned() }
    }

    /// Takes all room there is.
    fn fill(&self) -> PathBuf {
        let ballast = self.at.join("ballast");
        let mut file = fs::File::create(&ballast).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

#[test]
fn a_node_on_a_full_disk_says_so_loses_nothing_acknowledged_and_serves_when_there_is_room() {
    let mut mesh = Mesh::at_rest(3);
    let folder = mesh.world.dir.path().join("small");
    let disk = SmallDisk::mount(&folder, 48);
    mesh.world.places[SMALL].config.data_dir = folder.join("data");
    [0, 1].into_iter().for_each(|place| mesh.start(place));
    mesh.spawn(SMALL);
    mesh.admit(&[0, 1, SMALL]);
    let mut acme = Acme::begin(&mesh);
    let agent = acme.bind(&mesh, 100);
    mesh.until_equal(&[0, 1, SMALL], 2);
    acme.released(&mesh, SMALL, &agent);

    // No key without its record: releases stop first, while the node stays up and says so.
    let ballast = disk.fill();
    let mut raw = crate::support::session(&mesh, SMALL, &acme, &agent);
    let mut released = 0;
    let refused = loop {
        let said = release(&mut raw, &acme);
        if said.status != 200 {
            break said;
        }
        released += 1;
        assert!(released < 20_000, "the disk does not fill");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.error().message.contains("audit log"), "{refused:?}");
    assert!(refused.error().retryable);
    assert_eq!(mesh.health(SMALL), 503);
    let warning = mesh.warning(SMALL, "no space left");
    assert!(warning.contains("free some room on this filesystem, nothing acknowledged is lost"), "{warning}");
    assert_eq!(mesh.health(0), 200);
    fs::remove_file(&ballast).expect("room");
    // Without a restart.
    eventually("a release when there is room", || (release(&mut raw, &acme).status == 200).then_some(()));
    assert_eq!(mesh.health(SMALL), 200);

    // Statements, until the store cannot take one: the node ends and says why; everything acknowledged is there after.
    disk.fill();
    let mut acknowledged: Vec<StatementId> = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let document = DocumentId::from(acme.tenant.id);
    let heads = mesh.status(SMALL).documents.into_iter().find(|held| held.document == document).expect("held").heads;
    let mut parents = heads;
    for number in 0.. {
        assert!(Instant::now() < deadline, "the store does not fill");
        let new = NewNamespace { parent: None, name: format!("n{number}") };
        let said = Checked::sign(&Body::CreateNamespace(new), Some(document), parents, wall(), &admin());
        let said = said.expect("valid");
        let submit = Submit { statements: vec![said.bytes().to_vec()], blobs: vec![] };
        let client =
            keymesh_agent::client::Client::connect(mesh.world.door(SMALL), &mesh.trust(SMALL), Duration::from_secs(10));
        let Ok(mut client) = client else { break };
        match client.post_json::<_, Submitted>("/v1/statements", &submit) {
            Ok(_) => acknowledged.push(said.id()),
            Err(_) => break,
        }
        parents = vec![said.id()];
    }
    let (code, said) = mesh.end(SMALL);
    assert_ne!(code, 0, "{said}");
    assert!(said.contains("no space left") && said.contains("free some room on this filesystem"), "{said}");
    println!("{released} releases and {} statements were acknowledged before the disk was full", acknowledged.len());
    acme.released(&mesh, 0, &agent);

    // Still full: it says so again, or serves what it has.
    fs::remove_file(&ballast).expect("room");
    mesh.spawn_as_configured(SMALL);
    assert_eq!(mesh.health(SMALL), 200);
    let client = connect(mesh.world.door(SMALL), &mesh.trust(SMALL));
    let mut reader = client.open_session(&admin(), acme.tenant.id).expect("a session");
    let path = format!("/v1/documents/{}", DocumentId::from(acme.tenant.id));
    let document: keymesh_wire::api::DocumentStatements = reader.get_json(&path).expect("the document");
    let held: Vec<StatementId> =
        document.statements.iter().map(|bytes| Checked::from_bytes(bytes).expect("valid").id()).collect();
    for id in &acknowledged {
        assert!(held.contains(id), "{id} was acknowledged and is lost");
    }
    acme.released(&mesh, SMALL, &agent);
    mesh.until_equal(&[0, 1, SMALL], 2);
}

fn release(raw: &mut Raw, acme: &Acme) -> crate::door_support::raw::Said {
    let mut id = [0; 16];
    rand_core::Rng::fill_bytes(&mut crate::door_support::rng(), &mut id);
    let request = keymesh_wire::api::Release {
        tenant: acme.tenant.id,
        key: acme.leased.key,
        version: None,
        request: keymesh_wire::ids::RequestId::from_bytes(id),
        receipt: keymesh_wire::request::Receipt::default(),
        trace: None,
    };
    raw.post_json("/v1/release", &request)
}
