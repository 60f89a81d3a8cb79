//! `keymesh context`: what later commands need not be told.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keymesh_agent::client::{Client, Trust};
use keymesh_wire::ids::MeshId;
use serde_json::json;

use super::connect;
use super::context::ContextNode;
use super::env::{Door, DoorFlag, Env};
use super::error::CliError;
use super::names;
use super::output::{Output, count};
use super::table::Table;

/// What is remembered.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Remember the mesh, the usual key file and tenant, and doors of nodes
    #[command(after_help = "\
Examples:
  keymesh context set --key ann.key --default-tenant acme
  keymesh context set --mesh mesh_51f0… --door 10.0.0.5:7401
  keymesh context set --refresh        # learn all nodes from the mesh's signed document")]
    Set(Set),
    /// Show what is remembered and where
    #[command(after_help = "Example:\n  keymesh context show")]
    Show,
}

/// What to remember.
#[derive(Debug, Args)]
pub struct Set {
    /// The mesh, by id
    #[arg(long, value_name = "MESH-ID")]
    mesh: Option<MeshId>,
    /// The key file that signs unless --as names another
    #[arg(long, value_name = "KEYFILE")]
    key: Option<PathBuf>,
    /// The tenant that commands are about unless --tenant names another
    #[arg(long, value_name = "NAME|ID")]
    default_tenant: Option<String>,
    /// A node's door; its key is learnt from the mesh's signed membership, or given with =NODE-ID. Repeatable
    #[arg(long = "door", value_name = "IP:PORT")]
    doors: Vec<DoorFlag>,
    /// Remember the doors of all nodes that the mesh admitted, and forget the others
    #[arg(long)]
    refresh: bool,
}

/// Does it.
pub fn run(env: &mut Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Set(set) => {
            if let Some(mesh) = set.mesh {
                if env.context.mesh.is_some_and(|known| known != mesh) {
                    // Nodes and tenants of another mesh are of no use in this one.
                    env.context.nodes.clear();
                    env.context.tenants.clear();
                    env.context.tenant = None;
                }
                env.context.mesh = Some(mesh);
            }
            if let Some(key) = set.key {
                names::key_file(&key)?;
                env.context.key = Some(absolute(&key)?);
            }
            for flag in set.doors {
                let node = learn(env, &flag.door())?;
                env.context.remember(node);
            }
            if set.refresh {
                let mesh = connect::mesh_document(env)?;
                env.context.nodes.clear();
                for card in mesh.mesh().nodes.values() {
                    remember_card(env, card);
                }
            }
            if let Some(tenant) = set.default_tenant {
                let id = connect::tenant_id(env, Some(&tenant))?;
                if !tenant.starts_with("ten_") {
                    env.context.tenants.insert(tenant, id);
                }
                env.context.tenant = Some(id);
            }
            env.save()?;
            Ok(show(env))
        }
        Command::Show => Ok(show(env)),
    }
}

/// Remembers the doors of a node.
pub fn remember_card(env: &mut Env, card: &keymesh_wire::body::NodeCard) {
    for door in connect::doors_of(card).take(1) {
        env.context.remember(ContextNode { name: door.name, node: card.node, door: door.address });
    }
}

/// A path that means the same from every folder.
pub fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|source| CliError::File { path: path.to_owned(), doing: "find", source })
}

/// Asks a door whose it is: by its pin, or by the mesh's membership.
fn learn(env: &Env, door: &Door) -> Result<ContextNode, CliError> {
    let trust = match door.node {
        Some(node) => Trust::Pinned(node),
        None => Trust::Mesh(env.mesh()?),
    };
    let ask = || Client::connect(door.address, &trust, env.timeout());
    match (ask(), door.node) {
        (Ok(client), _) => {
            let card = client.members().and_then(|members| members.node(&client.node()));
            let name = card.map_or_else(|| door.address.to_string(), |card| card.name.clone());
            Ok(ContextNode { name, node: client.node(), door: door.address })
        }
        // A pinned node may be down now.
        (Err(_), Some(node)) => Ok(ContextNode { name: door.address.to_string(), node, door: door.address }),
        (Err(error), None) => Err(CliError::nobody("the door did not show whose it is", vec![error])),
    }
}

fn show(env: &Env) -> Output {
    let context = &env.context;
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "not set".to_owned());
    let mut nodes = Table::new(["NODE", "DOOR", "KEY"]);
    for node in &context.nodes {
        nodes.row([node.name.clone(), node.door.to_string(), node.node.to_string()]);
    }
    let text = format!(
        "context  {}\nmesh     {}\nkey      {}\ntenant   {}\n\n{}",
        env.context_path.display(),
        or_none(context.mesh.map(|mesh| mesh.to_string())),
        or_none(context.key.as_ref().map(|key| key.display().to_string())),
        or_none(context.tenant.map(|tenant| {
            let name = context.tenants.iter().find(|(_, id)| **id == tenant).map(|(name, _)| name);
            name.map_or_else(|| tenant.to_string(), |name| format!("{name} ({tenant})"))
        })),
        nodes.or("no nodes remembered"),
    );
    let json = json!({
        "file": env.context_path, "mesh": context.mesh, "key": context.key, "tenant": context.tenant,
        "tenants": context.tenants, "nodes": context.nodes,
    });
    Output::new(text, json)
}

/// A sentence on how many nodes are remembered now.
pub fn remembered(env: &Env) -> String {
    format!("{} remembered in {}", count(env.context.nodes.len(), "node"), env.context_path.display())
}
