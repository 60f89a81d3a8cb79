//! `keymesh node`: sets up a node's folder, admits and removes nodes.
//!
//! A fresh node knows the genesis and nobody; nobody knows it. Admission therefore goes to the nodes of the mesh *and*
//! straight to each invited node, with the whole mesh document, so that the first nodes of a mesh learn of one another
//! from the people who admit them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use data_encoding::BASE64URL_NOPAD;
use keymesh_wire::body::{Body, NodeCard};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::MeshId;
use keymesh_wire::invite::Invite;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::act::Act;
use super::connect;
use super::context_command::{remember_card, remembered};
use super::env::{Door, Env};
use super::error::CliError;
use super::mesh::{read_genesis, write_new};
use super::names;
use super::output::{Output, count};
use crate::config::{Addresses, Config, Zone};
use crate::keyfile::{self, KeyKind};

/// Nodes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set up a node's folder: configuration, key, genesis, and the invite by which it is admitted
    #[command(after_help = "\
Example:
  keymesh node init --dir /var/lib/keymesh --genesis mesh.genesis --name n1 --zone aws/eu-west-1a \\
      --mesh-listen 10.0.0.5:7400 --door-listen 10.0.0.5:7401

Then start it (keymesh run --config /var/lib/keymesh/node.toml) and hand invite.json to an operator.")]
    Init(Init),
    /// Propose to admit nodes by their invites, and tell the nodes themselves
    #[command(after_help = "\
Example:
  keymesh node admit n1/invite.json n2/invite.json --as ann.key

The invited nodes should run already: a fresh node learns who belongs to the mesh from this command.")]
    Admit {
        /// Invite files
        #[arg(required = true, value_name = "INVITE")]
        invites: Vec<PathBuf>,
    },
    /// Propose to remove a node
    #[command(after_help = "Example:\n  keymesh node remove n3 --as ann.key")]
    Remove {
        /// The node, by name or id
        #[arg(value_name = "NODE")]
        who: String,
    },
}

/// A node to set up.
#[derive(Debug, Args)]
pub struct Init {
    /// The folder to make the node's files in
    #[arg(long)]
    dir: PathBuf,
    /// The mesh's genesis, as `keymesh mesh found` wrote it
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// How the node is called
    #[arg(long)]
    name: String,
    /// Where it runs, as provider/zone
    #[arg(long)]
    zone: Zone,
    /// Where it listens for other nodes
    #[arg(long, value_name = "IP:PORT")]
    mesh_listen: SocketAddr,
    /// Where it listens for agents and people
    #[arg(long, value_name = "IP:PORT")]
    door_listen: SocketAddr,
    /// Where others reach the first, if elsewhere
    #[arg(long, value_name = "IP:PORT")]
    mesh_advertise: Option<SocketAddr>,
    /// Where others reach the second, if elsewhere
    #[arg(long, value_name = "IP:PORT")]
    door_advertise: Option<SocketAddr>,
}

/// The form of an invite file: what people read, and the signed envelope that alone counts.
#[derive(Debug, Serialize, Deserialize)]
struct InviteFile {
    mesh: MeshId,
    card: NodeCard,
    /// The envelope of an [`Invite`], base64url.
    signed: String,
}

/// Does it.
pub fn run(env: &mut Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Init(init) => set_up(&init),
        Command::Admit { invites } => admit(env, &invites),
        Command::Remove { who } => {
            let mut act = Act::on_mesh(env)?;
            let card = names::node(act.held.mesh(), &who)?.clone();
            act.say(env, &Body::RemoveNode(card.node))?;
            let sent = act.send_everything(env)?;
            Ok(sent.output(&format!("proposed to remove {}", card.name), json!({"node": card.node, "name": card.name})))
        }
    }
}

