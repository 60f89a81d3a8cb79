//! LUKS2 volumes through `cryptsetup`.
//!
//! Guarantees: a key reaches `cryptsetup` through a pipe on its standard input and by no other way: not as an argument,
//! not in the environment, not in a file (I10). Programs are found in fixed system folders and `PATH`, run without a
//! shell, and what they say on failure is passed on.
//!
//! Keys are random, so the key derivation that protects weak passphrases is set to its least (PBKDF2, 1000 rounds):
//! opening takes milliseconds and no memory.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::data_key::DataKey;

/// The Debian package that has the program.
pub const PACKAGE: &str = "cryptsetup-bin";

/// What `cryptsetup` exits with when no key slot opens with the key.
const NO_SLOT_OPENS: i32 = 2;

/// The largest text read from the program.
const MOST_OUTPUT: usize = 4 * 1024 * 1024;

/// Why a volume was not made, read or opened.
#[derive(Debug, thiserror::Error)]
pub enum LuksError {
    /// The program is not installed.
    #[error("`cryptsetup` is not installed. On Debian: apt-get install {PACKAGE}")]
    Missing,
    /// The program could not be started or spoken to.
    #[error("cannot run `cryptsetup {doing}`: {source}")]
    Run {
        /// Which of its actions.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No key slot opens with this key.
    #[error("{volume}: the key does not open this volume. It was formatted with another key or version")]
    WrongKey {
        /// The volume.
        volume: PathBuf,
    },
    /// The program refused.
    #[error("{volume}: `cryptsetup {doing}` failed with status {status}: {said}")]
    Failed {
        /// The volume.
        volume: PathBuf,
        /// Which of its actions.
        doing: &'static str,
        /// Its exit status, or the signal that ended it, negative.
        status: i32,
        /// What it said.
        said: String,
    },
    /// What the program printed is not its metadata.
    #[error("{volume}: the metadata that `cryptsetup` prints does not parse: {what}")]
    Metadata {
        /// The volume.
        volume: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The `cryptsetup` of this machine.
#[derive(Debug, Clone)]
pub struct Cryptsetup {
    program: PathBuf,
}

impl Cryptsetup {
    /// Finds the program.
    ///
    /// # Errors
    /// [`LuksError::Missing`].
    pub fn find() -> Result<Self, LuksError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Users' paths often lack the folders where administration programs lie.
        let folders = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
        folders
            .into_iter()
            .chain(std::env::split_paths(&path).filter(|folder| folder.is_absolute()))
            .map(|folder| folder.join("cryptsetup"))
            .find(|program| program.is_file())
            .map(|program| Self { program })
            .ok_or(LuksError::Missing)
    }

    /// Makes `volume` a LUKS2 volume that `key` opens (AES-XTS, 512 bits). What was in it is lost.
    ///
    /// # Errors
    /// [`LuksError`].
    pub fn format(&self, volume: &Path, key: &DataKey) -> Result<(), LuksError> {
        let fixed = [
            "luksFormat",
            "--batch-mode",
            "--type=luks2",
            "--cipher=aes-xts-plain64",
            "--key-size=512",
            "--pbkdf=pbkdf2",
            "--pbkdf-force-iterations=1000",
            "--key-file=-",
        ];
        self.run(
            "luksFormat",
            volume,
            Command::new(&self.program).args(fixed).arg("--").arg(volume),
            Some(key.expose_secret()),
        )?;
        Ok(())
    }

    /// Puts a token into the volume's header.
    ///
    /// # Errors
    /// [`LuksError`].
    pub fn import_token(&self, volume: &Path, token: &Value) -> Result<(), LuksError> {
        let mut command = Command::new(&self.program);
        command.args(["token", "import", "--json-file=-", "--"]).arg(volume);
        self.run("token import", volume, &mut command, Some(token.to_string().as_bytes()))?;
        Ok(())
    }

    /// The volume's tokens as they stand in its header, with their numbers.
    ///
    /// # Errors
    /// [`LuksError`].
    pub fn tokens(&self, volume: &Path) -> Result<Vec<(String, Value)>, LuksError> {
        let mut command = Command::new(&self.program);
        command.args(["luksDump", "--dump-json-metadata", "--"]).arg(volume);
        let output = self.run("luksDump", volume, &mut command, None)?;
        let bad = |what: &str| LuksError::Metadata { volume: volume.to_owned(), what: what.to_owned() };
        if output.stdout.len() > MOST_OUTPUT {
            return Err(bad("too long"));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| bad(&error.to_string()))?;
        match metadata.get("tokens") {
            Some(Value::Object(tokens)) => Ok(tokens.clone().into_iter().collect()),
            Some(_) => Err(bad("`tokens` is not an object")),
            None => Ok(Vec::new()),
        }
    }

    /// Whether `key` opens the volume, without opening it.
    ///
    /// # Errors
    /// [`LuksError::WrongKey`] if it does not, others if that cannot be found out.
    pub fn test(&self, volume: &Path, key: &DataKey) -> Result<(), LuksError> {
        let mut command = Command::new(&self.program);
        command.args(["open", "--type=luks2", "--test-passphrase", "--key-file=-", "--"]).arg(volume);
        self.run("open --test-passphrase", volume, &mut command, Some(key.expose_secret()))?;
        Ok(())
    }

    /// Opens the volume as `/dev/mapper/NAME`.
    ///
    /// # Errors
    /// [`LuksError`].
    pub fn open(&self, volume: &Path, name: &str, key: &DataKey) -> Result<(), LuksError> {
        let mut command = Command::new(&self.program);
        command.args(["open", "--type=luks2", "--key-file=-", "--"]).arg(volume).arg(name);
        self.run("open", volume, &mut command, Some(key.expose_secret()))?;
        Ok(())
    }

    fn run(
        &self,
        doing: &'static str,
        volume: &Path,
        command: &mut Command,
        input: Option<&[u8]>,
    ) -> Result<Output, LuksError> {
        let fail = |source: io::Error| LuksError::Run { doing, source };
        let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
        // Its messages are passed on, so they should be the ones people find in manuals.
        command.env("LC_ALL", "C").stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(fail)?;
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
            // A key is shorter than a pipe is deep, so this does not wait; a program that does not read it says why.
            match pipe.write_all(input) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(fail(error)),
                _ => drop(pipe),
            }
        }
        let output = child.wait_with_output().map_err(fail)?;
        if output.status.success() {
            return Ok(output);
        }
        let status = output.status.code().unwrap_or_else(|| -signal(&output));
        if status == NO_SLOT_OPENS && doing.starts_with("open") {
            return Err(LuksError::WrongKey { volume: volume.to_owned() });
        }
        let said: String = String::from_utf8_lossy(&output.stderr).trim().chars().take(1000).collect();
        Err(LuksError::Failed { volume: volume.to_owned(), doing, status, said })
    }
}

fn signal(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    output.status.signal().unwrap_or_default()
}
