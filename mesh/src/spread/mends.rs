//! Which documents are being mended, and with whom: so that a difference crosses to a node once and not once from every
//! peer.
//!
//! After a cut every pair of nodes across it differs by the same statements. Whoever mends a document with one peer lets
//! the others wait, and whoever has just got something new gives the rest of it time to come on its own. Neither is a
//! lock: a pair that has differed for some time goes ahead whatever else is going on, so that a peer that mends without
//! end delays the others by [`PATIENCE`] once. A mend begins when a session is opened or accepted. Telling digests begins
//! none: nodes that wait tell them, too, and would wait for one another in chains.

use std::collections::BTreeMap;

use keymesh_wire::ids::{DocumentId, NodeId};
use keymesh_wire::time::{Boot, Millis};

/// How long a mend without progress counts as one.
const SILENCE: Millis = Millis(1000);
/// How long after a change a document may be about to change again.
const QUIET: Millis = Millis(500);
/// For how long a pair that differs lets other mends go first.
const PATIENCE: Millis = Millis(5000);

/// What is going on about each document.
#[derive(Debug, Default)]
pub(super) struct Mends {
    partners: BTreeMap<DocumentId, (NodeId, Boot)>,
    changes: BTreeMap<DocumentId, Boot>,
    /// Since when a pair that is not the same yet has been known to differ.
    differs: BTreeMap<(NodeId, DocumentId), Boot>,
}

impl Mends {
    /// A mend with `peer` begins or goes on, unless one with another is going on.
    pub(super) fn progress(&mut self, document: DocumentId, peer: NodeId, now: Boot) {
        if self.partner(&document, now).is_none_or(|partner| partner == peer) {
            self.partners.insert(document, (peer, now.plus(SILENCE)));
        }
    }

    /// A mend with `peer`, if there was one, is over.
    pub(super) fn ended(&mut self, document: &DocumentId, peer: &NodeId) {
        if self.partners.get(document).is_some_and(|(partner, _)| partner == peer) {
            self.partners.remove(document);
        }
    }

    /// A document is the same here and at `peer`.
    pub(super) fn same(&mut self, document: &DocumentId, peer: &NodeId) {
        self.ended(document, peer);
        self.differs.remove(&(*peer, *document));
    }

    /// A statement of a document came.
    pub(super) fn changed(&mut self, document: DocumentId, now: Boot) {
        self.changes.insert(document, now);
    }

    /// A peer is gone.
    pub(super) fn gone(&mut self, peer: &NodeId) {
        self.partners.retain(|_, (partner, _)| partner != peer);
        self.differs.retain(|(other, _), _| other != peer);
    }

    /// Forgets documents that are not held.
    pub(super) fn retain(&mut self, held: impl Fn(&DocumentId) -> bool) {
        self.partners.retain(|document, _| held(document));
        self.changes.retain(|document, _| held(document));
        self.differs.retain(|(_, document), _| held(document));
    }

    fn partner(&self, document: &DocumentId, now: Boot) -> Option<NodeId> {
        self.partners.get(document).filter(|(_, until)| now < *until).map(|(partner, _)| *partner)
    }

    /// Whether anything is being mended.
    pub(super) fn is_busy(&self, now: Boot) -> bool {
        self.partners.values().any(|(_, until)| now < *until)
    }

    /// A held document differs from `peer`'s. Until when that waits, if it does.
    pub(super) fn wait(&mut self, document: &DocumentId, peer: &NodeId, now: Boot) -> Option<Boot> {
        let differed = now.since(*self.differs.entry((*peer, *document)).or_insert(now));
        let elsewhere = self.partner(document, now).is_some_and(|partner| partner != *peer);
        let changing = self.changes.get(document).is_some_and(|at| now.since(*at) < QUIET);
        let waits = elsewhere && differed < PATIENCE || changing && differed < QUIET;
        waits.then(|| now.plus(QUIET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: DocumentId = DocumentId::from_bytes([7; 32]);
    const ONE: NodeId = NodeId::from_bytes([1; 32]);
    const OTHER: NodeId = NodeId::from_bytes([2; 32]);

    #[test]
    fn a_pair_waits_while_another_mends_and_not_for_ever() {
        let mut mends = Mends::default();
        assert_eq!(mends.wait(&DOCUMENT, &ONE, Boot(0)), None);
        for now in (0..6000).step_by(500) {
            // The one goes on without end, and the other cannot take its place by saying that it does, too.
            mends.progress(DOCUMENT, ONE, Boot(now));
            mends.progress(DOCUMENT, OTHER, Boot(now));
            assert_eq!(mends.wait(&DOCUMENT, &ONE, Boot(now)), None);
            assert_eq!(mends.wait(&DOCUMENT, &OTHER, Boot(now)).is_some(), now < PATIENCE.0, "at {now}");
        }
        mends.same(&DOCUMENT, &OTHER);
        assert!(mends.is_busy(Boot(6000)));
        assert!(mends.wait(&DOCUMENT, &OTHER, Boot(6000)).is_some(), "a new difference, a new patience");
        mends.same(&DOCUMENT, &ONE);
        assert!(!mends.is_busy(Boot(6000)));
        assert_eq!(mends.wait(&DOCUMENT, &OTHER, Boot(6000)), None);
    }

    #[test]
    fn a_silent_partner_is_waited_for_a_second_and_one_that_is_gone_not_at_all() {
        let mut mends = Mends::default();
        mends.progress(DOCUMENT, ONE, Boot(0));
        assert_eq!(mends.wait(&DOCUMENT, &OTHER, Boot(10)), Some(Boot(510)));
        assert_eq!(mends.wait(&DOCUMENT, &OTHER, Boot(1010)), None);
        mends.progress(DOCUMENT, ONE, Boot(1020));
        assert!(mends.wait(&DOCUMENT, &OTHER, Boot(1030)).is_some());
        mends.gone(&ONE);
        assert_eq!(mends.wait(&DOCUMENT, &OTHER, Boot(1030)), None);
    }

    #[test]
    fn what_just_came_is_given_a_second_once() {
        let mut mends = Mends::default();
        mends.changed(DOCUMENT, Boot(5000));
        assert_eq!(mends.wait(&DOCUMENT, &ONE, Boot(5100)), Some(Boot(5600)));
        mends.changed(DOCUMENT, Boot(6000));
        assert_eq!(mends.wait(&DOCUMENT, &ONE, Boot(6100)), None, "it has waited");
        mends.changed(DOCUMENT, Boot(7000));
        mends.retain(|_| false);
        assert_eq!(mends.wait(&DOCUMENT, &OTHER, Boot(7000)), None);
    }
}
