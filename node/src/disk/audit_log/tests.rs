//! The audit log: sharing a sync, telling a crash from tampering, and stopping in time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, io};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::medium::Medium;
use super::*;
use crate::disk::powercut::CutFile;

const ID: [u8; 32] = [7; 32];

fn payload(seq: u64) -> Vec<u8> {
    let mut bytes = format!("record {seq} ").into_bytes();
    bytes.resize(20 + (seq * 37 % 300) as usize, seq as u8);
    bytes
}

fn options() -> Options {
    Options::new(ID)
}

fn open(dir: &Path) -> Result<AuditLog, DiskError> {
    AuditLog::open(dir, &options())
}

fn append(log: &AuditLog, upto: u64) {
    for seq in log.head().seq + 1..=upto {
        assert_eq!(log.append_blocking(payload(seq)).unwrap().seq, seq);
    }
}

fn read(dir: &Path) -> Vec<Record> {
    Records::open(dir, ID, None).unwrap().collect::<Result<_, _>>().unwrap()
}

fn assert_whole(dir: &Path, upto: u64) {
    let records = read(dir);
    assert_eq!(records.len() as u64, upto);
    for (seq, record) in (1..).zip(records) {
        assert_eq!((record.seq, record.payload), (seq, payload(seq)));
    }
}

/// A log of 40 records in one file, closed, and the offset of each record with the end of the last.
fn filled() -> (tempfile::TempDir, PathBuf, Vec<u8>, Vec<usize>) {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()).unwrap(), 40);
    let file = dir.path().join("0001.log");
    let mut offsets: Vec<usize> = read(dir.path()).iter().map(|record| record.offset as usize).collect();
    offsets.push(offsets[39] + frame::FRAME + payload(40).len());
    let bytes = fs::read(&file).unwrap()[..offsets[40]].to_vec();
    (dir, file, bytes, offsets)
}

#[test]
fn records_read_back_in_their_chain_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    assert_eq!(log.head().seq, 0);
    append(&log, 30);
    let head = log.head();
    drop(log);
    let log = open(dir.path()).unwrap();
    assert_eq!(log.head(), head);
    assert_eq!(log.torn_tail(), None);
    append(&log, 60);
    // A live log can be read.
    assert_whole(dir.path(), 60);
    let mut records = Records::open(dir.path(), ID, Some(head)).unwrap();
    assert_eq!(records.verify().unwrap(), log.head());
    let large = log.append_blocking(vec![0; MAX_PAYLOAD + 1]);
    assert!(matches!(large, Err(DiskError::AuditTooLarge { .. })));
    log.append_blocking(vec![1; MAX_PAYLOAD]).unwrap();
    log.append_blocking(Vec::new()).unwrap();
    drop(log);
    assert_eq!(read(dir.path()).len(), 62);
}

/// A medium on a real file whose syncs wait for a gate and may fail.
#[derive(Debug)]
struct Gated {
    file: CutFile,
    closed: Arc<Mutex<()>>,
    broken: Arc<AtomicBool>,
}

impl Medium for Gated {
    fn allocate(&mut self, _from: u64, end: u64) -> io::Result<()> {
        self.file.set_length(end)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_length(len)
    }
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.put_at(offset, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        let _open = self.closed.lock().unwrap();
        if self.broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("the device is gone"));
        }
        self.file.sync_all()
    }
}

struct Gate {
    closed: Arc<Mutex<()>>,
    broken: Arc<AtomicBool>,
}

fn gated(dir: &Path, queue: usize) -> (AuditLog, Gate) {
    let gate = Gate { closed: Arc::default(), broken: Arc::default() };
    let (closed, broken) = (gate.closed.clone(), gate.broken.clone());
    let opener: Opener = Box::new(move |path| {
        let file = CutFile::new(fs::read(path)?, None);
        Ok(Box::new(Gated { file, closed: closed.clone(), broken: broken.clone() }) as Box<dyn Medium>)
    });
    let log = AuditLog::open_with(dir, &Options { queue, ..options() }, opener).unwrap();
    (log, gate)
}

#[test]
fn appends_that_wait_together_share_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (log, gate) = gated(dir.path(), 1000);
    let closed = gate.closed.lock().unwrap();
    let pending: Vec<Pending> = (1..=500).map(|seq| log.try_append(payload(seq)).unwrap()).collect();
    drop(closed);
    for (seq, pending) in (1..).zip(pending) {
        assert_eq!(pending.wait().unwrap().seq, seq);
    }
    // One that had begun before the others came, and one for all the others.
    assert!(log.syncs() <= 2, "{} syncs", log.syncs());
}

