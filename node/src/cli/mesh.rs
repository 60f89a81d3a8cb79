//! `keymesh mesh`: begins a mesh, shows it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use keymesh_mesh::state::MeshState;
use keymesh_wire::body::{Body, MeshGenesis, NodeCard};
use keymesh_wire::ids::{MeshId, Nonce};
use keymesh_wire::statement::Checked;
use serde_json::{Value, json};

use super::act::short;
use super::connect;
use super::context_command::absolute;
use super::env::Env;
use super::error::CliError;
use super::names::{self, Names};
use super::output::{Output, count};
use super::table::Table;

/// Meshes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Begin a mesh: sign its genesis, whose hash is the mesh's id
    #[command(after_help = "\
Example:
  keymesh mesh found --name demo --founder ann=ann.key --founder bob=who_51f0… --endorsements 2 --as ann.key --out mesh.genesis

The genesis goes to every node (`keymesh node init --genesis`). It is no secret. Mesh and key file are remembered.")]
    Found(Found),
    /// Show the mesh's nodes, zones and operators, and what waits
    #[command(after_help = "Example:\n  keymesh mesh show")]
    Show,
}

/// How a mesh begins.
#[derive(Debug, Args)]
pub struct Found {
    /// How the mesh is called
    #[arg(long)]
    name: String,
    /// An operator, as NAME=ID or NAME=KEYFILE. Repeatable; the one who signs must be among them
    #[arg(long = "founder", value_name = "NAME=ID", required = true)]
    founders: Vec<String>,
    /// How many distinct operators a guarded change needs, the one who proposes it included
    #[arg(long, value_name = "M")]
    endorsements: u8,
    /// The file to write the genesis to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Does it.
pub fn run(env: &mut Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Found(found) => begin(env, &found),
        Command::Show => {
            let held = connect::mesh_document(env)?;
            let mut output = show(held.mesh());
            for error in &held.failed {
                output.text.push_str(&format!("\nnot answering: {error}"));
            }
            Ok(output)
        }
    }
}

fn begin(env: &mut Env, found: &Found) -> Result<Output, CliError> {
    let key = env.key_flag().cloned().ok_or(CliError::Unset { what: "key file", flag: "--as KEYFILE" })?;
    let identity = env.identity()?;
    let founders = found.founders.iter().map(|text| names::person(text)).collect::<Result<Vec<_>, _>>()?;
    if !founders.iter().any(|founder| founder.principal == identity.principal()) {
        return Err(CliError::usage(format!(
            "{} holds {}, which is none of the founders; whoever signs the genesis must be one (--founder NAME={})",
            key.display(),
            identity.principal(),
            key.display(),
        )));
    }
    let salt = Nonce::from_bytes(keymesh_agent::system::random_bytes());
    let genesis = MeshGenesis { name: found.name.clone(), founders, endorsements: found.endorsements, salt };
    let people = genesis.founders.len();
    let statement = Checked::sign(&Body::MeshGenesis(genesis), None, Vec::new(), env.now(), &identity)?;
    let mesh = MeshId::from(statement.id());
    write_new(&found.out, statement.bytes())?;
    env.context = super::context::Context { mesh: Some(mesh), key: Some(absolute(&key)?), ..Default::default() };
    env.save()?;
    let text = format!(
        "mesh {} is {mesh}\n{} of {} needed for guarded changes. Genesis in {}; context in {}.\n\
         Next: keymesh node init --genesis {} … on each machine, then keymesh node admit",
        found.name,
        found.endorsements,
        count(people, "operator"),
        found.out.display(),
        env.context_path.display(),
        found.out.display(),
    );
    Ok(Output::new(text, json!({"mesh": mesh, "name": found.name, "genesis": found.out, "context": env.context_path})))
}

/// Reads a genesis file.
pub fn read_genesis(path: &Path) -> Result<Checked, CliError> {
    let bytes = fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), doing: "read", source })?;
    let wrong = |what: String| CliError::Content { path: path.to_owned(), expected: "the genesis of a mesh", what };
    let statement = Checked::from_bytes(&bytes).map_err(|error| wrong(error.to_string()))?;
    match statement.body() {
        Some(Body::MeshGenesis(_)) => Ok(statement),
        Some(other) => Err(wrong(format!("it is a {} statement", other.kind()))),
        None => Err(wrong("it was written by newer software".to_owned())),
    }
}

/// Writes a file that must not exist yet, and makes it durable.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| CliError::File { path: path.to_owned(), doing: "write", source })
}

/// The mesh as a person sees it.
fn show(mesh: &MeshState) -> Output {
    let names = Names::of_mesh(mesh);
    let mut nodes = Table::new(["NODE", "ZONE", "PROVIDER", "MESH", "DOOR", "KEY"]);
    let mut zones: Vec<&str> = mesh.nodes.values().map(|card| card.zone.as_str()).collect();
    zones.sort_unstable();
    zones.dedup();
    let mut cards: Vec<&NodeCard> = mesh.nodes.values().collect();
    cards.sort_by_key(|card| &card.name);
    for card in &cards {
        let (zone, provider) = (card.zone.clone(), card.provider.clone());
        let key = format!("who_{}", card.node.short());
        nodes.row([card.name.clone(), zone, provider, card.mesh.join(","), card.door.join(","), key]);
    }
    let mut operators = Table::new(["OPERATOR", "KEY", ""]);
    let mut admins: Vec<_> = mesh.admins.values().collect();
    admins.sort_by_key(|admin| &admin.person.name);
    for admin in &admins {
        let suspended = if admin.suspended { "suspended" } else { "" };
        operators.row([admin.person.name.clone(), admin.person.principal.to_string(), suspended.to_owned()]);
    }
    let waiting: Vec<String> = mesh
        .pending
        .iter()
        .map(|pending| {
            let by = names.name(&pending.author);
            format!(
                "  {} {} by {by}: {} of {}",
                short(&pending.statement),
                pending.kind,
                pending.persons.len(),
                pending.required
            )
        })
        .collect();
    let waiting =
        if waiting.is_empty() { "nothing waits".to_owned() } else { format!("waiting:\n{}", waiting.join("\n")) };
    let text = format!(
        "mesh {} ({})\n{} in {}; guarded changes need {} of {}\n\n{}\n\n{}\n\n{waiting}",
        mesh.name,
        mesh.mesh,
        count(mesh.nodes.len(), "node"),
        count(zones.len(), "zone"),
        mesh.endorsements,
        count(mesh.admins.len(), "operator"),
        nodes.or("no nodes admitted yet"),
        operators.render(),
    );
    let json = json!({
        "mesh": mesh.mesh, "name": mesh.name, "endorsements": mesh.endorsements, "zones": zones,
        "nodes": cards,
        "operators": admins.iter().map(|admin| json!({
            "principal": admin.person.principal, "name": admin.person.name, "suspended": admin.suspended,
        })).collect::<Vec<Value>>(),
        "pending": mesh.pending, "quarantined": mesh.quarantined,
    });
    Output::new(text, json)
}
