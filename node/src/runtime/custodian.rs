//! A custodian at work: lease, quorum and enrolment requests of other nodes, and of this one.
//!
//! Each is judged on this node's own view (I5) and recorded durably before anything leaves (I7). A request is known by
//! asker and id: a retry of the very same bytes is judged again, because a denial may have arrived since, and then gets
//! the answer that was made before, or one of the sharing that has taken over meanwhile; other bytes under the same id are
//! refused. After a restart the ids of recent
//! contributions come from the audit log.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keymesh_mesh::custody::enrolment::{EnrolmentDecision, decide_enrolment};
use keymesh_mesh::custody::message::{Answer, CustodyMessage, LeaseRequest, Refusal, RefusalCode, Verdict};
use keymesh_mesh::custody::partial::{PartialGrant, decide_lease, decide_quorum, no};
use keymesh_mesh::replica::{Channel, Input};
use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::body::EnrolmentVote;
use keymesh_wire::envelope::{Signable, Verified};
use keymesh_wire::error::Code;
use keymesh_wire::ids::{NodeId, PrincipalId, RequestId, TenantId};
use keymesh_wire::limits;
use keymesh_wire::request::{EnrolmentRequest, QuorumRequest};
use keymesh_wire::time::{Millis, Wall};
use tokio::sync::{Semaphore, TryAcquireError};

use super::clock;
use super::rate::Bucket;
use crate::ops::Node;

/// How many requests are remembered at most. Beyond that the oldest is forgotten, which allows no more than the same
/// contribution to the same one-time key again.
const REMEMBERED: usize = 65_536;
/// Requests of peers worked on at once.
const AT_ONCE: usize = 256;

/// What a custodian is asked.
#[derive(Debug)]
pub enum Ask {
    /// For a lease: an envelope of [`LeaseRequest`].
    Lease(Vec<u8>),
    /// For a blind release: an envelope of [`QuorumRequest`].
    Quorum(Vec<u8>),
    /// For an enrolment: an envelope of [`EnrolmentRequest`].
    Enrol(Vec<u8>),
}

/// What is remembered of one request.
#[derive(Debug)]
struct Entry {
    at: Wall,
    /// Digest of the request; absent if only its audit record is known.
    digest: Option<[u8; 32]>,
    /// What was contributed. Locked while it is being made, so that a retry meanwhile waits for it.
    parts: tokio::sync::Mutex<Option<Vec<Verdict>>>,
}

#[derive(Debug, Default)]
struct Recent {
    entries: HashMap<(PrincipalId, RequestId), Arc<Entry>>,
    order: VecDeque<(PrincipalId, RequestId)>,
}

/// A custodian's memory and limits.
#[derive(Debug)]
pub struct Custodian {
    recent: Mutex<Recent>,
    working: Arc<Semaphore>,
    remember: Millis,
    peers: Mutex<HashMap<NodeId, PeerAllowance>>,
}

/// What one peer may make this custodian write and say.
#[derive(Debug)]
struct PeerAllowance {
    refusals: Bucket,
    enrolments: Bucket,
    complaints: Bucket,
}

impl PeerAllowance {
    fn new() -> Self {
        Self { refusals: Bucket::new(32, 512), enrolments: Bucket::new(50, 500), complaints: Bucket::new(1, 3) }
    }
}

impl Custodian {
    /// Remembers requests for as long as one of them can still be fresh under this clock tolerance.
    pub fn new(clock_tolerance: Millis) -> Self {
        let remember = Millis(2 * clock_tolerance.0 + limits::REQUEST_LIFE_MS);
        Self { recent: Mutex::default(), working: Arc::new(Semaphore::new(AT_ONCE)), remember, peers: Mutex::default() }
    }

