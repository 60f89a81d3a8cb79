//! Generations of leased keyrings, as people see and renew them: which one new versions go to, who could read each, and
//! what has to be done when somebody who could is expelled.
//!
//! Versions are sealed only to a generation that a lessee other than its creator attested. Lessees attest by themselves
//! as soon as custodians enough are reachable; until then commands wait a while and say what for. On a side of a cut
//! without a quorum nobody can attest; who makes keys there says so (`--unattested`).

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::tenant::{Due, GenerationState, Keyring};
use keymesh_wire::body::{Body, CustodyClass, Generation, GenerationRef, NewGeneration, Role, Scope};
use keymesh_wire::ids::{KeyId, KeyringId, NodeId, PrincipalId};
use serde_json::{Value, json};

use super::act::Act;
use super::connect;
use super::env::Env;
use super::error::CliError;
use super::names::{Names, keyring_path};
use super::output::{count, list_words};
use super::sealing;

/// How long a lessee is waited for.
const WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(300);

/// Who belongs to the mesh.
#[derive(Debug, Clone)]
pub struct Members(Option<BTreeSet<NodeId>>);

impl Members {
    /// As the mesh's document says. If no node shows it, nobody counts as having left.
    pub fn of_mesh(env: &Env) -> Self {
        Self(connect::mesh_document(env).ok().map(|held| held.mesh().nodes.keys().copied().collect()))
    }

    /// Whether a node belongs to it.
    pub fn has(&self, node: &NodeId) -> bool {
        self.0.as_ref().is_none_or(|members| members.contains(node))
    }
}

/// Where a leased keyring stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Versions go to this one.
    Current(GenerationRef),
    /// Versions will go to this one once a lessee attested it.
    Awaited(GenerationRef),
    /// There is none that is fit: one has to be opened.
    None,
}

/// Where a keyring stands; nothing for a quorum keyring, which has no generations.
pub fn readiness(keyring: &Keyring, members: &Members) -> Option<Readiness> {
    match keyring.class {
        CustodyClass::Quorum => return None,
        CustodyClass::Leased { .. } => {}
    }
    let current = keyring.current(|node| members.has(node)).map(|generation| Readiness::Current(generation.id));
    let awaited = || keyring.awaited(|node| members.has(node)).map(|generation| Readiness::Awaited(generation.id));
    Some(current.or_else(awaited).unwrap_or(Readiness::None))
}

/// An act on the tenant as it is once the keyrings have a generation to seal to. Whatever was said before is lost: call
/// this first. Keyrings that have none when the time is over are left as they are.
pub fn await_attested(env: &Env, mut act: Act, keyrings: &[KeyringId], members: &Members) -> Result<Act, CliError> {
    let until = Instant::now() + WAIT;
    let mut told = false;
    loop {
        let waits = |act: &Act| {
            let known = keyrings.iter().filter_map(|id| act.held.tenant().keyrings.get(id));
            known.filter(|ring| matches!(readiness(ring, members), Some(Readiness::Awaited(_)))).count()
        };
        let waiting = waits(&act);
        if waiting == 0 || Instant::now() >= until {
            return Ok(act);
        }
        if !told {
            let keyrings = count(waiting, "keyring");
            env.progress(format!("waiting for a lessee to attest the generation of {keyrings} ..."));
            told = true;
        }
        thread::sleep(POLL);
        act = Act::on_tenant(env)?;
    }
}

/// Which generations a version may be sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caution {
    /// Attested ones, after waiting for a lessee if need be.
    Attested,
    /// Also one that nobody attested, if there is no better one: what people do on a side of a cut without a quorum.
    Unattested,
}

/// The generation that a new version in a keyring is sealed to.
pub fn ready(
    env: &Env,
    act: Act,
    keyring: KeyringId,
    caution: Caution,
) -> Result<(Act, Option<GenerationRef>), CliError> {
    let members = Members::of_mesh(env);
    let act = match caution {
        Caution::Attested => await_attested(env, act, &[keyring], &members)?,
        Caution::Unattested => act,
    };
    let Some(known) = act.held.tenant().keyrings.get(&keyring) else {
        unreachable!("a keyring that was found is there")
    };
    let path = keyring_path(act.held.tenant(), &keyring);
    match readiness(known, &members) {
        None => Ok((act, None)),
        Some(Readiness::Current(generation)) => Ok((act, Some(generation))),
        Some(Readiness::Awaited(generation)) if caution == Caution::Unattested => Ok((act, Some(generation))),
        Some(Readiness::Awaited(generation)) => {
            Err(CliError::Unattested { keyring: path, number: generation.number, waited: WAIT.as_secs() })
        }
        Some(Readiness::None) => Err(CliError::NoGeneration { keyring: path }),
    }
}

