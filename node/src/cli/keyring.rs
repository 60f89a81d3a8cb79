//! `keymesh keyring`: groups of keys with one custody class, forever in one namespace.

use clap::{Args, Subcommand, ValueEnum};
use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::Keyring;
use keymesh_wire::body::{Body, CustodyClass, Generation, NewKeyring, keyring_id};
use keymesh_wire::ids::{KeyringId, Nonce};
use keymesh_wire::time::Millis;
use serde_json::{Value, json};

use super::act::Act;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::generation::{self, Members};
use super::names::{self, Names, joined, keyring_path, namespace_path};
use super::output::{Output, count, list_words};
use super::sealing;
use super::table::Table;
use super::tenant::names_for;
use super::time::parse_span;

/// Keyrings.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a keyring; how its keys are kept is fixed forever
    #[command(after_help = "\
Examples:
  keymesh keyring create payments/volumes --class leased --lease 60s --as ann.key
  keymesh keyring create payments/vault --class quorum --as ann.key

leased: any node can make keys during a partition, a lessee releases them alone while its lease runs.
quorum: no node ever sees a key; custodians open each version straight to the agent.")]
    Create(Create),
    /// Show a keyring with its generations: who could read each, which one new versions go to
    #[command(after_help = "Example:\n  keymesh keyring show payments/volumes")]
    Show(Target),
    /// Open a new generation of a leased keyring
    #[command(after_help = "\
Example:
  keymesh keyring renew payments/volumes --as ann.key

New versions go to it once a lessee attested it; keys keep the versions they have. `keymesh key rotate --due` opens
generations by itself where somebody was expelled.")]
    Renew(Target),
    /// List keyrings
    #[command(after_help = "Example:\n  keymesh keyring list --tenant acme")]
    List,
}

/// A keyring.
#[derive(Debug, Args)]
pub struct Target {
    /// The keyring, by path or id
    keyring: String,
}

/// A keyring to create.
#[derive(Debug, Args)]
pub struct Create {
    /// Its namespace and name, such as payments/volumes
    path: String,
    /// How its keys are kept
    #[arg(long)]
    class: Class,
    /// How long one lease lasts, for a leased keyring: revocation is as quick as this [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    lease: Option<Millis>,
}

/// How keys are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Class {
    /// Opened by quorum once per lease.
    Leased,
    /// Opened by quorum for each release.
    Quorum,
}

const LEASE: Millis = Millis::seconds(600);

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Create(create) => begin(env, &create),
        Command::Show(target) => show(env, &target.keyring),
        Command::Renew(target) => renew(env, &target.keyring),
        Command::List => {
            let read = connect::tenant_document(env, None, Breadth::All)?;
            Ok(list(read.held.tenant(), &Members::of_mesh(env), &names_for(env, read.held.tenant())))
        }
    }
}

fn begin(env: &Env, create: &Create) -> Result<Output, CliError> {
    if create.class == Class::Quorum && create.lease.is_some() {
        return Err(CliError::usage("--lease is for leased keyrings; keys of a quorum keyring are never leased"));
    }
    let (path, name) = names::parent_and_name(&create.path)?;
    let mut act = Act::on_tenant(env)?;
    let tenant = act.held.tenant();
    let namespace = names::namespace(tenant, path)?;
    let root = sealing::live_root(tenant)?.id;
    if let Ok(known) = names::keyring(tenant, &create.path) {
        return Err(CliError::usage(format!("keyring {} exists already: {known}", create.path)));
    }
    let nonce = Nonce::from_bytes(keymesh_agent::system::random_bytes());
    let id = keyring_id(&act.document(), &act.identity.principal(), &nonce);
    let class = match create.class {
        Class::Leased => {
            let rng = &mut keymesh_agent::system::randomness();
            let (public, capsule) = sealing::generation(tenant, root, id, 1, rng)?;
            let generation = Generation { number: 1, public, capsule: act.blob(capsule) };
            CustodyClass::Leased { generation, lease: create.lease.unwrap_or(LEASE) }
        }
        Class::Quorum => CustodyClass::Quorum,
    };
    act.say(
        env,
        &Body::CreateKeyring(NewKeyring { nonce, namespace, name: name.to_owned(), root, class: class.clone() }),
    )?;
    let sent = act.send(env, Breadth::First)?;
    let words = match &class {
        CustodyClass::Leased { lease, .. } => format!("leased for {lease} at a time"),
        CustodyClass::Quorum => "opened by quorum for each release".to_owned(),
    };
    let json = json!({"keyring": id, "path": create.path, "class": class_word(&class), "lease_ms": lease_ms(&class)});
    Ok(sent.output(&format!("keyring {} is {id}; {words}", create.path), json))
}

fn renew(env: &Env, text: &str) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let keyring = names::keyring(act.held.tenant(), text)?;
    let opened = generation::open(env, &mut act, keyring)?;
    let json = json!({"keyring": keyring, "generation": opened.number, "opened": opened.opened});
    let what = format!(
        "keyring {text} has generation {}; new versions go to it once a lessee attested it, which one does by itself",
        opened.number
    );
    Ok(act.send(env, Breadth::First)?.output(&what, json))
}

