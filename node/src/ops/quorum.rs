//! Blind releases: the custodians' partials go to the agent's one-time key, and this node sees no key.
//!
//! This node judges the request first, on its own view, and refuses what it would not open itself: so an unknown key, a
//! forbidden one and an unknown agent cost the same and look the same. Then it asks the nearest custodians
//! ([`super::hedge`]) and gathers until each committee has enough. What they sent only the agent can judge: it asks again
//! without those whose partials do not hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use keymesh_mesh::custody::message::{CustodyMessage, RefusalCode, SealedPart, Verdict};
use keymesh_mesh::custody::partial::{PartialGrant, decide_quorum};
use keymesh_mesh::view::{TenantView, View};
use keymesh_wire::api::{AuditRef, QuorumReleased, SealedPartial};
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::body::CommitteeSpec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{NodeId, VersionId};
use keymesh_wire::limits;
use keymesh_wire::request::QuorumRequest;
use tokio::time::Instant;

use super::gather::{Gathering, short_of, telling};
use super::hedge::{self, Plan};
use super::{Allowance, Caller, Node, PATIENCE, served};
use crate::runtime::{clock, custodian};

/// How many custodians an agent may want to do without: as many as a root has.
const MOST_WITHOUT: usize = limits::COMMITTEE * limits::COMMITTEES;
/// Larger than any sealed partial, so that a custodian cannot swell the answer beyond what an agent takes.
const MOST_SEALED: usize = 1024;

/// One committee: its sharings of which shares may be in use, the current one last.
struct Committee {
    sharings: Vec<Sharing>,
}

/// One sharing and what came of it. Parts of two epochs do not add up.
struct Sharing {
    epoch: u32,
    public: Vec<u8>,
    members: BTreeSet<NodeId>,
    threshold: usize,
    parts: BTreeMap<NodeId, SealedPart>,
}

impl Sharing {
    fn is_enough(&self) -> bool {
        self.parts.len() >= self.threshold
    }
}

impl Committee {
    fn is_enough(&self) -> bool {
        self.sharings.iter().any(Sharing::is_enough)
    }

    fn put(&mut self, from: NodeId, part: SealedPart) {
        let sharing = self.sharings.iter_mut().find(|s| s.epoch == part.epoch && s.members.contains(&from));
        if let Some(sharing) = sharing {
            sharing.parts.entry(from).or_insert(part);
        }
    }

    /// Of the sharing that is nearest to enough by `count`: how many, and how many it takes.
    fn nearest(&self, count: impl Fn(&Sharing) -> usize) -> (usize, usize) {
        let counts = self.sharings.iter().map(|sharing| (count(sharing), sharing.threshold));
        counts.min_by_key(|(count, threshold)| threshold.saturating_sub(*count)).unwrap_or((0, 1))
    }

    /// Whether a custodian may have more to send.
    fn waits_for(&self, from: &NodeId) -> bool {
        self.sharings.iter().any(|sharing| sharing.members.contains(from) && !sharing.parts.contains_key(from))
    }
}

