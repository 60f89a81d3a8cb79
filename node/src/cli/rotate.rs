//! `keymesh key rotate --due`: new versions for every key that somebody expelled could read.
//!
//! What is due follows from the tenant's document alone, so the command can be stopped and run again at any point: keys
//! that have their new version are not due any more. Old versions stay and are released by their ids; in the terms of
//! NIST SP 800-57 they are deactivated, good for what was encrypted with them and for nothing new.

use std::collections::BTreeMap;

use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::Due;
use keymesh_wire::body::{Body, GenerationRef, NewVersion};
use keymesh_wire::ids::{KeyId, KeyringId};
use serde_json::{Value, json};

use super::act::Act;
use super::connect::Breadth;
use super::env::Env;
use super::error::CliError;
use super::generation::{self, Members, Readiness};
use super::key;
use super::names::{self, Names, key_path, keyring_path};
use super::output::{Output, count};
use super::sealing::KeyBytes;
use super::tenant::names_for;

/// How many keys get their new version in one submission.
const AT_ONCE: usize = 64;

/// Which of the keys that are due.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Only those in this namespace and below, by path or id.
    pub namespace: Option<String>,
    /// Only those in this keyring, by path or id.
    pub keyring: Option<String>,
}

type Plan = BTreeMap<KeyringId, Vec<(KeyId, Due)>>;

/// What is due, whose keyrings `act`'s signer may administer, and how many other keys are due besides.
fn plan(act: &Act, which: &Which, members: &Members) -> Result<(Plan, usize), CliError> {
    let tenant = act.held.tenant();
    let namespace = which.namespace.as_deref().map(|text| names::namespace(tenant, text)).transpose()?;
    let only = which.keyring.as_deref().map(|text| names::keyring(tenant, text)).transpose()?;
    let mut plan = generation::due(tenant, members);
    plan.retain(|id, _| {
        let within = |namespace| {
            tenant.keyrings.get(id).is_some_and(|ring| tenant.enclosing(ring.namespace).contains(namespace))
        };
        only.is_none_or(|only| only == *id) && namespace.as_ref().is_none_or(within)
    });
    let who = act.identity.principal();
    let mine =
        |id: &KeyringId| tenant.keyrings.get(id).is_some_and(|ring| generation::may_administer(tenant, &who, ring));
    let (mine, others): (Plan, Plan) = plan.into_iter().partition(|(id, _)| mine(id));
    Ok((mine, others.values().map(Vec::len).sum()))
}

/// Rotates what is due, or says what would be done.
pub fn due(env: &Env, which: &Which, bytes: KeyBytes, dry_run: bool) -> Result<Output, CliError> {
    let members = Members::of_mesh(env);
    let mut act = Act::on_tenant(env)?;
    let names = names_for(env, act.held.tenant());
    let (planned, others) = plan(&act, which, &members)?;
    let total: usize = planned.values().map(Vec::len).sum();
    if dry_run {
        return Ok(foreseen(act.held.tenant(), &planned, others, &members, &names));
    }
    let lacking: Vec<KeyringId> =
        planned.keys().filter(|id| stands(act.held.tenant(), id, &members) == Readiness::None).copied().collect();
    let mut opened = Vec::new();
    if !lacking.is_empty() {
        for keyring in &lacking {
            opened.push(generation::open(env, &mut act, *keyring)?);
        }
        env.progress(format!("opening {}", count(opened.len(), "generation")));
        act.send(env, Breadth::First)?;
        act = Act::on_tenant(env)?;
    }
    let keyrings: Vec<KeyringId> = planned.keys().copied().collect();
    act = generation::await_attested(env, act, &keyrings, &members)?;
    let mut rotated = Vec::new();
    // What is due is asked anew before each part: somebody else may be at it, too.
    loop {
        let (now, _) = plan(&act, which, &members)?;
        let next: Vec<(KeyringId, GenerationRef, KeyId)> =
            ready(act.held.tenant(), &now, &members).take(AT_ONCE).collect();
        if next.is_empty() {
            break;
        }
        for (keyring, generation, id) in &next {
            let version = key::wrap(&mut act, (*keyring, Some(*generation)), *id, bytes)?;
            let time = key::after_all_versions(env, act.held.tenant(), id);
            rotated.push(json!({"key": id, "version": version.version, "generation": generation.number}));
            act.say_at(time, &Body::AddVersion(NewVersion { key: *id, keyring: *keyring, version }))?;
        }
        act.send(env, Breadth::First)?;
        env.progress(format!("rotated {} of {}", rotated.len(), count(total, "key")));
        act = Act::on_tenant(env)?;
    }
    let (left, _) = plan(&act, which, &members)?;
    Ok(outcome(act.held.tenant(), &rotated, &opened, &left, others, &members))
}

