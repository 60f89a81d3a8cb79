//! The programs under test, built the way this program was built.
//!
//! `cargo run -p keymesh-testnet` builds no other package's programs, so this asks cargo for them: same workspace, same
//! profile, same target folder. The same packages are named as for this program itself, so that cargo resolves the same
//! features and compiles no dependency twice.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::TestnetError;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `keymesh`, node and command line.
    pub keymesh: PathBuf,
    /// `keymesh-agent`.
    pub agent: PathBuf,
    /// `keymesh-metadata`.
    pub metadata: PathBuf,
}

const NAMES: [&str; 3] = ["keymesh", "keymesh-agent", "keymesh-metadata"];

impl Binaries {
    /// Builds what is not up to date; cargo's progress goes to standard error.
    ///
    /// # Errors
    /// [`TestnetError::Build`] with cargo's own words on standard error.
    pub fn build() -> Result<Self, TestnetError> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut command = Command::new(&cargo);
        command.current_dir(&workspace);
        command.args(["build", "--message-format=json-render-diagnostics", "--bins"]);
        command.args(["-p", "keymesh", "-p", "keymesh-agent", "-p", "keymesh-testnet"]);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        if let Some(target) = target_folder() {
            command.arg("--target-dir").arg(target);
        }
        // What cargo told this program about its own package would make build scripts that watch it (ring's does) run
        // again here, and once more in the next build outside.
        let about_us = |name: &str| {
            let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
            prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO_TARGET_TMPDIR"
        };
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(about_us)) {
            command.env_remove(name);
        }
        command.stderr(Stdio::inherit()).stdin(Stdio::null());
        let output = command.output().map_err(TestnetError::io("start", PathBuf::from(&cargo)))?;
        if !output.status.success() {
            return Err(TestnetError::Build { status: output.status });
        }
        let mut found = NAMES.map(|_| None);
        for line in output.stdout.split(|byte| *byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<Value>(line) else { continue };
            let Some(program) = message["executable"].as_str() else { continue };
            let place = NAMES.iter().position(|name| message["target"]["name"] == **name);
            if let Some(place) = place {
                found[place] = Some(PathBuf::from(program));
            }
        }
        let [keymesh, agent, metadata] = found;
        let there =
            |path: Option<PathBuf>, program| path.ok_or(TestnetError::NoProgram { program, path: workspace.clone() });
        Ok(Self {
            keymesh: there(keymesh, NAMES[0])?,
            agent: there(agent, NAMES[1])?,
            metadata: there(metadata, NAMES[2])?,
        })
    }

    /// Takes the programs in `folder` as they are.
    ///
    /// # Errors
    /// [`TestnetError::NoProgram`] for the first that is not there.
    pub fn in_folder(folder: &Path) -> Result<Self, TestnetError> {
        let folder = folder.canonicalize().map_err(TestnetError::io("find", folder))?;
        let [keymesh, agent, metadata] = NAMES.map(|program| {
            let path = folder.join(program);
            if path.is_file() { Ok(path) } else { Err(TestnetError::NoProgram { program, path }) }
        });
        Ok(Self { keymesh: keymesh?, agent: agent?, metadata: metadata? })
    }
}

/// The target folder this program lies in: cargo marks its root with a file. None if it was moved elsewhere; cargo then
/// decides by itself.
fn target_folder() -> Option<PathBuf> {
    let program = env::current_exe().ok()?;
    program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_programs_own_target_folder_is_found() {
        assert!(target_folder().is_some_and(|folder| folder.is_dir()));
    }

    #[test]
    fn a_folder_without_the_programs_is_refused_with_the_name_of_the_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Binaries::in_folder(folder.path()).expect_err("nothing there").to_string();
        assert!(error.starts_with("keymesh is not where it should be"), "{error}");
    }
}
