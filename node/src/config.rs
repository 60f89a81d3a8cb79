//! The node's configuration file.
//!
//! Guarantees: a file is understood whole or refused; a field this program does not know is an error and never ignored,
//! because a misspelt limit or path would otherwise silently be the default; every refusal names file, line, field and
//! what is expected. The schema is versioned: `version = 1` is what this program reads. Relative paths are relative to
//! the file, so that a node starts the same from every folder.
//!
//! Leaves to others: whether addresses can be bound, folders written and the key read ([`crate::keyfile`]).

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use keymesh_wire::ids::MeshId;
use keymesh_wire::limits::BODY_BYTES;
use keymesh_wire::time::Millis;

mod reader;

use reader::{Section, Value};

/// The version of the schema this program reads and writes.
pub const VERSION: u64 = 1;

/// A node's configuration, checked. Paths are absolute or relative to the working folder, not to the file any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Folder of the node's store, shares and audit log.
    pub data_dir: PathBuf,
    /// The mesh the node belongs to.
    pub mesh: MeshId,
    /// The node's name, for people.
    pub name: String,
    /// Where the node runs.
    pub zone: Zone,
    /// Who owns the hardware there; the zone's first part unless the file says otherwise.
    pub provider: String,
    /// The node's identity key file.
    pub key_file: PathBuf,
    /// Addresses the node binds.
    pub listen: Addresses,
    /// Addresses others reach it at; those it binds unless the file says otherwise.
    pub advertise: Addresses,
    /// Bounds on what strangers can make the node hold.
    pub limits: Limits,
    /// Largest difference between the node's wall clock and its peers' before it stops releasing.
    pub clock_max_difference: Millis,
    /// How old a sharing gets before this node, as one of its custodians, asks for new shares; nothing for never.
    pub refresh_after: Option<Millis>,
    /// What is logged, and how.
    pub log: Log,
    /// Whether the endpoints exist that cut connections and end the process on purpose. For test networks only.
    pub allow_faults: bool,
    /// How many milliseconds this process's wall clock is wrong by on purpose. 0 unless faults are allowed.
    pub clock_offset_ms: i64,
}

/// A zone: `provider/name`, such as `aws/eu-west-1a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(String);

/// The two addresses of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For other nodes (libp2p).
    pub mesh: SocketAddr,
    /// For agents and people (HTTPS).
    pub door: SocketAddr,
}

/// Bounds; each has a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at the door at once.
    pub connections: usize,
    /// Largest request body at the door, in bytes.
    pub body_bytes: usize,
    /// Requests waiting for a worker.
    pub request_queue: usize,
    /// Messages waiting for one peer.
    pub peer_queue: usize,
    /// How long a connection at the door may be idle, or take for the head of a request.
    pub idle: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            body_bytes: BODY_BYTES,
            request_queue: 4096,
            peer_queue: 1024,
            idle: Millis(DEFAULT_IDLE_MS),
        }
    }
}

/// Logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// And what may soon.
    Warn,
    /// And what operators want to know.
    #[default]
    Info,
    /// And changes of state.
    Debug,
    /// And every packet.
    Trace,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For eyes.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

const LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

const DEFAULT_REFRESH: Millis = Millis::seconds(30 * 24 * 3600);
const MINUTE_MS: u64 = 60_000;
const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const DEFAULT_CLOCK_MS: u64 = 30_000;
const DEFAULT_IDLE_MS: u64 = 75_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
const DEFAULT_KEY_FILE: &str = "node.key";

/// Fields outside sections, then each section with its fields: what may stand in a file of version 1.
const TOP: &[&str] = &["version", "data_dir", "mesh", "name", "zone", "provider", "key_file"];
const SECTIONS: &[(&str, &[&str])] = &[
    ("listen", &["mesh", "door"]),
    ("advertise", &["mesh", "door"]),
    ("limits", &["connections", "body_bytes", "request_queue", "peer_queue", "idle_ms"]),
    ("clock", &["max_difference_ms"]),
    ("custody", &["refresh_after_ms"]),
    ("log", &["level", "format"]),
    ("testing", &["allow_faults", "clock_offset_ms"]),
];

