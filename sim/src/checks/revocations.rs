//! I6: once n − t + 1 + f custodians of a committee hold a revocation on their disks and said so, nobody gathers a quorum
//! for its subject any more, and a lease time later nobody releases to it; and who says to hold one holds it.
//!
//! When that is so follows here from the disks, not from what any node makes of it.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CustodyClass};
use keymesh_wire::ids::{DocumentId, KeyId, NodeId, PrincipalId, RequestId, RootId, StatementId, TenantId};
use keymesh_wire::statement::Checked;

use super::releases::Releases;
use super::{Look, place_of};
use crate::model::Model;
use crate::model::facts::{Root, is_about, is_effective};
use crate::seen::Seen;

/// How much later than a lease time a key may leave, for what the boot clocks of machines differ in rate, in thousandths.
const RATE: u64 = 5;

/// Who contributed with shares of which committee, by their epochs.
type Contributors = BTreeMap<(u8, u32), BTreeSet<NodeId>>;

#[derive(Debug, Default)]
pub(super) struct Revocations {
    /// By denial, who holds it and said so.
    holders: BTreeMap<StatementId, BTreeSet<NodeId>>,
    /// From when on a denial is in force for what a root guards.
    since: BTreeMap<(StatementId, RootId), u64>,
    /// Contributions to a request in spite of it.
    late: BTreeMap<(StatementId, RequestId), Contributors>,
    /// Whose boot clock was tampered with, so that no virtual time can be asked of it.
    stopped: BTreeSet<usize>,
    /// Who may have forgotten what it knew when it asked.
    older: BTreeSet<usize>,
}

impl Revocations {
    pub(super) fn stored(&mut self, look: &mut Look<'_>, node: usize, statement: &Checked) {
        let Some(Body::Witness(held)) = statement.body() else { return };
        if place_of(look.model, &statement.author()) != Some(node) {
            return;
        }
        let document = statement.document();
        let Some(facts) = look.model.facts(node, &document) else { return };
        for denial in held {
            if look.is_honest(node) && !look.model.holds(node, denial) {
                look.wrong.push(format!("I6: n{} says to hold {denial} and does not", node + 1));
            } else if facts.denials.contains_key(denial) {
                self.holders.entry(*denial).or_default().insert(statement.author());
                self.count(look, *denial, &facts.roots);
            }
        }
    }

    fn count(&mut self, look: &mut Look<'_>, denial: StatementId, roots: &BTreeMap<RootId, Root>) {
        let holders = self.holders.get(&denial).cloned().unwrap_or_default();
        for (id, root) in roots.iter().filter(|(_, root)| root.live) {
            let known = self.since.contains_key(&(denial, *id));
            match is_effective([root].into_iter(), &holders) {
                true if !known => {
                    self.since.insert((denial, *id), look.at);
                    look.coverage.count("revocations effective");
                }
                true => {}
                false => {
                    self.since.remove(&(denial, *id));
                }
            }
        }
    }

    pub(super) fn see(&mut self, look: &mut Look<'_>, seen: &Seen<'_>, releases: &Releases) {
        match *seen {
            Seen::Clock { node, .. } => {
                self.stopped.insert(node);
            }
            // Of an identity with two machines the one that asks may know what the other's disk does not show.
            Seen::RolledBack { node } | Seen::Cloned { node, .. } => {
                self.older.insert(node);
            }
            Seen::Started { node, statements } => self.restarted(look.model, node, statements),
            Seen::Answered { node, handle, result: Ok(_), .. } if look.is_honest(node) => {
                let Some(asked) = releases.asked(&handle) else { return };
                self.released(look, node, asked.wish.agent, asked.wish.tenant, asked.wish.key);
            }
            Seen::Contributed { node, request, agent, tenant, key, shares, .. } if look.is_honest(node) => {
                self.contributed(look, node, request, (agent, tenant, key), shares);
            }
            Seen::Leased { node, lessee, tenant, .. } if look.is_honest(node) => {
                self.leased(look, node, lessee, tenant);
            }
            _ => {}
        }
    }

    /// Who came back without what it held is no holder.
    fn restarted(&mut self, model: &Model, node: usize, statements: &BTreeSet<StatementId>) {
        for (denial, holders) in &mut self.holders {
            if !statements.contains(denial) && holders.iter().any(|holder| place_of(model, holder) == Some(node)) {
                holders.retain(|holder| place_of(model, holder) != Some(node));
                // It may be in force without it; the next one to say so counts them again.
                self.since.retain(|(of, _), _| of != denial);
            }
        }
    }

