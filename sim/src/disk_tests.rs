use keymesh_wire::audit::{AuditKind, Outcome};
use keymesh_wire::ids::{NodeId, RequestId};
use keymesh_wire::time::Wall;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

const MESH: DocumentId = DocumentId::from_bytes([1; 32]);
const TENANT: DocumentId = DocumentId::from_bytes([2; 32]);

fn statement(document: DocumentId, number: u8) -> Write {
    Write::Statement { document, id: StatementId::from_bytes([number; 32]), bytes: vec![number; 40] }
}

fn blob(number: u8) -> Write {
    Write::Blob { document: TENANT, hash: BlobHash::from_bytes([number; 32]), bytes: vec![number; 20].into() }
}

fn record() -> AuditRecord {
    let (me, request) = (NodeId::from_bytes([3; 32]), RequestId::from_bytes([4; 16]));
    AuditRecord::new(AuditKind::Start, Outcome::Allowed, Wall(5), me, request)
}

fn batch() -> Vec<Write> {
    let share = Write::Share { slot: "share".into(), share: SecretBytes::from_vec(vec![9; 8]) };
    let erase = Write::EraseBlob { document: TENANT, hash: BlobHash::from_bytes([99; 32]) };
    let audit = Write::Audit(Box::new(record()));
    vec![statement(MESH, 1), statement(TENANT, 2), blob(10), blob(11), share, erase, audit]
}

fn written(reach: Reach) -> Disk {
    let mut disk = Disk::default();
    disk.write(vec![blob(99)], Reach::Everything).expect("room");
    disk.write(batch(), reach).expect("room");
    disk
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

#[test]
fn a_batch_leaves_what_was_written_before_the_power_went_in_the_order_of_the_node() {
    let left = |reach| {
        let disk = written(reach);
        let erased = !disk.blobs.contains_key(&(TENANT, BlobHash::from_bytes([99; 32])));
        let blobs = disk.blobs.len() - usize::from(!erased);
        (disk.holds_a_share(), blobs, disk.statements.len(), erased, disk.audit.len())
    };
    assert_eq!(left(Reach::Nothing), (false, 0, 0, false, 0));
    assert_eq!(left(Reach::SharesOnly), (true, 0, 0, false, 0));
    assert_eq!(left(Reach::Torn), (true, 1, 0, false, 0));
    assert_eq!(left(Reach::Committed), (true, 2, 2, false, 0));
    assert_eq!(left(Reach::Everything), (true, 2, 2, true, 1));
}

#[test]
fn a_damaged_store_is_refused_until_it_is_moved_away_and_then_only_the_meshs_document_is_there() {
    for seed in 0..8 {
        let mut disk = written(Reach::Everything);
        assert!(disk.rot(Rot::Statement, &mut ChaCha20Rng::seed_from_u64(seed)).is_some());
        assert_eq!(disk.open().err(), Some(DiskFault::Store));
        disk.new_store(MESH);
        let found = disk.open().expect("a new store");
        assert_eq!(found.stored.statements, [vec![1; 40]], "the copy is as it was written");
        assert_eq!((found.stored.shares.len(), found.stored.blobs.len()), (1, 2));
    }
}

#[test]
fn a_damaged_ciphertext_is_erased_and_a_damaged_share_is_named_and_not_used() {
    let mut disk = written(Reach::Everything);
    assert!(disk.rot(Rot::Blob, &mut rng()).is_some() && disk.rot(Rot::Share, &mut rng()).is_some());
    for expected in [2, 1] {
        let found = disk.open().expect("starts");
        assert_eq!(found.warnings.len(), expected, "{:?}", found.warnings);
        assert_eq!((found.stored.blobs.len(), found.stored.shares.len()), (1, 0));
    }
    assert!(!disk.has_share("share"));
}

#[test]
fn a_torn_record_is_cut_off_once_and_a_damaged_log_is_refused() {
    let mut disk = written(Reach::Everything);
    disk.tear_record();
    assert_eq!(disk.open().expect("starts").warnings.len(), 1);
    assert_eq!(disk.open().expect("starts").warnings.len(), 0);
    assert!(disk.rot(Rot::Audit, &mut rng()).is_some());
    assert_eq!(disk.open().err(), Some(DiskFault::Audit));
    disk.new_audit();
    assert!(disk.open().is_ok() && disk.audit().is_empty());
}

#[test]
fn a_full_disk_takes_nothing_and_has_everything_from_before() {
    let mut disk = written(Reach::Everything);
    disk.set_full(true);
    assert_eq!(disk.write(vec![blob(12)], Reach::Everything), Err(DiskFault::Full));
    assert_eq!(disk.record(record()).err(), Some(DiskFault::Full));
    assert_eq!(disk.open().err(), Some(DiskFault::Full));
    disk.set_full(false);
    let found = disk.open().expect("room");
    assert_eq!((found.stored.statements.len(), found.stored.blobs.len(), disk.audit().len()), (2, 2, 1));
}

#[test]
fn nothing_rots_on_an_empty_disk() {
    for what in [Rot::Statement, Rot::Blob, Rot::Share, Rot::Audit] {
        assert_eq!(Disk::default().rot(what, &mut rng()), None);
    }
}
