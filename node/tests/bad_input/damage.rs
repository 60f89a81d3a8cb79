//! Stores and audit logs that are not as they were written: found, named and refused at start, and the way back that the
//! error prints works, in a mesh of three: statements come from the peers, the shares stay, there is no ceremony.

use std::fs;
use std::path::{Path, PathBuf};

use crate::door_support::{eventually, files, identity};
use crate::support::{Acme, Mesh};

/// The node that is damaged.
const HURT: usize = 2;

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Where some bytes first stand in others.
fn place_of(needle: &[u8], bytes: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).expect("these bytes are in the file")
}

/// One bit of every occurrence flipped: a copy-on-write store also keeps pages that it no longer uses, where damage is none.
fn flipped_everywhere(bytes: &[u8], needle: &[u8]) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(needle.len()) {
        if bytes[at..].starts_with(needle) {
            damaged[at] ^= 1;
        }
    }
    damaged
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for (path, bytes) in files(from) {
        let target = to.join(path.strip_prefix(from).expect("below it"));
        fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
        fs::write(target, bytes).expect("written");
    }
}

/// Three nodes that made a root and released a key, the last of them at rest now, and a copy of what it has on its disk.
fn hurt() -> (Mesh, Acme, PathBuf) {
    let mut mesh = Mesh::of(3);
    let mut acme = Acme::begin(&mesh);
    let agent = acme.bind(&mesh, 100);
    mesh.until_equal(&[0, 1, 2], 2);
    (0..3).for_each(|place| acme.released(&mesh, place, &agent));
    mesh.stop(HURT);
    mesh.config_file(HURT);
    let whole = mesh.world.dir.path().join("whole");
    copy(&mesh.config(HURT).data_dir, &whole);
    (mesh, acme, whole)
}

/// Starts from the damaged file, which must be refused with these words, and again: a start repairs nothing silently.
fn refused(mesh: &Mesh, file: &Path, damaged: &[u8], words: &[&str]) {
    fs::write(file, damaged).expect("written");
    let name = file.parent().expect("a folder").display().to_string();
    for _ in 0..2 {
        let (_, said) = mesh.refused(HURT);
        for words in words.iter().chain([&name.as_str()]) {
            assert!(said.contains(words), "`{words}` is not in: {said}");
        }
    }
}

#[test]
fn a_damaged_store_is_named_and_refused_and_comes_back_from_the_peers_without_a_ceremony() {
    let (mut mesh, mut acme, _) = hurt();
    let data = mesh.config(HURT).data_dir.clone();
    let store = data.join("store.redb");
    let whole = fs::read(&store).expect("a store");
    let advice = format!("move {} away and start again", store.display());
    let words = ["the store is damaged", &advice, "statements come back by sync, the shares stay"];
    refused(&mesh, &store, &whole[..whole.len() / 2], &words);
    refused(&mesh, &store, &[], &words);
    refused(&mesh, &store, &flipped(&whole, 0), &words);
    // Inside a statement, where nothing but its checksum tells.
    refused(&mesh, &store, &flipped_everywhere(&whole, b"payments"), &words);

    // As the error says.
    let slots = files(&data.join("slots"));
    assert!(!slots.is_empty(), "this node holds a share");
    fs::rename(&store, data.join("store.damaged")).expect("moved away");
    mesh.spawn_as_configured(HURT);
    mesh.until_equal(&[0, 1, 2], 2);
    assert_eq!(files(&data.join("slots")), slots, "the shares stay");
    let state = acme.tenant.read();
    assert_eq!(state.roots.len(), 1, "no ceremony");
    let agent = identity(100);
    acme.released(&mesh, HURT, &agent);
    // As a custodian it is needed: with one other node gone, the two left must both contribute.
    mesh.stop(1);
    let second = acme.bind(&mesh, 101);
    acme.blind(&mesh, HURT, &second);
    assert_eq!(mesh.health(HURT), 200);
}

#[test]
fn a_store_put_back_from_an_older_copy_is_named_and_refused() {
    let (mut mesh, mut acme, whole) = hurt();
    mesh.spawn_as_configured(HURT);
    let _ = acme.bind(&mesh, 102);
    mesh.until_equal(&[0, 1, 2], 2);
    mesh.stop(HURT);
    let store = mesh.config(HURT).data_dir.join("store.redb");
    let older = fs::read(whole.join("store.redb")).expect("the copy");
    refused(&mesh, &store, &older, &["was acknowledged; it lost its end or was replaced by an older copy", "move "]);
    fs::rename(&store, store.with_extension("older")).expect("moved away");
    mesh.spawn_as_configured(HURT);
    mesh.until_equal(&[0, 1, 2], 2);
    acme.released(&mesh, HURT, &identity(102));
}

#[test]
fn a_damaged_audit_log_is_located_and_refused_and_a_new_one_is_reported_by_the_peers() {
    let (mut mesh, acme, _) = hurt();
    let folder = mesh.config(HURT).data_dir.join("audit");
    let log = folder.join("0001.log");
    let whole = fs::read(&log).expect("a log");
    let advice =
        "keep DIR/audit as evidence, compare with the heads peers have witnessed, move it away and start a new log";
    let at = place_of(b"aws:1:i-100", &whole);
    refused(&mesh, &log, &flipped(&whole, at), &["the audit log was tampered with at record", "offset", advice]);
    // Its end is gone: not a torn write, because later records were acknowledged.
    refused(&mesh, &log, &whole[..at], &["audit log", "record", "move it away and start a new log"]);

    // The heads that peers have witnessed are on their disks from time to time and in what they were told.
    fs::write(&log, &whole).expect("whole again");
    mesh.spawn_as_configured(HURT);
    let agent = identity(100);
    acme.released(&mesh, HURT, &agent);
    eventually("the peers hear of the log's head", || {
        (mesh.status(HURT).peers.iter().filter(|peer| peer.reachable).count() == 2).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_millis(2500));
    mesh.stop(HURT);
    // As the error says.
    fs::rename(&folder, folder.with_extension("evidence")).expect("moved away");
    mesh.spawn_as_configured(HURT);
    acme.released(&mesh, HURT, &agent);
    let warning = mesh.warning(0, "the audit log of n2");
    assert!(warning.contains("records were lost or removed"), "{warning}");
    assert_eq!(mesh.health(HURT), 200);
}
