//! Enrolments: carries an agent's request to the custodians and waits until the instance is bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keymesh_mesh::custody::message::{CustodyMessage, Verdict};
use keymesh_mesh::view::View;
use keymesh_wire::api::Enrolled;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{NodeId, PrincipalId, TenantId};
use keymesh_wire::request::EnrolmentRequest;

use super::gather::{Gathering, short_of, telling};
use super::{Allowance, Node, served};
use crate::runtime::custodian;

/// How long votes are waited for: they are statements and must spread first.
const PATIENCE: Duration = Duration::from_secs(5);

impl Node {
    /// Has an instance bound to its agent's key.
    ///
    /// # Errors
    /// What most custodians say: [`Code::EvidenceInvalid`], [`Code::TicketInvalid`], [`Code::AlreadyBound`],
    /// [`Code::ClockDifference`], [`WireError::refused`]; [`Code::QuorumUnavailable`] if too few can answer;
    /// [`Code::Malformed`], [`Code::NotServedHere`], [`Code::Throttled`].
    pub async fn enrol(&self, envelope: Vec<u8>, allowance: &Allowance) -> Result<Enrolled, WireError> {
        let request = Verified::<EnrolmentRequest>::from_bytes(&envelope)
            .map_err(|error| WireError::new(Code::Malformed, format!("the enrolment: {error}")))?;
        let view = self.view();
        let tenant = served(&view, &request.tenant)?;
        if !(allowance.enrolments.take(1) && self.shared.enrolments.take(1)) {
            return Err(self.throttled());
        }
        let root = tenant.tenant().live_root().ok_or_else(|| {
            WireError::new(Code::QuorumUnavailable, "the tenant has no root yet, so nobody can vote; try again later")
        })?;
        let members: BTreeSet<NodeId> =
            root.committees.iter().flat_map(|committee| committee.spec.members.iter().copied()).collect();
        let mut votes: Vec<(BTreeSet<NodeId>, usize)> = Vec::new();
        for committee in &root.committees {
            votes.push((committee.spec.members.iter().copied().collect(), committee.vote_quorum()));
        }
        self.poll(&request, envelope, &members, &votes).await
    }

    async fn poll(
        &self,
        request: &Verified<EnrolmentRequest>,
        envelope: Vec<u8>,
        members: &BTreeSet<NodeId>,
        quorums: &[(BTreeSet<NodeId>, usize)],
    ) -> Result<Enrolled, WireError> {
        let mut published = self.published.subscribe();
        let mut gathering = Gathering::start(self, request.request);
        gathering.ask(members, &CustodyMessage::EnrolAsk(envelope));
        let mut waits = gathering.open.clone();
        let me = self.me;
        let own = async { if members.contains(&me) { Some(custodian::enrol(self, request).await) } else { None } };
        tokio::pin!(own);
        let mut own_done = false;
        // Of each committee how many voted or may still, and how many votes it takes.
        let mut hopeful: Vec<(usize, usize)>;
        let mut voted = BTreeSet::new();
        let mut refusals = BTreeMap::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if !voted.is_empty()
                && let Some(enrolled) = bound(&self.view(), &request.tenant, &request.agent)
            {
                return Ok(enrolled);
            }
            let may_vote = |members: &BTreeSet<NodeId>| {
                let may = |member: &&NodeId| {
                    voted.contains(*member) || waits.contains(*member) || (**member == me && !own_done)
                };
                members.iter().filter(may).count()
            };
            hopeful = quorums.iter().map(|(members, quorum)| (may_vote(members), *quorum)).collect();
            if hopeful.iter().any(|(may_vote, quorum)| may_vote < quorum) {
                break;
            }
            let (from, verdict) = tokio::select! {
                verdict = &mut own, if !own_done => {
                    own_done = true;
                    let Some(verdict) = verdict else { continue };
                    (me, verdict)
                }
                answer = gathering.next(), if !waits.is_empty() => answer,
                changed = published.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => break,
                },
                () = tokio::time::sleep_until(deadline) => break,
            };
            waits.remove(&from);
            match verdict {
                Verdict::Voted => {
                    voted.insert(from);
                }
                Verdict::No(refusal) => {
                    refusals.insert(from, refusal.code);
                }
                Verdict::Partial(_) => {}
            }
        }
        let codes: Vec<_> = refusals.into_values().collect();
        let error = telling(&codes);
        if error.code != Code::QuorumUnavailable {
            return Err(error);
        }
        // Where one committee cannot come to enough any more, the others were not waited for.
        let mut short = short_of("votes needed", &hopeful);
        if short.is_empty() {
            let cast = quorums.iter().map(|(members, quorum)| (members.intersection(&voted).count(), *quorum));
            short = short_of("votes needed", &cast.collect::<Vec<_>>());
        }
        Err(WireError::new(error.code, format!("too few custodians could answer in time: {short}")))
    }
}

/// The claim by which an agent's key is bound, as the view has it.
fn bound(view: &View, tenant: &TenantId, agent: &PrincipalId) -> Option<Enrolled> {
    let claim = &view.tenant(tenant)?.agents.get(agent)?.claim;
    Some(Enrolled { facts: claim.facts.clone(), votes: claim.votes.len() })
}
