//! Looking after generations that nobody attested yet: a lessee opens one by itself, so that keys can be sealed to it.
//!
//! A version is sealed only to a generation that a lessee other than its creator attested, and each lessee that opens one
//! is one more machine that can read it. So lessees take turns: the first opens it at once, the next only if nobody
//! attested it some time later. Without a quorum nothing can be opened; then the pauses grow.

use std::collections::BTreeMap;

use keymesh_wire::body::GenerationRef;
use keymesh_wire::ids::{NodeId, TenantId};
use keymesh_wire::time::{Boot, Millis, Now};

use super::{Replica, WISH, Wish};
use crate::view::{TenantView, View};

/// How long a lessee has before it is the next one's turn.
const TURN: Millis = Millis(3_000);
/// The longest pause between two tries of one lessee.
const PAUSE: Millis = Millis::seconds(120);

/// When a generation is looked after next, and how long after that again.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) due: Boot,
    pause: Millis,
}

impl Replica {
    /// Takes up a tenant's generations that wait for somebody to attest them, and forgets those that do not any more.
    pub(super) fn look_for_unattested(&mut self, tenant: TenantId, now: Now) {
        let Some(view) = self.view.tenants.get(&tenant) else { return };
        let waiting: BTreeMap<GenerationRef, u64> = match view.above {
            None => awaited(&self.view, view, self.me).collect(),
            Some(_) => BTreeMap::new(),
        };
        self.sponsored.retain(|(of, generation), _| *of != tenant || waiting.contains_key(generation));
        let pause = Millis(TURN.0 * view.tenant().nodes.len() as u64);
        for (generation, rank) in waiting {
            let due = now.boot.plus(Millis(TURN.0 * rank));
            self.sponsored.entry((tenant, generation)).or_insert(Turn { due, pause });
        }
    }

    /// Wants leases of the generations whose turn it is.
    pub(super) fn sponsor(&mut self, now: Now) {
        for (place, turn) in &mut self.sponsored {
            if now.boot < turn.due {
                continue;
            }
            turn.due = now.boot.plus(turn.pause);
            turn.pause = Millis((turn.pause.0 * 2).min(PAUSE.0));
            let wish = self.wishes.entry(*place).or_insert(Wish { until: now.boot, ask_at: now.boot });
            wish.until = wish.until.max(now.boot.plus(WISH));
        }
    }
}

/// The generations of a tenant that wait for a lessee, with how many lessees come before `me`.
fn awaited(view: &View, tenant: &TenantView, me: NodeId) -> impl Iterator<Item = (GenerationRef, u64)> {
    let state = tenant.tenant();
    let lessees: Vec<NodeId> = state
        .nodes
        .values()
        .filter(|placed| placed.lessee && view.counts(state, &placed.node))
        .map(|p| p.node)
        .collect();
    state.keyrings.iter().filter(|(_, ring)| tenant.roots.contains_key(&ring.root)).filter_map(move |(id, ring)| {
        let generation = ring.awaited(|node| view.members.contains_key(node))?;
        let others: Vec<&NodeId> = lessees.iter().filter(|node| **node != generation.creator).collect();
        let mine = others.iter().position(|node| **node == me)?;
        // Another one begins for each keyring, so that no machine comes to read everything.
        let first = usize::from(id.as_bytes()[0]) % others.len();
        Some((generation.id, ((mine + others.len() - first) % others.len()) as u64))
    })
}
