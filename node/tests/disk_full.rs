//! A full disk, on a real small filesystem: typed errors, nothing acknowledged is lost, and the log goes on when there
//! is room again. Mounts a tmpfs and so needs root; without root the tests fail and say so.

use std::fs;
use std::path::Path;
use std::process::Command;

use keymesh::disk::audit_log::{Options, Records};
use keymesh::disk::blobs::{Blobs, blob_hash};
use keymesh::disk::store::{Batch, Family, Store};
use keymesh::disk::{DataDir, DiskError};
use keymesh_wire::ids::{DocumentId, MeshId};

/// A small filesystem, unmounted when dropped.
struct SmallDisk {
    at: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(megabytes: u32) -> Self {
        let at = tempfile::tempdir().unwrap();
        let size = format!("size={megabytes}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "keymesh-test"]).arg(at.path()).output();
        let mounted = mounted.expect("this test needs mount(8), package `mount`");
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test mounts a {megabytes} MiB tmpfs and must run as root: {why}");
        Self { at }
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    /// Writes zeros until nothing more fits, and gives the file.
    fn fill(&self) -> std::path::PathBuf {
        let ballast = self.path().join("ballast");
        let mut bytes = Vec::new();
        while fs::write(&ballast, &bytes).is_ok() {
            bytes.resize(bytes.len() + (64 << 10), 0);
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may still hold files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn the_audit_log_refuses_on_a_full_disk_and_goes_on_when_there_is_room() {
    let disk = SmallDisk::mount(6);
    let dir = DataDir::take(&disk.path().join("node")).unwrap();
    let options = Options { file_limit: 1 << 20, ..Options::new([1; 32]) };
    let log = dir.audit_log(&options).unwrap();
    let mut acknowledged = 0;
    for round in 0..3 {
        let ballast = disk.fill();
        let error = loop {
            match log.append_blocking(vec![round; 4000]) {
                Ok(appended) => acknowledged = appended.seq,
                Err(error) => break error,
            }
        };
        assert!(error.is_full(), "{error}");
        assert!(error.to_string().contains("free some room"), "{error}");
        assert!(log.append_blocking(vec![round; 4000]).unwrap_err().is_full());
        assert_eq!(log.head().seq, acknowledged);
        fs::remove_file(ballast).unwrap();
        for _ in 0..20 {
            acknowledged = log.append_blocking(vec![round; 4000]).unwrap().seq;
        }
    }
    drop(log);
    let mut records = Records::open(&dir.audit_dir(), [1; 32], None).unwrap();
    assert_eq!(records.verify().unwrap().seq, acknowledged);
    assert_eq!(records.torn_tail(), None);
}

#[test]
fn the_store_refuses_on_a_full_disk_and_has_every_acknowledged_batch_afterwards() {
    let disk = SmallDisk::mount(8);
    let dir = DataDir::take(&disk.path().join("node")).unwrap();
    let mesh = MeshId::from_bytes([1; 32]);
    let store = dir.store(mesh, 1).unwrap();
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 3 << 20]).unwrap();
    let mut acknowledged = 0u32;
    let error = loop {
        let mut batch = Batch::new();
        batch.put(Family::Meta, (acknowledged + 1).to_be_bytes(), vec![7; 4000]);
        match store.commit(&batch) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_full(), "{error}");
    assert!(matches!(store.commit(Batch::new().put_meta("k", b"v")), Err(DiskError::StoreStopped { .. })));
    drop(store);
    fs::remove_file(ballast).unwrap();
    let store = dir.store(mesh, 1).unwrap();
    for n in 1..=acknowledged {
        assert_eq!(store.get(Family::Meta, &n.to_be_bytes()).unwrap(), Some(vec![7; 4000]), "batch {n}");
    }
    store.commit(Batch::new().put_meta("k", b"v")).unwrap();
    assert!(acknowledged > 10, "only {acknowledged} batches fit");
}

#[test]
fn a_ciphertext_that_does_not_fit_leaves_nothing_behind() {
    let disk = SmallDisk::mount(4);
    let blobs = Blobs::open(&disk.path().join("blobs")).unwrap();
    let document = DocumentId::from_bytes([1; 32]);
    let kept = blob_hash(b"kept");
    blobs.put(document, kept, b"kept").unwrap();
    let ballast = disk.fill();
    let bytes = vec![5; 60_000];
    let error = (0..100u8)
        .find_map(|n| {
            let bytes = [&bytes[..], &[n]].concat();
            blobs.put(document, blob_hash(&bytes), &bytes).err()
        })
        .expect("the disk is full before a hundred ciphertexts");
    assert!(error.is_full(), "{error}");
    for hash in blobs.hashes(document).unwrap() {
        assert!(blobs.get(document, hash).unwrap().is_some());
    }
    fs::remove_file(ballast).unwrap();
    blobs.put(document, blob_hash(&bytes), &bytes).unwrap();
    assert_eq!(blobs.get(document, kept).unwrap().as_deref(), Some(&b"kept"[..]));
}
