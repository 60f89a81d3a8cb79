//! `keymesh key`: makes keys and versions of them, moves their states, lists them.
//!
//! Key material is made here, sealed here and never shown: it leaves only towards an agent that policy permits.

use clap::{Args, Subcommand};
use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::DESTROY_DELAY;
use keymesh_wire::body::{Body, KeyState, KeyStateChange, NewKey, NewVersion, WrappedVersion, key_id};
use keymesh_wire::ids::{KeyId, KeyringId, Nonce, VersionId};
use serde_json::json;

use super::act::Act;
use super::connect::{self, Breadth};
use super::env::Env;
use super::error::CliError;
use super::keyring::class_word;
use super::names::{self, joined, key_path, keyring_path};
use super::output::Output;
use super::sealing::{self, KeyBytes};
use super::table::Table;
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
    },
    /// Add a version; releases give the newest from then on
    #[command(after_help = "Example:\n  keymesh key rotate payments/volumes/web-1 --as ann.key")]
    Rotate {
        /// The key, by path or id
        key: String,
        /// Length of the data key in bytes
        #[arg(long, default_value = "32")]
        bytes: KeyBytes,
    },
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
    /// List keys
    #[command(after_help = "Example:\n  keymesh key list --tenant acme --keyring payments/volumes")]
    List {
        /// Only those of this keyring, by path or id
        #[arg(long, value_name = "PATH|ID")]
        keyring: Option<String>,
    },
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
        Command::Create { path, bytes } => create(env, &path, bytes),
        Command::Rotate { key, bytes } => rotate(env, &key, bytes),
        Command::Suspend(target) => set_state(env, &target.key, KeyState::Suspended),
        Command::Deactivate(target) => set_state(env, &target.key, KeyState::Deactivated),
        Command::Compromised(target) => set_state(env, &target.key, KeyState::Compromised),
        Command::Destroy(target) => set_state(env, &target.key, KeyState::Destroyed),
        Command::List { keyring } => {
            let read = connect::tenant_document(env, None, Breadth::All)?;
            let tenant = read.held.tenant();
            let only = keyring.map(|text| names::keyring(tenant, &text)).transpose()?;
            Ok(list(tenant, only))
        }
    }
}

/// Makes a version's material and puts its ciphertext beside the statement in the making.
fn wrap(act: &mut Act, keyring: KeyringId, key: KeyId, bytes: KeyBytes) -> Result<WrappedVersion, CliError> {
    let version = VersionId::from_bytes(keymesh_agent::system::random_bytes());
    let rng = &mut keymesh_agent::system::randomness();
    let (generation, ciphertext) = sealing::version(act.held.tenant(), keyring, key, version, bytes, rng)?;
    Ok(WrappedVersion { version, generation, ciphertext: act.blob(ciphertext) })
}

fn create(env: &Env, path: &str, bytes: KeyBytes) -> Result<Output, CliError> {
    let (ring, name) = names::parent_and_name(path)?;
    let mut act = Act::on_tenant(env)?;
    let keyring = names::keyring(act.held.tenant(), ring)?;
    let same = |key: &keymesh_mesh::state::tenant::Key| key.keyring == keyring && key.names.contains(name);
    if let Some((known, _)) = act.held.tenant().keys.iter().find(|(_, key)| same(key)) {
        return Err(CliError::usage(format!(
            "key {path} exists already: {known}; `keymesh key rotate` adds a version"
        )));
    }
    let nonce = Nonce::from_bytes(keymesh_agent::system::random_bytes());
    let id = key_id(&act.document(), &act.identity.principal(), &nonce);
    let version = wrap(&mut act, keyring, id, bytes)?;
    let version_id = version.version;
    act.say(env, &Body::CreateKey(NewKey { nonce, keyring, name: name.to_owned(), version }))?;
    let json = json!({
        "key": id, "path": path, "version": version_id, "keyring": keyring,
        "class": act.held.tenant().keyrings.get(&keyring).map(|keyring| class_word(&keyring.class)),
        "tenant": act.held.tenant().tenant, "mesh": act.held.tenant().mesh,
    });
    Ok(act.send(env, Breadth::First)?.output(&format!("key {path} is {id}, version {version_id}"), json))
}

fn rotate(env: &Env, text: &str, bytes: KeyBytes) -> Result<Output, CliError> {
    let mut act = Act::on_tenant(env)?;
    let id = names::key(act.held.tenant(), text)?;
    let Some((keyring, state)) = act.held.tenant().keys.get(&id).map(|key| (key.keyring, key.state)) else {
        unreachable!("a key that was found is there")
    };
    if state > KeyState::Suspended {
        return Err(CliError::usage(format!("key {text} is {}; make a new key instead", word(state))));
    }
    let version = wrap(&mut act, keyring, id, bytes)?;
    let version_id = version.version;
    act.say(env, &Body::AddVersion(NewVersion { key: id, keyring, version }))?;
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

fn list(tenant: &TenantState, only: Option<KeyringId>) -> Output {
    let mut table = Table::new(["KEY", "STATE", "VERSIONS", "CLASS", "ID", ""]);
    let mut entries = Vec::new();
    let mut keys: Vec<_> = tenant.keys.iter().filter(|(_, key)| only.is_none_or(|only| key.keyring == only)).collect();
    keys.sort_by_key(|(id, _)| (key_path(tenant, id), **id));
    for (id, key) in keys {
        let ambiguous = tenant.keys.iter().any(|(other_id, other)| {
            other_id != id && other.keyring == key.keyring && !other.names.is_disjoint(&key.names)
        });
        let class = tenant.keyrings.get(&key.keyring).map_or("-", |keyring| class_word(&keyring.class));
        let mut notes = Vec::new();
        if ambiguous {
            notes.push("ambiguous name: use the id or rename".to_owned());
        }
        if let Some(after) = key.erase_after {
            notes.push(format!("ciphertexts erased after {}", moment(after)));
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
        entries.push(json!({
            "key": id, "path": key_path(tenant, id), "name": joined(&key.names), "keyring": key.keyring,
            "keyring_path": keyring_path(tenant, &key.keyring), "class": class, "state": key.state,
            "versions": key.versions.iter().map(|version| json!({
                "version": version.wrapped.version, "generation": version.wrapped.generation,
                "ciphertext": version.wrapped.ciphertext, "time": version.time,
            })).collect::<Vec<_>>(),
            "ambiguous": ambiguous, "erase_after": key.erase_after,
        }));
    }
    Output::new(table.or("no keys yet"), json!({"keys": entries}))
}