    /// Denials of an agent in force for a key, with since when.
    fn against(
        &self,
        look: &Look<'_>,
        node: usize,
        agent: PrincipalId,
        document: DocumentId,
        key: KeyId,
    ) -> Vec<(StatementId, RootId, u64)> {
        if self.since.is_empty() {
            return Vec::new();
        }
        let Some(facts) = look.model.facts(node, &document) else { return Vec::new() };
        let Some(keyring) = facts.keys.get(&key).and_then(|key| facts.keyrings.get(&key.keyring)) else {
            return Vec::new();
        };
        let instance = facts.instance_of(&agent).map(|facts| facts.instance.clone()).unwrap_or_default();
        let about = |denial: &StatementId| match look.model.statement(denial).and_then(Checked::body) {
            Some(Body::Revoke(revocation)) => is_about(&revocation.subject, &agent, &instance),
            _ => false,
        };
        let in_force = self.since.iter().filter(|((denial, root), _)| *root == keyring.root && about(denial));
        let found: Vec<_> = in_force.map(|((denial, root), since)| (*denial, *root, *since)).collect();
        // A denial whose author was removed meanwhile denies nothing; that is known to all together.
        let all = (!found.is_empty()).then(|| look.model.all_facts(&document)).flatten();
        let stands = |denial: &StatementId| all.as_ref().is_some_and(|all| all.denials.contains_key(denial));
        found.into_iter().filter(|(denial, ..)| stands(denial)).collect()
    }

    fn released(&self, look: &mut Look<'_>, node: usize, agent: PrincipalId, tenant: TenantId, key: KeyId) {
        let document = tenant.into();
        let facts = look.model.facts(node, &document);
        let class = facts.as_ref().and_then(|facts| Some(&facts.keyrings.get(&facts.keys.get(&key)?.keyring)?.class));
        let lease = match class {
            Some(CustodyClass::Leased { lease, .. }) => lease.0,
            Some(CustodyClass::Quorum) | None => 0,
        };
        let slack = lease * RATE / 1000 + 1;
        for (denial, _, since) in self.against(look, node, agent, document, key) {
            if look.at > since + lease + slack && !self.stopped.contains(&node) {
                let after = look.at - since;
                look.wrong.push(format!("I6: n{} releases {key} {after} ms after {denial} was effective", node + 1));
            }
        }
    }

    fn contributed(
        &mut self,
        look: &mut Look<'_>,
        node: usize,
        request: RequestId,
        (agent, tenant, key): (PrincipalId, TenantId, KeyId),
        shares: &[(u8, u32)],
    ) {
        let Some(me) = look.model.id(node) else { return };
        for (denial, root, _) in self.against(look, node, agent, tenant.into(), key) {
            let late = self.late.entry((denial, request)).or_default();
            for share in shares {
                late.entry(*share).or_default().insert(me);
            }
            let facts = look.model.all_facts(&tenant.into());
            let committees = facts.as_ref().and_then(|facts| facts.roots.get(&root)).map(|root| &root.committees);
            // Partials of one sharing open together.
            let quorum = committees.is_some_and(|committees| {
                (0u8..).zip(committees).all(|(number, committee)| {
                    (0u32..).zip(&committee.sharings).any(|(epoch, spec)| {
                        let given = late.get(&(number, epoch));
                        let given = spec.members.iter().filter(|member| given.is_some_and(|g| g.contains(*member)));
                        given.count() >= usize::from(spec.threshold)
                    })
                })
            });
            if quorum {
                look.wrong.push(format!("I6: a quorum opens {key} although {denial} was effective"));
            }
        }
    }

    /// Whoever knows a denial contributes to no lease of a node that does not.
    fn leased(&self, look: &mut Look<'_>, node: usize, lessee: NodeId, tenant: TenantId) {
        let Some(place) = place_of(look.model, &lessee) else { return };
        if self.older.contains(&place) || !look.is_honest(place) {
            return;
        }
        let Some(facts) = look.model.facts(node, &tenant.into()) else { return };
        for denial in facts.denials.keys().filter(|denial| !look.model.holds(place, denial)) {
            let (n, m) = (node + 1, place + 1);
            look.wrong.push(format!("I6: n{n} knows {denial} and contributes to a lease of n{m}, which does not"));
        }
    }
}
