//! I2 and I3: what an honest node made of a set of statements is what the oracle makes of it, and two nodes with one set
//! have one digest. This catches mistakes of the fold itself, whatever is released because of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use keymesh_mesh::materialise::{Field, Materialised};
use keymesh_mesh::state::DocumentState;
use keymesh_mesh::state::tenant::{GenerationState, PolicyHead, Root, RootCommittee, TenantState};
use keymesh_wire::body::{CommitteeSpec, GenerationRef, Named};
use keymesh_wire::ids::{DocumentId, NodeId, PrincipalId, RootId, StatementId};

use crate::model::facts::{Committee, Facts, Key, Keyring};
use crate::model::generations::Generation;
use crate::model::story::Set;

/// How many sets of statements are remembered with their digests.
const REMEMBERED: usize = 1024;

/// The digests that nodes had of sets of statements.
#[derive(Debug, Default)]
pub(super) struct Digests {
    known: BTreeMap<(DocumentId, Set), (usize, [u8; 32])>,
}

impl Digests {
    pub(super) fn note(&mut self, node: usize, document: DocumentId, set: &Set, digest: [u8; 32]) -> Option<String> {
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let (other, known) = *self.known.entry((document, set.clone())).or_insert((node, digest));
        let (n, m) = (node + 1, other + 1);
        (known != digest).then(|| format!("I3: n{n} and n{m} have the same of {document} and other states of it"))
    }
}

/// In what a node's state differs from the oracle's, by the names of the parts.
pub fn differences(facts: &Facts, state: &DocumentState) -> Vec<String> {
    let mut found = Vec::new();
    match state {
        DocumentState::Mesh(state) => {
            let admins = state.admins.iter().map(|(who, admin)| (*who, admin.suspended)).collect();
            differ(&mut found, "admins", &facts.admins, &admins);
            differ(&mut found, "nodes", &facts.members, &state.nodes.keys().copied().collect());
            let pending = state.pending.iter().map(|pending| pending.statement).collect();
            differ(&mut found, "pending proposals", &facts.waiting, &pending);
        }
        DocumentState::Tenant(state) => tenant(&mut found, facts, state),
    }
    found
}

fn differ<T: PartialEq + Debug>(found: &mut Vec<String>, part: &str, oracle: &T, node: &T) {
    if oracle != node {
        found.push(format!("{part}: the oracle has {oracle:?}, the node {node:?}"));
    }
}

fn tenant(found: &mut Vec<String>, facts: &Facts, state: &TenantState) {
    let admins: BTreeMap<PrincipalId, bool> = state.admins.iter().map(|(who, admin)| (*who, admin.suspended)).collect();
    differ(found, "admins", &facts.admins, &admins);
    differ(found, "nodes", &facts.nodes, &state.nodes);
    let grants = state.grants.iter().map(|grant| (grant.principal, grant.role, grant.scope, grant.name.clone()));
    differ(found, "roles", &facts.grants, &grants.collect());
    let heads = |heads: &Vec<PolicyHead>| heads.iter().map(|head| (head.statement, head.text.clone())).collect();
    let policies: BTreeMap<_, BTreeMap<StatementId, String>> =
        state.policies.iter().map(|(scope, list)| (*scope, heads(list))).collect();
    differ(found, "policies", &facts.policies, &policies);
    differ(found, "evidence roots", &facts.evidence, &state.evidence_roots.keys().copied().collect());
    let live = |facts: &Facts| facts.roots.iter().map(|(id, root)| (*id, root.live)).collect::<BTreeMap<_, _>>();
    differ(found, "roots", &live(facts), &state.roots.iter().map(|(id, root)| (*id, root.live)).collect());
    differ(found, "sharings", &sharings(facts), &state.roots.iter().map(|(id, root)| (*id, chains(root))).collect());
    let namespaces = state.namespaces.iter().map(|(id, namespace)| (*id, namespace.parent)).collect();
    differ(found, "namespaces", &facts.namespaces, &namespaces);
    let keyrings = state.keyrings.iter().map(|(id, keyring)| {
        let (namespace, root, class) = (keyring.namespace, keyring.root, keyring.class.clone());
        (*id, Keyring { namespace, root, class })
    });
    differ(found, "keyrings", &facts.keyrings, &keyrings.collect());
    let keys = state.keys.iter().map(|(id, key)| {
        let versions = key.versions.iter().map(|version| version.wrapped.version).collect();
        let sealed_to = key.versions.last().map(|version| version.wrapped.sealed_to(key.keyring));
        (*id, Key { keyring: key.keyring, versions, sealed_to, state: key.state })
    });
    differ(found, "keys", &facts.keys, &keys.collect());
    let generations: BTreeMap<_, BTreeMap<_, _>> = state
        .keyrings
        .iter()
        .filter(|(_, keyring)| !keyring.generations.is_empty())
        .map(|(id, keyring)| (*id, keyring.generations.iter().map(generation).collect()))
        .collect();
    differ(found, "generations", &facts.generations, &generations);
    let everybody = |_: &NodeId| true;
    let current = state.keyrings.iter().filter_map(|(id, keyring)| Some((*id, keyring.current(everybody)?.id)));
    differ(found, "current generations", &facts.current, &current.collect());
    let due = state.keys.keys().filter(|key| state.due(key, everybody).is_some());
    differ(found, "keys due", &facts.due, &due.copied().collect());
    differ(found, "names", &existing(facts), &names(state));
    let bound = state.enrolments.iter().filter_map(|(instance, enrolment)| {
        enrolment.holder().map(|claim| (instance.clone(), (claim.agent, claim.facts.clone())))
    });
    differ(found, "bindings", &facts.bound, &bound.collect());
    let denials: BTreeMap<_, _> = state.denials.iter().map(|(id, denial)| (*id, denial.effective)).collect();
    differ(found, "denials", &facts.denials.iter().map(|(id, denial)| (*id, denial.effective)).collect(), &denials);
    let pending = state.pending.iter().map(|pending| pending.statement).collect();
    differ(found, "pending proposals", &facts.waiting, &pending);
}

