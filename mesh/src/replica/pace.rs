//! When this node begins with changes of sharing: not all at once, however many are proposed.
//!
//! A change costs every custodian some curve arithmetic and a dozen writes. A thousand of them at once would take the
//! processors from releases, and each would last so long that its ballots end before it does. So a node begins one after
//! another, the one that was proposed first, [`PACE`] apart and with at most [`AT_ONCE`] under way. What others have begun
//! it joins at once, and takes for its own beginning: custodians of many tenants, who all go by the order of proposals,
//! begin the same ones together. A change that comes to nothing for [`PATIENCE`] holds up no other one.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::ids::TenantId;
use keymesh_wire::time::{Boot, Millis, Wall};

/// From one beginning to the next.
const PACE: Millis = Millis(84);
/// Changes that are under way before the next one is begun.
const AT_ONCE: usize = 16;
/// How long one counts as under way.
const PATIENCE: Millis = Millis(5_000);

/// What waits for its beginning, and when the next one may begin.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waiting: BTreeMap<TenantId, Wall>,
    order: BTreeSet<(Wall, TenantId)>,
    /// Of the changes that were begun when the youngest of each tenant was.
    begun: BTreeMap<TenantId, Boot>,
    next: Boot,
}

impl Pace {
    /// Whether to begin with a tenant's change, proposed at `proposed`, that nobody `has_begun` or somebody else has.
    /// If not, it is this tenant's turn later.
    pub(super) fn may_begin(&mut self, tenant: TenantId, proposed: Wall, has_begun: bool, now: Boot) -> bool {
        self.forget(&tenant);
        let is_first = self.order.first().is_none_or(|first| *first > (proposed, tenant));
        let may = has_begun || (is_first && self.has_room(now));
        if !may {
            self.waiting.insert(tenant, proposed);
            self.order.insert((proposed, tenant));
            return false;
        }
        self.begun.insert(tenant, now);
        // However many others begin, this node waits no longer than for as many as may be under way.
        let latest = now.plus(Millis(PACE.0 * AT_ONCE as u64));
        self.next = self.next.max(now).plus(PACE).min(latest);
        true
    }

    fn forget(&mut self, tenant: &TenantId) {
        if let Some(proposed) = self.waiting.remove(tenant) {
            self.order.remove(&(proposed, *tenant));
        }
    }

    /// Nothing of a tenant is under way any more.
    pub(super) fn is_over(&mut self, tenant: &TenantId) {
        self.begun.remove(tenant);
    }

    fn has_room(&self, now: Boot) -> bool {
        now >= self.next && self.begun.values().filter(|begun| now.since(**begun) < PATIENCE).count() < AT_ONCE
    }

    /// The tenant whose turn it is. It waits no longer, unless [`Pace::may_begin`] says so.
    pub(super) fn take_turn(&mut self, now: Boot) -> Option<TenantId> {
        self.begun.retain(|_, begun| now.since(*begun) < PATIENCE);
        let (_, tenant) = *self.order.first().filter(|_| self.has_room(now))?;
        self.forget(&tenant);
        Some(tenant)
    }

