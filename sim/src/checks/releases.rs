//! Releases and contributions: judged by the oracle at the decision and when something leaves (I2, I4, I5), recorded before
//! (I7), within a lease that is not longer than it may be (I6).

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::body::{CustodyClass, GenerationRef};
use keymesh_wire::ids::{KeyringId, NodeId, RequestId, TenantId};
use keymesh_wire::time::{Boot, Millis, Now, Wall};

use super::Look;
use crate::model::facts::Facts;
use crate::model::{Verdict, Wish};
use crate::seen::Seen;
use crate::world::{CLOCK_TOLERANCE, Handle};

/// A release that an agent asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub node: usize,
    pub wish: Wish,
    pub request: RequestId,
}

#[derive(Debug, Default)]
pub(super) struct Releases {
    asked: BTreeMap<Handle, Asked>,
    /// By handle, what the key held when it was decided; absent if nobody told.
    decided: BTreeMap<Handle, Option<Vec<u8>>>,
    allowed: BTreeSet<(usize, &'static str, RequestId)>,
    /// Leases with a durable record that were not seen to be used yet, by the request that opened them.
    opened: BTreeMap<(usize, TenantId, KeyringId), Vec<RequestId>>,
    /// When somebody first contributed to a request.
    first: BTreeMap<RequestId, u64>,
    /// Whose boot clock does not run with virtual time.
    tampered: BTreeSet<usize>,
    leases: BTreeMap<(usize, TenantId, GenerationRef), Boot>,
}

fn name(kind: AuditKind) -> &'static str {
    match kind {
        AuditKind::Release => "release",
        AuditKind::QuorumPartial => "quorum partial",
        AuditKind::LeasePartial => "lease partial",
        AuditKind::Enrolment => "enrolment",
        AuditKind::LeaseOpened => "lease opened",
        AuditKind::Start => "start",
        AuditKind::ShareRepair => "share repair",
    }
}

impl Releases {
    /// What was asked under a handle.
    pub(super) fn asked(&self, handle: &Handle) -> Option<&Asked> {
        self.asked.get(handle)
    }

    pub(super) fn see(&mut self, look: &mut Look<'_>, seen: &Seen<'_>) {
        if let Seen::Leased { request, .. } = seen {
            self.first.entry(*request).or_insert(look.at);
        }
        match *seen {
            Seen::Asked { node, handle, request, agent, tenant, key } => {
                let wish = Wish { agent, tenant, key, blind: false };
                self.asked.insert(handle, Asked { node, wish, request });
            }
            Seen::Clock { node, .. } => {
                self.tampered.insert(node);
            }
            Seen::Acknowledged { node, statements, .. } if look.is_honest(node) => {
                for id in statements {
                    if let Some(what) = look.model.unfit_seal(node, id) {
                        look.wrong.push(format!("I2: n{} takes {id}, which is sealed to {what}", node + 1));
                    }
                }
            }
            Seen::Recorded { node, record } => self.record(node, record),
            Seen::Crashed { node, .. } | Seen::Started { node, .. } => {
                self.leases.retain(|(at, ..), _| *at != node);
                self.opened.retain(|(at, ..), _| *at != node);
                self.asked.retain(|_, asked| asked.node != node);
                self.decided.retain(|handle, _| self.asked.contains_key(handle));
            }
            Seen::Decided { node, handle, agent, tenant, key, release, blind, .. } if look.is_honest(node) => {
                let wish = Wish { agent, tenant, key, blind };
                decided(look, node, &wish, release);
                if let Some(handle) = handle {
                    self.decided.insert(handle, look.model.newest(node, &wish).map(<[u8]>::to_vec));
                }
            }
            Seen::Answered { node, handle, now, result } => {
                let (asked, held) = (self.asked.get(&handle).copied(), self.decided.remove(&handle));
                if let (Ok(data), Some(asked), true) = (result, asked, look.is_honest(node)) {
                    self.released(look, &asked, held.flatten(), now, data);
                }
            }
            Seen::Contributed { node, request, issued, agent, tenant, key, now, .. } if look.is_honest(node) => {
                check_custodian(look, node, tenant, issued, now);
                let wish = Wish { agent, tenant, key, blind: true };
                if let Verdict::MustNot(reason) = look.model.judge(node, &wish) {
                    look.wrong
                        .push(format!("I5: n{} contributes to a release of {key} in spite of {reason:?}", node + 1));
                }
                self.check_record(look, node, AuditKind::QuorumPartial, request);
            }
            Seen::Leased { node, request, issued, lessee, tenant, keyring, now, .. } if look.is_honest(node) => {
                check_custodian(look, node, tenant, issued, now);
                check_lessee(look, node, lessee, tenant, keyring);
                self.check_record(look, node, AuditKind::LeasePartial, request);
            }
            Seen::LeaseHeld { node, now, tenant, generation, expires } if look.is_honest(node) => {
                self.leased(look, node, now, (tenant, generation), expires);
            }
            _ => {}
        }
    }

    fn record(&mut self, node: usize, record: &AuditRecord) {
        if record.outcome == Outcome::Allowed {
            self.allowed.insert((node, name(record.kind), record.request));
        }
        if let (AuditKind::LeaseOpened, Some(tenant), Some(keyring)) = (record.kind, record.tenant, record.keyring) {
            self.opened.entry((node, tenant, keyring)).or_default().push(record.request);
        }
    }

    fn check_record(&self, look: &mut Look<'_>, node: usize, kind: AuditKind, request: RequestId) {
        if !self.allowed.contains(&(node, name(kind), request)) {
            look.wrong.push(format!("I7: n{} has no durable record of the {} it made", node + 1, name(kind)));
        }
    }