/// Why a configuration file is not used. The texts are complete: file, line, field and what to write.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The operating system refused.
    #[error("cannot {doing} configuration {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is a file of that name already.
    #[error("{path} exists already and is left as it is")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Not TOML.
    #[error("{path}:{line}: not TOML: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from one.
        line: usize,
        /// What the parser missed.
        problem: String,
    },
    /// Of another version than this program reads.
    #[error("{path}:{line}: configuration version {found}; this program reads version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Line, from one.
        line: usize,
        /// The version in the file.
        found: u64,
    },
    /// A field or section this program does not know.
    #[error("{path}:{line}: unknown field `{field}`{hint}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Line, from one.
        line: usize,
        /// The field as written, with its section.
        field: String,
        /// The nearest known field, or all that may stand there.
        hint: Hint,
    },
    /// A field without a default is not there.
    #[error("{path}: field `{field}` is missing: expected {expected}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field, with its section.
        field: String,
        /// What belongs there.
        expected: String,
    },
    /// A field has a value it cannot have.
    #[error("{path}:{line}: `{field}` is {found}: expected {expected}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from one.
        line: usize,
        /// The field, with its section.
        field: String,
        /// The value as written, shortened.
        found: String,
        /// What belongs there.
        expected: String,
    },
}

/// What may have been meant by an unknown field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// This one is spelt nearly the same, or the same in another section.
    Nearest(String),
    /// Nothing is near; these may stand there.
    Known(&'static [&'static str]),
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nearest(field) => write!(f, ": did you mean `{field}`?"),
            Self::Known(fields) => write!(f, ": known here are `{}`", fields.join("`, `")),
        }
    }
}

impl Zone {
    /// Who runs the zone: the part before the slash.
    pub fn provider(&self) -> &str {
        self.0.split_once('/').map_or("", |(provider, _)| provider)
    }

    /// The whole, as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is not `provider/name` in lower-case letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a zone is written `provider/name`, such as `aws/eu-west-1a`")]
pub struct ZoneError;

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        match text.split_once('/') {
            Some((provider, name)) if is_name(provider) && is_name(name) => Ok(Self(text.to_owned())),
            _ => Err(ZoneError),
        }
    }
}

/// 1 to 64 lower-case letters, digits, `-`, `_` and `.`: safe in tables, paths and logs.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