fn show(env: &Env, text: &str) -> Result<Output, CliError> {
    let read = connect::tenant_document(env, None, Breadth::All)?;
    let tenant = read.held.tenant();
    let id = names::keyring(tenant, text)?;
    let Some(keyring) = tenant.keyrings.get(&id) else { unreachable!("a keyring that was found is there") };
    let (members, of) = (Members::of_mesh(env), names_for(env, tenant));
    let mut lines = vec![format!("keyring {} is {id}, {}", keyring_path(tenant, &id), class_word(&keyring.class))];
    let mut table = Table::new(["GENERATION", "STATE", "MADE BY", "READ BY", "EXPELLED SINCE", "ACCUSED BY"]);
    for known in &keyring.generations {
        let dash = |names: Vec<String>| if names.is_empty() { "-".to_owned() } else { names.join(", ") };
        table.row([
            known.id.number.to_string(),
            generation::standing(keyring, known, &members).to_owned(),
            of.name(&known.creator),
            dash(of.sorted(&known.lessees)),
            dash(of.sorted(&known.lost(|node| members.has(node)))),
            dash(of.sorted(&known.accusers)),
        ]);
    }
    if !table.is_empty() {
        lines.push(table.render());
    }
    let due = due_in(tenant, &id, &members);
    if due > 0 {
        lines.push(format!("{} due: `keymesh key rotate --due --keyring {text}`", count(due, "key")));
    }
    Ok(Output::new(lines.join("\n"), facts(tenant, &id, keyring, &members, &of)))
}

fn due_in(tenant: &TenantState, keyring: &KeyringId, members: &Members) -> usize {
    generation::due(tenant, members).get(keyring).map_or(0, Vec::len)
}

fn facts(tenant: &TenantState, id: &KeyringId, keyring: &Keyring, members: &Members, of: &Names) -> Value {
    let keys = tenant.keys.values().filter(|key| key.keyring == *id).count();
    json!({
        "keyring": id, "path": keyring_path(tenant, id), "names": keyring.names,
        "namespace": keyring.namespace, "namespace_path": namespace_path(tenant, keyring.namespace),
        "class": class_word(&keyring.class), "lease_ms": lease_ms(&keyring.class), "root": keyring.root, "keys": keys,
        "ambiguous": is_ambiguous(tenant, id), "readers": of.sorted(&keyring.lessees()),
        "accusers": of.sorted(&keyring.accusers()), "name": joined(&keyring.names),
        "generations": generation::generations_json(keyring, members, of), "rotate_due": due_in(tenant, id, members),
    })
}

/// `leased` or `quorum`.
pub fn class_word(class: &CustodyClass) -> &'static str {
    match class {
        CustodyClass::Leased { .. } => "leased",
        CustodyClass::Quorum => "quorum",
    }
}

fn lease_ms(class: &CustodyClass) -> Option<u64> {
    match class {
        CustodyClass::Leased { lease, .. } => Some(lease.0),
        CustodyClass::Quorum => None,
    }
}

/// Whether another live keyring of the namespace has one of its names.
pub fn is_ambiguous(tenant: &TenantState, id: &KeyringId) -> bool {
    let Some(keyring) = tenant.keyrings.get(id) else { return false };
    tenant.keyrings.iter().any(|(other_id, other)| {
        other_id != id && other.namespace == keyring.namespace && !other.names.is_disjoint(&keyring.names)
    })
}

fn list(tenant: &TenantState, members: &Members, names: &Names) -> Output {
    let mut table = Table::new(["KEYRING", "CLASS", "LEASE", "KEYS", "ID", ""]);
    let mut entries = Vec::new();
    let mut keyrings: Vec<_> = tenant.keyrings.iter().collect();
    keyrings.sort_by_key(|(id, _)| (keyring_path(tenant, id), **id));
    for (id, keyring) in keyrings {
        let keys = tenant.keys.values().filter(|key| key.keyring == *id).count();
        let lease = match &keyring.class {
            CustodyClass::Leased { lease, .. } => lease.to_string(),
            CustodyClass::Quorum => "-".to_owned(),
        };
        let mut notes = Vec::new();
        if is_ambiguous(tenant, id) {
            notes.push("ambiguous name: use the id or rename".to_owned());
        }
        if !keyring.accusers().is_empty() {
            notes.push(format!("accused by {}", list_words(&names.sorted(&keyring.accusers()))));
        }
        let due = due_in(tenant, id, members);
        if due > 0 {
            notes.push(format!("{} due for rotation", count(due, "key")));
        }
        let class = class_word(&keyring.class);
        table.row([keyring_path(tenant, id), class.into(), lease, keys.to_string(), id.to_string(), notes.join("; ")]);
        entries.push(facts(tenant, id, keyring, members, names));
    }
    Output::new(table.or("no keyrings yet"), json!({"keyrings": entries}))
}