    fn released(&self, look: &mut Look<'_>, asked: &Asked, held: Option<Vec<u8>>, now: Now, data: &[u8]) {
        let (node, wish) = (asked.node, &asked.wish);
        let (n, key) = (node + 1, wish.key);
        if let Verdict::MustNot(reason) = look.model.judge(node, wish) {
            look.wrong.push(format!("{}: n{n} releases {key} in spite of {reason:?}", reason.invariant()));
        }
        if held.is_some_and(|held| held != data) {
            look.wrong.push(format!("I2: n{n} hands out other bytes than {key} holds"));
        }
        self.check_record(look, node, AuditKind::Release, asked.request);
        let facts = look.model.facts(node, &wish.tenant.into());
        let keyring = facts.and_then(|facts| facts.keys.get(&key).map(|key| key.keyring));
        let runs = self.leases.iter().any(|((at, tenant, generation), expires)| {
            (*at, *tenant, Some(generation.keyring)) == (node, wish.tenant, keyring) && now.boot < *expires
        });
        if !runs {
            look.wrong.push(format!("I6: n{n} releases {key} without a lease that runs"));
        }
    }

    fn leased(&mut self, look: &mut Look<'_>, node: usize, now: Now, of: (TenantId, GenerationRef), expires: Boot) {
        let (tenant, generation) = of;
        let keyring = generation.keyring;
        let facts = look.model.facts(node, &tenant.into());
        let n = node + 1;
        let Some(lease) = facts.as_ref().and_then(|facts| lease_of(facts, &keyring)) else {
            return look.wrong.push(format!("I2: n{n} has a lease of {keyring}, which it does not know as leased"));
        };
        let left = expires.0.saturating_sub(now.boot.0);
        if left > lease.0 {
            look.wrong.push(format!("I6: n{n} has a lease for {left} ms more, at most {lease} are allowed"));
        }
        let opened = self.opened.get_mut(&(node, tenant, keyring)).and_then(Vec::pop);
        match opened.map(|request| self.first.get(&request)) {
            None => look.wrong.push(format!("I7: n{n} uses a lease of {keyring} without a durable record of it")),
            Some(first) => {
                // It was asked for no later than somebody first contributed, and runs from then on.
                let whole = left + first.map_or(0, |first| look.at - first);
                if whole > lease.0 && !self.tampered.contains(&node) {
                    let more = whole - lease.0;
                    look.wrong.push(format!("I6: n{n} counts a lease from {more} ms after the first contribution"));
                }
            }
        }
        self.leases.insert((node, tenant, generation), expires);
    }
}

/// How long leases of a keyring last, if it is leased.
fn lease_of(facts: &Facts, keyring: &KeyringId) -> Option<Millis> {
    match facts.keyrings.get(keyring)?.class {
        CustodyClass::Leased { lease, .. } => Some(lease),
        CustodyClass::Quorum => None,
    }
}

/// I5: a custodian contributes as a member of the mesh that the tenant placed, and to fresh requests by its own clock.
fn check_custodian(look: &mut Look<'_>, node: usize, tenant: TenantId, issued: Wall, now: Now) {
    let n = node + 1;
    let facts = look.model.facts(node, &tenant.into());
    let me = look.model.id(node);
    let counts = facts.is_some_and(|facts| me.is_some_and(|me| look.model.is_counted(node, &facts, &me)));
    if !counts {
        look.wrong.push(format!("I5: n{n} contributes although it was removed or displaced and knows it"));
    }
    // A contribution leaves a little after it was decided.
    let apart = issued.distance(now.wall);
    if apart > Millis(CLOCK_TOLERANCE.0 + 1000) {
        look.wrong.push(format!("I5: n{n} contributes to a request whose time is {apart} from its own"));
    }
}

fn decided(look: &mut Look<'_>, node: usize, wish: &Wish, release: bool) {
    let verdict = look.model.judge(node, wish);
    look.coverage.count(match &verdict {
        Verdict::May => "oracle said may",
        Verdict::MustNot(reason) if reason.invariant() == "I4" => "oracle said must not, for a denial",
        Verdict::MustNot(_) => "oracle said must not, for want of a right",
        Verdict::Either(_) => "oracle said either",
    });
    match verdict {
        Verdict::MustNot(reason) if release => {
            let name = if wish.blind { "I5" } else { reason.invariant() };
            look.wrong.push(format!("{name}: n{} decides to release {} in spite of {reason:?}", node + 1, wish.key));
        }
        // A custodian has other reasons not to contribute, such as a clock or a capsule that has not arrived.
        Verdict::May if !release && !wish.blind => {
            look.wrong.push(format!("I3: n{} refuses {} although all it holds permits it", node + 1, wish.key));
        }
        Verdict::May | Verdict::MustNot(_) | Verdict::Either(_) => {}
    }
}

fn check_lessee(look: &mut Look<'_>, node: usize, lessee: NodeId, tenant: TenantId, keyring: KeyringId) {
    let Some(facts) = look.model.facts(node, &tenant.into()) else {
        return look.wrong.push(format!("I5: n{} contributes to a lease of a tenant that it does not hold", node + 1));
    };
    if !look.model.may_lease(node, &facts, &lessee) {
        look.wrong.push(format!("I5: n{} contributes to a lease of {lessee}, which may not lease", node + 1));
    }
    let leased = facts.keyrings.get(&keyring).is_some_and(|at| matches!(at.class, CustodyClass::Leased { .. }));
    if !leased {
        look.wrong.push(format!("I5: n{} contributes to a lease of {keyring}, which is not leased", node + 1));
    }
}