impl Node {
    /// Carries an agent's quorum request to the custodians and their partials back, but for custodians that the agent
    /// wants to do `without`.
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
        without: &[NodeId],
        caller: Option<&Caller>,
        allowance: &Allowance,
    ) -> Result<QuorumReleased, WireError> {
        self.must_be_well()?;
        if without.len() > MOST_WITHOUT {
            let what = format!("do without at most {MOST_WITHOUT} custodians, not {}", without.len());
            return Err(WireError::new(Code::Malformed, what));
        }
        let request = Verified::<QuorumRequest>::from_bytes(&envelope)
            .map_err(|error| WireError::new(Code::Malformed, format!("the quorum request: {error}")))?;
        if caller.is_some_and(|caller| caller.principal != request.agent || caller.tenant != request.tenant) {
            return Err(WireError::new(Code::SessionInvalid, "the request is not this session's"));
        }
        let view = self.view();
        let tenant = served(&view, &request.tenant)?;
        let (decision, record) = decide_quorum(&view, &request, clock::now());
        let grant = match decision {
            Ok(_) if without.contains(&self.me) => None,
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
        let (answer, mut committees) = frame(tenant, &request, record.version)?;
        for sharing in committees.iter_mut().flat_map(|committee| &mut committee.sharings) {
            sharing.members.retain(|member| !without.contains(member));
        }
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
        let (committees, partials) = answered?;
        self.metrics.quorum_releases.fetch_add(1, Ordering::Relaxed);
        Ok(QuorumReleased { committees, partials, ..answer })
    }

    async fn gather(
        &self,
        view: &View,
        request: &Verified<QuorumRequest>,
        envelope: Vec<u8>,
        mine: Option<(PartialGrant, AuditRecord)>,
        mut committees: Vec<Committee>,
    ) -> Result<(Vec<Vec<u8>>, Vec<SealedPartial>), WireError> {
        let me = view.me;
        let started = Instant::now();
        let deadline = started + PATIENCE;
        let sharings = committees.iter().flat_map(|committee| &committee.sharings);
        // What a custodian gives that lied before would have to be done without anyhow, most likely.
        let tenant = view.tenant(&request.tenant);
        let is_accused = |member: &NodeId| tenant.is_some_and(|tenant| tenant.tenant().is_accused(member));
        let distance = |member: &NodeId| match *member == me {
            _ if is_accused(member) => Some(hedge::LAST),
            true => Some(Duration::ZERO),
            false => self.transport.round_trip(member),
        };
        let Plan { first, mut rest, pause } =
            hedge::plan(sharings.map(|sharing| (&sharing.members, sharing.threshold)), distance);
        let message = CustodyMessage::QuorumAsk(envelope);
        let mut gathering = Gathering::start(self, request.request);
        // Whether more than the first have to be asked.
        let mut is_short = !gathering.ask(&first, &message).is_empty();
        let own = async {
            match mine {
                Some((grant, record)) => custodian::contribute(self, request, request.request, Ok(grant), record).await,
                None => Vec::new(),
            }
        };
        let mut waits = gathering.open.clone();
        let mut refusals = BTreeMap::new();
        let hedge_at = deadline.min(started + pause);
        tokio::pin!(own);
        let mut own_done = false;
        // Of each committee how many have given or may still, and how many it takes.
        let mut hopeful = Vec::new();
        loop {
            if is_short || (waits.is_empty() && own_done) {
                let more = std::mem::take(&mut rest);
                gathering.ask(&more, &message);
                waits.extend(more.intersection(&gathering.open));
            }
            if waits.is_empty() && own_done {
                break;
            }
            let mut heard = Vec::new();
            tokio::select! {
                verdicts = &mut own, if !own_done => {
                    own_done = true;
                    heard.extend(verdicts.into_iter().map(|verdict| (me, verdict)));
                }
                (from, verdict) = gathering.next(), if !waits.is_empty() => heard.push((from, verdict)),
                () = tokio::time::sleep_until(hedge_at), if !rest.is_empty() => {
                    is_short = true;
                    continue;
                }
                () = tokio::time::sleep_until(deadline) => break,
            }
            for (from, verdict) in heard {
                match verdict {
                    Verdict::Partial(part) if part.sealed.len() > MOST_SEALED => {
                        waits.remove(&from);
                        is_short = true;
                    }
                    Verdict::Partial(part) => {
                        if let Some(committee) = committees.get_mut(usize::from(part.committee)) {
                            committee.put(from, part);
                        }
                        if !committees.iter().any(|committee| committee.waits_for(&from)) {
                            waits.remove(&from);
                        }
                    }
                    Verdict::No(refusal) => {
                        refusals.insert(from, refusal.code);
                        waits.remove(&from);
                        is_short = true;
                    }
                    Verdict::Voted => {}
                }
            }
            if committees.iter().all(Committee::is_enough) {
                break;
            }
            let may_give = |sharing: &Sharing| {
                let open = |member: &&NodeId| {
                    waits.contains(member)
                        || rest.contains(member)
                        || sharing.parts.contains_key(member)
                        || (**member == me && !own_done)
                };
                sharing.members.iter().filter(open).count()
            };
            hopeful = committees.iter().map(|committee| committee.nearest(may_give)).collect();
            if hopeful.iter().any(|(may_give, threshold)| may_give < threshold) {
                break;
            }
        }
        if !committees.iter().all(Committee::is_enough) {
            let codes: Vec<_> = refusals.into_values().collect();
            let error = telling(&codes);
            if error.code != Code::QuorumUnavailable {
                return Err(error);
            }
            // Where one committee cannot come to enough any more, the others were not waited for.
            let mut short = short_of("partials needed", &hopeful);
            if short.is_empty() {
                let gave = committees.iter().map(|committee| committee.nearest(|sharing| sharing.parts.len()));
                short = short_of("partials needed", &gave.collect::<Vec<_>>());
            }
            return Err(WireError::new(error.code, format!("too few custodians could answer in time: {short}")));
        }
        let newest = |committee: Committee| committee.sharings.into_iter().rev().find(Sharing::is_enough);
        let chosen: Vec<Sharing> = committees.into_iter().filter_map(newest).collect();
        let publics = chosen.iter().map(|sharing| sharing.public.clone()).collect();
        Ok((publics, chosen.into_iter().flat_map(|sharing| sharing.parts).map(sealed).collect()))
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
    let sharing = |(epoch, spec, public): (u32, &CommitteeSpec, &[u8])| Sharing {
        epoch,
        public: public.to_vec(),
        members: spec.members.iter().copied().collect(),
        threshold: usize::from(spec.threshold),
        parts: BTreeMap::new(),
    };
    let committees =
        root.committees.iter().map(|committee| Committee { sharings: committee.sharings().map(sharing).collect() });
    if !tenant.sharings.contains_key(&keyring.root) {
        return Err(not_yet());
    }
    let answer = QuorumReleased {
        key: request.key,
        version,
        keyring: key.keyring,
        root: keyring.root,
        capsule: capsule.to_vec(),
        committees: Vec::new(),
        partials: Vec::new(),
    };
    Ok((answer, committees.collect()))
}
