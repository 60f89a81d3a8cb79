//! The agent's configuration file, version 1, and how flags go before it.
//!
//! Guarantees: strict TOML, where an unknown field is an error with its line; every value is checked here, so that
//! nothing starts half configured. Node addresses are literal: an agent in an initramfs has no name service.
//!
//! ```toml
//! version = 1
//! mesh = "mesh_<64 hex digits>"
//! tenant = "ten_<64 hex digits>"
//! nodes = ["aws/eu-west-1a=10.0.1.5:7443", "10.0.2.5:7443"]
//! identity = "/var/lib/keymesh/agent.key"   # this is the default
//! zone = "aws/eu-west-1a"                   # absent: nodes are ordered by latency alone
//! metadata = "169.254.169.254:80"           # this is the default
//! ```

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use keymesh_wire::ids::{MeshId, TenantId};
use serde::Deserialize;

use crate::fleet::{Candidate, MOST_ADDRESSES};
use crate::metadata;

/// Where the file is looked for unless another is named.
pub const PATH: &str = "/etc/keymesh/agent.toml";

/// Where an agent's identity lies unless said otherwise.
pub const IDENTITY: &str = "/var/lib/keymesh/agent.key";

const VERSION: u16 = 1;
const MOST_BYTES: u64 = 64 * 1024;

/// What an agent is told. Everything may be absent: flags and volume tokens say it too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The mesh.
    pub mesh: Option<MeshId>,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// Nodes to ask.
    pub nodes: Vec<Candidate>,
    /// The identity's key file.
    pub identity: Option<PathBuf>,
    /// The agent's own zone.
    pub zone: Option<String>,
    /// The metadata service.
    pub metadata: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    version: u16,
    mesh: Option<MeshId>,
    tenant: Option<TenantId>,
    #[serde(default)]
    nodes: Vec<String>,
    identity: Option<PathBuf>,
    zone: Option<String>,
    metadata: Option<String>,
}

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a configuration.
    #[error("configuration {path}: {what}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        what: String,
    },
    /// Not an address.
    #[error(
        "`{text}` is not a node address: write IP:PORT or ZONE=IP:PORT with a literal address, as in aws/eu-west-1a=10.0.1.5:7443"
    )]
    Address {
        /// What was written.
        text: String,
    },
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Io { path: path.to_owned(), source };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text)).map_err(io)?;
        if text.len() as u64 > MOST_BYTES {
            return Err(ConfigError::Form { path: path.to_owned(), what: format!("longer than {MOST_BYTES} bytes") });
        }
        Self::parse(path, &text)
    }

    /// As [`Config::read`], and nothing at all where there is no file.
    ///
    /// # Errors
    /// [`ConfigError`] for a file that is there.
    pub fn read_if_there(path: &Path) -> Result<Self, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            other => other,
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let form = |what: String| ConfigError::Form { path: path.to_owned(), what };
        // The parser's message shows the line and points into it.
        let raw: Raw = toml::from_str(text).map_err(|error| form(error.to_string().trim_end().to_owned()))?;
        if raw.version != VERSION {
            return Err(form(format!("version is {}; this program reads version {VERSION}", raw.version)));
        }
        if raw.nodes.len() > MOST_ADDRESSES {
            return Err(form(format!("{} nodes, where at most {MOST_ADDRESSES} are used", raw.nodes.len())));
        }
        let nodes = raw.nodes.iter().map(|text| candidate(text)).collect::<Result<_, _>>();
        let metadata = raw.metadata.as_deref().map(metadata_address).transpose();
        Ok(Self {
            mesh: raw.mesh,
            tenant: raw.tenant,
            nodes: nodes.map_err(|error: ConfigError| form(error.to_string()))?,
            identity: raw.identity,
            zone: raw.zone,
            metadata: metadata.map_err(|error| form(error.to_string()))?,
        })
    }
}

/// A node's address as people write it: `IP:PORT` or `ZONE=IP:PORT`.
///
/// # Errors
/// [`ConfigError::Address`].
pub fn candidate(text: &str) -> Result<Candidate, ConfigError> {
    let (zone, address) = match text.split_once('=') {
        Some((zone, address)) => (Some(zone), address),
        None => (None, text),
    };
    let fail = || ConfigError::Address { text: text.chars().take(80).collect() };
    if zone.is_some_and(|zone| zone.is_empty() || zone.chars().any(char::is_whitespace)) {
        return Err(fail());
    }
    let address = address.parse().map_err(|_| fail())?;
    Ok(Candidate { address, zone: zone.map(str::to_owned) })
}

/// The address of a metadata service as people write it: `IP` or `IP:PORT`, also as `http://IP:PORT`.
///
/// # Errors
/// [`ConfigError::Address`].
pub fn metadata_address(text: &str) -> Result<SocketAddr, ConfigError> {
    let plain = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let alone = || plain.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, metadata::DEFAULT.port()));
    plain.parse().or_else(|_| alone()).map_err(|_| ConfigError::Address { text: text.chars().take(80).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("agent.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn every_field_is_read() {
        let (mesh, tenant) = (MeshId::from_bytes([1; 32]), TenantId::from_bytes([2; 32]));
        let config = parse(&format!(
            "version = 1\nmesh = \"{mesh}\"\ntenant = \"{tenant}\"\nnodes = [\"aws/a=10.0.0.1:7443\", \"[::1]:7443\"]\n\
             identity = \"/k\"\nzone = \"aws/a\"\nmetadata = \"http://127.0.0.1:8080/\"\n"
        ))
        .expect("a configuration");
        assert_eq!((config.mesh, config.tenant), (Some(mesh), Some(tenant)));
        assert_eq!(config.nodes[0].zone.as_deref(), Some("aws/a"));
        assert_eq!(config.nodes[1].address.to_string(), "[::1]:7443");
        assert_eq!(config.metadata.expect("an address").to_string(), "127.0.0.1:8080");
        assert_eq!(config.identity.as_deref(), Some(Path::new("/k")));
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let error = parse("version = 1\nmehs = \"x\"\n").expect_err("a refusal");
        assert!(error.contains("line 2") && error.contains("mehs"), "{error}");
    }

    #[test]
    fn a_version_or_id_or_address_of_another_kind_is_refused() {
        assert!(parse("version = 2\n").expect_err("a refusal").contains("this program reads version 1"));
        assert!(parse("zone = \"x\"\n").expect_err("a refusal").contains("version"));
        assert!(parse("version = 1\nmesh = \"ten_00\"\n").expect_err("a refusal").contains("line 2"));
        let error = parse("version = 1\nnodes = [\"node.example:7443\"]\n").expect_err("a refusal");
        assert!(error.contains("`node.example:7443` is not a node address"), "{error}");
    }

    #[test]
    fn no_file_is_no_configuration_but_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.toml");
        assert_eq!(Config::read_if_there(&path).expect("nothing"), Config::default());
        std::fs::write(&path, "version =").expect("written");
        assert!(Config::read_if_there(&path).is_err());
    }
}
