//! When a denial may stop denying, written down without any of the fold's code.
//!
//! Let a set hold a denial that the fold took for valid there. In every larger set it still denies, unless the larger set
//! holds one of these:
//!
//! - *a lift*: a statement that gives the thing again (or lifts the suspension, or adds the admin) and has the denial in
//!   its past;
//! - *a removal of the denial's author* (a suspension does as well, except against suspensions) that does not have the
//!   denial in its past, or, against suspensions, any removal of their author;
//! - the same removal of somebody else, on whose act the author's right rested: an addition, a lift or an endorsement in
//!   the denial's past, or an endorsement of the denial itself.
//!
//! A removal of an admin, once passed, yields to nothing but an addition that has seen it.
//!
//! A removal counts here once two distinct people stand behind it, which is weaker than what the fold demands; so the
//! oracle may excuse too much, never too little. How often nothing at all could excuse is measured by the properties.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, Subject};
use keymesh_wire::ids::{PrincipalId, StatementId};
use keymesh_wire::statement::Checked;

use crate::state::DocumentState;

/// A set of statements with everybody's past spelled out.
pub struct Facts<'s> {
    statements: BTreeMap<StatementId, &'s Checked>,
    pasts: BTreeMap<StatementId, BTreeSet<StatementId>>,
}

/// A denial that was undone without an excuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undone {
    /// The denial.
    pub denial: StatementId,
    /// Its kind.
    pub kind: &'static str,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Denials undone without an excuse.
    pub undone: Vec<Undone>,
    /// Denials that nothing could have excused, and that held.
    pub held_without_excuse: usize,
}

impl<'s> Facts<'s> {
    /// From statements of which parents come first.
    pub fn of(statements: &'s [Checked]) -> Self {
        let mut pasts: BTreeMap<StatementId, BTreeSet<StatementId>> = BTreeMap::new();
        for statement in statements {
            let mut past: BTreeSet<StatementId> = statement.parents().iter().copied().collect();
            for parent in statement.parents() {
                past.extend(&pasts[parent]);
            }
            pasts.insert(statement.id(), past);
        }
        Self { statements: statements.iter().map(|statement| (statement.id(), statement)).collect(), pasts }
    }

    fn saw(&self, later: StatementId, earlier: StatementId) -> bool {
        self.pasts[&later].contains(&earlier)
    }

    fn bodies(&self) -> impl Iterator<Item = (StatementId, PrincipalId, &'s Body)> {
        self.statements.values().filter_map(|s| s.body().map(|body| (s.id(), s.author(), body)))
    }

    fn supporters(&self, proposal: StatementId) -> BTreeSet<PrincipalId> {
        let endorsers = self.bodies().filter(|(id, _, body)| {
            matches!(body, Body::Endorse(target) if *target == proposal) && self.saw(*id, proposal)
        });
        endorsers.map(|(_, author, _)| author).chain([self.statements[&proposal].author()]).collect()
    }

    /// Removals and suspensions of `who` that may have passed.
    fn removals_of(&self, who: PrincipalId) -> impl Iterator<Item = (StatementId, bool)> {
        self.bodies().filter_map(move |(id, _, body)| match body {
            Body::RemoveAdmin(removed) if *removed == who && self.supporters(id).len() >= 2 => Some((id, false)),
            Body::SuspendAdmin(removed) if *removed == who => Some((id, true)),
            _ => None,
        })
    }

    /// Whether a removal of its author that had not seen `act` may void it.
    fn may_be_void(&self, act: StatementId) -> bool {
        let author = self.statements[&act].author();
        let exempt = matches!(self.statements[&act].body(), Some(Body::SuspendAdmin(_)));
        self.removals_of(author)
            .any(|(removal, is_suspension)| removal != act && !(self.saw(removal, act) || exempt && is_suspension))
    }

    /// Whether something gives back what `denial` took and has seen it.
    fn is_lifted(&self, denial: StatementId) -> bool {
        let Some(denied) = self.statements[&denial].body() else { return false };
        self.bodies().filter(|(id, ..)| self.saw(*id, denial)).any(|(_, _, body)| match (denied, body) {
            (Body::RevokeGrant(gone), Body::Grant(given)) => {
                (gone.principal, gone.role, gone.scope) == (given.principal, given.role, given.scope)
            }
            (Body::SuspendAdmin(who), Body::LiftSuspension(lifted)) => who == lifted,
            (Body::RemoveAdmin(who), Body::AddAdmin(added)) => *who == added.principal,
            (Body::RemoveNode(node), Body::AdmitNode(card)) => *node == card.node,
            (Body::DisplaceNode(node), Body::PlaceNode(placed)) => *node == placed.node,
            _ => false,
        })
    }

