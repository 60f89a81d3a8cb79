//! Child processes that do not outlive their parent.
//!
//! Guarantees: when the supervising thread ends, in whatever way (also by a panic, a signal or `kill -9` of the whole
//! process), the kernel kills its children; a dropped [`Process`] is killed and reaped. Only processes started here are
//! ever signalled, by their own ids. Output goes to a file, whose last lines explain an unexpected end.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::TestnetError;

const TAIL_LINES: usize = 12;

/// Children that were started and not yet reaped.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Kills every child there is. For a process that is about to end without unwinding.
pub fn kill_all() {
    for pid in running().iter() {
        send(*pid, Signal::SIGKILL);
    }
}

fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // A child that has just ended is what was wanted.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    held: bool,
}

impl Process {
    /// Starts `command` with its output appended to `log`.
    ///
    /// # Errors
    /// [`TestnetError::Io`] if the program or the log cannot be opened.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self, TestnetError> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let out = open().map_err(TestnetError::io("open", log))?;
        let err = open().map_err(TestnetError::io("open", log))?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        die_with_parent(&mut command);
        // Its own group: a signal from a terminal reaches the supervisor, which decides what to do with its children.
        command.process_group(0);
        let child = command.spawn().map_err(TestnetError::io("start", command.get_program()))?;
        running().insert(child.id());
        Ok(Self { name: name.to_owned(), child, log: log.to_owned(), held: false })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // The list is held meanwhile: an id in it is not reaped, so it cannot have gone to another process.
        let mut running = running();
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() {
            running.remove(&self.child.id());
        }
        status
    }

    /// # Errors
    /// [`TestnetError::Ended`] with its last words if it does not run any more.
    pub fn expect_running(&mut self) -> Result<(), TestnetError> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(TestnetError::Ended {
                name: self.name.clone(),
                status: describe(status),
                log: self.log.clone(),
                tail: tail(&self.log),
            }),
        }
    }

    /// Sends `SIGKILL` and does not wait.
    pub fn begin_kill(&mut self) {
        self.signal(Signal::SIGKILL);
    }

    /// Ends it as a power cut would end it (`SIGKILL`), and reaps it.
    pub fn kill(&mut self) {
        // Fails only for a child that was reaped already.
        let _ = self.child.kill();
        let mut running = running();
        let _ = self.child.wait();
        running.remove(&self.child.id());
    }

    /// Asks it to end (`SIGTERM`) and waits; kills it after `within`. True if it ended by itself.
    pub fn stop(&mut self, within: Duration) -> bool {
        self.resume();
        self.signal(Signal::SIGTERM);
        let until = Instant::now() + within;
        while Instant::now() < until {
            if self.ended().is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        false
    }

    /// Holds it (`SIGSTOP`): it does nothing until [`Process::resume`].
    pub fn hold(&mut self) {
        self.signal(Signal::SIGSTOP);
        self.held = true;
    }

    /// Lets it go on.
    pub fn resume(&mut self) {
        if self.held {
            self.signal(Signal::SIGCONT);
            self.held = false;
        }
    }

    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            send(self.child.id(), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.kill();
        }
    }
}

/// How a process ended, in words.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only `prctl` and `getppid` are called, which are async-signal-safe and allocate nothing.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("1000");
        Process::spawn("sleeper", command, &folder.join("sleeper.log")).expect("started")
    }

    fn runs(pid: u32) -> bool {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let process = sleeper(folder.path());
        let pid = process.pid();
        assert!(runs(pid));
        drop(process);
        assert!(!runs(pid));
    }

    #[test]
    fn a_process_dies_with_the_thread_that_supervises_it_even_if_nobody_drops_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let thread = thread::spawn(move || {
            let process = std::mem::ManuallyDrop::new(sleeper(&path));
            assert!(runs(process.pid()));
            process.pid()
        });
        let pid = thread.join().expect("a pid");
        let until = Instant::now() + Duration::from_secs(5);
        while runs(pid) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!runs(pid));
    }

    #[test]
    fn a_held_process_still_stops_when_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = sleeper(folder.path());
        process.hold();
        assert!(process.stop(Duration::from_secs(5)));
    }

    #[test]
    fn an_unexpected_end_is_told_with_the_last_lines_of_the_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "echo the disk is full; exit 7"]);
        let mut process = Process::spawn("writer", command, &folder.path().join("writer.log")).expect("started");
        process.child.wait().expect("its end");
        let error = process.expect_running().expect_err("ended").to_string();
        assert!(error.contains("exit status 7") && error.contains("the disk is full"), "{error}");
    }
}
