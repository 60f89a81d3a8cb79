//! Generations of leased keyrings by their rules: who could read which, who of those was expelled, which one is current.
//!
//! A lessee is expelled by a displacement, or a placement without the right to lease, that its word about the generation
//! had not seen; a creator by a removal as an admin that the opening had not seen, or by having no right over the keyring
//! any more. Words that a removal took their authority count as readings all the same.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CustodyClass, GenerationRef};
use keymesh_wire::ids::{NamespaceId, NodeId, PrincipalId};

use super::rights::Rights;
use super::story::{Set, Story};

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Who made it.
    pub creator: PrincipalId,
    /// Who says to have opened it.
    pub readers: BTreeSet<NodeId>,
    /// Who says that it is false.
    pub accusers: BTreeSet<NodeId>,
    /// Who could read it and was expelled.
    pub expelled: BTreeSet<PrincipalId>,
    /// Which ones its opening had seen.
    pub after: BTreeSet<GenerationRef>,
}

impl Generation {
    /// Whether somebody else than its creator opened it.
    pub fn is_attested(&self) -> bool {
        self.readers.iter().any(|reader| *reader != self.creator)
    }

    /// Whether nobody expelled could read it and nobody ever called it false.
    pub fn is_fit(&self) -> bool {
        self.expelled.is_empty() && self.accusers.is_empty()
    }
}

/// A keyring's making as far as it matters here.
pub(super) struct Ring<'a> {
    pub(super) id: keymesh_wire::ids::KeyringId,
    pub(super) made: usize,
    pub(super) namespace: NamespaceId,
    pub(super) class: &'a CustodyClass,
}

/// The generations of a keyring.
pub(super) fn of_ring(story: &Story, rights: &Rights<'_>, ring: &Ring<'_>) -> BTreeMap<GenerationRef, Generation> {
    let CustodyClass::Leased { generation, .. } = ring.class else { return BTreeMap::new() };
    let first = GenerationRef { keyring: ring.id, number: generation.number, opened: None };
    let mut made = vec![(first, ring.made, generation.public)];
    for place in rights.known_of("open-generation").filter(|place| rights.was_ever_rightful(*place)) {
        if let Some(Body::OpenGeneration(new)) = story.body(place)
            && new.keyring == ring.id
        {
            let (number, opened) = (new.generation.number, Some(story.id(place)));
            made.push((GenerationRef { keyring: ring.id, number, opened }, place, new.generation.public));
        }
    }
    let expulsions = expulsions(story, rights);
    let mut all = BTreeMap::new();
    for (id, place, _) in &made {
        let readings = readings(story, rights, id);
        let creator = story.author(*place);
        let unseen = |reading: &usize| {
            expulsions.iter().any(|(e, whom)| *whom == story.author(*reading) && !story.past(*reading).has(*e))
        };
        let mut expelled: BTreeSet<PrincipalId> =
            readings.iter().filter(|reading| unseen(reading)).map(|reading| story.author(*reading)).collect();
        let removed = rights.known_of("remove-admin").any(|r| {
            matches!(story.body(r), Some(Body::RemoveAdmin(who)) if *who == creator)
                && rights.counts(r)
                && !story.past(*place).has(r)
        });
        if removed || !rights.rules(&creator, ring.namespace) {
            expelled.insert(creator);
        }
        let accusations = rights.known_of("accuse-generation").filter(|place| rights.counts(*place));
        let accusers = accusations
            .filter(|place| matches!(story.body(*place), Some(Body::AccuseGeneration(of)) if of == id))
            .map(|place| story.author(place));
        let generation = Generation {
            creator,
            readers: readings.iter().map(|reading| story.author(*reading)).collect(),
            accusers: accusers.collect(),
            expelled,
            after: made.iter().filter(|(_, other, _)| story.past(*place).has(*other)).map(|(id, ..)| *id).collect(),
        };
        all.insert(*id, generation);
    }
    // The same public half is the same secret.
    for (id, _, public) in &made {
        let twins = made.iter().filter(|(other, _, half)| other != id && half == public);
        let more: BTreeSet<PrincipalId> = twins.flat_map(|(twin, ..)| all[twin].expelled.clone()).collect();
        all.entry(*id).and_modify(|generation| generation.expelled.extend(more));
    }
    all
}

/// Where lessees said that they opened a generation.
fn readings(story: &Story, rights: &Rights<'_>, of: &GenerationRef) -> Vec<usize> {
    let about = |place: &usize| matches!(story.body(*place), Some(Body::AttestGeneration(id)) if id == of);
    rights.known_of("attest-generation").filter(about).filter(|place| rights.was_ever_rightful(*place)).collect()
}

/// What takes nodes the right to lease.
fn expulsions(story: &Story, rights: &Rights<'_>) -> Vec<(usize, NodeId)> {
    let all = rights.known_of("displace-node").chain(rights.known_of("place-node"));
    all.filter(|place| rights.counts(*place))
        .filter_map(|place| match story.body(place) {
            Some(Body::DisplaceNode(node)) => Some((place, *node)),
            Some(Body::PlaceNode(placement)) if !placement.lessee => Some((place, placement.node)),
            _ => None,
        })
        .collect()
}

/// The one that new versions go to: fit, seen by no other that is fit, and of several of those the one opened by the
/// statement with the lowest id.
pub(super) fn current(all: &BTreeMap<GenerationRef, Generation>, lessees: &BTreeSet<NodeId>) -> Option<GenerationRef> {
    let fit = |generation: &&Generation| {
        generation.is_attested()
            && generation.expelled.is_empty()
            && generation.accusers.intersection(lessees).next().is_none()
    };
    let seen: BTreeSet<GenerationRef> = all.values().filter(fit).flat_map(|other| other.after.clone()).collect();
    let newest = all.iter().filter(|(id, generation)| fit(generation) && !seen.contains(*id));
    newest.map(|(id, _)| *id).min_by_key(|id| id.opened)
}

/// Whether what lies in a statement's own past says that somebody who could read a generation is expelled: then no honest
/// node takes a version that the statement seals to it. `past` is judged as if it were all that is known.
pub(super) fn is_tainted(story: &Story, rights: &Rights<'_>, past: &Set, of: &GenerationRef) -> bool {
    let expulsions = expulsions(story, rights);
    readings(story, rights, of).iter().filter(|reading| past.has(**reading)).any(|reading| {
        expulsions.iter().any(|(e, whom)| *whom == story.author(*reading) && !story.past(*reading).has(*e))
    })
}
