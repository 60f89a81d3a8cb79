//! Generations of leased keyrings: who could read each, which one new versions are sealed to, and which keys are due for
//! rotation (DESIGN section 3: what a lease costs).
//!
//! Guarantees, all from the set of statements alone and without a clock (I3):
//!
//! - A generation stays on record for ever with everybody who could read it: its creator, and each lessee that said it
//!   opened it. A removal that takes such a word its authority does not take it from this record: who read cannot unread.
//! - A reader that was expelled after (or without having seen) its reading taints the generation for good. A lessee is
//!   expelled by its displacement and by a placement without the right to lease, a creator by its removal as an admin
//!   and by the loss of the last role over the keyring. Somebody taken back later does not lift the taint.
//! - New versions go to the *current* generation: attested by a lessee other than its creator, not tainted, not accused
//!   by somebody who may lease today, and not superseded by such a one. When two sides of a cut opened one each, both
//!   live on and stay openable; the one whose statement has the lowest id is current.
//! - A key whose newest version is sealed to a tainted or accused generation is due. Being due takes nothing away: its
//!   versions open as before.
//!
//! One lessee that accuses falsely makes keys due and nothing more; taking the right to lease from it makes its word
//! count for nothing here. Who is a member of the mesh stands in another document: callers say so where it matters.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CustodyClass, Generation, GenerationRef, KeyState};
use keymesh_wire::ids::{KeyId, KeyringId, NamespaceId, NodeId, PrincipalId, StatementId};
use serde::Serialize;

use super::{Key, Keyring, TenantState};
use crate::mutant::{self, Mutant};
use crate::state::authority::{At, Authority};
use crate::state::graph::{Graph, Index};

/// A generation of a leased keyring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GenerationState {
    /// Which.
    pub id: GenerationRef,
    /// Its public half and capsule.
    pub generation: Generation,
    /// Who made it, and so once knew its secret.
    pub creator: PrincipalId,
    /// Lessees on record as having opened it.
    pub lessees: BTreeSet<NodeId>,
    /// Lessees who say the public half is false.
    pub accusers: BTreeSet<NodeId>,
    /// Those among the accusers that may lease today.
    pub accused_by: BTreeSet<NodeId>,
    /// Creator and lessees that were expelled since they could read it.
    pub expelled: BTreeSet<PrincipalId>,
    /// The generations that its opening had seen.
    pub after: BTreeSet<GenerationRef>,
}

/// Why a key should get a new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    /// The generation its newest version is sealed to.
    pub generation: GenerationRef,
    /// Who could read that and was expelled.
    pub expelled: BTreeSet<PrincipalId>,
    /// Who says that its public half is false.
    pub accused_by: BTreeSet<NodeId>,
}

/// Why a version may not be sealed to a generation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The keyring has no such generation.
    #[error("the keyring has no such generation")]
    Unknown,
    /// Nobody but its creator knows that its public half is true.
    #[error("no lessee other than its creator has attested it yet, and the keyring has one that is attested")]
    Unattested,
    /// Somebody who could read it was expelled.
    #[error("{who} could read it and was expelled; open a new generation (`keymesh key rotate --due`)")]
    Expelled {
        /// Who, the first of them.
        who: PrincipalId,
    },
}

impl GenerationState {
    /// Whether a lessee other than its creator said that its public half is true.
    pub fn is_attested(&self) -> bool {
        self.lessees.iter().any(|lessee| *lessee != self.creator)
    }

    /// Who could read it and no longer may, where `is_member` says who belongs to the mesh.
    pub fn lost(&self, is_member: impl Fn(&NodeId) -> bool) -> BTreeSet<PrincipalId> {
        let strangers = self.lessees.iter().filter(|lessee| !is_member(lessee)).copied();
        self.expelled.iter().copied().chain(strangers).collect()
    }

    /// Whether nothing speaks against it except that it may not be attested yet.
    fn is_sound(&self, is_member: &impl Fn(&NodeId) -> bool) -> bool {
        self.accused_by.is_empty() && self.lost(is_member).is_empty()
    }
}

impl Keyring {
    /// Lessees on record as having opened any of its generations.
    pub fn lessees(&self) -> BTreeSet<NodeId> {
        self.generations.iter().flat_map(|generation| generation.lessees.iter().copied()).collect()
    }

    /// Lessees who say that the public half of one of its generations is false.
    pub fn accusers(&self) -> BTreeSet<NodeId> {
        self.generations.iter().flat_map(|generation| generation.accusers.iter().copied()).collect()
    }

    /// A generation.
    pub fn generation(&self, id: &GenerationRef) -> Option<&GenerationState> {
        self.generations.iter().find(|generation| generation.id == *id)
    }

    /// The generation that new versions are sealed to, where `is_member` says who belongs to the mesh.
    pub fn current(&self, is_member: impl Fn(&NodeId) -> bool) -> Option<&GenerationState> {
        self.newest(|generation| generation.is_attested() && generation.is_sound(&is_member))
    }

