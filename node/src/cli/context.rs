//! What the command line remembers between commands: mesh, doors, the usual key file and tenant.
//!
//! The file is a convenience and holds no secret; flags win over it. Node ids in it are what connections are pinned to,
//! so it is as trustworthy as the folder it lies in. It is replaced as a whole, never written in place.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keymesh_wire::ids::{MeshId, NodeId, TenantId};
use serde::{Deserialize, Serialize};

use super::error::CliError;

/// The version of the file this program reads and writes.
const VERSION: u32 = 1;

/// The environment variable that names the context file.
pub const VARIABLE: &str = "KEYMESH_CONTEXT";

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The version of the file.
    pub version: u32,
    /// The mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshId>,
    /// The key file that signs unless `--as` names another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The tenant that commands are about unless `--tenant` names another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// Tenants by the names under which they were created here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, TenantId>,
    /// Doors of nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<ContextNode>,
}

/// A node's door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContextNode {
    /// Its name.
    pub name: String,
    /// Its key, to which connections are pinned.
    pub node: NodeId,
    /// Where its door is.
    pub door: SocketAddr,
}

impl Default for Context {
    fn default() -> Self {
        Self { version: VERSION, mesh: None, key: None, tenant: None, tenants: BTreeMap::new(), nodes: Vec::new() }
    }
}

impl Context {
    /// Where the context lies: the flag, else the environment's word, else the user's configuration folder.
    pub fn path(flag: Option<&Path>) -> PathBuf {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || variable("HOME").map(|home| home.join(".config"));
        let folder = || variable("XDG_CONFIG_HOME").or_else(home).unwrap_or_default().join("keymesh/context.toml");
        flag.map(Path::to_owned).or_else(|| variable(VARIABLE)).unwrap_or_else(folder)
    }

    /// Reads the file; an empty context if there is none.
    pub fn load(path: &Path) -> Result<Self, CliError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(CliError::File { path: path.to_owned(), doing: "read the context", source }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CliError> {
        let wrong = |what: String| CliError::Content { path: path.to_owned(), expected: "a keymesh context", what };
        let context: Self = toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        if context.version != VERSION {
            return Err(wrong(format!("version {}, where this program reads version {VERSION}", context.version)));
        }
        Ok(context)
    }

    /// Replaces the file.
    pub fn save(&self, path: &Path) -> Result<(), CliError> {
        let failed = |source| CliError::File { path: path.to_owned(), doing: "write the context", source };
        let body = toml::to_string(self).map_err(|error| failed(io::Error::other(error)))?;
        let text = format!("# What `keymesh` remembers; see `keymesh context --help`. Holds no secret.\n{body}");
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}.new", std::process::id()));
        let draft = PathBuf::from(draft);
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, path)).map_err(failed)
    }

    /// Remembers a node's door; a node that was known gets its new name and address.
    pub fn remember(&mut self, node: ContextNode) {
        self.nodes.retain(|known| known.node != node.node && known.door != node.door);
        self.nodes.push(node);
        self.nodes.sort_by(|a, b| (&a.name, a.node).cmp(&(&b.name, b.node)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8, door: &str) -> ContextNode {
        let door = door.parse().expect("an address");
        ContextNode { name: format!("n{number}"), node: NodeId::from_bytes([number; 32]), door }
    }

    #[test]
    fn a_context_reads_back_as_it_was_saved() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/context.toml");
        assert_eq!(Context::load(&path).expect("none yet"), Context::default());
        let mut context = Context {
            mesh: Some(MeshId::from_bytes([1; 32])),
            key: Some("/keys/ann.key".into()),
            tenant: Some(TenantId::from_bytes([2; 32])),
            tenants: BTreeMap::from([("acme".into(), TenantId::from_bytes([2; 32]))]),
            ..Context::default()
        };
        context.remember(node(2, "127.0.0.1:2"));
        context.remember(node(1, "127.0.0.1:1"));
        context.save(&path).expect("saved");
        assert_eq!(Context::load(&path).expect("read"), context);
    }

    #[test]
    fn an_unknown_field_and_another_version_are_refused() {
        let path = Path::new("c.toml");
        let error = Context::parse(path, "version = 1\nmehs = \"x\"").expect_err("unknown").to_string();
        assert!(error.contains("mehs"), "{error}");
        let error = Context::parse(path, "version = 2").expect_err("newer").to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_node_that_moved_is_remembered_once() {
        let mut context = Context::default();
        context.remember(node(1, "127.0.0.1:1"));
        context.remember(node(1, "127.0.0.1:9"));
        assert_eq!(context.nodes, vec![node(1, "127.0.0.1:9")]);
    }
}
