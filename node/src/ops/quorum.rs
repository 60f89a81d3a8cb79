//! Blind releases: the custodians' partials go to the agent's one-time key, and this node sees no key.
//!
//! This node judges the request first, on its own view, and refuses what it would not open itself: so an unknown key, a
//! forbidden one and an unknown agent cost the same and look the same. Then it asks every custodian and gathers until each
//! committee has enough. After that it waits as long again as it took, so that a custodian whose partials do not hold
//! cannot fill the answer by being quickest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use keymesh_mesh::custody::message::{CustodyMessage, RefusalCode, SealedPart, Verdict};
use keymesh_mesh::custody::partial::{PartialGrant, decide_quorum};
use keymesh_mesh::view::{TenantView, View};
use keymesh_wire::api::{AuditRef, QuorumReleased, SealedPartial};
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{NodeId, VersionId};
use keymesh_wire::request::QuorumRequest;
use tokio::time::Instant;

use super::gather::{Gathering, short_of, telling};
use super::{Allowance, Caller, Node, PATIENCE, served};
use crate::runtime::{clock, custodian};

/// The least time that late partials get.
const GRACE: Duration = Duration::from_millis(2);
/// The most.
const MOST_GRACE: Duration = Duration::from_millis(200);
/// Larger than any sealed partial, so that a custodian cannot swell the answer beyond what an agent takes.
const MOST_SEALED: usize = 1024;

/// One committee and what came of it.
struct Committee {
    members: BTreeSet<NodeId>,
    threshold: usize,
    parts: BTreeMap<NodeId, SealedPart>,
}

impl Node {
    /// Carries an agent's quorum request to the custodians and their partials back.
    ///
    /// `caller` is the session's, if there is one: the request must then be its own.
    ///
    /// # Errors
    /// [`WireError::refused`], [`Code::QuorumUnavailable`], [`Code::ClockDifference`], [`Code::Stale`],
    /// [`Code::Malformed`], [`Code::SessionInvalid`], [`Code::NotServedHere`], [`Code::Throttled`],
    /// [`Code::Unavailable`].
    pub async fn quorum_release(
        &self,
        envelope: Vec<u8>,
        caller: Option<&Caller>,
        allowance: &Allowance,
    ) -> Result<QuorumReleased, WireError> {
        self.must_be_well()?;
        let request = Verified::<QuorumRequest>::from_bytes(&envelope)
            .map_err(|error| WireError::new(Code::Malformed, format!("the quorum request: {error}")))?;
        if caller.is_some_and(|caller| caller.principal != request.agent || caller.tenant != request.tenant) {
            return Err(WireError::new(Code::SessionInvalid, "the request is not this session's"));
        }
        let view = self.view();
        let tenant = served(&view, &request.tenant)?;
        let (decision, record) = decide_quorum(&view, &request, clock::now());
        let grant = match decision {
            Ok(grant) => Some((grant, record.clone())),
            Err(refusal) => match refusal.code {
                // Not being a custodian is no refusal.
                RefusalCode::NotReady | RefusalCode::DenialsDiffer => None,
                RefusalCode::ClockDifference => return Err(telling(&[RefusalCode::ClockDifference])),
                RefusalCode::Refused
                | RefusalCode::Stale
                | RefusalCode::EvidenceInvalid
                | RefusalCode::TicketInvalid
                | RefusalCode::AlreadyBound => {
                    self.may_refuse(allowance)?;
                    self.audit.record(&record).await?;
                    self.metrics.refusals.fetch_add(1, Ordering::Relaxed);
                    return Err(WireError::refused());
                }
            },
        };
        let (answer, committees) = frame(tenant, &request, record.version)?;
        let answered = self.gather(&view, &request, envelope, grant, committees).await;
        if let Err(error) = &answered
            && error.code == Code::Refused
        {
            let reason = "custodians refused; their audit logs say why";
            let refused = AuditRecord {
                reason: Some(reason.to_owned()),
                outcome: keymesh_wire::audit::Outcome::Refused,
                ..record
            };
            self.audit.record(&refused).await?;
            self.metrics.refusals.fetch_add(1, Ordering::Relaxed);
        }
        let partials = answered?;
        self.metrics.quorum_releases.fetch_add(1, Ordering::Relaxed);
        Ok(QuorumReleased { partials, ..answer })
    }

