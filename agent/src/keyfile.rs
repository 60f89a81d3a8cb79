//! Identity key files of nodes, people and agents.
//!
//! Guarantees: a key file is made whole or not at all, never over another file, readable by its owner alone; one that
//! others can read, that belongs to somebody else, is cut short, altered or of another kind is refused with what to do
//! about it; the seed goes from the file to locked memory and leaves no copy behind (I10).
//!
//! The form, version 1, exactly these five lines (the public key makes a flipped bit in the seed visible):
//!
//! ```text
//! keymesh identity key 1
//! kind: node
//! suite: ed25519
//! public: who_<64 hex digits>
//! seed: <43 characters of base64url>
//! ```
//!
//! Leaves to others: what the key may do (membership is in signed state), and keys kept elsewhere than in files.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use keymesh_wire::ids::PrincipalId;
use keymesh_wire::secret::{Secret32, SecretBytes};
use keymesh_wire::sign::Identity;

const HEADER: &str = "keymesh identity key ";
const VERSION: &str = "1";
const SUITE: &str = "ed25519";
const SEED_CHARACTERS: usize = 43;

/// No key file of any version is longer; a longer file is something else.
const MOST_BYTES: u64 = 4096;

/// Whose identity a key file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A key manager node's.
    Node,
    /// A person's: signs statements and endorsements in the command line.
    Person,
    /// An agent's: asks for the keys of one instance.
    Agent,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Person => "person",
            Self::Agent => "agent",
        })
    }
}

/// Why a key file was not made or not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("cannot {doing} key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is a file of that name; a key is never written over anything.
    #[error("{path} exists already and is left as it is: a lost identity key cannot be made again")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A folder, socket or device.
    #[error("{path} is not a file")]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// Users other than the owner may read or change it.
    #[error("key file {path} is open to other users (mode {mode:04o}). If nobody can have read it: chmod 600 '{path}'")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who could exchange it at any time.
    #[error("key file {path} belongs to user {owner}, this program runs as user {user}: chown {user} '{path}'")]
    Owner {
        /// The file.
        path: PathBuf,
        /// User id of the file's owner.
        owner: u32,
        /// User id this program runs with.
        user: u32,
    },
    /// The first line is not that of a key file.
    #[error("{path} is not a keymesh key file")]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// Written by another version of keymesh.
    #[error("key file {path} is of version {found}; this program reads version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it names, at most 20 characters of it.
        found: String,
    },
    /// A line is missing, cut short, superfluous or not of its form.
    #[error("key file {path} is damaged at line {line}: expected {expected}. Restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line, from one.
        line: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// The key of somebody else than was asked for.
    #[error("{path} holds the key of a {found}, where the key of a {expected} is needed")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What is needed.
        expected: KeyKind,
        /// What it is.
        found: KeyKind,
    },
    /// Seed and public key do not belong together: bits of one of them have changed.
    #[error("key file {path} is damaged: its seed does not give its public key {public}. Restore it from a copy")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The public key the file names.
        public: PrincipalId,
    },
}

/// Writes `identity` to a new file at `path`, mode 0600. When this returns, the file is on disk; when it fails, no file
/// of that name was made.
///
/// # Errors
/// [`KeyFileError::Exists`] if there is anything at `path`; [`KeyFileError::Io`].
pub fn create(path: &Path, kind: KeyKind, identity: &Identity) -> Result<(), KeyFileError> {
    let io = |doing| move |source| KeyFileError::Io { path: path.to_owned(), doing, source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| KeyFileError::NotAFile { path: path.to_owned() })?;
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}.new", std::process::id()));
    let draft = folder.join(draft);

    let written = write_draft(&draft, &encode(kind, identity)).map_err(io("write"));
    // A link, unlike a rename, fails if the name is taken: whoever comes second loses, and nothing is overwritten.
    let placed = written.and_then(|()| {
        fs::hard_link(&draft, path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists { path: path.to_owned() },
            _ => io("place")(error),
        })
    });
    let removed = fs::remove_file(&draft).map_err(io("remove the draft of"));
    placed?;
    removed?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("make durable"))
}

fn write_draft(draft: &Path, text: &SecretBytes) -> io::Result<()> {
    // A draft of the same name can only be left over from a process that died with our process id.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text.expose_secret())?;
    file.sync_all()
}

