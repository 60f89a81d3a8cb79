//! The store: what it refuses, what it finds, and what a power cut leaves.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use keymesh_wire::ids::{DocumentId, StatementId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::*;
use crate::disk::powercut::CutFile;

const MESH: MeshId = MeshId::from_bytes([1; 32]);
const OPTIONS: StoreOptions<'static> = StoreOptions { mesh: MESH, level: 1, migrations: MIGRATIONS };
const DOC: DocumentId = DocumentId::from_bytes([2; 32]);

fn id(n: u64) -> StatementId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    bytes[8..16].copy_from_slice(&n.to_be_bytes());
    StatementId::from_bytes(bytes)
}

fn open(dir: &Path) -> Result<RedbStore, DiskError> {
    RedbStore::open(dir, &OPTIONS)
}

/// Ten commits of twenty statements each.
fn filled(dir: &Path) -> RedbStore {
    let store = open(dir).unwrap();
    for round in 0..10 {
        let mut batch = Batch::new();
        for n in round * 20..(round + 1) * 20 {
            batch.put_statement(DOC, id(n), vec![n as u8; 300]);
        }
        store.commit(&batch).unwrap();
    }
    store
}

fn assert_filled(store: &RedbStore) {
    for n in 0..200 {
        assert_eq!(store.statement(DOC, id(n)).unwrap(), Some(vec![n as u8; 300]));
    }
}

#[test]
fn records_read_back_by_key_and_by_page_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let other = DocumentId::from_bytes([3; 32]);
    {
        let store = filled(dir.path());
        assert!(store.created());
        let mut second = Batch::new();
        second.put_meta("epoch", b"2").delete(Family::Statements, statement_key_of(0));
        let mut first = Batch::new();
        first.put_meta("epoch", b"1").put(Family::Pending, b"k", b"v").put_statement(other, id(1), b"x");
        first.merge(second);
        assert_eq!(store.commit(&first).unwrap(), 11);
        assert_eq!(store.commit(&Batch::new()).unwrap(), 11);
    }
    let store = open(dir.path()).unwrap();
    assert!(!store.created());
    assert_eq!(store.meta("epoch").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.meta("absent").unwrap(), None);
    assert_eq!(store.statement(DOC, id(0)).unwrap(), None);
    let mut seen = Vec::new();
    store.for_each(Family::Statements, DOC.as_bytes(), &mut |record| seen.push(record.key)).unwrap();
    assert_eq!(seen.len(), 199);
    assert!(seen.is_sorted());
    let page = store.range(Family::Statements, DOC.as_bytes(), Some(&seen[9]), 5).unwrap();
    assert_eq!(page.into_iter().map(|record| record.key).collect::<Vec<_>>(), seen[10..15]);
    assert_eq!(store.verify().unwrap().records, 202);
}

fn statement_key_of(n: u64) -> Vec<u8> {
    super::super::store::statement_key(DOC, id(n)).to_vec()
}

#[test]
fn the_store_of_another_mesh_or_a_newer_level_is_refused_with_both_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(RedbStore::open(dir.path(), &StoreOptions { level: 3, ..OPTIONS }).unwrap());
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, DiskError::NewerLevel { found: 3, supported: 1, .. }), "{error}");
    let stranger = MeshId::from_bytes([9; 32]);
    let error = RedbStore::open(dir.path(), &StoreOptions { mesh: stranger, level: 3, ..OPTIONS }).unwrap_err();
    assert!(error.to_string().contains(&stranger.to_string()) && error.to_string().contains(&MESH.to_string()));
    // An older store is raised, and stays raised.
    drop(RedbStore::open(dir.path(), &StoreOptions { level: 4, ..OPTIONS }).unwrap());
    let error = RedbStore::open(dir.path(), &StoreOptions { level: 3, ..OPTIONS }).unwrap_err();
    assert!(matches!(error, DiskError::NewerLevel { found: 4, supported: 3, .. }), "{error}");
}

