//! `keymesh key`: makes keys and versions of them, moves their states, lists them.
//!
//! Key material is made here, sealed here and never shown: it leaves only towards an agent that policy permits.

use clap::{Args, Subcommand};
use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::{DESTROY_DELAY, Key};
use keymesh_wire::body::{Body, GenerationRef, KeyState, KeyStateChange, NewKey, NewVersion, WrappedVersion, key_id};
use keymesh_wire::ids::{KeyId, KeyringId, Nonce, VersionId};
use keymesh_wire::time::{Millis, Wall};
use serde_json::{Value, json};

use super::act::Act;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::generation::{self, Caution, Members};
use super::keyring::class_word;
use super::names::{self, Names, joined, key_path, keyring_path};
use super::output::Output;
use super::rotate::{self, Which};
use super::sealing::{self, KeyBytes};
use super::table::Table;
use super::tenant::names_for;
use super::time::moment;

/// Keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a key with its first version
    #[command(after_help = "Example:\n  keymesh key create payments/volumes/web-1 --as ann.key")]
    Create {
        /// Its keyring and name, such as payments/volumes/web-1; the keyring may be given by id: ring_51f0…/web-1
        path: String,
        /// Length of the data key in bytes
        #[arg(long, default_value = "32")]
        bytes: KeyBytes,
        /// Seal to a generation that no lessee attested, if there is no better one
        #[arg(long)]
        unattested: bool,
    },
    /// Add a version; releases give the newest from then on
    #[command(after_help = "\
Examples:
  keymesh key rotate payments/volumes/web-1 --as ann.key
  keymesh key rotate --due --dry-run
  keymesh key rotate --due --namespace payments --as ann.key

--due rotates every key that somebody could read who was expelled since: a lessee that was displaced, lost the right to
lease or left the mesh, or a creator that was removed. Where needed it opens a new generation first and waits until a
lessee attested it. It can be stopped and run again. Old versions stay for what was encrypted with them.")]
    Rotate(Rotate),
    /// Stop releasing a key; states only move on, so this is not taken back
    #[command(after_help = "Example:\n  keymesh key suspend payments/volumes/web-1 --as ann.key")]
    Suspend(Target),
    /// Retire a key; its ciphertexts stay
    #[command(after_help = "Example:\n  keymesh key deactivate payments/volumes/web-1 --as ann.key")]
    Deactivate(Target),
    /// Mark a key as known to others
    #[command(after_help = "Example:\n  keymesh key compromised payments/volumes/web-1 --as ann.key")]
    Compromised(Target),
    /// Propose to erase a key's ciphertexts everywhere and for good
    #[command(after_help = "\
Example:
  keymesh key destroy payments/volumes/web-1 --as ann.key

Needs endorsements. The ciphertexts are erased a day after the proposal; what is encrypted with the key is lost then.")]
    Destroy(Target),
    /// Show a key with its versions
    #[command(after_help = "Example:\n  keymesh key show payments/volumes/web-1")]
    Show(Target),
    /// List keys
    #[command(after_help = "Example:\n  keymesh key list --tenant acme --keyring payments/volumes")]
    List {
        /// Only those of this keyring, by path or id
        #[arg(long, value_name = "PATH|ID")]
        keyring: Option<String>,
    },
}

/// What to rotate.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The key, by path or id
    #[arg(required_unless_present = "due", conflicts_with = "due")]
    key: Option<String>,
    /// Every key that somebody could read who was expelled since
    #[arg(long)]
    due: bool,
    /// With --due: only keys of this namespace and those below, by path or id
    #[arg(long, value_name = "PATH|ID", requires = "due", conflicts_with = "key")]
    namespace: Option<String>,
    /// With --due: only keys of this keyring, by path or id
    #[arg(long, value_name = "PATH|ID", requires = "due", conflicts_with = "key")]
    keyring: Option<String>,
    /// With --due: say what would be done and do nothing
    #[arg(long, requires = "due", conflicts_with = "key")]
    dry_run: bool,
    /// Length of the data keys in bytes
    #[arg(long, default_value = "32")]
    bytes: KeyBytes,
    /// Seal to a generation that no lessee attested, if there is no better one
    #[arg(long, conflicts_with = "due")]
    unattested: bool,
}

/// A key.
#[derive(Debug, Args)]
pub struct Target {
    /// The key, by path or id
    key: String,
}

/// Does it.
pub fn run(env: &Env, command: Command) -> Result<Output, CliError> {
    match command {
        Command::Create { path, bytes, unattested } => create(env, &path, bytes, caution(unattested)),
        Command::Rotate(Rotate { key: Some(key), bytes, unattested, .. }) => {
            rotate(env, &key, bytes, caution(unattested))
        }
        Command::Rotate(Rotate { namespace, keyring, dry_run, bytes, .. }) => {
            rotate::due(env, &Which { namespace, keyring }, bytes, dry_run)
        }
        Command::Show(target) => show(env, &target.key),
        Command::Suspend(target) => set_state(env, &target.key, KeyState::Suspended),
        Command::Deactivate(target) => set_state(env, &target.key, KeyState::Deactivated),
        Command::Compromised(target) => set_state(env, &target.key, KeyState::Compromised),
        Command::Destroy(target) => set_state(env, &target.key, KeyState::Destroyed),
        Command::List { keyring } => {
            let read = connect::tenant_document(env, None, Breadth::All)?;
            let tenant = read.held.tenant();
            let only = keyring.map(|text| names::keyring(tenant, &text)).transpose()?;
            Ok(list(tenant, only, &Members::of_mesh(env), &names_for(env, tenant)))
        }
    }
}