fn encode(kind: KeyKind, identity: &Identity) -> SecretBytes {
    let public = identity.principal();
    let head = format!("{HEADER}{VERSION}\nkind: {kind}\nsuite: {SUITE}\npublic: {public}\nseed: ");
    SecretBytes::build(head.len() + SEED_CHARACTERS + 1, |out| {
        let (front, rest) = out.split_at_mut(head.len());
        front.copy_from_slice(head.as_bytes());
        let (seed, end) = rest.split_at_mut(SEED_CHARACTERS);
        BASE64URL_NOPAD.encode_mut(identity.expose_seed(), seed);
        end[0] = b'\n';
    })
}

/// Reads the identity of a `kind` from the key file at `path`, following symbolic links to it.
///
/// # Errors
/// Any [`KeyFileError`] but `Exists`; all of them leave the file as it is.
pub fn load(path: &Path, kind: KeyKind) -> Result<Identity, KeyFileError> {
    let text = read(path)?;
    decode(path, kind, text.expose_secret())
}

fn read(path: &Path) -> Result<SecretBytes, KeyFileError> {
    let io = |doing| move |source| KeyFileError::Io { path: path.to_owned(), doing, source };
    // Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io("open"))?;
    // Of the open file, not of the name: what is checked is what is read.
    let facts = file.metadata().map_err(io("examine"))?;
    if !facts.is_file() {
        return Err(KeyFileError::NotAFile { path: path.to_owned() });
    }
    let user = user::effective();
    if facts.uid() != user {
        return Err(KeyFileError::Owner { path: path.to_owned(), owner: facts.uid(), user });
    }
    if facts.mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode: facts.mode() & 0o7777 });
    }
    let len = usize::try_from(facts.len().min(MOST_BYTES + 1)).unwrap_or(usize::MAX);
    if facts.len() > MOST_BYTES {
        return Err(KeyFileError::NotAKeyFile { path: path.to_owned() });
    }
    let mut result = Ok(());
    let text = SecretBytes::build(len, |out| result = file.read_exact(out));
    result.map_err(io("read"))?;
    Ok(text)
}

fn decode(path: &Path, kind: KeyKind, text: &[u8]) -> Result<Identity, KeyFileError> {
    let damaged = |line, expected| KeyFileError::Damaged { path: path.to_owned(), line, expected };
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n"));
    let mut line = |number, prefix: &str, expected| {
        let line = lines.next().flatten().and_then(|line| line.strip_prefix(prefix.as_bytes()));
        line.ok_or_else(|| damaged(number, expected))
    };

    let version = line(1, HEADER, "the header").map_err(|_| KeyFileError::NotAKeyFile { path: path.to_owned() })?;
    if version != VERSION.as_bytes() {
        let found = String::from_utf8_lossy(version).chars().take(20).collect();
        return Err(KeyFileError::Version { path: path.to_owned(), found });
    }
    let expected = "`kind: ` and node, person or agent";
    let found = match line(2, "kind: ", expected)? {
        b"node" => KeyKind::Node,
        b"person" => KeyKind::Person,
        b"agent" => KeyKind::Agent,
        _ => return Err(damaged(2, expected)),
    };
    let expected = "`suite: ed25519`";
    if line(3, "suite: ", expected)? != SUITE.as_bytes() {
        return Err(damaged(3, expected));
    }
    let expected = "`public: ` and the public key";
    let public = std::str::from_utf8(line(4, "public: ", expected)?).ok().and_then(|text| text.parse().ok());
    let public: PrincipalId = public.ok_or_else(|| damaged(4, expected))?;
    let expected = "`seed: ` and 43 characters of base64url";
    let characters = line(5, "seed: ", expected)?;
    if characters.len() != SEED_CHARACTERS {
        return Err(damaged(5, expected));
    }
    let seed = Secret32::try_build(|out| BASE64URL_NOPAD.decode_mut(characters, out).map(|_| ()));
    let seed = seed.map_err(|_| damaged(5, expected))?;
    if lines.next().is_some() {
        return Err(damaged(6, "the end of the file"));
    }

    if found != kind {
        return Err(KeyFileError::Kind { path: path.to_owned(), expected: kind, found });
    }
    let identity = Identity::from_seed(seed);
    if identity.principal() != public {
        return Err(KeyFileError::Mismatch { path: path.to_owned(), public });
    }
    Ok(identity)
}

#[allow(unsafe_code)] // The standard library has no way to ask for the effective user.
mod user {
    pub(super) fn effective() -> u32 {
        // SAFETY: takes nothing, returns a number, cannot fail.
        unsafe { libc::geteuid() }
    }
}

#[cfg(test)]
#[path = "keyfile_tests.rs"]
mod tests;
