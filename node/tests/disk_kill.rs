//! A writer killed with SIGKILL 300 times at random moments (I7, I8): every record of the store and of the audit log
//! that it acknowledged is there afterwards, and nothing else is.
//!
//! The victim is this test binary started anew. It writes to the store and to the audit log of one data directory from
//! two threads and says so on a pipe after each; the parent reads the pipe, kills it, and opens what is left.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use keymesh::disk::audit_log::Options;
use keymesh::disk::store::{Batch, Family, Store};
use keymesh::disk::{AuditLog, DataDir, RedbStore};
use keymesh_wire::ids::{DocumentId, MeshId, StatementId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const VICTIM: &str = "KEYMESH_DISK_KILL_DIR";
const KILLS: u32 = 300;
/// A fresh directory after so many kills, so that checking everything each time stays quick.
const PER_DIR: u32 = 60;

const DOC: DocumentId = DocumentId::from_bytes([5; 32]);

fn store(dir: &DataDir) -> RedbStore {
    dir.store(MeshId::from_bytes([1; 32]), 1).unwrap()
}

fn log(dir: &DataDir) -> AuditLog {
    // Small files, so that kills also hit the change from one to the next.
    dir.audit_log(&Options { file_limit: 64 << 10, ..Options::new([3; 32]) }).unwrap()
}

fn id(n: u64) -> StatementId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    StatementId::from_bytes(bytes)
}

fn value(n: u64) -> Vec<u8> {
    (0..40 + n % 500).map(|i| (n * 31 + i) as u8).collect()
}

/// Writes for ever, or `rounds` times; one line for every acknowledged batch or record.
fn write(dir: &Path, rounds: u64, say: impl Fn(String) + Sync) {
    let dir = DataDir::take(dir).unwrap();
    let (store, log) = (store(&dir), log(&dir));
    let say = &say;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = store.meta("next").unwrap().map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
            for _ in 0..rounds {
                let mut batch = Batch::new();
                for _ in 0..1 + n % 5 {
                    batch.put_statement(DOC, id(n), value(n));
                    n += 1;
                }
                store.commit(batch.put_meta("next", n.to_be_bytes())).unwrap();
                say(format!("store {n}\n"));
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..rounds {
                    let appended = log.append_blocking(value(n)).unwrap();
                    say(format!("audit {}\n", appended.seq));
                }
            });
        }
    });
}

#[test]
fn the_writer_that_is_going_to_be_killed() {
    match std::env::var_os(VICTIM) {
        Some(dir) => write(&PathBuf::from(dir), u64::MAX, |line| {
            // One write a line, so that the pipe carries whole lines up to the kill.
            let _ = std::io::stdout().lock().write_all(line.as_bytes());
            let _ = std::io::stdout().lock().flush();
        }),
        // Left alone, it must do what the parent relies on.
        None => {
            let dir = tempfile::tempdir().unwrap();
            let lines = Mutex::new(Vec::new());
            write(dir.path(), 20, |line| lines.lock().unwrap().push(line));
            let said = acknowledged(&lines.into_inner().unwrap().concat());
            assert_eq!(said.1, 40);
            assert_eq!(check(dir.path(), said), said);
        }
    }
}

/// The highest numbers in whole lines: statements below the first and audit records up to the second.
fn acknowledged(heard: &str) -> (u64, u64) {
    let (mut stored, mut audited) = (0, 0);
    for line in heard.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        match line.split_once(' ').map(|(what, n)| (what, n.parse::<u64>())) {
            Some(("store", Ok(n))) => stored = stored.max(n),
            Some(("audit", Ok(n))) => audited = audited.max(n),
            // The test harness speaks on the same pipe.
            _ => {}
        }
    }
    (stored, audited)
}

/// Opens what is left and demands everything acknowledged. Gives what was found.
fn check(dir: &Path, (stored, audited): (u64, u64)) -> (u64, u64) {
    let dir = DataDir::take(dir).unwrap();
    let store = store(&dir);
    let next = store.meta("next").unwrap().map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    assert!(next >= stored, "{stored} statements were acknowledged, the store has {next}");
    let mut found = 0;
    store.for_each(Family::Statements, DOC.as_bytes(), &mut |_| found += 1).unwrap();
    assert_eq!(found, next, "a batch is there in part");
    for n in 0..next {
        assert_eq!(store.statement(DOC, id(n)).unwrap(), Some(value(n)), "statement {n}");
    }
    let head = log(&dir).head().seq;
    assert!(head >= audited, "{audited} audit records were acknowledged, the log has {head}");
    (next, head)
}

#[test]
fn every_acknowledged_record_survives_three_hundred_kills() {
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let start = Instant::now();
    let (mut most, mut beyond, mut total) = ((0, 0), 0, 0);
    let mut dir = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        if kill % PER_DIR == 0 {
            dir = tempfile::tempdir().unwrap();
            most = (0, 0);
        }
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_writer_that_is_going_to_be_killed", "--nocapture", "--test-threads=1"])
            .env(VICTIM, dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = victim.stdout.take().unwrap();
        let heard = std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        std::thread::sleep(Duration::from_micros(u64::from(rng.next_u32() % 90_000)));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let heard = heard.join().unwrap().unwrap();
        let said = acknowledged(&heard);
        total += heard.lines().count();
        let least = (most.0.max(said.0), most.1.max(said.1));
        let found = check(dir.path(), least);
        beyond += u32::from(found != least);
        most = found;
    }
    println!("{KILLS} kills in {:?}: {total} acknowledgements, {beyond} times more was there", start.elapsed());
    assert!(total > 1000, "only {total} acknowledgements: the writer was killed before it wrote");
}