/// Makes a version's material and puts its ciphertext beside the statement in the making.
pub fn wrap(
    act: &mut Act,
    place: (KeyringId, Option<GenerationRef>),
    key: KeyId,
    bytes: KeyBytes,
) -> Result<WrappedVersion, CliError> {
    let version = VersionId::from_bytes(keymesh_agent::system::random_bytes());
    let rng = &mut keymesh_agent::system::randomness();
    let ciphertext = sealing::version(act.held.tenant(), place, key, version, bytes, rng)?;
    let generation = place.1.map_or(0, |generation| generation.number);
    let opened = place.1.and_then(|generation| generation.opened);
    Ok(WrappedVersion { version, generation, ciphertext: act.blob(ciphertext), opened })
}

/// The time of a new version: now, and in any case after the versions there are. Releases give the newest by its time, and
/// whoever made the last one may have a clock that is ahead.
pub fn after_all_versions(env: &Env, tenant: &TenantState, key: &KeyId) -> Wall {
    let last = tenant.keys.get(key).and_then(|key| key.versions.last());
    last.map_or(env.now(), |last| env.now().max(last.time.plus(Millis(1))))
}

fn caution(unattested: bool) -> Caution {
    if unattested { Caution::Unattested } else { Caution::Attested }
}

fn create(env: &Env, path: &str, bytes: KeyBytes, caution: Caution) -> Result<Output, CliError> {
    let (ring, name) = names::parent_and_name(path)?;
    let act = Act::on_tenant(env)?;
    let keyring = names::keyring(act.held.tenant(), ring)?;
    let same = |key: &keymesh_mesh::state::tenant::Key| key.keyring == keyring && key.names.contains(name);
    if let Some((known, _)) = act.held.tenant().keys.iter().find(|(_, key)| same(key)) {
        return Err(CliError::usage(format!(
            "key {path} exists already: {known}; `keymesh key rotate` adds a version"
        )));
    }
    let (mut act, generation) = generation::ready(env, act, keyring, caution)?;
    let nonce = Nonce::from_bytes(keymesh_agent::system::random_bytes());
    let id = key_id(&act.document(), &act.identity.principal(), &nonce);
    let version = wrap(&mut act, (keyring, generation), id, bytes)?;
    let version_id = version.version;
    act.say(env, &Body::CreateKey(NewKey { nonce, keyring, name: name.to_owned(), version }))?;
    let json = json!({
        "key": id, "path": path, "version": version_id, "keyring": keyring,
        "class": act.held.tenant().keyrings.get(&keyring).map(|keyring| class_word(&keyring.class)),
        "tenant": act.held.tenant().tenant, "mesh": act.held.tenant().mesh,
    });
    Ok(act.send(env, Breadth::First)?.output(&format!("key {path} is {id}, version {version_id}"), json))
}

fn rotate(env: &Env, text: &str, bytes: KeyBytes, caution: Caution) -> Result<Output, CliError> {
    let act = Act::on_tenant(env)?;
    let id = names::key(act.held.tenant(), text)?;
    let Some((keyring, state)) = act.held.tenant().keys.get(&id).map(|key| (key.keyring, key.state)) else {
        unreachable!("a key that was found is there")
    };
    if state > KeyState::Suspended {
        return Err(CliError::usage(format!("key {text} is {}; make a new key instead", word(state))));
    }
    let (mut act, generation) = generation::ready(env, act, keyring, caution)?;
    let version = wrap(&mut act, (keyring, generation), id, bytes)?;
    let version_id = version.version;
    let time = after_all_versions(env, act.held.tenant(), &id);
    act.say_at(time, &Body::AddVersion(NewVersion { key: id, keyring, version }))?;
    let versions = act.held.tenant().keys.get(&id).map_or(0, |key| key.versions.len());
    let json = json!({"key": id, "version": version_id, "versions": versions});
    Ok(act.send(env, Breadth::First)?.output(&format!("key {text} has version {version_id} now, of {versions}"), json))
}