    /// When it may be somebody's turn.
    pub(super) fn next_wake(&self) -> Option<Boot> {
        self.order.first()?;
        // With no room there is some when one ends, which is noticed then, or has lasted too long.
        let oldest = self.begun.values().min().filter(|_| self.begun.len() >= AT_ONCE);
        Some(oldest.map_or(self.next, |oldest| oldest.plus(PATIENCE).max(self.next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u64) -> TenantId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        TenantId::from_bytes(bytes)
    }

    /// Who begins from `from` to `to`, when woken as asked for; each change takes `lasts`.
    fn begin_all(pace: &mut Pace, from: Boot, to: Boot, lasts: Option<Millis>) -> Vec<(Boot, TenantId)> {
        let mut begun: Vec<(Boot, TenantId)> = Vec::new();
        let mut now = from;
        while now < to {
            for (at, tenant) in &begun {
                if lasts.is_some_and(|lasts| now.since(*at) >= lasts) {
                    pace.is_over(tenant);
                }
            }
            while let Some(turn) = pace.take_turn(now) {
                assert!(pace.may_begin(turn, Wall(0), false, now), "whose turn it is begins");
                begun.push((now, turn));
            }
            let next_end = begun.iter().filter_map(|(at, _)| Some(at.plus(lasts?))).find(|end| *end > now);
            let Some(wake) = pace.next_wake().into_iter().chain(next_end).min() else { break };
            assert!(wake > now, "nobody is woken for nothing, at {now:?}");
            now = wake;
        }
        begun
    }

    fn propose(pace: &mut Pace, many: u64, now: Boot) -> Vec<TenantId> {
        let proposed = |number: u64| Wall(1_000 + (number * 7) % many);
        let begun = (0..many).filter(|n| pace.may_begin(tenant(*n), proposed(*n), false, now));
        begun.map(tenant).collect()
    }

    #[test]
    fn a_single_change_begins_at_once() {
        let mut pace = Pace::default();
        assert!(pace.may_begin(tenant(1), Wall(5), false, Boot(0)));
        assert_eq!(pace.next_wake(), None);
        pace.is_over(&tenant(1));
        assert!(pace.may_begin(tenant(2), Wall(6), false, Boot(PACE.0)));
    }

    #[test]
    fn many_begin_one_after_another_in_the_order_of_their_proposals() {
        let mut pace = Pace::default();
        let first = propose(&mut pace, 100, Boot(0));
        assert_eq!(first, [tenant(0)]);
        let begun = begin_all(&mut pace, Boot(0), Boot(60_000), Some(Millis(200)));
        assert_eq!(begun.len(), 99);
        assert!(begun.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= PACE));
        assert!(begun[98].0 <= Boot(100 * PACE.0), "and no later than that");
        let order: Vec<u64> = begun.iter().map(|(_, t)| (0..100).find(|n| tenant(*n) == *t).unwrap_or(0)).collect();
        assert!(order.windows(2).all(|pair| (pair[0] * 7) % 100 < (pair[1] * 7) % 100));
    }

    #[test]
    fn changes_that_come_to_nothing_hold_up_the_others_for_a_while_only() {
        let mut pace = Pace::default();
        propose(&mut pace, 40, Boot(0));
        let begun = begin_all(&mut pace, Boot(0), Boot(3 * PATIENCE.0), None);
        let within = |from: u64, to: u64| begun.iter().filter(|(at, _)| (from..to).contains(&at.0)).count();
        assert_eq!(within(0, PATIENCE.0), AT_ONCE - 1, "one began when it was proposed");
        assert_eq!(begun.len(), 39);
    }

    #[test]
    fn what_others_began_is_joined_and_counts() {
        let mut pace = Pace::default();
        assert!(!propose(&mut pace, 10, Boot(0)).is_empty());
        assert!(pace.may_begin(tenant(9), Wall(0), true, Boot(1)), "others began it");
        assert_eq!(pace.take_turn(Boot(PACE.0)), None, "which puts off the next one");
        assert!(pace.take_turn(Boot(2 * PACE.0)).is_some());
        // Nobody can put this node off for long by beginning much.
        (100..1_000).for_each(|n| assert!(pace.may_begin(tenant(n), Wall(0), true, Boot(500))));
        (100..1_000).for_each(|n| pace.is_over(&tenant(n)));
        assert!(pace.next_wake().is_some_and(|wake| wake <= Boot(500 + PACE.0 * AT_ONCE as u64)));
    }

    #[test]
    fn a_tenant_waits_in_one_place_only() {
        let mut pace = Pace::default();
        propose(&mut pace, 3, Boot(0));
        assert!(!pace.may_begin(tenant(2), Wall(1), false, Boot(1)));
        assert!(!pace.may_begin(tenant(2), Wall(9_000), false, Boot(1)));
        let begun = begin_all(&mut pace, Boot(1), Boot(1_000), Some(Millis(10)));
        assert_eq!(begun.into_iter().map(|(_, tenant)| tenant).collect::<Vec<_>>(), [tenant(1), tenant(2)]);
    }
}