#[test]
fn threads_that_append_at_once_share_syncs_on_a_real_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).for_each(|_| assert!(log.append_blocking(vec![1; 400]).is_ok())));
        }
    });
    assert_eq!(log.head().seq, 800);
    println!("800 appends of 8 threads: {} syncs", log.syncs());
    assert!(log.syncs() < 600, "{} syncs for 800 appends", log.syncs());
    drop(log);
    assert_eq!(read(dir.path()).len(), 800);
}

#[tokio::test]
async fn appends_of_tasks_are_durable_when_awaited() {
    let dir = tempfile::tempdir().unwrap();
    let log = Arc::new(open(dir.path()).unwrap());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn({
                let log = log.clone();
                async move { log.append(vec![2; 50]).await }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(log.head().seq, 50);
    assert_eq!(read(dir.path()).len(), 50);
}

#[test]
fn a_full_queue_refuses_with_an_error_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (log, gate) = gated(dir.path(), 4);
    let closed = gate.closed.lock().unwrap();
    let first = log.try_append(payload(1)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let waiting: Vec<Pending> = (2..=5).map(|seq| log.try_append(payload(seq)).unwrap()).collect();
    assert!(matches!(log.try_append(payload(6)), Err(DiskError::AuditBusy { waiting: 4 })));
    drop(closed);
    assert_eq!(first.wait().unwrap().seq, 1);
    assert_eq!(waiting.into_iter().map(|pending| pending.wait().unwrap().seq).max(), Some(5));
}

#[test]
fn a_failed_sync_stops_the_log_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (log, gate) = gated(dir.path(), 4);
    log.append_blocking(payload(1)).unwrap();
    gate.broken.store(true, Ordering::SeqCst);
    assert!(matches!(log.append_blocking(payload(2)), Err(DiskError::AuditStopped { .. })));
    gate.broken.store(false, Ordering::SeqCst);
    let error = log.append_blocking(payload(2)).unwrap_err();
    assert!(error.to_string().contains("the device is gone"), "{error}");
    assert_eq!(log.head().seq, 1);
    assert!(log.stopped().is_some());
}

#[test]
fn an_altered_record_is_named_with_its_file_and_offset() {
    let (dir, file, bytes, offsets) = filled();
    for at in (offsets[0]..offsets[40]).step_by(11) {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        fs::write(&file, &altered).unwrap();
        let index = offsets.iter().rposition(|offset| *offset <= at).unwrap();
        match open(dir.path()) {
            Err(DiskError::AuditTampered { file: named, seq, offset, .. }) => {
                assert_eq!((named, seq, offset), (file.clone(), index as u64 + 1, offsets[index] as u64));
            }
            other => panic!("altered at {at}: {other:?}"),
        }
        assert_eq!(fs::read(&file).unwrap(), altered, "evidence stays as it is");
    }
}

#[test]
fn a_removed_repeated_or_reordered_record_is_named() {
    let (dir, file, bytes, at) = filled();
    let part = |from: usize, to: usize| &bytes[at[from]..at[to]];
    let head = &bytes[..at[0]];
    let cases = [
        ("removed", [head, part(0, 9), part(10, 40)].concat(), 10),
        ("repeated", [head, part(0, 10), part(9, 40)].concat(), 11),
        ("reordered", [head, part(0, 9), part(10, 11), part(9, 10), part(11, 40)].concat(), 10),
        ("blanked", [head, part(0, 9), &vec![0; at[10] - at[9]], part(10, 40)].concat(), 10),
        ("front removed", [head, part(1, 40)].concat(), 1),
    ];
    for (what, altered, expected) in cases {
        fs::write(&file, altered).unwrap();
        match open(dir.path()) {
            Err(DiskError::AuditTampered { seq, .. }) => assert_eq!(seq, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_log_cut_off_anywhere_before_its_acknowledged_end_is_refused() {
    let (dir, file, bytes, at) = filled();
    for len in (0..at[40]).step_by(23).chain(at[..40].iter().copied()) {
        fs::write(&file, &bytes[..len]).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(error.is_damage(), "cut to {len}: {error}");
        if at[..40].contains(&len) {
            assert!(matches!(error, DiskError::AuditTruncated { expected: 40, .. }), "cut to {len}: {error}");
        }
    }
    fs::write(&file, &bytes).unwrap();
    assert_eq!(open(dir.path()).unwrap().head().seq, 40);
}

#[test]
fn damage_in_front_of_the_records_is_found_or_does_not_matter() {
    let (dir, file, bytes, at) = filled();
    for byte in 0..at[0] {
        let mut altered = bytes.clone();
        altered[byte] ^= 1;
        fs::write(&file, &altered).unwrap();
        match Records::open(dir.path(), ID, None).and_then(|mut records| records.verify()) {
            Ok(head) => assert!(byte >= 1024 && head.seq == 40, "altered at {byte}"),
            Err(error) => assert!(byte < 1024 && error.is_damage(), "altered at {byte}: {error}"),
        }
    }
}

#[test]
fn an_unfinished_write_is_cut_off_and_the_log_goes_on() {
    let (dir, file, bytes, at) = filled();
    let mut unfinished = Vec::new();
    let last = read(dir.path())[39].chain_hash;
    let hash = frame::encode_record(&mut unfinished, &last, 41, &payload(41));
    frame::encode_record(&mut unfinished, &hash, 42, &payload(42));
    for cut in (0..unfinished.len()).step_by(7) {
        fs::write(&file, [&bytes, &unfinished[..cut]].concat()).unwrap();
        let log = open(dir.path()).unwrap();
        let whole = 40 + u64::from(cut >= frame::FRAME + payload(41).len());
        assert_eq!(log.head().seq, whole, "cut at {cut}");
        if cut > 0 && whole == 40 {
            assert_eq!(log.torn_tail().unwrap().offset, at[40] as u64);
        }
        append(&log, 45);
        drop(log);
        assert_whole(dir.path(), 45);
    }
    // The first record did not arrive although the second did: nothing of it may come back later.
    let first = frame::FRAME + payload(41).len();
    unfinished[..first].fill(0);
    fs::write(&file, [&bytes, &*unfinished].concat()).unwrap();
    let log = open(dir.path()).unwrap();
    append(&log, 41);
    drop(log);
    assert_whole(dir.path(), 41);
}

#[test]
fn a_log_set_back_or_forked_is_found_against_a_witnessed_head() {
    let (dir, file, bytes, _) = filled();
    append(&open(dir.path()).unwrap(), 50);
    let witnessed = read(dir.path()).last().map(|r| Head { seq: r.seq, chain_hash: r.chain_hash });
    let expecting = Options { expected: witnessed, ..options() };
    assert_eq!(AuditLog::open(dir.path(), &expecting).unwrap().head().seq, 50);
    fs::write(&file, &bytes).unwrap();
    assert_eq!(open(dir.path()).unwrap().head().seq, 40, "by itself it cannot know");
    let error = AuditLog::open(dir.path(), &expecting).unwrap_err();
    assert!(matches!(error, DiskError::AuditTruncated { found: 40, expected: 50, .. }), "{error}");
    let log = open(dir.path()).unwrap();
    (41..=60).for_each(|_| assert!(log.append_blocking(b"another history".to_vec()).is_ok()));
    drop(log);
    let error = AuditLog::open(dir.path(), &expecting).unwrap_err();
    assert!(matches!(error, DiskError::AuditTampered { seq: 50, .. }), "{error}");
}

#[test]
fn the_log_of_another_node_is_refused() {
    let (dir, ..) = filled();
    let error = AuditLog::open(dir.path(), &Options::new([8; 32])).unwrap_err();
    assert!(matches!(error, DiskError::AuditTampered { seq: 1, offset: 0, .. }), "{error}");
}

#[test]
fn a_rotated_log_is_one_chain_and_a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options { file_limit: 12 * 1024, ..options() };
    for upto in [100, 200] {
        append(&AuditLog::open(dir.path(), &small).unwrap(), upto);
    }
    assert_whole(dir.path(), 200);
    let files = read(dir.path()).iter().map(|record| record.file.clone()).collect::<BTreeSet<_>>().len() as u32;
    assert!(files >= 4, "{files} files");
    let path = |number: u32| dir.path().join(file_name(number));
    for missing in 1..=files {
        fs::rename(path(missing), dir.path().join("away")).unwrap();
        match AuditLog::open(dir.path(), &small) {
            Err(DiskError::AuditTampered { file, .. }) => assert_eq!(file, path(missing)),
            other => panic!("without file {missing}: {other:?}"),
        }
        fs::rename(dir.path().join("away"), path(missing)).unwrap();
    }
    fs::rename(path(2), dir.path().join("away")).unwrap();
    fs::copy(path(3), path(2)).unwrap();
    let error = AuditLog::open(dir.path(), &small).unwrap_err();
    assert!(matches!(&error, DiskError::AuditTampered { file, .. } if *file == path(2)), "{error}");
}

impl Medium for CutFile {
    fn allocate(&mut self, _from: u64, end: u64) -> io::Result<()> {
        self.set_length(end)
    }
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_length(len)
    }
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.put_at(offset, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

#[test]
fn every_acknowledged_record_survives_a_power_cut() {
    let (mut acknowledged, mut torn) = (0, 0);
    for seed in 0..75 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let options = Options { file_limit: 40 * 1024, reserve: 0, ..options() };
        let mut upto = 0;
        for life in 0..4 {
            let files: Arc<Mutex<BTreeMap<PathBuf, CutFile>>> = Arc::default();
            // Each further file lives half as long, so that the power goes in the end.
            let mut left = u64::from(rng.next_u32() % 60);
            let opener: Opener = Box::new({
                let files = files.clone();
                move |path| {
                    let file = CutFile::new(fs::read(path)?, Some(left));
                    left /= 2;
                    files.lock().unwrap().insert(path.to_path_buf(), file.clone());
                    Ok(Box::new(file) as Box<dyn Medium>)
                }
            });
            // Without its thread, so that the seed decides which records share a write.
            match prepare(dir.path(), &options, opener) {
                Ok((mut writer, tail)) => {
                    assert!(writer.head.seq >= upto, "seed {seed}, life {life}: {} of {upto}", writer.head.seq);
                    torn += u32::from(tail.is_some());
                    upto = writer.head.seq;
                    'power: loop {
                        let group = u64::from(1 + rng.next_u32() % 30);
                        let (batch, answers): (Vec<_>, Vec<_>) = (1..=group)
                            .map(|n| {
                                let (answer, receiver) = oneshot::channel();
                                (Request { payload: payload(upto + n), answer }, receiver)
                            })
                            .unzip();
                        writer.serve(batch);
                        for answer in answers {
                            match answer.blocking_recv().unwrap() {
                                Ok(appended) => {
                                    upto = appended.seq;
                                    acknowledged += 1;
                                }
                                Err(_) => break 'power,
                            }
                        }
                    }
                }
                Err(error) => assert!(matches!(error, DiskError::Io { .. }), "seed {seed}, life {life}: {error}"),
            }
            for (path, file) in &*files.lock().unwrap() {
                fs::write(path, file.cut(&mut rng)).unwrap();
            }
        }
        let records = Records::open(dir.path(), ID, None).unwrap().collect::<Result<Vec<_>, _>>();
        let records = records.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert!(records.len() as u64 >= upto, "seed {seed}: {} of {upto}", records.len());
        for record in records {
            assert_eq!(record.payload, payload(record.seq), "seed {seed}");
        }
    }
    println!("300 power cuts: {acknowledged} records acknowledged, {torn} unfinished writes cut off");
    assert!(acknowledged > 1000 && torn > 20, "{acknowledged} acknowledged, {torn} torn");
}

#[test]
fn the_power_cut_test_would_notice_a_device_that_lies_about_syncing() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join(file_name(1));
    let file = CutFile::new(fs::read(&path).unwrap(), None);
    file.lie();
    let opener: Opener = Box::new({
        let file = file.clone();
        move |_| Ok(Box::new(file.clone()) as Box<dyn Medium>)
    });
    append(&AuditLog::open_with(dir.path(), &options(), opener).unwrap(), 20);
    let lost = (0..20).filter(|seed| {
        fs::write(&path, file.cut(&mut ChaCha20Rng::seed_from_u64(*seed))).unwrap();
        Records::open(dir.path(), ID, None).and_then(|mut records| records.verify()).map_or(true, |head| head.seq < 20)
    });
    assert!(lost.count() > 10);
}

#[test]
fn a_log_that_is_being_written_reads_without_a_false_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let log = AuditLog::open(dir.path(), &Options { file_limit: 8 * 1024, ..options() }).unwrap();
    assert!(matches!(open(dir.path()), Err(DiskError::Locked { .. })));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| append(&log, 1500));
        let mut seen = 0;
        while !writer.is_finished() {
            let least = log.head().seq;
            let head = Records::open(dir.path(), ID, None).unwrap().verify().unwrap();
            assert!(head.seq >= least.max(seen), "{} of {least}", head.seq);
            seen = head.seq;
        }
    });
    assert_whole(dir.path(), 1500);
}