const NAME: &str = "1 to 64 lower-case letters, digits, `-`, `_` or `.`";

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The first thing wrong, see [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Io {
            path: path.to_owned(),
            doing: "read",
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Checks `text` as the content of the file at `path`, which is not read.
    ///
    /// # Errors
    /// As [`Config::load`], but `Io`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file = reader::File::parse(path, text)?;
        let top = file.top();
        // Before unknown fields: a file of a later version has some, and the version is the answer.
        let version = top.required("version", "`version = 1`")?;
        let number = version.integer(1..=u64::MAX, "the version of the schema, 1")?;
        if number != VERSION {
            return Err(ConfigError::Version { path: path.to_owned(), line: version.line(), found: number });
        }
        file.refuse_unknown()?;

        let folder = path.parent().unwrap_or(Path::new(""));
        let path_in = |value: &Value<'_>| value.text("a path").map(|text| folder.join(text));
        let data_dir = path_in(&top.required("data_dir", "a path, such as \"data\"")?)?;
        let mesh = top.required("mesh", "the id of the mesh, `mesh_` and 64 hex digits")?;
        let mesh = mesh.parsed("the id of the mesh, `mesh_` and 64 hex digits")?;
        let name = top.required("name", NAME)?.checked(is_name, NAME)?;
        let expected = "`provider/name`, such as \"aws/eu-west-1a\"";
        let zone: Zone = top.required("zone", expected)?.parsed(expected)?;
        let provider = match top.get("provider") {
            Some(value) => value.checked(is_name, NAME)?,
            None => zone.provider().to_owned(),
        };
        let key_file = match top.get("key_file") {
            Some(value) => path_in(&value)?,
            None => folder.join(DEFAULT_KEY_FILE),
        };

        let section = file.section("listen")?;
        let listen = Addresses { mesh: address(&section, "mesh", None)?, door: address(&section, "door", None)? };
        let section = file.section("advertise")?;
        let advertise = Addresses {
            mesh: address(&section, "mesh", Some(listen.mesh))?,
            door: address(&section, "door", Some(listen.door))?,
        };

        let section = file.section("limits")?;
        let default = Limits::default();
        let limit = |name, range, default| section.integer_or(name, range, default);
        let limits = Limits {
            connections: limit("connections", 1..=100_000, default.connections)?,
            body_bytes: limit("body_bytes", 4096..=16 * 1024 * 1024, default.body_bytes)?,
            request_queue: limit("request_queue", 1..=1_000_000, default.request_queue)?,
            peer_queue: limit("peer_queue", 16..=100_000, default.peer_queue)?,
            idle: match section.get("idle_ms") {
                Some(value) => Millis(value.integer(500..=3_600_000, "milliseconds from 500 to 3600000")?),
                None => default.idle,
            },
        };
        let section = file.section("clock")?;
        let clock = match section.get("max_difference_ms") {
            Some(value) => value.integer(100..=600_000, "milliseconds from 100 to 600000")?,
            None => DEFAULT_CLOCK_MS,
        };
        let section = file.section("custody")?;
        let refresh_after = match section.get("refresh_after_ms") {
            Some(value) => {
                let after = value.integer(0..=YEAR_MS * 10, "milliseconds up to ten years, or 0 for never")?;
                if (1..MINUTE_MS).contains(&after) {
                    return Err(value.invalid("at least 60000, a minute, or 0 for never"));
                }
                Some(Millis(after)).filter(|after| after.0 > 0)
            }
            None => Some(DEFAULT_REFRESH),
        };
        let section = file.section("log")?;
        let log = Log {
            level: section.get("level").map(|value| value.one_of(&LEVELS)).transpose()?.unwrap_or_default(),
            format: section.get("format").map(|value| value.one_of(&FORMATS)).transpose()?.unwrap_or_default(),
        };
        let section = file.section("testing")?;
        let allow_faults = section.get("allow_faults").map(|value| value.boolean()).transpose()?.unwrap_or(false);
        let clock_offset_ms = match section.get("clock_offset_ms") {
            Some(value) => {
                let offset = value.signed(-DAY_MS..=DAY_MS, "milliseconds, at most a day either way")?;
                if offset != 0 && !allow_faults {
                    return Err(value.invalid("0, or `allow_faults = true` beside it: it makes the clock wrong"));
                }
                offset
            }
            None => 0,
        };

        Ok(Self {
            data_dir,
            mesh,
            name,
            zone,
            provider,
            key_file,
            listen,
            advertise,
            limits,
            clock_max_difference: Millis(clock),
            refresh_after,
            log,
            allow_faults,
            clock_offset_ms,
        })
    }

    /// A configuration with every default, for a new node whose files lie in `folder`.
    pub fn new(folder: &Path, mesh: MeshId, name: String, zone: Zone, listen: Addresses) -> Self {
        Self {
            data_dir: folder.join("data"),
            mesh,
            name,
            provider: zone.provider().to_owned(),
            zone,
            key_file: folder.join(DEFAULT_KEY_FILE),
            listen,
            advertise: listen,
            limits: Limits::default(),
            clock_max_difference: Millis(DEFAULT_CLOCK_MS),
            refresh_after: Some(DEFAULT_REFRESH),
            log: Log::default(),
            allow_faults: false,
            clock_offset_ms: 0,
        }
    }

    /// Writes this configuration to a new file, with a comment on every field. Reading it back gives the same.
    ///
    /// # Errors
    /// [`ConfigError::Exists`] if there is a file of that name; [`ConfigError::Io`].
    pub fn write_new(&self, path: &Path) -> Result<(), ConfigError> {
        let io = |doing| move |source| ConfigError::Io { path: path.to_owned(), doing, source };
        let mut file = std::fs::File::create_new(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ConfigError::Exists { path: path.to_owned() },
            _ => io("make")(error),
        })?;
        let text = self.commented(path.parent().unwrap_or(Path::new("")));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io("write"))
    }

    fn commented(&self, folder: &Path) -> String {
        let mut out = format!(
            "# A keymesh node. Relative paths are relative to this file. Unknown fields are errors.\nversion = {VERSION}\n"
        );
        let mut field = |comment: &str, line: String| {
            // A String takes all that is written to it.
            let _ = writeln!(out, "\n# {comment}\n{line}");
        };
        // Below the file's folder, paths are written relative, so that the folder can be moved as a whole.
        let path = |path: &Path| quoted(&path.strip_prefix(folder).unwrap_or(path).to_string_lossy());
        field("The node's store, shares and audit log.", format!("data_dir = {}", path(&self.data_dir)));
        field("The mesh this node belongs to.", format!("mesh = \"{}\"", self.mesh));
        field("The node's name, for people.", format!("name = {}", quoted(&self.name)));
        field("Where it runs: provider/name.", format!("zone = {}", quoted(self.zone.as_str())));
        field("Who owns the hardware there.", format!("provider = {}", quoted(&self.provider)));
        field("Its identity key; readable by its owner alone.", format!("key_file = {}", path(&self.key_file)));
        field(
            "Addresses to bind: mesh for other nodes (libp2p), door for agents and people (HTTPS).",
            format!("[listen]\nmesh = \"{}\"\ndoor = \"{}\"", self.listen.mesh, self.listen.door),
        );
        field(
            "Addresses others reach this node at, if they are not the ones above.",
            format!("[advertise]\nmesh = \"{}\"\ndoor = \"{}\"", self.advertise.mesh, self.advertise.door),
        );
        let Limits { connections, body_bytes, request_queue, peer_queue, idle: Millis(idle) } = self.limits;
        field(
            "Bounds: connections at the door, bytes of a request, requests waiting, messages waiting for one peer, and how \
             long a connection may be idle.",
            format!(
                "[limits]\nconnections = {connections}\nbody_bytes = {body_bytes}\nrequest_queue = {request_queue}\n\
                 peer_queue = {peer_queue}\nidle_ms = {idle}"
            ),
        );
        field(
            "A node whose clock differs from its peers' by more stops releasing keys.",
            format!("[clock]\nmax_difference_ms = {}", self.clock_max_difference.0),
        );
        field(
            "How old shares of a root get before this custodian asks for new ones (30 days); 0 for never.",
            format!("[custody]\nrefresh_after_ms = {}", self.refresh_after.map_or(0, |after| after.0)),
        );
        field(
            "level: error, warn, info, debug, trace. format: text, json.",
            format!(
                "[log]\nlevel = \"{}\"\nformat = \"{}\"",
                spelt(&LEVELS, self.log.level),
                spelt(&FORMATS, self.log.format)
            ),
        );
        field(
            "For test networks only: endpoints that cut this node off or end it at a write, and a wall clock that is wrong.",
            format!("[testing]\nallow_faults = {}\nclock_offset_ms = {}", self.allow_faults, self.clock_offset_ms),
        );
        out
    }
}

/// An address others can be told, or one to bind. What is advertised must not be «all addresses».
fn address(section: &Section<'_>, name: &'static str, bound: Option<SocketAddr>) -> Result<SocketAddr, ConfigError> {
    let expected = "an IP address and a port, such as \"10.0.0.5:7400\" or \"[fd00::5]:7400\"";
    match (section.get(name), bound) {
        (Some(value), None) => {
            let address: SocketAddr = value.parsed(expected)?;
            if address.port() == 0 {
                Err(value.invalid("a port other than 0, which others can be told"))
            } else {
                Ok(address)
            }
        }
        (Some(value), Some(_)) => {
            let address: SocketAddr = value.parsed(expected)?;
            if address.port() == 0 || address.ip().is_unspecified() {
                return Err(value.invalid("an address and port others can reach"));
            }
            Ok(address)
        }
        (None, Some(bound)) if !bound.ip().is_unspecified() => Ok(bound),
        (None, Some(_)) => Err(section
            .missing(name, &format!("the address others reach the node at, because `listen.{name}` is all addresses"))),
        (None, None) => Err(section.missing(name, expected)),
    }
}

/// `text` as a TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn spelt<T: PartialEq>(words: &'static [(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests;