/// Of each committee the number of its sharing, who has shares, which earlier ones may be in use, and whether it rests.
type Sharing = (u32, CommitteeSpec, Vec<u32>, bool);

fn sharings(facts: &Facts) -> BTreeMap<RootId, Vec<Sharing>> {
    let of = |committee: &Committee| -> Sharing {
        let past = committee.unclosed.iter().copied().collect();
        (committee.epoch, committee.spec().clone(), past, committee.frozen)
    };
    facts.roots.iter().map(|(id, root)| (*id, root.committees.iter().map(of).collect())).collect()
}

fn chains(root: &Root) -> Vec<Sharing> {
    let of = |committee: &RootCommittee| -> Sharing {
        let past = committee.past.iter().map(|past| past.epoch).collect();
        (committee.epoch, committee.spec.clone(), past, committee.frozen)
    };
    root.committees.iter().map(of).collect()
}

fn generation(known: &GenerationState) -> (GenerationRef, Generation) {
    let generation = Generation {
        creator: known.creator,
        readers: known.lessees.clone(),
        accusers: known.accusers.clone(),
        expelled: known.expelled.clone(),
        after: known.after.clone(),
    };
    (known.id, generation)
}

/// The names of what there is.
fn existing(facts: &Facts) -> BTreeMap<Named, BTreeSet<String>> {
    let mut names = facts.names.clone();
    names.retain(|object, _| match object {
        Named::Namespace(id) => facts.namespaces.contains_key(id),
        Named::Keyring(id) => facts.keyrings.contains_key(id),
        Named::Key(id) => facts.keys.contains_key(id),
    });
    names
}

fn names(state: &TenantState) -> BTreeMap<Named, BTreeSet<String>> {
    let namespaces = state.namespaces.iter().map(|(id, object)| (Named::Namespace(*id), object.names.clone()));
    let keyrings = state.keyrings.iter().map(|(id, object)| (Named::Keyring(*id), object.names.clone()));
    let keys = state.keys.iter().map(|(id, object)| (Named::Key(*id), object.names.clone()));
    namespaces.chain(keyrings).chain(keys).collect()
}

/// In what the descriptive fields that a node shows differ from the oracle's.
pub fn field_differences(facts: &Facts, shown: &Materialised) -> Vec<String> {
    let mut fields = BTreeMap::new();
    shown.fields.iter().for_each(|(name, field)| collect(&mut vec![name.clone()], field, &mut fields));
    let mut found = Vec::new();
    differ(&mut found, "fields", &facts.fields, &fields);
    found
}

fn collect(path: &mut Vec<String>, field: &Field, into: &mut BTreeMap<Vec<String>, BTreeSet<String>>) {
    let texts = field.conflicts.iter().map(|contender| &contender.value).chain(&field.value);
    let texts: BTreeSet<String> = texts.cloned().collect();
    if !texts.is_empty() {
        into.insert(path.clone(), texts);
    }
    for (name, within) in &field.fields {
        path.push(name.clone());
        collect(path, within, into);
        path.pop();
    }
}