    /// The generation that waits for a lessee to attest it and would be current then; nothing if one is current that
    /// had seen it.
    pub fn awaited(&self, is_member: impl Fn(&NodeId) -> bool) -> Option<&GenerationState> {
        let newest = self.newest(|generation| generation.is_sound(&is_member))?;
        (!newest.is_attested() && !self.is_superseded(newest, &is_member)).then_some(newest)
    }

    /// The number that the next generation gets.
    pub fn next_number(&self) -> u32 {
        self.generations.iter().map(|generation| generation.id.number).max().unwrap_or(0).saturating_add(1)
    }

    fn is_superseded(&self, generation: &GenerationState, is_member: &impl Fn(&NodeId) -> bool) -> bool {
        let fit = |other: &GenerationState| other.is_attested() && other.is_sound(is_member);
        self.generations.iter().any(|other| other.after.contains(&generation.id) && fit(other))
    }

    /// Of those that `fits`, one that no other had seen; of several the one with the lowest id.
    fn newest(&self, fits: impl Fn(&GenerationState) -> bool) -> Option<&GenerationState> {
        let fitting: Vec<&GenerationState> = self.generations.iter().filter(|generation| fits(generation)).collect();
        let newest = fitting.iter().filter(|one| !fitting.iter().any(|other| other.after.contains(&one.id))).copied();
        newest.min_by_key(|generation| generation.id.opened)
    }
}

impl TenantState {
    /// Why a key is due for rotation, if it is, where `is_member` says who belongs to the mesh.
    pub fn due(&self, key: &KeyId, is_member: impl Fn(&NodeId) -> bool) -> Option<Due> {
        let key: &Key = self.keys.get(key).filter(|key| key.state < KeyState::Deactivated)?;
        let keyring = self.keyrings.get(&key.keyring)?;
        let generation = keyring.generation(&key.versions.last()?.wrapped.sealed_to(key.keyring))?;
        let due = Due {
            generation: generation.id,
            expelled: generation.lost(is_member),
            accused_by: generation.accused_by.clone(),
        };
        (!due.expelled.is_empty() || !due.accused_by.is_empty()).then_some(due)
    }

    /// The generations that somebody may still have to open: new versions go to them, or would once they are attested, or
    /// a live key has a version that is sealed to them.
    pub fn needed_generations(&self) -> BTreeSet<GenerationRef> {
        let live = self.keys.values().filter(|key| key.state < KeyState::Destroyed);
        let versions = live.flat_map(|key| key.versions.iter().map(|version| version.wrapped.sealed_to(key.keyring)));
        let everybody = |_: &NodeId| true;
        let open = self.keyrings.values().flat_map(|ring| [ring.current(everybody), ring.awaited(everybody)]);
        versions.chain(open.flatten().map(|generation| generation.id)).collect()
    }

    /// Whether a generation is among [`TenantState::needed_generations`].
    pub fn is_needed(&self, generation: &GenerationRef) -> bool {
        let Some(keyring) = self.keyrings.get(&generation.keyring) else { return false };
        let everybody = |_: &NodeId| true;
        let open = [keyring.current(everybody), keyring.awaited(everybody)];
        let sealed = |key: &Key| {
            key.keyring == generation.keyring
                && key.state < KeyState::Destroyed
                && key.versions.iter().any(|version| version.wrapped.sealed_to(key.keyring) == *generation)
        };
        open.into_iter().flatten().any(|open| open.id == *generation) || self.keys.values().any(sealed)
    }

    pub(super) fn fold_generations(&mut self, graph: &Graph, authority: &Authority<'_>) {
        let record = Record::of(graph, authority);
        for (id, keyring) in &mut self.keyrings {
            let CustodyClass::Leased { generation, .. } = &keyring.class else { continue };
            let Some(made) = authority.keyring(id) else { continue };
            let first = GenerationRef { keyring: *id, number: generation.number, opened: None };
            let opened = record.opened.get(id).into_iter().flatten();
            let mut all = vec![(made, first, generation.clone())];
            all.extend(opened.map(|(index, opened, generation)| {
                (
                    *index,
                    GenerationRef { keyring: *id, number: generation.number, opened: Some(*opened) },
                    (*generation).clone(),
                )
            }));
            let state = |(made, id, generation): &(Index, GenerationRef, Generation)| {
                let readings = record.read.get(id).map(Vec::as_slice).unwrap_or_default();
                let accusers = record.accused.get(id).cloned().unwrap_or_default();
                let may_lease = |node: &&NodeId| self.nodes.get(*node).is_some_and(|placement| placement.lessee);
                let creator = graph.entries()[*made].statement.author();
                let seen = all.iter().filter(|(other, ..)| graph.precedes(*other, *made));
                GenerationState {
                    id: *id,
                    generation: generation.clone(),
                    creator,
                    lessees: readings.iter().map(|(_, lessee)| *lessee).collect(),
                    accused_by: accusers.iter().filter(may_lease).copied().collect(),
                    accusers,
                    expelled: expelled(graph, authority, (*made, creator), keyring.namespace, readings, At::End),
                    after: seen.map(|(_, id, _)| *id).collect(),
                }
            };
            let mut generations: Vec<GenerationState> = all.iter().map(state).collect();
            generations.sort_by_key(|generation| generation.id);
            share_taint(&mut generations);
            keyring.generations = generations;
        }
    }
}

