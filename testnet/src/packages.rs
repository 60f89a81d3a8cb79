//! Programs of the operating system that the demo needs.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::TestnetError;

/// Makes sure that `program` is there: installs Debian's `package` when run as root.
///
/// # Errors
/// [`TestnetError::Missing`], which names the package, if it is not there and could not be installed.
pub fn ensure(program: &'static str, package: &'static str) -> Result<(), TestnetError> {
    if is_there(program) {
        return Ok(());
    }
    let missing = TestnetError::Missing { program, package };
    if !nix::unistd::geteuid().is_root() {
        return Err(missing);
    }
    eprintln!("{program} is missing: installing {package}");
    // A machine with stale lists knows the package, yet not where it is any more.
    let _updated = apt(&["update", "-q"]);
    let installed = apt(&["install", "-y", "-q", "--no-install-recommends", package]);
    if installed && is_there(program) { Ok(()) } else { Err(missing) }
}

fn apt(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_there(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Path::new).map(Path::to_owned);
    env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_needs_nothing() {
        assert!(ensure("sh", "dash").is_ok());
        assert!(!is_there("no-such-program-of-keymesh"));
    }
}