    fn allowance(&self, peer: NodeId, take: impl FnOnce(&PeerAllowance) -> bool) -> bool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        take(peers.entry(peer).or_insert_with(PeerAllowance::new))
    }

    /// Whether another line about what this peer did may be written.
    pub fn may_complain(&self, peer: NodeId) -> bool {
        self.allowance(peer, |allowance| allowance.complaints.take(1))
    }

    /// Takes a record of the audit log at start: what was contributed shortly before is not contributed to another
    /// request of the same id.
    pub fn recall(&self, record: &AuditRecord, now: Wall) {
        let partial = match record.kind {
            AuditKind::QuorumPartial | AuditKind::LeasePartial => record.outcome == Outcome::Allowed,
            AuditKind::Release
            | AuditKind::Enrolment
            | AuditKind::LeaseOpened
            | AuditKind::Start
            | AuditKind::ShareRepair => false,
        };
        if let Some(asker) = record.asker
            && partial
            && record.time.distance(now) <= self.remember
        {
            self.entry((asker, record.request), record.time, None);
        }
    }

    fn entry(&self, key: (PrincipalId, RequestId), at: Wall, digest: Option<[u8; 32]>) -> Arc<Entry> {
        let mut recent = self.lock();
        let Recent { entries, order } = &mut *recent;
        while let Some(oldest) = order.front() {
            let over = entries.get(oldest).is_none_or(|entry| at.0.saturating_sub(entry.at.0) > self.remember.0);
            if !over && order.len() < REMEMBERED {
                break;
            }
            entries.remove(oldest);
            order.pop_front();
        }
        let make = || {
            order.push_back(key);
            Arc::new(Entry { at, digest, parts: tokio::sync::Mutex::new(None) })
        };
        entries.entry(key).or_insert_with(make).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works on a peer's request and answers it. More than [`AT_ONCE`] at once are dropped.
pub fn serve(node: &Arc<Node>, from: NodeId, ask: Ask) {
    let permit = match node.custodian.working.clone().try_acquire_owned() {
        Ok(permit) => permit,
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
            node.metrics.peer_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
    };
    let node = node.clone();
    tokio::spawn(async move {
        let _permit = permit;
        let Some((request, verdicts)) = answer(&node, from, ask).await else {
            node.metrics.peer_dropped.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%from, "an unreadable request");
            return;
        };
        for verdict in verdicts {
            let message = CustodyMessage::Answer(Answer { request, verdict });
            if from == node.me {
                Box::pin(super::dispatch::custody(&node, from, message)).await;
            } else {
                node.send(from, Channel::Custody, message.to_frame());
            }
        }
    });
}

/// Judges a request. Nothing if it is not one; a lease is asked for by its lessee alone.
async fn answer(node: &Arc<Node>, from: NodeId, ask: Ask) -> Option<(RequestId, Vec<Verdict>)> {
    node.metrics.custodian_requests.fetch_add(1, Ordering::Relaxed);
    Some(match ask {
        Ask::Lease(envelope) => {
            let request = Verified::<LeaseRequest>::from_bytes(&envelope).ok().filter(|asked| asked.lessee == from)?;
            let (decision, record) = decide_lease(&node.view(), &request, clock::now());
            may_answer(node, from, &decision)?;
            (request.request, contribute(node, &request, request.request, decision, record).await)
        }
        Ask::Quorum(envelope) => {
            let request = Verified::<QuorumRequest>::from_bytes(&envelope).ok()?;
            let (decision, record) = decide_quorum(&node.view(), &request, clock::now());
            may_answer(node, from, &decision)?;
            (request.request, silent(contribute(node, &request, request.request, decision, record).await))
        }
        Ask::Enrol(envelope) => {
            if from != node.me && !node.custodian.allowance(from, |allowance| allowance.enrolments.take(1)) {
                return None;
            }
            let request = Verified::<EnrolmentRequest>::from_bytes(&envelope).ok()?;
            (request.request, silent(vec![enrol(node, &request).await]))
        }
    })
}

/// Nothing if `from` brought more refusals than it may: each is a record on this node's disk, and honest nodes judge what
/// they carry before they do.
fn may_answer(node: &Node, from: NodeId, decision: &Result<PartialGrant, Refusal>) -> Option<()> {
    let refused = decision.as_ref().is_err_and(|refusal| !unable(refusal.code));
    (from == node.me || !refused || node.custodian.allowance(from, |allowance| allowance.refusals.take(1)))
        .then_some(())
}

/// Not being able to, for now, is no decision about anybody.
fn unable(code: RefusalCode) -> bool {
    matches!(code, RefusalCode::NotReady | RefusalCode::DenialsDiffer)
}

/// Reasons are for this node's operators; whoever carries an agent's request learns the code alone.
fn silent(mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    for verdict in &mut verdicts {
        if let Verdict::No(refusal) = verdict {
            refusal.reason.clear();
        }
    }
    verdicts
}

/// Whether an answer is a part of a committee's sharing of this epoch.
fn is_of(verdict: &Verdict, (committee, epoch): (u8, u32)) -> bool {
    matches!(verdict, Verdict::Partial(part) if (part.committee, part.epoch) == (committee, epoch))
}

