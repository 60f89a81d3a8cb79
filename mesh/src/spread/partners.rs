//! With whom digests are compared next.
//!
//! A node compares with one peer at a time, a few in [`SpreadLimits::reconcile_every`], however many it has: comparing
//! with all of them costs a mesh of N nodes N² messages a round and tells nobody anything new. What is kept is the
//! guarantee: peers take turns, so each is compared with at least once in as many rounds as `compare_fanout` fits into
//! the number of peers, and no peer can crowd out another. Peers that just came up come first, in an order drawn from
//! the generator: after a cut nobody can know whom a node asks, nor be asked by all at once.

use std::collections::VecDeque;

use keymesh_wire::ids::NodeId;
use keymesh_wire::time::{Boot, Millis};
use rand_core::CryptoRng;

use super::{SpreadLimits, jittered};

/// The pause between two peers that came up together.
const PACE: Millis = Millis(250);
/// How much longer that pause is while a document is being mended: the next peer may have nothing else to give.
const MENDING: Millis = Millis(2000);

/// The peers that are up, in the order of their turns.
#[derive(Debug)]
pub(super) struct Partners {
    fresh: Vec<NodeId>,
    fresh_at: Boot,
    /// When a peer that came up was last compared with.
    last_fresh: Option<Boot>,
    turns: VecDeque<NodeId>,
    turn_at: Boot,
}

impl Default for Partners {
    fn default() -> Self {
        let never = Boot(u64::MAX);
        Self { fresh: Vec::new(), fresh_at: never, last_fresh: None, turns: VecDeque::new(), turn_at: never }
    }
}

impl Partners {
    /// A peer came up.
    pub(super) fn up(&mut self, peer: NodeId, now: Boot) {
        self.down(&peer);
        let from = self.last_fresh.map_or(now, |last| now.max(last.plus(PACE)));
        if self.fresh.is_empty() {
            self.fresh_at = from;
        }
        self.fresh.push(peer);
    }

    /// A peer is gone.
    pub(super) fn down(&mut self, peer: &NodeId) {
        self.fresh.retain(|other| other != peer);
        self.turns.retain(|other| other != peer);
        self.settle();
    }

    fn settle(&mut self) {
        if self.fresh.is_empty() {
            self.fresh_at = Boot(u64::MAX);
        }
        if self.turns.is_empty() {
            self.turn_at = Boot(u64::MAX);
        }
    }

    /// When the next comparison is due.
    pub(super) fn at(&self) -> Boot {
        self.fresh_at.min(self.turn_at)
    }

    /// Whom to compare with now. `mending` says whether a document is being mended with somebody.
    pub(super) fn due(
        &mut self,
        now: Boot,
        mending: bool,
        limits: &SpreadLimits,
        rng: &mut impl CryptoRng,
    ) -> Vec<NodeId> {
        let mut due = Vec::new();
        if self.turn_at <= now
            && let Some(peer) = self.turns.pop_front()
        {
            self.turns.push_back(peer);
            self.turn_at = now.plus(self.pause(limits, rng));
            due.push(peer);
        }
        if self.fresh_at <= now && !self.fresh.is_empty() {
            let waits = mending && self.last_fresh.is_some_and(|last| now.since(last) < MENDING);
            if !waits {
                let peer = self.fresh.swap_remove((rng.next_u64() % self.fresh.len() as u64) as usize);
                self.turns.push_back(peer);
                if self.turn_at == Boot(u64::MAX) {
                    self.turn_at = now.plus(self.pause(limits, rng));
                }
                self.last_fresh = Some(now);
                due.push(peer);
            }
            self.fresh_at = now.plus(PACE);
        }
        self.settle();
        due
    }

    fn pause(&self, limits: &SpreadLimits, rng: &mut impl CryptoRng) -> Millis {
        let partners = self.turns.len().clamp(1, limits.compare_fanout) as u64;
        let pause = jittered(Millis(limits.reconcile_every.0 / partners), rng);
        Millis(pause.0.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    /// Runs for so long; says when each peer was compared with.
    fn compared(
        partners: &mut Partners,
        from: u64,
        span: u64,
        mending: bool,
        rng: &mut ChaCha8Rng,
    ) -> Vec<(u64, NodeId)> {
        let limits = SpreadLimits::default();
        let mut compared = Vec::new();
        while partners.at() <= Boot(from + span) {
            let now = partners.at();
            compared.extend(partners.due(now, mending, &limits, rng).into_iter().map(|peer| (now.0, peer)));
            assert!(partners.at() > now);
        }
        compared
    }

    #[test]
    fn every_peer_has_its_turn_and_their_number_does_not_raise_the_rate() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for peers in [1, 3, 8, 40, 200] {
            let mut partners = Partners::default();
            (0..peers).for_each(|n| partners.up(node(n), Boot(0)));
            compared(&mut partners, 0, u64::from(peers) * PACE.0, false, &mut rng);
            let from = u64::from(peers) * PACE.0;
            let span = 10_000 * u64::from(peers.div_ceil(8)) * 2;
            let turns = compared(&mut partners, from, span, false, &mut rng);
            let mut of: BTreeMap<NodeId, usize> = BTreeMap::new();
            turns.iter().for_each(|(_, peer)| *of.entry(*peer).or_default() += 1);
            assert_eq!(of.len(), usize::from(peers), "all of {peers}");
            assert!(turns.len() as u64 <= span / 10_000 * u64::from(peers.min(8)) * 3 / 2 + 2, "{peers}");
        }
    }

    #[test]
    fn peers_that_came_up_come_first_in_an_order_that_is_drawn() {
        let order = |seed| {
            let mut partners = Partners::default();
            (0..20).for_each(|n| partners.up(node(n), Boot(5)));
            let compared = compared(&mut partners, 0, 5 + 19 * PACE.0, false, &mut ChaCha8Rng::seed_from_u64(seed));
            assert_eq!(compared.first().map(|(at, _)| *at), Some(5), "the first at once");
            let mut order: Vec<_> = compared.into_iter().map(|(_, peer)| peer).collect();
            order.sort_unstable();
            order.dedup();
            assert_eq!(order.len(), 20);
        };
        (0..5).for_each(order);
        let first = |seed| {
            let mut partners = Partners::default();
            (0..20).for_each(|n| partners.up(node(n), Boot(5)));
            partners.due(Boot(5), false, &SpreadLimits::default(), &mut ChaCha8Rng::seed_from_u64(seed))
        };
        assert!((0..20).any(|seed| first(seed) != first(100)));
    }

    #[test]
    fn a_peer_that_comes_and_goes_without_end_takes_no_turns_from_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut partners = Partners::default();
        (0..4).for_each(|n| partners.up(node(n), Boot(0)));
        compared(&mut partners, 0, 1000, false, &mut rng);
        let mut others = 0;
        for now in (1000..41_000).step_by(50) {
            partners.up(node(9), Boot(now));
            let due = partners.due(Boot(now), false, &SpreadLimits::default(), &mut rng);
            others += due.iter().filter(|peer| **peer != node(9)).count();
        }
        assert!(others >= 4 * 3, "{others} in four rounds");
    }

    #[test]
    fn a_mend_without_end_delays_the_next_peer_by_two_seconds() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut partners = Partners::default();
        (0..4).for_each(|n| partners.up(node(n), Boot(0)));
        let compared = compared(&mut partners, 0, 8000, true, &mut rng);
        let peers: std::collections::BTreeSet<_> = compared.iter().map(|(_, peer)| *peer).collect();
        assert_eq!(peers.len(), 4);
    }
}
