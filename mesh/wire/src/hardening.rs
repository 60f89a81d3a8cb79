//! What a process that holds keys does to itself before it holds any (I10).
//!
//! Guarantees, as far as the report says so: no core dump of the process is written; no other process of the same user
//! can trace it or read its memory; it and its children gain no privilege from set-user-id programs; files it makes
//! are its owner's alone; it may open as many files as its hard limit allows. Nothing here is fatal: a container that
//! forbids one of the calls still gets the others, and the operator reads in the log which is missing.
//!
//! Leaves to others: locked memory ([`crate::secret::arena`]), and everything root can do.

use std::fmt;
use std::io;

/// What [`harden`] achieved.
#[derive(Debug)]
#[must_use = "a protection that failed belongs in the log"]
pub struct Hardening {
    /// Core dumps are off: the limit is zero, soft and hard.
    pub no_core_dumps: io::Result<()>,
    /// The process cannot be traced and its memory not read by others of the same user.
    pub not_dumpable: io::Result<()>,
    /// No privilege can be gained through `execve`.
    pub no_new_privileges: io::Result<()>,
    /// Open files allowed now.
    pub open_files: io::Result<u64>,
}

impl Hardening {
    /// Whether every protection is in place.
    pub fn is_complete(&self) -> bool {
        self.no_core_dumps.is_ok()
            && self.not_dumpable.is_ok()
            && self.no_new_privileges.is_ok()
            && self.open_files.is_ok()
    }
}

impl fmt::Display for Hardening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut part = |name: &str, result: Result<(), &io::Error>| match result {
            Ok(()) => write!(f, "{name}: yes, "),
            Err(error) => write!(f, "{name}: NO ({error}), "),
        };
        part("no core dumps", self.no_core_dumps.as_ref().copied())?;
        part("not traceable", self.not_dumpable.as_ref().copied())?;
        part("no new privileges", self.no_new_privileges.as_ref().copied())?;
        match &self.open_files {
            Ok(count) => write!(f, "open files: {count}"),
            Err(error) => write!(f, "open files: unchanged ({error})"),
        }
    }
}

/// Hardens this process. Call once, before the first secret is read and before any thread is started: the refusal of
/// new privileges holds for the calling thread and those it starts.
///
/// The process's umask becomes 077. A process that is not root can afterwards not open its own `/proc/self/fd/N`;
/// programs it starts can open theirs.
pub fn harden() -> Hardening {
    calls::set_umask(0o077);
    Hardening {
        no_core_dumps: calls::set_limit(calls::Resource::Core, 0, 0),
        not_dumpable: calls::set_dumpable(false),
        no_new_privileges: calls::set_no_new_privileges(),
        open_files: calls::limit(calls::Resource::OpenFiles)
            .and_then(|(_, hard)| calls::set_limit(calls::Resource::OpenFiles, hard, hard).map(|()| hard)),
    }
}

#[allow(unsafe_code)] // Process attributes are set by system calls only; none of these touches memory beyond its arguments.
mod calls {
    use std::io;

    #[derive(Clone, Copy)]
    pub(super) enum Resource {
        Core,
        OpenFiles,
    }

    fn check(returned: libc::c_int) -> io::Result<()> {
        if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn number(resource: Resource) -> libc::__rlimit_resource_t {
        match resource {
            Resource::Core => libc::RLIMIT_CORE,
            Resource::OpenFiles => libc::RLIMIT_NOFILE,
        }
    }

    pub(super) fn set_umask(mask: libc::mode_t) {
        // SAFETY: takes and returns a number, cannot fail.
        unsafe { libc::umask(mask) };
    }

    pub(super) fn limit(resource: Resource) -> io::Result<(u64, u64)> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place for the answer.
        check(unsafe { libc::getrlimit(number(resource), &mut limit) })?;
        Ok((limit.rlim_cur, limit.rlim_max))
    }

    pub(super) fn set_limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: `limit` outlives the call, which only reads it.
        check(unsafe { libc::setrlimit(number(resource), &limit) })
    }

    pub(super) fn set_dumpable(dumpable: bool) -> io::Result<()> {
        // SAFETY: takes numbers only; the unused arguments are passed as zero as prctl(2) asks.
        check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable), 0_u64, 0_u64, 0_u64) })
    }

    pub(super) fn set_no_new_privileges() -> io::Result<()> {
        // SAFETY: takes numbers only; prctl(2) demands zero for the unused ones.
        check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the process is one: what it changes holds for every other test of this binary.
    #[test]
    fn a_hardened_process_leaves_no_dump_and_says_so() {
        let report = harden();
        assert!(report.is_complete(), "{report}");
        assert_eq!(calls::limit(calls::Resource::Core).expect("a limit"), (0, 0));
        let (soft, hard) = calls::limit(calls::Resource::OpenFiles).expect("a limit");
        assert_eq!(soft, hard);
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("this thread's own status");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("Umask:\t0077"), "{status}");
        assert!(report.to_string().starts_with("no core dumps: yes, not traceable: yes"), "{report}");
    }

    #[test]
    fn a_protection_that_failed_is_shouted() {
        let report = Hardening {
            no_core_dumps: Ok(()),
            not_dumpable: Err(io::ErrorKind::PermissionDenied.into()),
            no_new_privileges: Ok(()),
            open_files: Ok(20_000),
        };
        assert!(!report.is_complete());
        assert!(report.to_string().contains("not traceable: NO (permission denied)"), "{report}");
    }
}
