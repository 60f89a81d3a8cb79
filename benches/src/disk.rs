//! What the device itself takes for one durable write: the floor under every figure that waits for it.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::figures::Samples;

/// Bytes of one write: about an audit record with its frame.
const RECORD: usize = 480;
/// Room reserved first, as the audit log does.
const ROOM: usize = 1 << 20;

/// Writes records into a file in `folder` one after the other, each made durable with `fdatasync` before the next, and
/// removes the file again. Returns how long each took, the write included.
///
/// # Errors
/// [`BenchError::Io`].
pub fn fdatasync(folder: &Path, times: usize) -> Result<Samples, BenchError> {
    let path = folder.join("fdatasync.probe");
    let doing = |source| BenchError::Io { doing: "probe the device with", path: path.clone(), source };
    let mut file = File::create(&path).map_err(doing)?;
    file.write_all(&vec![0; ROOM]).and_then(|()| file.sync_all()).map_err(doing)?;
    let mut samples = Samples::default();
    for at in (0..ROOM - RECORD).step_by(RECORD).take(times) {
        let started = Instant::now();
        file.write_all_at(&[0xa5; RECORD], at as u64).and_then(|()| file.sync_data()).map_err(doing)?;
        samples.add(started.elapsed());
        // Back to back the device may answer from a state no release ever meets.
        std::thread::sleep(Duration::from_micros(200));
    }
    drop(file);
    std::fs::remove_file(&path).map_err(doing)?;
    Ok(samples)
}