#[test]
fn an_older_schema_is_migrated_whole_or_not_at_all_and_a_newer_one_refused() {
    fn upper(store: &mut Migrating<'_>) -> Result<(), DiskError> {
        for record in store.records(Family::Meta)? {
            store.delete(Family::Meta, &record.key)?;
            store.put(Family::Meta, &record.key.to_ascii_uppercase(), &record.value)?;
        }
        Ok(())
    }
    fn broken(store: &mut Migrating<'_>) -> Result<(), DiskError> {
        store.put(Family::Meta, b"half", b"done")?;
        Err(DiskError::SlotName { name: "no".to_owned() })
    }
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().commit(Batch::new().put_meta("name", b"v")).unwrap();

    let error = RedbStore::open(dir.path(), &StoreOptions { migrations: &[upper, broken], ..OPTIONS }).unwrap_err();
    assert!(matches!(error, DiskError::Migration { from: 2, .. }), "{error}");
    let store = open(dir.path()).unwrap();
    assert_eq!(store.meta("name").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(store.meta("half").unwrap(), None);
    drop(store);

    let store = RedbStore::open(dir.path(), &StoreOptions { migrations: &[upper], ..OPTIONS }).unwrap();
    assert_eq!(store.meta("NAME").unwrap().as_deref(), Some(&b"v"[..]));
    assert_eq!(store.meta("name").unwrap(), None);
    drop(store);
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, DiskError::NewerSchema { found: 2, supported: 1, .. }), "{error}");
}

/// The bytes of a filled store, of its witness, and both also as a killed process leaves them.
fn images() -> (tempfile::TempDir, [Vec<u8>; 2], Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let killed = fs::read(dir.path().join("store.redb")).unwrap();
    drop(store);
    let closed = fs::read(dir.path().join("store.redb")).unwrap();
    let witness = fs::read(dir.path().join("store.commits")).unwrap();
    (dir, [closed, killed], witness)
}

fn reopen(dir: &Path, store: &[u8], witness: &[u8]) -> Result<RedbStore, DiskError> {
    fs::write(dir.join("store.redb"), store).unwrap();
    fs::write(dir.join("store.commits"), witness).unwrap();
    open(dir)
}

#[test]
fn a_flipped_bit_is_found_or_harmless_and_never_a_silent_loss() {
    let (dir, images, witness) = images();
    let mut found = 0;
    for image in images {
        let used = image.len() - image.iter().rev().take_while(|byte| **byte == 0).count();
        // All of the header with its two commit slots, then samples.
        for at in (0..320).chain((320..used).step_by(1 + used / 300)) {
            let mut flipped = image.clone();
            flipped[at] ^= 1 << (at % 8);
            match reopen(dir.path(), &flipped, &witness) {
                Ok(store) => assert_filled(&store),
                Err(error) => {
                    found += 1;
                    let text = error.to_string();
                    let known = error.is_damage();
                    assert!(known && text.contains("store.redb"), "flip at {at}: {text}");
                }
            }
        }
    }
    assert!(found > 100, "only {found} flips were found, the samples miss the records");
}

#[test]
fn a_truncated_or_emptied_store_is_named_and_refused_with_the_way_out() {
    let (dir, images, witness) = images();
    for image in images {
        let used = image.len() - image.iter().rev().take_while(|byte| **byte == 0).count();
        for len in (0..used).step_by(1 + used / 60) {
            let error = reopen(dir.path(), &image[..len], &witness).unwrap_err();
            assert!(error.is_damage(), "cut to {len}: {error}");
            assert!(error.to_string().contains("restore this node from its peers"), "{error}");
        }
    }
    fs::remove_file(dir.path().join("store.redb")).unwrap();
    assert!(open(dir.path()).unwrap().created());
}

#[test]
fn a_record_whose_bytes_changed_under_a_sound_page_is_found_when_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let txn = store.db.begin_write().unwrap();
    let key = statement_key_of(7);
    txn.open_table(table(Family::Statements)).unwrap().insert(&*key, &b"12345678 another value"[..]).unwrap();
    txn.commit().unwrap();
    let error = store.statement(DOC, id(7)).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("of statements"), "{error}");
    assert!(store.verify().is_err());
    drop(store);
    assert!(open(dir.path()).is_err());
}

#[test]
fn an_older_copy_of_the_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path()));
    let older = fs::read(dir.path().join("store.redb")).unwrap();
    open(dir.path()).unwrap().commit(Batch::new().put_meta("vote", b"cast")).unwrap();
    fs::write(dir.path().join("store.redb"), older).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, DiskError::StoreRolledBack { found: 10, acknowledged: 11, .. }), "{error}");
}