fn set_up(init: &Init) -> Result<Output, CliError> {
    let genesis = read_genesis(&init.genesis)?;
    let mesh = MeshId::from(genesis.id());
    let (dir, file) = (&init.dir, |name: &str| init.dir.join(name));
    let listen = Addresses { mesh: init.mesh_listen, door: init.door_listen };
    let mut config = Config::new(dir, mesh, init.name.clone(), init.zone.clone(), listen);
    config.advertise = Addresses {
        mesh: init.mesh_advertise.unwrap_or(listen.mesh),
        door: init.door_advertise.unwrap_or(listen.door),
    };
    for (flag, address) in [("mesh", config.advertise.mesh), ("door", config.advertise.door)] {
        if address.ip().is_unspecified() || address.port() == 0 {
            return Err(CliError::usage(format!(
                "others cannot reach {address}; say with --{flag}-advertise IP:PORT where they can"
            )));
        }
    }
    fs::create_dir_all(dir).map_err(|source| CliError::File { path: dir.clone(), doing: "make", source })?;
    let identity = Identity::generate(&mut keymesh_agent::system::randomness());
    keyfile::create(&config.key_file, KeyKind::Node, &identity)?;
    config.write_new(&file("node.toml"))?;
    write_new(&file("mesh.genesis"), genesis.bytes())?;
    let card = card(&config, &identity);
    let invite = Verified::sign(Invite { suite: Suite::V1, mesh, card: card.clone() }, &identity);
    let text = InviteFile { mesh, card: card.clone(), signed: BASE64URL_NOPAD.encode(invite.bytes()) };
    let text = serde_json::to_string_pretty(&text).unwrap_or_default();
    write_new(&file("invite.json"), format!("{text}\n").as_bytes())?;
    let words = format!(
        "node {} is {}\n  {}  its configuration\n  {}  its key; keep it here\n  {}  for the operators who admit it\n\
         Next: keymesh run --config {}",
        init.name,
        card.node,
        file("node.toml").display(),
        file("node.key").display(),
        file("invite.json").display(),
        file("node.toml").display(),
    );
    let json = json!({
        "node": card.node, "name": init.name, "mesh": mesh, "config": file("node.toml"),
        "invite": file("invite.json"), "genesis": file("mesh.genesis"),
    });
    Ok(Output::new(words, json))
}

/// The card a node wants to be admitted with.
fn card(config: &Config, identity: &Identity) -> NodeCard {
    NodeCard {
        node: identity.principal(),
        sealing: *identity.sealing().public().as_bytes(),
        name: config.name.clone(),
        zone: config.zone.to_string(),
        provider: config.provider.clone(),
        mesh: vec![config.advertise.mesh.to_string()],
        door: vec![config.advertise.door.to_string()],
    }
}

/// Reads an invite; what counts is what the node signed, and the rest of the file must say the same.
fn read_invite(path: &Path, mesh: MeshId) -> Result<NodeCard, CliError> {
    let wrong = |what: String| CliError::Content { path: path.to_owned(), expected: "a node's invite", what };
    let text = fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), doing: "read", source })?;
    let file: InviteFile = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let signed =
        BASE64URL_NOPAD.decode(file.signed.as_bytes()).map_err(|_| wrong("`signed` is not base64url".into()))?;
    let invite = Verified::<Invite>::from_bytes(&signed).map_err(|error| wrong(error.to_string()))?.into_payload();
    if invite.card != file.card || invite.mesh != file.mesh {
        return Err(wrong("it shows something else than the node signed; do not admit this node".into()));
    }
    if invite.mesh != mesh {
        return Err(wrong(format!("the node was set up for {}, this is {mesh}", invite.mesh)));
    }
    Ok(invite.card)
}