/// Records a decision and makes the contribution it allows, or gives the one made before.
pub async fn contribute<T: Signable>(
    node: &Node,
    signed: &Verified<T>,
    request: RequestId,
    decision: Result<PartialGrant, Refusal>,
    record: AuditRecord,
) -> Vec<Verdict> {
    let grant = match decision {
        Ok(grant) => grant,
        Err(refusal) => {
            if !unable(refusal.code) && node.audit.record(&record).await.is_err() {
                return vec![Verdict::No(no(RefusalCode::NotReady, "the audit log takes no records"))];
            }
            return vec![Verdict::No(refusal)];
        }
    };
    let entry = node.custodian.entry((signed.signer(), request), clock::wall(), Some(*signed.digest()));
    if entry.digest != Some(*signed.digest()) {
        return vec![Verdict::No(no(RefusalCode::Stale, "another request of this id was answered before"))];
    }
    let mut parts = entry.parts.lock().await;
    if let Some(made) = &*parts
        && grant.sharings().all(|sharing| made.iter().any(|verdict| is_of(verdict, sharing)))
    {
        return made.clone();
    }
    let Ok(recorded) = node.audit.record(&record).await else {
        return vec![Verdict::No(no(RefusalCode::NotReady, "the audit log takes no records"))];
    };
    let grant = if node.lies.load(Ordering::Relaxed) { grant.danger_altered() } else { grant };
    match grant.contribute(&recorded, &node.view(), &node.identity, &mut super::randomness()) {
        Ok(made) => parts.insert(made.into_iter().map(Verdict::Partial).collect()).clone(),
        Err(refusal) => {
            let refused = AuditRecord { outcome: Outcome::Refused, reason: Some(refusal.reason.clone()), ..record };
            // Nothing leaves, so a record that is not written keeps nothing back; the log itself says that it fails.
            let _ = node.audit.record(&refused).await;
            vec![Verdict::No(refusal)]
        }
    }
}

/// Judges an enrolment and votes.
pub async fn enrol(node: &Node, request: &Verified<EnrolmentRequest>) -> Verdict {
    let (decision, record) = decide_enrolment(&node.view(), request, clock::now());
    let not_ready = |what: &str| Verdict::No(no(RefusalCode::NotReady, what));
    let unable = matches!(&decision, Err(refusal) if refusal.code == RefusalCode::NotReady);
    if !unable && node.audit.record(&record).await.is_err() {
        return not_ready("the audit log takes no records");
    }
    match decision {
        Ok(EnrolmentDecision::Known(_)) => Verdict::Voted,
        Ok(EnrolmentDecision::Vote(vote)) => cast(node, request.tenant, vote).await,
        Err(refusal) => Verdict::No(refusal),
    }
}

/// Votes by way of the core; `Voted` once the vote is on disk.
async fn cast(node: &Node, tenant: TenantId, vote: Box<EnrolmentVote>) -> Verdict {
    match node.ask_core(|reply| Input::Vote { tenant, vote, reply }).await {
        Ok(_) => Verdict::Voted,
        Err(error) if error.code == Code::AlreadyBound => Verdict::No(no(RefusalCode::AlreadyBound, error.message)),
        Err(error) if error.code == Code::TicketInvalid => Verdict::No(no(RefusalCode::TicketInvalid, error.message)),
        Err(error) => Verdict::No(no(RefusalCode::NotReady, error.message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> (PrincipalId, RequestId) {
        (PrincipalId::from_bytes([number; 32]), RequestId::from_bytes([number; 16]))
    }

    #[test]
    fn a_request_is_remembered_as_long_as_it_can_be_fresh_and_no_longer() {
        let custodian = Custodian::new(Millis::seconds(30));
        custodian.entry(key(1), Wall(0), Some([1; 32]));
        assert_eq!(custodian.entry(key(1), Wall(100_000), Some([2; 32])).digest, Some([1; 32]));
        custodian.entry(key(2), Wall(121_000), Some([2; 32]));
        assert_eq!(custodian.lock().entries.len(), 1);
        assert_eq!(custodian.entry(key(1), Wall(121_000), Some([2; 32])).digest, Some([2; 32]));
    }

    #[test]
    fn a_contribution_before_the_restart_is_not_made_for_another_request() {
        let custodian = Custodian::new(Millis::seconds(30));
        let (asker, request) = key(1);
        let node = NodeId::from_bytes([9; 32]);
        let mut record = AuditRecord::new(AuditKind::QuorumPartial, Outcome::Allowed, Wall(1000), node, request);
        record.asker = Some(asker);
        custodian.recall(&record, Wall(2000));
        assert_eq!(custodian.entry((asker, request), Wall(2000), Some([1; 32])).digest, None);
    }
}
