//! Slots: what a cut leaves, and what damage or the wrong key looks like.

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

fn key(byte: u8) -> Secret32 {
    Secret32::from_array(&mut [byte; 32])
}

fn secret(text: &[u8]) -> SecretBytes {
    SecretBytes::from_vec(text.to_vec())
}

fn read(slots: &Slots, name: &str) -> Option<Vec<u8>> {
    slots.get(name).unwrap().map(|secret| secret.expose_secret().to_vec())
}

struct Bench {
    dir: tempfile::TempDir,
    slots: Slots,
    rng: ChaCha20Rng,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let slots = Slots::open(dir.path(), key(1)).unwrap();
        Self { dir, slots, rng: ChaCha20Rng::seed_from_u64(1) }
    }

    fn put(&mut self, name: &str, text: &[u8]) {
        self.slots.put(name, &secret(text), &mut self.rng).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.slot"))
    }
}

#[test]
fn a_slot_reads_back_after_rewrites_and_a_restart() {
    let mut bench = Bench::new();
    for round in 0..5u8 {
        bench.put("root-1", &[round; 300]);
        assert_eq!(read(&bench.slots, "root-1"), Some(vec![round; 300]));
    }
    bench.put("largest", &[9; CAPACITY]);
    bench.put("empty", b"");
    let again = Slots::open(bench.dir.path(), key(1)).unwrap();
    assert_eq!(read(&again, "root-1"), Some(vec![4; 300]));
    assert_eq!(read(&again, "largest"), Some(vec![9; CAPACITY]));
    assert_eq!(read(&again, "empty"), Some(vec![]));
    assert_eq!(read(&again, "absent"), None);
    assert_eq!(again.names().unwrap(), ["empty", "largest", "root-1"]);
}

#[test]
fn every_torn_rewrite_leaves_the_old_value_or_the_new() {
    let mut bench = Bench::new();
    bench.put("s", b"old");
    let old = fs::read(bench.file("s")).unwrap();
    bench.put("s", b"new");
    let new = fs::read(bench.file("s")).unwrap();
    assert!(old[HALF..].iter().all(|b| *b == 0) && new[..HALF].iter().all(|b| *b == 0));
    for cut in (0..=HALF).step_by(512) {
        // The new half is written first, front to back …
        let mut torn = old.clone();
        torn[HALF..HALF + cut].copy_from_slice(&new[HALF..HALF + cut]);
        fs::write(bench.file("s"), &torn).unwrap();
        let expected = if cut == HALF { b"new" } else { b"old" };
        assert_eq!(read(&bench.slots, "s").as_deref(), Some(&expected[..]), "cut at {cut}");
        // … then the old one is overwritten.
        torn[HALF..].copy_from_slice(&new[HALF..]);
        torn[..cut].fill(0);
        fs::write(bench.file("s"), &torn).unwrap();
        assert_eq!(read(&bench.slots, "s").as_deref(), Some(&b"new"[..]), "erasing cut at {cut}");
        bench.put("s", b"next");
        assert_eq!(read(&bench.slots, "s").as_deref(), Some(&b"next"[..]));
    }
}

#[test]
fn a_flipped_bit_is_damage_and_never_an_older_value() {
    let mut bench = Bench::new();
    bench.put("s", b"old");
    bench.put("s", b"new");
    let whole = fs::read(bench.file("s")).unwrap();
    for at in (0..whole.len()).step_by(97) {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(bench.file("s"), &flipped).unwrap();
        match bench.slots.get("s") {
            Ok(Some(value)) => assert!(at < HALF && value.expose_secret() == b"new", "flip at {at}"),
            Err(DiskError::SlotDamaged { .. }) => assert!(at >= HALF, "flip at {at}"),
            other => panic!("flip at {at}: {other:?}"),
        }
    }
    fs::write(bench.file("s"), &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(bench.slots.get("s"), Err(DiskError::SlotDamaged { .. })));
}

#[test]
fn another_sealing_key_or_another_name_is_its_own_error() {
    let mut bench = Bench::new();
    bench.put("mine", b"share");
    let stranger = Slots::open(bench.dir.path(), key(2)).unwrap();
    assert!(matches!(stranger.get("mine"), Err(DiskError::SlotKey { .. })));
    fs::copy(bench.file("mine"), bench.file("yours")).unwrap();
    assert!(matches!(bench.slots.get("yours"), Err(DiskError::SlotKey { .. })));
}

#[test]
fn an_erased_slot_is_gone_and_an_interrupted_erasure_is_finished_on_opening() {
    let mut bench = Bench::new();
    bench.put("s", b"share");
    assert!(bench.slots.erase("s").unwrap());
    assert!(!bench.slots.erase("s").unwrap());
    assert_eq!(read(&bench.slots, "s"), None);
    bench.put("t", b"share");
    fs::rename(bench.file("t"), bench.file("t").with_extension("tmp")).unwrap();
    let again = Slots::open(bench.dir.path(), key(1)).unwrap();
    assert_eq!(read(&again, "t"), None);
    assert_eq!(fs::read_dir(bench.dir.path()).unwrap().count(), 0);
}

#[test]
fn no_name_leaves_the_directory() {
    let bench = Bench::new();
    for name in ["", "..", "a/b", "A", "a.b", "ä", &"x".repeat(101)] {
        assert!(matches!(bench.slots.get(name), Err(DiskError::SlotName { .. })), "{name}");
    }
    let large = secret(&[0; CAPACITY + 1]);
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    assert!(matches!(bench.slots.put("s", &large, &mut rng), Err(DiskError::SlotTooLarge { .. })));
}