    /// Whether there is anything by which `denial` may have stopped denying.
    pub fn is_excused(&self, denial: StatementId) -> bool {
        let statement = self.statements[&denial];
        if self.is_lifted(denial) {
            return true;
        }
        match statement.body() {
            Some(Body::RemoveAdmin(_)) => return false,
            Some(Body::SuspendAdmin(_))
                if self.removals_of(statement.author()).any(|(_, is_suspension)| !is_suspension) =>
            {
                return true;
            }
            _ => {}
        }
        let confers =
            |body: Option<&Body>| matches!(body, Some(Body::AddAdmin(_) | Body::LiftSuspension(_) | Body::Endorse(_)));
        let rested_on = self.pasts[&denial].iter().filter(|id| confers(self.statements[*id].body())).copied();
        let endorsed_by = self
            .bodies()
            .filter(|(_, _, body)| matches!(body, Body::Endorse(target) if *target == denial))
            .map(|(id, ..)| id);
        rested_on.chain(endorsed_by).chain([denial]).any(|act| self.may_be_void(act))
    }

    /// Whether founders granted and revoked the same thing concurrently somewhere.
    pub fn has_concurrent_grant_and_revocation(&self, founders: &[PrincipalId]) -> bool {
        let concurrent = |a, b| !self.saw(a, b) && !self.saw(b, a);
        let by_founders = || self.bodies().filter(|(_, author, _)| founders.contains(author));
        by_founders().any(|(denial, _, denied)| {
            by_founders().any(|(gift, _, given)| {
                let same = match (denied, given) {
                    (Body::RevokeGrant(gone), Body::Grant(given)) => {
                        (gone.principal, gone.role, gone.scope) == (given.principal, given.role, given.scope)
                    }
                    (Body::RemoveNode(node), Body::AdmitNode(card)) => *node == card.node,
                    _ => false,
                };
                same && concurrent(denial, gift)
            })
        })
    }

    /// Whether somebody who is no admin at the end acted outside the past of a removal of them.
    pub fn has_removed_author_outside(&self, state: &DocumentState, founders: &[PrincipalId]) -> bool {
        founders.iter().filter(|who| !is_admin(state, who)).any(|who| {
            let removals = self.removals_of(*who).filter(|(_, is_suspension)| !is_suspension).map(|(id, _)| id);
            let acts: Vec<StatementId> =
                self.statements.values().filter(|s| s.author() == *who && s.body().is_some()).map(|s| s.id()).collect();
            let genesis = |id: StatementId| self.pasts[&id].is_empty();
            removals.into_iter().any(|removal| {
                acts.iter().any(|act| !genesis(*act) && !self.saw(removal, *act) && !self.saw(*act, removal))
            })
        })
    }
}

/// Checks every denial that was valid in a smaller set against the state of a larger one.
///
/// `valid` are the denials that held in the smaller set (for proposals: that had taken effect there).
pub fn check(larger: &Facts<'_>, valid: &[StatementId], state: &DocumentState) -> Verdict {
    let mut verdict = Verdict::default();
    for denial in valid {
        let Some(body) = larger.statements[denial].body() else { continue };
        if larger.is_excused(*denial) {
            continue;
        }
        if denies(body, *denial, state) {
            verdict.held_without_excuse += 1;
        } else {
            verdict.undone.push(Undone { denial: *denial, kind: body.kind() });
        }
    }
    verdict
}

/// Whether what `body` denies is denied in `state`.
pub fn denies(body: &Body, id: StatementId, state: &DocumentState) -> bool {
    match (body, state) {
        (Body::RevokeGrant(gone), DocumentState::Tenant(state)) => !state
            .grants
            .iter()
            .any(|grant| (grant.principal, grant.role, grant.scope) == (gone.principal, gone.role, gone.scope)),
        (Body::Revoke(gone), DocumentState::Tenant(state)) => {
            let shown = state.denials.contains_key(&id);
            let refused = match &gone.subject {
                Subject::Instance(instance) => state.denial_of(&PrincipalId::from_bytes([0; 32]), instance),
                Subject::Agent(agent) => state.denial_of(agent, ""),
            };
            shown && refused.is_some()
        }
        (Body::DisplaceNode(node), DocumentState::Tenant(state)) => !state.nodes.contains_key(node),
        (Body::RemoveNode(node), DocumentState::Mesh(state)) => !state.nodes.contains_key(node),
        (Body::RemoveAdmin(who), state) => !is_admin(state, who),
        (Body::SuspendAdmin(who), state) => !is_active(state, who),
        _ => true,
    }
}

fn is_admin(state: &DocumentState, who: &PrincipalId) -> bool {
    match state {
        DocumentState::Mesh(state) => state.admins.contains_key(who),
        DocumentState::Tenant(state) => state.admins.contains_key(who),
    }
}

fn is_active(state: &DocumentState, who: &PrincipalId) -> bool {
    let admin = match state {
        DocumentState::Mesh(state) => state.admins.get(who),
        DocumentState::Tenant(state) => state.admins.get(who),
    };
    admin.is_some_and(|admin| !admin.suspended)
}
