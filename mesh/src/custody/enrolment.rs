//! Enrolment: binding an instance to an agent's key, by each custodian's own check (I5, I9).
//!
//! A custodian verifies the evidence against the certificates its own replica trusts, the ticket against the launchers
//! registered there, and that both speak of the same launch. It votes once per instance. A later key for the same instance
//! is refused and recorded as an alarm; the first is not disturbed. So is a key that belongs to another instance. The same
//! key for the same instance again is a reboot and passes.

use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::body::{EnrolmentVote, InstanceFacts};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{BlobHash, NodeId};
use keymesh_wire::limits;
use keymesh_wire::request::EnrolmentRequest;
use keymesh_wire::ticket::{Ticket, Voucher};
use keymesh_wire::time::{Millis, Now};
use sha2::{Digest, Sha256};

use super::message::{Refusal, RefusalCode};
use super::partial::no;
use crate::evidence::{Evidence, fits_ticket};
use crate::mutant::{self, Mutant};
use crate::state::tenant::{Claim, TenantState};
use crate::view::View;

/// How far a launcher's and a provider's clocks may be apart.
const LAUNCH_SKEW: Millis = Millis::seconds(300);

/// What a custodian decided about an enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrolmentDecision {
    /// Vote, unless it has voted so already.
    Vote(Box<EnrolmentVote>),
    /// This custodian has voted for exactly this, or the claim is fixed already.
    Known(InstanceFacts),
}

/// Decides about an enrolment, from this custodian's own replica.
pub fn decide_enrolment(
    view: &View,
    request: &Verified<EnrolmentRequest>,
    now: Now,
) -> (Result<EnrolmentDecision, Refusal>, AuditRecord) {
    let mut record = AuditRecord::new(AuditKind::Enrolment, Outcome::Refused, now.wall, view.me, request.request);
    record.tenant = Some(request.tenant);
    record.asker = Some(request.agent);
    let decision = enrol(view, request, now, &mut record);
    match &decision {
        Ok(_) => record.outcome = Outcome::Allowed,
        Err(refusal) => record.reason = Some(refusal.reason.clone()),
    }
    (decision, record)
}

fn enrol(
    view: &View,
    request: &Verified<EnrolmentRequest>,
    now: Now,
    record: &mut AuditRecord,
) -> Result<EnrolmentDecision, Refusal> {
    if request.issued.distance(now.wall) > view.clock_tolerance {
        let differs = request.issued.distance(now.wall);
        let reason = format!("the clocks differ by {differs}, at most {} is tolerated", view.clock_tolerance);
        return Err(no(RefusalCode::ClockDifference, reason));
    }
    let tenant = view
        .tenant(&request.tenant)
        .ok_or_else(|| no(RefusalCode::NotReady, "this custodian does not hold the tenant's document"))?;
    let state = tenant.tenant();
    let evidence: Evidence = codec::decode(&request.evidence, limits::EVIDENCE_BYTES + 64)
        .map_err(|error| no(RefusalCode::EvidenceInvalid, format!("evidence: {error}")))?;
    let shown = evidence
        .verify(&tenant.evidence)
        .map_err(|error| no(RefusalCode::EvidenceInvalid, format!("evidence: {error}")))?;
    record.instance = Some(shown.instance.clone());
    record.zone = Some(shown.zone.clone());
    record.image = Some(shown.image.clone());
    if !view.counts(state, &view.me) {
        let reason = "this node is not admitted, or not placed by the tenant: its vote would not count";
        return Err(no(RefusalCode::NotReady, reason));
    }
    if let Some(denial) = state.denial_of(&request.agent, &shown.instance) {
        return Err(no(RefusalCode::Refused, format!("revoked by {}: {}", denial.statement, denial.reason)));
    }
    if let Some(enrolment) = state.enrolments.get(&shown.instance) {
        // The fixed claim counts before this custodian's own vote, which may have been for a key that lost.
        let mine = || enrolment.claims.iter().find(|claim| claim.votes.contains(&view.me));
        let first = enrolment.holder().or_else(mine);
        let known = first.filter(|claim| claim.agent == request.agent || !mutant::is(Mutant::TwoKeysOneInstance));
        if let Some(claim) = known {
            record.launched_by = Some(claim.facts.launched_by.clone());
            if claim.agent != request.agent {
                let reason = format!("alarm: the instance is bound to {}, another key asks for it", claim.agent);
                return Err(no(RefusalCode::AlreadyBound, reason));
            }
            return Ok(EnrolmentDecision::Known(claim.facts.clone()));
        }
    }
    if let Some(other) = held_elsewhere(view, state, request, &shown.instance) {
        let reason = format!("alarm: the agent's key is that of instance {other}, another instance shows it");
        return Err(no(RefusalCode::AlreadyBound, reason));
    }
    let ticket = Verified::<Ticket>::from_bytes(&request.ticket)
        .map_err(|error| no(RefusalCode::TicketInvalid, format!("ticket: {error}")))?;
    let launched_by = check_ticket(state, request, &ticket, &shown.instance, view.me, now)?;
    fits_ticket(shown.pending, ticket.issued, ticket.expires, LAUNCH_SKEW)
        .map_err(|mismatch| no(RefusalCode::EvidenceInvalid, mismatch.to_string()))?;
    // One key at two machines is a copy of a machine until a person has looked at it (I9).
    if let Some(other) = state.instance_of(&request.agent, &view.me).filter(|other| *other != shown.instance) {
        let reason = format!("alarm: the agent's key belongs to instance {other}, another instance asks with it");
        return Err(no(RefusalCode::AlreadyBound, reason));
    }
    record.launched_by = Some(launched_by.clone());
    Ok(EnrolmentDecision::Vote(Box::new(EnrolmentVote {
        agent: request.agent,
        facts: InstanceFacts {
            instance: shown.instance,
            provider: shown.provider,
            account: shown.account,
            region: shown.region,
            zone: shown.zone,
            image: shown.image,
            pending: shown.pending,
            launched_by,
        },
        evidence: BlobHash::from_bytes(Sha256::digest(&request.evidence).into()),
        ticket: ticket.nonce,
        launcher: ticket.launcher,
    })))
}