fn stands(tenant: &TenantState, keyring: &KeyringId, members: &Members) -> Readiness {
    let known = tenant.keyrings.get(keyring);
    known.and_then(|known| generation::readiness(known, members)).unwrap_or(Readiness::None)
}

/// The keys that can be rotated now, with the generation to seal to.
fn ready<'p>(
    tenant: &'p TenantState,
    plan: &'p Plan,
    members: &'p Members,
) -> impl Iterator<Item = (KeyringId, GenerationRef, KeyId)> + 'p {
    let current = |id: &KeyringId| match stands(tenant, id, members) {
        Readiness::Current(generation) => Some(generation),
        Readiness::Awaited(_) | Readiness::None => None,
    };
    plan.iter()
        .filter_map(move |(id, keys)| current(id).map(|generation| (id, generation, keys)))
        .flat_map(|(id, generation, keys)| keys.iter().map(move |(key, _)| (*id, generation, *key)))
}

fn foreseen(tenant: &TenantState, plan: &Plan, others: usize, members: &Members, names: &Names) -> Output {
    let (mut lines, mut entries) = (Vec::new(), Vec::new());
    for (id, keys) in plan {
        let (word, action) = match stands(tenant, id, members) {
            Readiness::Current(to) => (format!("to generation {}", to.number), "rotate"),
            Readiness::Awaited(to) => (format!("to generation {}, once a lessee attested it", to.number), "wait"),
            Readiness::None => ("to a new generation".to_owned(), "open"),
        };
        lines.push(format!("{}: {} would be rotated {word}", keyring_path(tenant, id), count(keys.len(), "key")));
        for (key, why) in keys {
            lines.push(format!("  {}: {}", key_path(tenant, key), generation::due_words(why, names)));
        }
        let keys: Vec<Value> = keys
            .iter()
            .map(|(key, why)| {
                json!({"key": key, "path": key_path(tenant, key), "rotate_due": generation::due_json(Some(why), names)})
            })
            .collect();
        entries.push(json!({"keyring": id, "path": keyring_path(tenant, id), "action": action, "keys": keys}));
    }
    if lines.is_empty() {
        lines.push("no key is due".to_owned());
    }
    if others > 0 {
        lines.push(format!("{} more due in keyrings that this key may not administer", count(others, "key")));
    }
    let due: usize = plan.values().map(Vec::len).sum();
    Output::new(lines.join("\n"), json!({"dry_run": true, "due": due, "due_for_others": others, "keyrings": entries}))
}

fn outcome(
    tenant: &TenantState,
    rotated: &[Value],
    opened: &[GenerationRef],
    left: &Plan,
    others: usize,
    members: &Members,
) -> Output {
    let mut lines = vec![match (rotated.len(), left.is_empty()) {
        (0, true) => "no key is due".to_owned(),
        (number, _) => format!("{} rotated, {} opened", count(number, "key"), count(opened.len(), "generation")),
    }];
    for (id, keys) in left {
        let why = match stands(tenant, id, members) {
            Readiness::Current(_) => "were not reached",
            Readiness::Awaited(_) => "wait until a lessee attested the new generation; run this again then",
            Readiness::None => "have no generation to go to (`keymesh keyring show`)",
        };
        lines.push(format!("  {} of {} {why}", count(keys.len(), "key"), keyring_path(tenant, id)));
    }
    if others > 0 {
        lines.push(format!("  {} more due in keyrings that this key may not administer", count(others, "key")));
    }
    let remaining: usize = left.values().map(Vec::len).sum();
    let json = json!({
        "dry_run": false, "rotated": rotated, "opened": opened, "left": remaining, "due_for_others": others,
        "waiting": left.keys().collect::<Vec<_>>(),
    });
    Output::new(lines.join("\n"), json).bad_if(remaining > 0)
}