#[test]
fn a_hundred_thousand_records_are_checked_in_seconds_even_unoptimised() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut batch = Batch::new();
    for n in 0..100_000 {
        batch.put_statement(DOC, id(n), vec![n as u8; 400]);
    }
    store.commit(&batch).unwrap();
    let start = Instant::now();
    assert_eq!(store.verify().unwrap().records, 100_000);
    let verified = start.elapsed();
    drop(store);
    let start = Instant::now();
    open(dir.path()).unwrap();
    println!("100,000 records: verify {verified:?}, open {:?}", start.elapsed());
    assert!(verified < Duration::from_secs(5), "{verified:?}");
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn contents(store: &RedbStore) -> Model {
    let mut model = Model::new();
    store.for_each(Family::Meta, b"", &mut |record| drop(model.insert(record.key, record.value))).unwrap();
    model
}

fn random_batch(rng: &mut ChaCha20Rng) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..1 + rng.next_u32() % 8 {
        let key = (rng.next_u32() % 60).to_be_bytes();
        if rng.next_u32().is_multiple_of(4) {
            batch.delete(Family::Meta, key);
        } else {
            batch.put(Family::Meta, key, vec![rng.next_u32() as u8; (rng.next_u32() % 3000) as usize]);
        }
    }
    batch
}

fn applied(model: &Model, batch: &Batch) -> Model {
    let mut model = model.clone();
    for change in batch.changes() {
        match &change.value {
            Some(value) => drop(model.insert(change.key.clone(), value.clone())),
            None => drop(model.remove(&change.key)),
        }
    }
    model
}

#[test]
fn every_acknowledged_batch_survives_a_power_cut_and_no_batch_survives_in_part() {
    let path = Path::new("store.redb");
    let blank = CutFile::new(Vec::new(), None);
    RedbStore::create_on(path, blank.clone(), &OPTIONS).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(0);
    let blank = blank.cut(&mut rng);
    let (mut acknowledged, mut in_flight) = (0, 0);
    for seed in 0..100 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut image, mut model) = (blank.clone(), Model::new());
        let mut unsure: Option<Model> = None;
        for life in 0..3 {
            let file = CutFile::new(image, Some(u64::from(rng.next_u32() % 120)));
            // The power may go while the store is still being opened, that is while it recovers.
            if let Ok(store) = RedbStore::open_on(path, file.clone(), None, &OPTIONS) {
                let found = contents(&store);
                let settled = found == model || unsure.as_ref() == Some(&found);
                assert!(settled, "seed {seed}, life {life}: acknowledged records are missing or torn");
                (model, unsure) = (found, None);
                for _ in 0..40 {
                    let batch = random_batch(&mut rng);
                    let next = applied(&model, &batch);
                    if store.commit(&batch).is_err() {
                        unsure = Some(next);
                        in_flight += 1;
                        break;
                    }
                    model = next;
                    acknowledged += 1;
                }
            }
            image = file.cut(&mut rng);
        }
        let store = RedbStore::open_on(path, CutFile::new(image, None), None, &OPTIONS)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = contents(&store);
        assert!(found == model || unsure == Some(found), "seed {seed}: acknowledged records are missing or torn");
    }
    println!("300 power cuts: {acknowledged} batches acknowledged, {in_flight} in flight");
    assert!(acknowledged > 400 && in_flight > 100, "{acknowledged} acknowledged, {in_flight} in flight");
}

#[test]
fn the_power_cut_test_would_notice_a_device_that_lies_about_syncing() {
    let path = Path::new("store.redb");
    let file = CutFile::new(Vec::new(), None);
    RedbStore::create_on(path, file.clone(), &OPTIONS).unwrap();
    let store = RedbStore::open_on(path, file.clone(), None, &OPTIONS).unwrap();
    file.lie();
    for n in 0..20u32 {
        store.commit(Batch::new().put(Family::Meta, n.to_be_bytes(), vec![1; 500])).unwrap();
    }
    let lost = (0..20).filter(|seed| {
        let image = file.cut(&mut ChaCha20Rng::seed_from_u64(*seed));
        RedbStore::open_on(path, CutFile::new(image, None), None, &OPTIONS).map_or(true, |s| contents(&s).len() < 20)
    });
    assert!(lost.count() > 10);
}