/// Another instance that this agent's key is bound to, or that this custodian voted to bind to it: one identity is one
/// machine (I9), in both directions.
fn held_elsewhere<'s>(
    view: &View,
    state: &'s TenantState,
    request: &EnrolmentRequest,
    instance: &str,
) -> Option<&'s str> {
    let others = state.enrolments.iter().filter(|(name, _)| *name != instance);
    let held = others.filter(|(_, enrolment)| {
        let bound = enrolment.holder().is_some_and(|claim| claim.agent == request.agent);
        let mine = |claim: &&Claim| claim.agent == request.agent && claim.votes.contains(&view.me);
        bound || enrolment.holder().is_none() && enrolment.claims.iter().any(|claim| mine(&claim))
    });
    held.map(|(name, _)| name.as_str()).next()
}

/// Whether the ticket may be used for the agent's key: it is for that key, or its one-time key vouches for it. Whoever only
/// carried the ticket here has neither.
fn check_holder(request: &EnrolmentRequest, ticket: &Ticket) -> Result<(), String> {
    let meant = ticket.agent.ok_or("the ticket names no key that may use it")?;
    if meant == request.agent {
        return Ok(());
    }
    let Some(voucher) = &request.voucher else { return Err(format!("the ticket is for agent {meant}")) };
    let voucher = Verified::<Voucher>::from_bytes(voucher).map_err(|error| format!("voucher: {error}"))?;
    let fits = voucher.bearer == meant
        && voucher.tenant == ticket.tenant
        && voucher.ticket == ticket.nonce
        && voucher.agent == request.agent;
    if fits { Ok(()) } else { Err("the voucher is for another ticket or another agent".to_owned()) }
}

/// Whether the ticket is for this launch and still good; the launcher's name.
fn check_ticket(
    state: &TenantState,
    request: &EnrolmentRequest,
    ticket: &Ticket,
    instance: &str,
    me: NodeId,
    now: Now,
) -> Result<String, Refusal> {
    let invalid = |reason: String| no(RefusalCode::TicketInvalid, reason);
    if ticket.tenant != request.tenant {
        return Err(invalid(format!("the ticket is for tenant {}", ticket.tenant)));
    }
    let launcher = state
        .launcher(&ticket.launcher)
        .ok_or_else(|| invalid(format!("{} is not a registered launcher", ticket.launcher)))?;
    if let Some(meant) = ticket.instance.as_deref().filter(|meant| *meant != instance) {
        return Err(invalid(format!("the ticket is for instance {meant}")));
    }
    check_holder(request, ticket).map_err(invalid)?;
    if now.wall > ticket.expires {
        return Err(invalid("the ticket has expired".to_owned()));
    }
    if state.ticket_used_by_another(&ticket.nonce, instance, &me) {
        return Err(invalid("the ticket was used by another instance".to_owned()));
    }
    Ok(launcher.name.clone())
}