/// Says that a keyring gets a new generation.
pub fn open(env: &Env, act: &mut Act, keyring: KeyringId) -> Result<GenerationRef, CliError> {
    let tenant = act.held.tenant();
    let known = tenant.keyrings.get(&keyring);
    let Some(known) = known.filter(|known| matches!(known.class, CustodyClass::Leased { .. })) else {
        return Err(CliError::usage("a quorum keyring has no generations: each version is a capsule of its own"));
    };
    let number = known.next_number();
    let rng = &mut keymesh_agent::system::randomness();
    let (public, capsule) = sealing::generation(tenant, known.root, keyring, number, rng)?;
    let generation = Generation { number, public, capsule: act.blob(capsule) };
    let opened = Some(act.say(env, &Body::OpenGeneration(NewGeneration { keyring, generation }))?);
    Ok(GenerationRef { keyring, number, opened })
}

/// Whether somebody may make keys in a keyring.
pub fn may_administer(tenant: &TenantState, who: &PrincipalId, keyring: &Keyring) -> bool {
    let around = tenant.enclosing(keyring.namespace);
    let holds = |scope: &Scope| match scope {
        Scope::Tenant => true,
        Scope::Namespace(id) => around.contains(id),
        Scope::Keyring(_) => false,
    };
    let mut roles = tenant.grants.iter().filter(|grant| grant.principal == *who && grant.role == Role::NamespaceAdmin);
    tenant.is_admin(who) || roles.any(|grant| holds(&grant.scope))
}

/// The keys that are due, by keyring.
pub fn due(tenant: &TenantState, members: &Members) -> BTreeMap<KeyringId, Vec<(KeyId, Due)>> {
    let mut due: BTreeMap<KeyringId, Vec<(KeyId, Due)>> = BTreeMap::new();
    for (id, key) in &tenant.keys {
        if let Some(why) = tenant.due(id, |node| members.has(node)) {
            due.entry(key.keyring).or_default().push((*id, why));
        }
    }
    due
}

/// Why a key is due, in words.
pub fn due_words(due: &Due, names: &Names) -> String {
    let mut reasons = Vec::new();
    if !due.expelled.is_empty() {
        reasons.push(format!("{} could read it and was expelled", list_words(&names.sorted(&due.expelled))));
    }
    if !due.accused_by.is_empty() {
        reasons.push(format!("{} found its generation false", list_words(&names.sorted(&due.accused_by))));
    }
    format!("rotate-due: {}", reasons.join("; "))
}

/// Why a key is due, for programs.
pub fn due_json(due: Option<&Due>, names: &Names) -> Value {
    due.map_or(Value::Null, |due| {
        json!({
            "generation": due.generation.number, "opened": due.generation.opened,
            "expelled": names.sorted(&due.expelled), "accused_by": names.sorted(&due.accused_by),
        })
    })
}

/// What a generation is good for, in a word or two.
pub fn standing(keyring: &Keyring, generation: &GenerationState, members: &Members) -> &'static str {
    match readiness(keyring, members) {
        Some(Readiness::Current(id)) if id == generation.id => "current",
        Some(Readiness::Awaited(id)) if id == generation.id => "waits for a lessee",
        _ if !generation.lost(|node| members.has(node)).is_empty() => "tainted",
        _ if !generation.accused_by.is_empty() => "accused",
        _ if !generation.is_attested() => "not attested",
        _ => "superseded",
    }
}

/// The generations of a keyring, for programs.
pub fn generations_json(keyring: &Keyring, members: &Members, names: &Names) -> Vec<Value> {
    let facts = |generation: &GenerationState| {
        json!({
            "generation": generation.id.number, "opened": generation.id.opened,
            "state": standing(keyring, generation, members), "attested": generation.is_attested(),
            "creator": names.name(&generation.creator), "readers": names.sorted(&generation.lessees),
            "expelled": names.sorted(&generation.lost(|node| members.has(node))),
            "accusers": names.sorted(&generation.accusers),
        })
    };
    keyring.generations.iter().map(facts).collect()
}
