//! What comes of what was asked.

use keymesh_mesh::custody::message::Verdict;
use keymesh_mesh::view::releasable;
use keymesh_wire::body::{CustodianAccusation, SharingRef};
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{KeyId, NodeId};

use super::{Run, Then, Waiting, What};
use crate::agents::Found;
use crate::draw;
use crate::world::{Denied, Outcome};

/// How long custodians have for a blind release, in virtual milliseconds.
const BLIND_PATIENCE: u64 = 1_500;
/// How long an answer is waited for before the client gives up, in virtual milliseconds.
const PATIENCE: u64 = 20_000;

impl Run {
    /// Lets time pass and looks at what came meanwhile.
    pub(super) fn pass(&mut self, span: u64) {
        let end = self.world.at() + span;
        while self.world.at() < end {
            let left = (end - self.world.at()).min(250);
            self.world.run(left);
            self.look();
        }
    }

    /// Looks at what came.
    pub(super) fn look(&mut self) {
        let at = self.world.at();
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting { handle, since, .. } = waiting;
            let old = at >= since + PATIENCE;
            let due = match (&waiting.what, self.world.outcome(handle)) {
                (What::Blind { .. } | What::Enrolment, _) => at >= since + BLIND_PATIENCE,
                (_, outcome) => outcome.is_some(),
            };
            if due {
                self.came(waiting);
            } else if !old {
                self.waiting.push(waiting);
            }
        }
    }

    fn came(&mut self, waiting: Waiting) {
        let handle = waiting.handle;
        match waiting.what {
            What::Blind { tenant, key, node, question, versions, epochs } => {
                let (opened, found) = self.world.found(node, &question, handle);
                self.tell_on(tenant, node, found);
                if let Err(why) = &opened
                    && versions > 0
                    && self.everybody_shows(node, tenant, &key, versions, &epochs)
                {
                    self.should_have_opened(tenant, key, handle, why);
                }
                self.opened(tenant, key, handle, opened);
                self.tenants[tenant].questions.push(question);
                self.tenants[tenant].questions.truncate(8);
                self.world.forget(handle);
            }
            What::Enrolment => {
                self.world.forget(handle);
            }
            What::Accusation { tenant, node, custodian, holds } => {
                if let Some(Outcome::Submitted(result)) = self.world.forget(handle) {
                    self.accused(tenant, node, custodian, holds, result.map(|_| ()));
                }
            }
            What::Said { kind, node, then } => {
                if let Some(Outcome::Submitted(result)) = self.world.forget(handle) {
                    self.said(kind, node, result.map(|_| ()), then);
                }
            }
            What::Release { tenant, key, node } => {
                if let Some(Outcome::Released(result)) = self.world.forget(handle) {
                    self.released(tenant, key, node, result.map(|data| data.expose_secret().to_vec()));
                }
            }
        }
    }

    /// The agent hands in what it can prove, and now and then what it cannot.
    fn tell_on(&mut self, tenant: usize, node: usize, found: Found) {
        let id = self.tenants[tenant].id;
        let of = |accusation: &CustodianAccusation| accusation.claim().ok().map(|claim| claim.binding.custodian);
        for proof in found.proofs {
            let Some(custodian) = of(&proof) else { continue };
            self.world.did(|| format!("custodian {custodian} is accused at n{}", node + 1));
            let handle = self.world.accuse(node, id, proof);
            let since = self.world.at();
            self.waiting.push(Waiting {
                handle,
                since,
                what: What::Accusation { tenant, node, custodian, holds: true },
            });
        }
        let honest = |(id, _): &(NodeId, CustodianAccusation)| {
            self.world.place(id).is_some_and(|place| !self.scenario.liars.contains(&place))
        };
        let Some((custodian, accusation)) = found.others.into_iter().find(honest) else { return };
        if draw::chance(&mut self.world.rng, 200) {
            self.world.did(|| format!("honest custodian {custodian} is accused at n{}", node + 1));
            let handle = self.world.accuse(node, id, accusation);
            let since = self.world.at();
            self.waiting.push(Waiting {
                handle,
                since,
                what: What::Accusation { tenant, node, custodian, holds: false },
            });
        }
    }

    fn accused(&mut self, tenant: usize, node: usize, who: NodeId, holds: bool, result: Result<(), WireError>) {
        let state = self.world.tenant(node, self.tenants[tenant].id);
        let shown = state.is_none_or(|state| state.is_accused(&who));
        let n = node + 1;
        match (holds, result) {
            (true, Ok(())) if shown => self.count("accusations by agents"),
            (true, Ok(())) => self.world.violation(format!("I2: n{n} takes the proof against {who} and shows nothing")),
            (true, Err(error)) if matches!(error.code, Code::StatementInvalid | Code::Malformed | Code::Internal) => {
                self.world.violation(format!("I2: n{n} does not take the proof against {who}: {error}"));
            }
            (true, Err(_)) => self.count("accusations not taken for now"),
            (false, Ok(())) => self.world.violation(format!("I2: n{n} believes a false accusation of {who}")),
            (false, Err(_)) => self.count("false accusations refused"),
        }
    }

    fn said(&mut self, kind: &'static str, node: usize, result: Result<(), WireError>, then: Then) {
        match result {
            Ok(()) if matches!(kind, "without a right" | "forged") => {
                self.world.violation(format!("I2: n{} takes what was said {kind}", node + 1));
            }
            Ok(()) => {
                self.count(format!("said {kind}"));
                match then {
                    Then::Nothing => {}
                    Then::Keyring { tenant, keyring } => self.tenants[tenant].keyrings.push(keyring),
                    Then::Key { tenant, key } => self.tenants[tenant].keys.push(key),
                    Then::Namespace { tenant, namespace } => self.tenants[tenant].namespaces.push(namespace),
                }
            }
            Err(error) => {
                let code = error.code;
                self.count(format!("refused to say: {code:?}"));
                let hostile = matches!(kind, "forged" | "by an old sight" | "create-key once more");
                if matches!(code, Code::Malformed | Code::StatementInvalid | Code::Internal) && !hostile {
                    self.world.violation(format!("n{} does not take {kind}: {error}", node + 1));
                }
            }
        }
    }

    fn released(&mut self, tenant: usize, key: KeyId, node: usize, result: Result<Vec<u8>, Denied>) {
        match result {
            Ok(data) => {
                self.count("released");
                let known = self.known_key(tenant, &key);
                if !known.is_some_and(|known| known.data.iter().any(|version| *version == *data)) {
                    self.world.violation(format!("I1: n{} releases for {key} what is not its key", node + 1));
                }
            }
            Err(Denied::Refused(_)) => self.count("releases refused"),
            Err(Denied::NoLease) => self.count("releases without a lease"),
            Err(Denied::Down | Denied::NoRecord | Denied::Grant(_)) => self.count("releases cut short"),
        }
    }

    /// How many versions of a key a node shows; none of one that is not to be released any more.
    pub(super) fn versions(&self, node: usize, tenant: usize, key: &KeyId) -> usize {
        let view = self.world.node(node).view().and_then(|view| view.tenant(&self.tenants[tenant].id));
        let key = view.and_then(|view| view.tenant().keys.get(key)).filter(|key| releasable(key.state));
        key.map_or(0, |key| key.versions.len())
    }

    /// Whether a node and all custodians that run show so many versions of a key and these epochs of its root: otherwise
    /// they speak of different ones.
    pub(super) fn everybody_shows(
        &self,
        node: usize,
        tenant: usize,
        key: &KeyId,
        versions: usize,
        epochs: &[u32],
    ) -> bool {
        let members = self.circles(tenant).into_iter().flat_map(|circle| circle.plan.members);
        let up = members.filter(|member| self.world.node(*member).view().is_some());
        up.chain([node]).all(|place| {
            let shown = self.settled_epochs(place, tenant);
            self.versions(place, tenant, key) == versions && shown.is_some_and(|shown| shown == epochs)
        })
    }

    /// Enough honest partials open, whatever liars add to them.
    fn should_have_opened(&mut self, tenant: usize, key: KeyId, handle: crate::world::Handle, why: &str) {
        // Parts of two sharings do not add up.
        let gave = |place: usize, sharing: Option<SharingRef>| {
            let id = self.world.node(place).id();
            let partial = |(who, verdict): &(NodeId, Verdict)| match verdict {
                Verdict::Partial(part) if *who == id => {
                    sharing.is_none_or(|of| (of.committee, of.epoch) == (part.committee, part.epoch))
                }
                _ => false,
            };
            let honest = !self.scenario.liars.contains(&place) && !self.spoiled.contains(&place);
            honest && self.world.gathered(handle).iter().any(partial)
        };
        let circles = self.circles(tenant);
        let enough = circles.iter().all(|circle| {
            let given = circle.plan.members.iter().filter(|place| gave(**place, circle.sharing)).count();
            given >= usize::from(circle.plan.threshold)
        });
        if enough && !circles.is_empty() {
            self.world.violation(format!("liveness: enough honest partials do not open {key}: {why}"));
        }
    }

    fn opened(&mut self, tenant: usize, key: KeyId, handle: crate::world::Handle, opened: Result<Vec<u8>, String>) {
        let refused =
            self.world.gathered(handle).iter().filter(|(_, verdict)| matches!(verdict, Verdict::No(_))).count();
        match opened {
            Ok(data) => {
                self.count("opened blindly");
                let known = self.known_key(tenant, &key);
                if !known.is_some_and(|known| known.data.iter().any(|version| *version == *data)) {
                    self.world.violation(format!("I1: a blind release of {key} gives what is not its key"));
                }
            }
            Err(_) if refused > 0 => self.count("blind releases refused"),
            Err(_) => self.count("blind releases without a quorum"),
        }
    }
}
