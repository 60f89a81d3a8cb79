//! Network namespaces: a network of its own for each node, as on a machine of its own.
//!
//! They have no names. A namespace lasts as long as a process is in it or somebody holds it open, so nothing has to be
//! removed afterwards, however this program ends. Making and entering one takes root.

use std::fs::File;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::TestnetError;

/// The namespace that the thread which opens it is in.
const MINE: &str = "/proc/thread-self/ns/net";

/// A network namespace that is held open. Nothing in it is up at first, not even the loopback.
#[derive(Debug)]
pub struct Namespace {
    handle: File,
}

impl Namespace {
    /// Makes one. The calling thread stays where it is.
    ///
    /// # Errors
    /// [`TestnetError::Unprivileged`] without root, [`TestnetError::Io`].
    pub fn new() -> Result<Self, TestnetError> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(refused("make"))?;
            Self::current()
        });
        made.join().unwrap_or_else(|_| Err(TestnetError::Unexpected("the thread in a new namespace panicked".into())))
    }

    /// The calling thread's.
    fn current() -> Result<Self, TestnetError> {
        Ok(Self { handle: File::open(MINE).map_err(TestnetError::io("open", MINE))? })
    }

    /// Does something in it on the calling thread, which is back where it was afterwards. Sockets that are opened and
    /// processes that are started meanwhile stay in it.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    ///
    /// # Panics
    /// If the thread cannot go back.
    pub fn within<T>(&self, act: impl FnOnce() -> T) -> Result<T, TestnetError> {
        let _back = Back(Self::current()?);
        self.enter()?;
        Ok(act())
    }

    /// Moves the calling thread into it, and with it whatever threads and processes it starts from now on.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn enter(&self) -> Result<(), TestnetError> {
        setns(&self.handle, CloneFlags::CLONE_NEWNET).map_err(refused("enter"))
    }
}

/// Takes the thread back, also after a panic.
struct Back(Namespace);

impl Drop for Back {
    fn drop(&mut self) {
        self.0.enter().expect("a thread may go back to the namespace it came from");
    }
}

fn refused(doing: &'static str) -> impl FnOnce(Errno) -> TestnetError {
    move |errno| match errno {
        Errno::EPERM => TestnetError::Unprivileged { doing },
        errno => TestnetError::Io { doing, path: MINE.into(), source: errno.into() },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_thread_is_back_where_it_was_and_what_it_opened_inside_stays_there() {
        let namespace = match Namespace::new() {
            Err(TestnetError::Unprivileged { .. }) => return eprintln!("skipped: this takes root"),
            made => made.expect("a namespace"),
        };
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = taken.local_addr().expect("an address");
        assert!(TcpListener::bind(address).is_err());
        let inside = namespace.within(|| TcpListener::bind(address)).expect("inside");
        assert!(inside.is_ok(), "{inside:?}");
        assert!(TcpListener::bind(address).is_err());
    }
}
