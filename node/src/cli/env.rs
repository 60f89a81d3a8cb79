//! What every command works with: the flags that all commands take, over what the context remembers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use keymesh_wire::ids::{MeshId, NodeId, TenantId};
use keymesh_wire::sign::Identity;
use keymesh_wire::time::{Millis, Wall};

use super::context::Context;
use super::error::CliError;
use super::time::parse_span;
use crate::keyfile::{self, KeyKind};

/// Flags that every command takes. Their ids keep them apart from a command's own arguments: clap tells those by id.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Where mesh, doors, key file and tenant are remembered [default: ~/.config/keymesh/context.toml, or $KEYMESH_CONTEXT]
    #[arg(id = "context-file", long = "context", global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub context: Option<PathBuf>,
    /// Ask this node instead of those remembered; IP:PORT of its door, with =NODE-ID to pin its key. Repeatable
    #[arg(id = "ask-nodes", long = "node", global = true, value_name = "IP:PORT", help_heading = "Everywhere")]
    pub nodes: Vec<DoorFlag>,
    /// Sign as the person with this key file
    #[arg(id = "sign-as", long = "as", global = true, value_name = "KEYFILE", help_heading = "Everywhere")]
    pub key: Option<PathBuf>,
    /// The tenant it is about, by name or id
    #[arg(id = "about-tenant", long = "tenant", global = true, value_name = "NAME|ID", help_heading = "Everywhere")]
    pub tenant: Option<String>,
    /// Print one JSON value instead of words and tables
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// How long one node may take to answer
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = parse_span, help_heading = "Everywhere")]
    pub timeout: Millis,
}

/// A door named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorFlag {
    address: SocketAddr,
    node: Option<NodeId>,
}

impl DoorFlag {
    /// The door it names.
    pub fn door(&self) -> Door {
        Door { address: self.address, node: self.node, name: self.address.to_string() }
    }
}

impl FromStr for DoorFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, node) = match text.split_once('=') {
            Some((address, node)) => (address, Some(node.parse().map_err(|error| format!("{error}"))?)),
            None => (text, None),
        };
        let address = address.parse().map_err(|_| format!("`{address}` is not IP:PORT, such as 127.0.0.1:7401"))?;
        Ok(Self { address, node })
    }
}

/// A node's door, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Where.
    pub address: SocketAddr,
    /// Whose; a connection is pinned to it. If absent, the node must show that the mesh admitted it.
    pub node: Option<NodeId>,
    /// The node's name, for people.
    pub name: String,
}

/// Flags over context.
#[derive(Debug)]
pub struct Env {
    /// What is remembered.
    pub context: Context,
    /// Where.
    pub context_path: PathBuf,
    flags: Flags,
    silent: Mutex<BTreeMap<SocketAddr, Instant>>,
}

/// How long a door that did not answer a connection is left alone: within one command nobody should wait for it twice,
/// and a command that waits for something should notice when it is back.
const SILENT: Duration = Duration::from_secs(5);

impl Env {
    /// Reads the context that the flags name.
    pub fn new(flags: Flags) -> Result<Self, CliError> {
        let context_path = Context::path(flags.context.as_deref());
        Ok(Self { context: Context::load(&context_path)?, context_path, flags, silent: Mutex::default() })
    }

    /// The mesh.
    pub fn mesh(&self) -> Result<MeshId, CliError> {
        self.context
            .mesh
            .ok_or(CliError::Unset { what: "mesh", flag: "`keymesh context set --mesh MESH-ID` or --context FILE" })
    }

    /// The key file that signs.
    pub fn key_file(&self) -> Result<PathBuf, CliError> {
        let known = self.flags.key.clone().or_else(|| self.context.key.clone());
        known.ok_or(CliError::Unset { what: "key file", flag: "--as KEYFILE" })
    }

    /// Who signs.
    pub fn identity(&self) -> Result<Identity, CliError> {
        Ok(keyfile::load(&self.key_file()?, KeyKind::Person)?)
    }