fn admit(env: &mut Env, invites: &[PathBuf]) -> Result<Output, CliError> {
    let (mesh, identity) = (env.mesh()?, env.identity()?);
    let cards = invites.iter().map(|path| read_invite(path, mesh)).collect::<Result<Vec<_>, _>>()?;
    let invited: Vec<Door> = cards.iter().flat_map(connect::doors_of).collect();
    // The mesh's nodes and the invited ones: in a fresh mesh there are only the latter.
    let mut doors = env.doors();
    doors.extend(invited.iter().filter(|door| !env.doors().iter().any(|known| known.address == door.address)).cloned());
    let held = connect::mesh_document_from(env, &doors)?;
    let mut all = connect::all_doors(env, &held.document);
    all.extend(
        doors.into_iter().filter(|door| !all.iter().any(|known| known.address == door.address)).collect::<Vec<_>>(),
    );
    let mut act = Act::on(held, all, identity);
    for card in &cards {
        let state = act.held.mesh();
        if let Some(other) = state.nodes.values().find(|other| other.name == card.name && other.node != card.node) {
            return Err(CliError::usage(format!(
                "the mesh has a node {} already ({}); set this one up under another name",
                other.name, other.node
            )));
        }
        if state.nodes.get(&card.node) != Some(card) {
            act.say(env, &Body::AdmitNode(card.clone()))?;
        }
    }
    let sent = act.send_everything(env)?;
    for card in &cards {
        remember_card(env, card);
    }
    env.save()?;
    let what = if sent.is_effective() { "admitted" } else { "proposed to admit" };
    let names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
    let what = format!("{what} {}: {}; {}", count(cards.len(), "node"), names.join(", "), remembered(env));
    Ok(sent.output(&what, json!({"nodes": cards})))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(dir: &Path) -> (PathBuf, MeshId) {
        use keymesh_wire::body::{MeshGenesis, Person};
        use keymesh_wire::ids::Nonce;
        use keymesh_wire::statement::Checked;
        use keymesh_wire::time::Wall;

        let ann = Identity::generate(&mut keymesh_agent::system::randomness());
        let genesis = MeshGenesis {
            name: "m".into(),
            founders: vec![Person { principal: ann.principal(), name: "ann".into() }],
            endorsements: 1,
            salt: Nonce::from_bytes([0; 16]),
        };
        let genesis = Checked::sign(&Body::MeshGenesis(genesis), None, vec![], Wall(0), &ann).expect("valid");
        write_new(&dir.join("mesh.genesis"), genesis.bytes()).expect("written");
        let init = Init {
            dir: dir.join("n1"),
            genesis: dir.join("mesh.genesis"),
            name: "n1".into(),
            zone: "aws/eu-west-1a".parse().expect("a zone"),
            mesh_listen: "127.0.0.1:7400".parse().expect("an address"),
            door_listen: "127.0.0.1:7401".parse().expect("an address"),
            mesh_advertise: None,
            door_advertise: None,
        };
        set_up(&init).expect("set up");
        (dir.join("n1"), MeshId::from(genesis.id()))
    }

    #[test]
    fn a_folder_set_up_for_a_node_loads_and_its_invite_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, mesh) = init(folder.path());
        let config = Config::load(&node.join("node.toml")).expect("loads");
        let identity = keyfile::load(&config.key_file, KeyKind::Node).expect("a key");
        assert_eq!(config.mesh, mesh);
        let card = read_invite(&node.join("invite.json"), mesh).expect("holds");
        assert_eq!(card, super::card(&config, &identity));
        let error = read_invite(&node.join("invite.json"), MeshId::from_bytes([9; 32])).expect_err("other mesh");
        assert!(error.to_string().contains("was set up for"), "{error}");
    }

    #[test]
    fn an_invite_changed_on_its_way_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, mesh) = init(folder.path());
        let path = node.join("invite.json");
        let text = fs::read_to_string(&path).expect("text").replace("127.0.0.1:7401", "127.0.0.1:9999");
        fs::write(&path, text).expect("written");
        let error = read_invite(&path, mesh).expect_err("refused").to_string();
        assert!(error.contains("something else than the node signed"), "{error}");
    }
}