/// Two generations with one public half have one secret: who could read one could read the other.
fn share_taint(generations: &mut [GenerationState]) {
    let mut by_public: BTreeMap<[u8; 32], BTreeSet<PrincipalId>> = BTreeMap::new();
    for generation in generations.iter() {
        by_public.entry(generation.generation.public).or_default().extend(&generation.expelled);
    }
    for generation in generations {
        if let Some(expelled) = by_public.get(&generation.generation.public) {
            generation.expelled.clone_from(expelled);
        }
    }
}

/// What was ever rightfully said about generations.
struct Record<'g> {
    opened: BTreeMap<KeyringId, Vec<(Index, StatementId, &'g Generation)>>,
    read: BTreeMap<GenerationRef, Vec<(Index, NodeId)>>,
    accused: BTreeMap<GenerationRef, BTreeSet<NodeId>>,
}

impl<'g> Record<'g> {
    fn of(graph: &'g Graph, authority: &Authority<'_>) -> Self {
        let mut record = Self { opened: BTreeMap::new(), read: BTreeMap::new(), accused: BTreeMap::new() };
        for (index, entry) in graph.entries().iter().enumerate() {
            let statement = &entry.statement;
            // Versions may be sealed to a generation whose creator was removed, and who read has read (I4).
            let rightful = authority.is_valid(index) || authority.is_quarantined(index);
            match statement.body().filter(|_| rightful) {
                Some(Body::OpenGeneration(new)) => {
                    let opened = (index, statement.id(), &new.generation);
                    record.opened.entry(new.keyring).or_default().push(opened);
                }
                Some(Body::AttestGeneration(id)) => {
                    record.read.entry(*id).or_default().push((index, statement.author()));
                }
                Some(Body::AccuseGeneration(id)) if authority.is_valid(index) => {
                    record.accused.entry(*id).or_default().insert(statement.author());
                }
                _ => {}
            }
        }
        record
    }
}

/// Who of a generation's creator and lessees was expelled, by what is seen from `at`.
fn expelled(
    graph: &Graph,
    authority: &Authority<'_>,
    (made, creator): (Index, PrincipalId),
    namespace: NamespaceId,
    readings: &[(Index, NodeId)],
    at: At,
) -> BTreeSet<PrincipalId> {
    if mutant::is(Mutant::ExpelledNotDue) {
        return BTreeSet::new();
    }
    let expulsions = authority.expulsions(at);
    let gone = readings.iter().filter(|(reading, lessee)| {
        expulsions.iter().any(|(expulsion, whom)| whom == lessee && !graph.precedes(*expulsion, *reading))
    });
    let mut expelled: BTreeSet<PrincipalId> = gone.map(|(_, lessee)| *lessee).collect();
    if authority.is_removed_since(made, &creator, at) || !authority.holds_namespace(&creator, namespace, at) {
        expelled.insert(creator);
    }
    expelled
}

/// Whether the version that the statement at `index` makes is sealed to a fit generation. What is known only elsewhere, or
/// only since, makes the key due instead, because a cut must not keep either side from going on:
///
/// - a taint counts if the author had seen the expulsion; a new generation can be opened without anybody's help;
/// - one that nobody attested is refused where another is current. On the side of a cut that has no quorum nobody can
///   attest the first generation of a new keyring, and a key in it waits for the quorum anyway.
pub(in crate::state) fn check_seal(
    state: &TenantState,
    graph: &Graph,
    authority: &Authority<'_>,
    index: Index,
) -> Result<(), Unfit> {
    let (keyring_id, version) = match graph.entries()[index].statement.body() {
        Some(Body::CreateKey(new)) => (new.keyring, &new.version),
        Some(Body::AddVersion(new)) => (new.keyring, &new.version),
        _ => return Ok(()),
    };
    let Some(keyring) = state.keyrings.get(&keyring_id) else { return Ok(()) };
    if matches!(keyring.class, CustodyClass::Quorum) || mutant::is(Mutant::SealedToUnattested) {
        return Ok(());
    }
    let generation = keyring.generation(&version.sealed_to(keyring_id)).ok_or(Unfit::Unknown)?;
    if !generation.is_attested() && keyring.current(|_| true).is_some() {
        return Err(Unfit::Unattested);
    }
    let made = match generation.id.opened {
        Some(opened) => graph.index(&opened),
        None => authority.keyring(&keyring_id),
    };
    let Some(made) = made else { return Err(Unfit::Unknown) };
    let record = Record::of(graph, authority);
    let readings = record.read.get(&generation.id).map(Vec::as_slice).unwrap_or_default();
    let whom = (made, generation.creator);
    let expelled = expelled(graph, authority, whom, keyring.namespace, readings, At::Before(index));
    expelled.into_iter().next().map_or(Ok(()), |who| Err(Unfit::Expelled { who }))
}