    /// The key file given by flag, if any.
    pub fn key_flag(&self) -> Option<&PathBuf> {
        self.flags.key.as_ref()
    }

    /// The tenant given by flag, if any.
    pub fn tenant_flag(&self) -> Option<&str> {
        self.flags.tenant.as_deref()
    }

    /// The tenant as far as it is known without asking anybody: by id, by a remembered name, or the usual one.
    pub fn tenant_offline(&self, named: Option<&str>) -> Result<Option<TenantId>, CliError> {
        match named.or(self.tenant_flag()) {
            Some(text) if text.starts_with("ten_") => {
                text.parse().map(Some).map_err(|error| CliError::usage(format!("--tenant: {error}")))
            }
            Some(name) => Ok(self.context.tenants.get(name).copied()),
            None => match self.context.tenant {
                Some(tenant) => Ok(Some(tenant)),
                None => Err(CliError::Unset { what: "tenant", flag: "--tenant NAME|ID" }),
            },
        }
    }

    /// Whether `--node` narrows whom to ask.
    pub fn is_narrowed(&self) -> bool {
        !self.flags.nodes.is_empty()
    }

    /// The doors to ask: those of `--node`, else those remembered.
    pub fn doors(&self) -> Vec<Door> {
        let remembered = self.context.nodes.iter().map(|node| Door {
            address: node.door,
            node: Some(node.node),
            name: node.name.clone(),
        });
        if !self.is_narrowed() {
            return remembered.collect();
        }
        let remembered: Vec<Door> = remembered.collect();
        let door = |flag: &DoorFlag| {
            let known = remembered.iter().find(|door| door.address == flag.address);
            Door {
                address: flag.address,
                node: flag.node.or(known.and_then(|door| door.node)),
                name: known.map_or_else(|| flag.address.to_string(), |door| door.name.clone()),
            }
        };
        self.flags.nodes.iter().map(door).collect()
    }

    /// How long one node may take to answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.flags.timeout.0)
    }

    /// Tells a person how a command that takes a while gets on. Programs read what comes out in the end.
    pub fn progress(&self, what: impl std::fmt::Display) {
        if !self.flags.json {
            eprintln!("{what}");
        }
    }

    /// The wall clock. The command line is the edge: here a clock may be read.
    pub fn now(&self) -> Wall {
        keymesh_agent::system::wall()
    }

    /// Whether a door kept silent a moment ago.
    pub fn was_silent(&self, address: SocketAddr) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.get(&address).is_some_and(|since| since.elapsed() < SILENT)
    }

    /// Notes that a door kept silent.
    pub fn note_silent(&self, address: SocketAddr) {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).insert(address, Instant::now());
    }

    /// Writes the context back.
    pub fn save(&self) -> Result<(), CliError> {
        self.context.save(&self.context_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::context::ContextNode;

    #[test]
    fn a_door_flag_takes_the_remembered_pin_of_its_address() {
        let node = NodeId::from_bytes([3; 32]);
        let flags = Flags {
            nodes: vec!["127.0.0.1:7".parse().expect("a door"), "127.0.0.1:8".parse().expect("a door")],
            ..Flags::default()
        };
        let mut context = Context::default();
        context.remember(ContextNode { name: "n1".into(), node, door: "127.0.0.1:7".parse().expect("an address") });
        let env = Env { context, context_path: PathBuf::new(), flags, silent: Mutex::default() };
        let (first, second) = (env.doors()[0].address, env.doors()[1].address);
        env.note_silent(first);
        assert!(env.was_silent(first) && !env.was_silent(second));
        let doors = env.doors();
        assert_eq!((doors[0].node, doors[0].name.as_str()), (Some(node), "n1"));
        assert_eq!((doors[1].node, doors[1].name.as_str()), (None, "127.0.0.1:8"));
        assert!("127.0.0.1".parse::<DoorFlag>().is_err());
        assert!("127.0.0.1:7=key_00".parse::<DoorFlag>().is_err());
    }
}