fn set_state(env: &Env, text: &str, state: KeyState) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let id = names::key(act.held.tenant(), text)?;
    let Some((keyring, now)) = act.held.tenant().keys.get(&id).map(|key| (key.keyring, key.state)) else {
        unreachable!("a key that was found is there")
    };
    if now >= state {
        return Err(CliError::usage(format!("key {text} is {} already; states only move on", word(now))));
    }
    act.say(env, &Body::SetKeyState(KeyStateChange { key: id, keyring, state }))?;
    // What restricts should be known everywhere at once.
    let sent = act.send(env, Breadth::All)?;
    let what = if sent.is_effective() { "is" } else { "is proposed to be" };
    let mut output = sent.output(&format!("key {text} {what} {}", word(state)), json!({"key": id, "state": state}));
    if state == KeyState::Destroyed {
        let erased = env.now().plus(DESTROY_DELAY);
        output
            .text
            .push_str(&format!("\n  once endorsed: refused at once, ciphertexts erased after {}", moment(erased)));
    }
    Ok(output)
}

fn word(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Suspended => "suspended",
        KeyState::Deactivated => "deactivated",
        KeyState::Compromised => "compromised",
        KeyState::Destroyed => "destroyed",
    }
}

fn show(env: &Env, text: &str) -> Result<Output, CliError> {
    let read = connect::tenant_document(env, None, Breadth::All)?;
    let tenant = read.held.tenant();
    let id = names::key(tenant, text)?;
    let Some(key) = tenant.keys.get(&id) else { unreachable!("a key that was found is there") };
    let (members, names) = (Members::of_mesh(env), names_for(env, tenant));
    let due = tenant.due(&id, |node| members.has(node));
    let mut lines = vec![
        format!("key {} is {id}", key_path(tenant, &id)),
        format!("  {}, in keyring {}", word(key.state), key.keyring),
    ];
    lines.extend(due.iter().map(|due| format!("  {}", generation::due_words(due, &names))));
    let mut table = Table::new(["VERSION", "STATE", "GENERATION", "MADE"]);
    for (place, version) in key.versions.iter().enumerate() {
        let generation = match version.wrapped.generation {
            0 => "-".to_owned(),
            number => number.to_string(),
        };
        let state = version_state(key, place).to_owned();
        table.row([version.wrapped.version.to_string(), state, generation, moment(version.time)]);
    }
    lines.push(table.render());
    Ok(Output::new(lines.join("\n"), facts(tenant, &id, key, &members, &names)))
}

/// A version's state as NIST SP 800-57 calls it: the newest is for new use, older ones for what was encrypted with them.
fn version_state(key: &Key, place: usize) -> &'static str {
    match key.state {
        KeyState::Active | KeyState::Suspended if place + 1 < key.versions.len() => "deactivated",
        state => word(state),
    }
}

fn facts(tenant: &TenantState, id: &KeyId, key: &Key, members: &Members, names: &Names) -> Value {
    let class = tenant.keyrings.get(&key.keyring).map_or("-", |keyring| class_word(&keyring.class));
    let due = tenant.due(id, |node| members.has(node));
    json!({
        "key": id, "path": key_path(tenant, id), "name": joined(&key.names), "keyring": key.keyring,
        "keyring_path": keyring_path(tenant, &key.keyring), "class": class, "state": key.state,
        "versions": key.versions.iter().enumerate().map(|(place, version)| json!({
            "version": version.wrapped.version, "generation": version.wrapped.generation,
            "opened": version.wrapped.opened, "state": version_state(key, place),
            "ciphertext": version.wrapped.ciphertext, "time": version.time,
        })).collect::<Vec<_>>(),
        "ambiguous": is_ambiguous(tenant, id, key), "erase_after": key.erase_after,
        "rotate_due": generation::due_json(due.as_ref(), names),
    })
}

fn is_ambiguous(tenant: &TenantState, id: &KeyId, key: &Key) -> bool {
    tenant
        .keys
        .iter()
        .any(|(other_id, other)| other_id != id && other.keyring == key.keyring && !other.names.is_disjoint(&key.names))
}

fn list(tenant: &TenantState, only: Option<KeyringId>, members: &Members, of: &Names) -> Output {
    let mut table = Table::new(["KEY", "STATE", "VERSIONS", "CLASS", "ID", ""]);
    let mut entries = Vec::new();
    let mut keys: Vec<_> = tenant.keys.iter().filter(|(_, key)| only.is_none_or(|only| key.keyring == only)).collect();
    keys.sort_by_key(|(id, _)| (key_path(tenant, id), **id));
    for (id, key) in keys {
        let class = tenant.keyrings.get(&key.keyring).map_or("-", |keyring| class_word(&keyring.class));
        let mut notes = Vec::new();
        if is_ambiguous(tenant, id, key) {
            notes.push("ambiguous name: use the id or rename".to_owned());
        }
        if let Some(after) = key.erase_after {
            notes.push(format!("ciphertexts erased after {}", moment(after)));
        }
        if let Some(due) = tenant.due(id, |node| members.has(node)) {
            notes.push(generation::due_words(&due, of));
        }
        let versions = key.versions.len().to_string();
        table.row([
            key_path(tenant, id),
            word(key.state).into(),
            versions,
            class.into(),
            id.to_string(),
            notes.join("; "),
        ]);
        entries.push(facts(tenant, id, key, members, of));
    }
    Output::new(table.or("no keys yet"), json!({"keys": entries}))
}