    async fn gather(
        &self,
        view: &View,
        request: &Verified<QuorumRequest>,
        envelope: Vec<u8>,
        mine: Option<(PartialGrant, AuditRecord)>,
        mut committees: Vec<Committee>,
    ) -> Result<Vec<SealedPartial>, WireError> {
        let started = Instant::now();
        let deadline = started + PATIENCE;
        let mut gathering = Gathering::start(self, request.request);
        let members: BTreeSet<NodeId> = committees.iter().flat_map(|c| c.members.iter().copied()).collect();
        gathering.ask(&members, &CustodyMessage::QuorumAsk(envelope));
        let me = view.me;
        let own = async {
            match mine {
                Some((grant, record)) => custodian::contribute(self, request, request.request, Ok(grant), record).await,
                None => Vec::new(),
            }
        };
        let mut waits = gathering.open.clone();
        let mut refusals = BTreeMap::new();
        let mut until = deadline;
        tokio::pin!(own);
        let mut own_done = false;
        // Of each committee how many have given or may still, and how many it takes.
        let mut hopeful = Vec::new();
        while !waits.is_empty() || !own_done {
            let mut heard = Vec::new();
            tokio::select! {
                verdicts = &mut own, if !own_done => {
                    own_done = true;
                    heard.extend(verdicts.into_iter().map(|verdict| (me, verdict)));
                }
                (from, verdict) = gathering.next(), if !waits.is_empty() => heard.push((from, verdict)),
                () = tokio::time::sleep_until(until) => break,
            }
            for (from, verdict) in heard {
                match verdict {
                    Verdict::Partial(part) if part.sealed.len() > MOST_SEALED => {
                        waits.remove(&from);
                    }
                    Verdict::Partial(part) => {
                        let place = usize::from(part.committee);
                        if let Some(committee) = committees.get_mut(place).filter(|c| c.members.contains(&from)) {
                            committee.parts.entry(from).or_insert(part);
                        }
                        let missing =
                            committees.iter().any(|c| c.members.contains(&from) && !c.parts.contains_key(&from));
                        if !missing {
                            waits.remove(&from);
                        }
                    }
                    Verdict::No(refusal) => {
                        refusals.insert(from, refusal.code);
                        waits.remove(&from);
                    }
                    Verdict::Voted => {}
                }
            }
            let enough = committees.iter().all(|committee| committee.parts.len() >= committee.threshold);
            if enough && until == deadline {
                until = deadline.min(Instant::now() + started.elapsed().clamp(GRACE, MOST_GRACE));
            }
            let may_give = |committee: &Committee| {
                let open = |member: &&NodeId| {
                    waits.contains(member) || committee.parts.contains_key(member) || (**member == me && !own_done)
                };
                committee.members.iter().filter(open).count()
            };
            hopeful = committees.iter().map(|committee| (may_give(committee), committee.threshold)).collect();
            if hopeful.iter().any(|(may_give, threshold)| may_give < threshold) {
                break;
            }
        }
        if committees.iter().any(|committee| committee.parts.len() < committee.threshold) {
            let codes: Vec<_> = refusals.into_values().collect();
            let error = telling(&codes);
            if error.code != Code::QuorumUnavailable {
                return Err(error);
            }
            // Where one committee cannot come to enough any more, the others were not waited for.
            let mut short = short_of("partials needed", &hopeful);
            if short.is_empty() {
                let gave = committees.iter().map(|committee| (committee.parts.len(), committee.threshold));
                short = short_of("partials needed", &gave.collect::<Vec<_>>());
            }
            return Err(WireError::new(error.code, format!("too few custodians could answer in time: {short}")));
        }
        Ok(committees.into_iter().flat_map(|committee| committee.parts).map(sealed).collect())
    }
}

fn sealed((custodian, part): (NodeId, SealedPart)) -> SealedPartial {
    SealedPartial {
        custodian,
        committee: part.committee,
        epoch: part.epoch,
        expires: part.expires,
        sealed: part.sealed,
        audit: AuditRef { node: custodian, sequence: part.audit },
    }
}

/// The answer without its partials, and the committees that must contribute.
fn frame(
    tenant: &TenantView,
    request: &QuorumRequest,
    version: Option<VersionId>,
) -> Result<(QuorumReleased, Vec<Committee>), WireError> {
    let not_yet = || WireError::new(Code::QuorumUnavailable, "not everything has arrived here yet; ask another node");
    let state = tenant.tenant();
    let key = state.keys.get(&request.key).ok_or_else(not_yet)?;
    let keyring = state.keyrings.get(&key.keyring).ok_or_else(not_yet)?;
    let root = state.roots.get(&keyring.root).ok_or_else(not_yet)?;
    let version = version.ok_or_else(not_yet)?;
    let wrapped = key.versions.iter().find(|known| known.wrapped.version == version).ok_or_else(not_yet)?;
    let capsule = tenant.blobs.get(&wrapped.wrapped.ciphertext).ok_or_else(not_yet)?;
    let publics: Option<Vec<Vec<u8>>> = root.committees.iter().map(|committee| committee.public.clone()).collect();
    let committees = root.committees.iter().map(|committee| Committee {
        members: committee.spec.members.iter().copied().collect(),
        threshold: usize::from(committee.spec.threshold),
        parts: BTreeMap::new(),
    });
    let answer = QuorumReleased {
        key: request.key,
        version,
        keyring: key.keyring,
        root: keyring.root,
        capsule: capsule.to_vec(),
        committees: publics.ok_or_else(not_yet)?,
        partials: Vec::new(),
    };
    Ok((answer, committees.collect()))
}
