//! The set that range-based reconciliation compares: statement ids under a salt that both sides made.
//!
//! The fingerprint of a range is a hash over the *sum* of the ids in it, and whoever may choose ids can make sums meet:
//! some 2^16 crafted statements would be enough to hide a revocation from a peer for good. So each session maps every
//! id through SHA-256 with a salt to which both sides gave half. A third party cannot craft ids for a salt it does not
//! know, and the next session has another.

use std::collections::BTreeSet;

use keymesh_wire::ids::{NodeId, StatementId};
use negentropy::{Bound, Error, Id, Item, NegentropyStorageBase};
use sha2::{Digest, Sha256};

/// One side's random half of a session's salt.
pub(super) type SaltHalf = [u8; 16];

/// A document's ids at the moment a session began, salted, with the way back; sorted by height, then by salted id. What
/// two sides lack is most often what was said lately, and statements of one time have neighbouring heights: the ranges
/// that differ are then few and full. By salted id alone every statement would cost a range of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Salted {
    items: Vec<(u64, Id, StatementId)>,
}

/// The two sides of a session in their roles: the salt differs when the roles do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    /// Who began.
    pub(super) initiator: NodeId,
    /// Its half.
    pub(super) initiator_half: SaltHalf,
    /// Who answered.
    pub(super) responder: NodeId,
    /// Its half.
    pub(super) responder_half: SaltHalf,
}

impl Salted {
    /// Salts `ids` for one session. `height` gives a statement's.
    pub(super) fn new(sides: &Sides, ids: &[StatementId], height: impl Fn(&StatementId) -> u64) -> Self {
        let mut salt = Sha256::new();
        salt.update(b"keymesh reconciliation salt v1");
        salt.update(sides.initiator.as_bytes());
        salt.update(sides.initiator_half);
        salt.update(sides.responder.as_bytes());
        salt.update(sides.responder_half);
        let salt = salt.finalize();
        let mut items: Vec<_> = ids
            .iter()
            .map(|id| {
                let mut hash = Sha256::new();
                hash.update(salt);
                hash.update(id.as_bytes());
                // The library takes the largest number for the end of all ranges.
                (height(id).min(u64::MAX - 1), Id::from_byte_array(hash.finalize().into()), *id)
            })
            .collect();
        // Two equal neighbours would leave the library no bound between them.
        items.sort_unstable();
        items.dedup_by(|a, b| (a.0, a.1) == (b.0, b.1));
        Self { items }
    }

    /// How many ids.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The statements behind salted ids, of those that are here.
    pub(super) fn originals(&self, salted: &BTreeSet<Id>) -> BTreeSet<StatementId> {
        self.items.iter().filter(|(_, id, _)| salted.contains(id)).map(|(.., id)| *id).collect()
    }

    fn item(&self, index: usize) -> Option<Item> {
        self.items.get(index).map(|(height, id, _)| Item::with_timestamp_and_id(*height, *id))
    }
}

impl NegentropyStorageBase for Salted {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.items.len())
    }

    fn get_item(&self, index: usize) -> Result<Option<Item>, Error> {
        Ok(self.item(index))
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        if begin > end || end > self.items.len() {
            return Err(Error::BadRange);
        }
        for index in begin..end {
            let item = self.item(index).ok_or(Error::BadRange)?;
            if !each(item, index)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, value: &Bound) -> usize {
        let last = last.min(self.items.len());
        let first = first.min(last);
        let below = |(height, id, _): &(u64, Id, StatementId)| Item::with_timestamp_and_id(*height, *id) < value.item;
        first + self.items.get(first..last).unwrap_or_default().partition_point(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u8) -> Vec<StatementId> {
        (0..count).map(|n| StatementId::from_bytes([n; 32])).collect()
    }

    fn sides(half: u8) -> Sides {
        Sides {
            initiator: NodeId::from_bytes([1; 32]),
            initiator_half: [half; 16],
            responder: NodeId::from_bytes([2; 32]),
            responder_half: [9; 16],
        }
    }

    /// Heights that rise, three statements at each.
    fn salted(half: u8, ids: &[StatementId]) -> Salted {
        let height = |id: &StatementId| u64::from(id.as_bytes()[0]) / 3;
        Salted::new(&sides(half), ids, height)
    }

    fn fingerprint(set: &Salted) -> [u8; 16] {
        set.fingerprint(0, set.items.len()).expect("the range is the whole set").to_bytes()
    }

    #[test]
    fn two_sessions_have_different_fingerprints_of_the_same_set() {
        let (one, other) = (salted(1, &ids(50)), salted(2, &ids(50)));
        assert_ne!(fingerprint(&one), fingerprint(&other));
        assert_eq!(fingerprint(&one), fingerprint(&salted(1, &ids(50))));
    }

    #[test]
    fn sets_whose_ids_have_the_same_sum_do_not_look_the_same() {
        let id = |n: u8| StatementId::from_bytes([n; 32]);
        let plain = |set: &[StatementId]| {
            let mut storage = negentropy::NegentropyStorageVector::new();
            for id in set {
                storage.insert(0, Id::from_byte_array(*id.as_bytes())).expect("not sealed yet");
            }
            storage.seal().expect("not sealed yet");
            storage.fingerprint(0, set.len()).expect("the range is the whole set").to_bytes()
        };
        let (one, other) = ([id(1), id(4)], [id(2), id(3)]);
        assert_eq!(plain(&one), plain(&other), "the attack works on raw ids");
        assert_ne!(fingerprint(&salted(1, &one)), fingerprint(&salted(1, &other)));
    }

    #[test]
    fn every_salted_id_leads_back_to_its_statement() {
        let set = salted(3, &ids(20));
        let all: BTreeSet<_> = set.items.iter().map(|(_, salted, _)| *salted).collect();
        assert_eq!(set.originals(&all).into_iter().collect::<Vec<_>>(), ids(20));
        assert_eq!(set.originals(&[Id::from_byte_array([0; 32])].into()), BTreeSet::new());
    }
}
