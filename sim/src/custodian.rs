//! The workers of a node: custodians at work, releases, and requests that a node carries to the custodians.
//!
//! They decide by the same pure functions as the workers of a real node, on the view that the core published; what they
//! decided goes to the audit log, and only once that is durable does anything leave (I7). A crash in between takes the
//! decision with it.

use keymesh_mesh::custody::enrolment::{EnrolmentDecision, decide_enrolment};
use keymesh_mesh::custody::message::{Answer, CustodyMessage, LeaseRequest, Refusal, RefusalCode, Verdict};
use keymesh_mesh::custody::partial::{PartialGrant, decide_lease, decide_quorum, no};
use keymesh_mesh::release::{Decision, Grant, ReleaseRequest, decide};
use keymesh_mesh::replica::{Channel, Input, ReplyTo};
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::body::EnrolmentVote;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{KeyId, KeyringId, NodeId, PrincipalId, RequestId, TenantId};
use keymesh_wire::request::{EnrolmentRequest, QuorumRequest};
use keymesh_wire::time::Wall;

use crate::draw;
use crate::node::Doom;
use crate::seen::{Boundary, Seen};
use crate::world::{Denied, Event, Handle, Outcome, World};

/// What is done once a record is durable.
#[derive(Debug)]
pub(crate) struct Job {
    record: AuditRecord,
    then: Then,
}

#[derive(Debug)]
enum Then {
    /// Answer an asking node.
    Answer { to: NodeId, request: RequestId, verdict: Verdict },
    /// Contribute to an asking node's request.
    Contribute { to: NodeId, request: RequestId, grant: Box<PartialGrant>, purpose: Purpose },
    /// Have the core vote and answer then.
    Vote { to: NodeId, request: RequestId, tenant: TenantId, vote: Box<EnrolmentVote> },
    /// Hand a key to an agent.
    Release { handle: Handle, grant: Box<Grant> },
    /// Tell an agent no.
    Refuse { handle: Handle, reason: String },
}

/// What a custodian contributes to.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// A lease of a keyring for the asking node.
    Lease { tenant: TenantId, keyring: KeyringId, issued: Wall },
    /// A blind release to an agent.
    Release { agent: PrincipalId, tenant: TenantId, key: KeyId, issued: Wall },
}

impl World {
    fn later(&mut self, node: usize, record: AuditRecord, then: Then) {
        let delay = draw::between(&mut self.nodes[node].rng, 0, 2);
        let life = self.nodes[node].life;
        self.schedule(delay, Event::Recorded { node, life, job: Box::new(Job { record, then }) });
    }

    pub(crate) fn recorded(&mut self, node: usize, job: Job) {
        self.search(node, "records", &job.record.to_payload());
        if let Some(Doom::Record { durable }) = self.nodes[node].doom {
            self.nodes[node].doom = None;
            let disk = &mut self.nodes[node].disk;
            let boundary = match durable {
                true => match disk.record(job.record.clone()) {
                    Ok(_) => {
                        self.saw(Seen::Recorded { node, record: &job.record });
                        Boundary::AfterRecord
                    }
                    Err(_) => Boundary::BeforeRecord,
                },
                false => {
                    disk.tear_record();
                    Boundary::BeforeRecord
                }
            };
            return self.fall_over(node, boundary);
        }
        let Ok(recorded) = self.nodes[node].disk.record(job.record.clone()) else {
            return self.unrecorded(node, job.then);
        };
        self.saw(Seen::Recorded { node, record: &job.record });
        let now = self.nodes[node].now(self.at());
        match job.then {
            Then::Answer { to, request, verdict } => self.answer(node, &to, request, verdict),
            Then::Contribute { to, request, grant, purpose } => {
                let Some(view) = self.nodes[node].view().cloned() else { return };
                let holder = &mut self.nodes[node];
                match grant.contribute(&recorded, &view, &holder.identity, &mut holder.rng) {
                    Ok(parts) => {
                        let shares: Vec<(u8, u32)> = parts.iter().map(|part| (part.committee, part.epoch)).collect();
                        let shares = shares.as_slice();
                        self.saw(match purpose {
                            Purpose::Lease { tenant, keyring, issued } => {
                                Seen::Leased { node, request, issued, lessee: to, tenant, keyring, now, shares }
                            }
                            Purpose::Release { agent, tenant, key, issued } => {
                                Seen::Contributed { node, request, issued, agent, tenant, key, now, shares }
                            }
                        });
                        parts.into_iter().for_each(|part| self.answer(node, &to, request, Verdict::Partial(part)));
                    }
                    Err(refusal) => self.answer(node, &to, request, Verdict::No(refusal)),
                }
            }
            Then::Vote { to, request, tenant, vote } => {
                let Handle(reply) = self.handle();
                if let Some(running) = &mut self.nodes[node].running {
                    running.votes.insert(reply, (to, request));
                }
                self.feed(node, Input::Vote { tenant, vote, reply: ReplyTo(reply) });
            }
            Then::Release { handle, grant } => {
                let Some(view) = self.nodes[node].view().cloned() else { return };
                let opened = grant.open(&recorded, &view, now).map_err(Denied::from);
                self.released(node, handle, opened);
            }
            Then::Refuse { handle, reason } => self.released(node, handle, Err(Denied::Refused(reason))),
        }
    }

    /// What a node says when its audit log takes no records: nothing that a record would have been for.
    fn unrecorded(&mut self, node: usize, then: Then) {
        match then {
            Then::Answer { to, request, .. }
            | Then::Contribute { to, request, .. }
            | Then::Vote { to, request, .. } => {
                let refusal = no(RefusalCode::NotReady, "the audit log takes no records");
                self.answer(node, &to, request, Verdict::No(refusal));
            }
            Then::Release { handle, .. } | Then::Refuse { handle, .. } => {
                self.released(node, handle, Err(Denied::NoRecord));
            }
        }
    }

    fn released(&mut self, node: usize, handle: Handle, result: Result<keymesh_wire::secret::SecretBytes, Denied>) {
        let now = self.nodes[node].now(self.at());
        let shown = result.as_ref().map(|key| key.expose_secret());
        self.saw(Seen::Answered { node, handle, now, result: shown });
        if let Err(why) = &result {
            self.search(node, "answers with", format!("{why} {why:?}").as_bytes());
        }
        let kind = if result.is_ok() { "release" } else { "refusal" };
        self.trace.event(self.at(), kind, node, &[&handle.0.to_be_bytes()]);
        self.outcomes.insert(handle, Outcome::Released(result));
    }

    fn answer(&mut self, node: usize, to: &NodeId, request: RequestId, verdict: Verdict) {
        let frame = CustodyMessage::Answer(Answer { request, verdict }).to_frame();
        self.send(node, to, Channel::Custody, frame);
    }

    pub(crate) fn voted(&mut self, node: usize, to: NodeId, request: RequestId, done: bool) {
        let verdict = if done { Verdict::Voted } else { Verdict::No(no(RefusalCode::AlreadyBound, "")) };
        self.answer(node, &to, request, verdict);
    }

    /// As if a node had sent another one a message on the custody channel of its own accord.
    pub fn tell(&mut self, from: usize, to: usize, message: CustodyMessage) {
        self.custody(to, self.nodes[from].id(), message);
    }

    /// A message on the custody channel.
    pub(crate) fn custody(&mut self, node: usize, from: NodeId, message: CustodyMessage) {
        match message {
            CustodyMessage::LeaseAsk(envelope) => {
                let asked = Verified::<LeaseRequest>::from_bytes(&envelope).ok().filter(|asked| asked.lessee == from);
                let Some(asked) = asked else {
                    if !self.place(&from).is_some_and(|from| self.is_liar(from)) {
                        self.violation(format!("{from} sent an unreadable lease request"));
                    }
                    return;
                };
                let issued = asked.issued;
                let purpose = Purpose::Lease { tenant: asked.tenant, keyring: asked.keyring, issued };
                self.judge(node, from, asked.request, purpose, |view, now| decide_lease(view, &asked, now));
            }
            CustodyMessage::QuorumAsk(envelope) => {
                let Ok(asked) = Verified::<QuorumRequest>::from_bytes(&envelope) else { return };
                let (agent, issued) = (asked.agent, asked.issued);
                let purpose = Purpose::Release { agent, tenant: asked.tenant, key: asked.key, issued };
                self.judge(node, from, asked.request, purpose, |view, now| decide_quorum(view, &asked, now));
            }
            CustodyMessage::EnrolAsk(envelope) => {
                let Ok(asked) = Verified::<EnrolmentRequest>::from_bytes(&envelope) else { return };
                self.judge_enrolment(node, from, &asked);
            }
            CustodyMessage::Answer(answer) => {
                let running = self.nodes[node].running.as_ref();
                match running.and_then(|running| running.carried.get(&answer.request)).copied() {
                    Some(handle) => {
                        if let Some(Outcome::Gathered(answers)) = self.outcomes.get_mut(&handle)
                            && !answers.iter().any(|(who, verdict)| *who == from && *verdict == answer.verdict)
                        {
                            answers.push((from, answer.verdict));
                        }
                    }
                    None => self.feed(node, Input::Custody { from, message: CustodyMessage::Answer(answer) }),
                }
            }
            CustodyMessage::Ceremony(_) | CustodyMessage::TipsAsk(..) | CustodyMessage::Tips(..) => {
                self.feed(node, Input::Custody { from, message })
            }
            CustodyMessage::Repair(_) => {
                self.watch.coverage.count("steps of repairs");
                self.feed(node, Input::Custody { from, message });
            }
            CustodyMessage::Hello(_) => {}
        }
    }

    fn judge(
        &mut self,
        node: usize,
        from: NodeId,
        request: RequestId,
        purpose: Purpose,
        decide: impl FnOnce(
            &keymesh_mesh::view::View,
            keymesh_wire::time::Now,
        ) -> (Result<PartialGrant, Refusal>, AuditRecord),
    ) {
        let now = self.nodes[node].now(self.at());
        let Some(view) = self.nodes[node].view().cloned() else { return };
        let (decision, record) = decide(&view, now);
        if let Purpose::Release { agent, tenant, key, .. } = purpose {
            let release = decision.is_ok();
            self.saw(Seen::Decided { node, now, handle: None, agent, tenant, key, release, blind: true });
        }
        let then = match decision {
            Ok(grant) => Then::Contribute { to: from, request, grant: Box::new(grant), purpose },
            Err(refusal) => Then::Answer { to: from, request, verdict: Verdict::No(refusal) },
        };
        self.later(node, record, then);
    }

    fn judge_enrolment(&mut self, node: usize, from: NodeId, asked: &Verified<EnrolmentRequest>) {
        let now = self.nodes[node].now(self.at());
        let Some(view) = self.nodes[node].view().cloned() else { return };
        let (decision, record) = decide_enrolment(&view, asked, now);
        let (to, request) = (from, asked.request);
        let then = match decision {
            Ok(EnrolmentDecision::Vote(vote)) => Then::Vote { to, request, tenant: asked.tenant, vote },
            Ok(EnrolmentDecision::Known(_)) => Then::Answer { to, request, verdict: Verdict::Voted },
            Err(refusal) => Then::Answer { to, request, verdict: Verdict::No(refusal) },
        };
        self.later(node, record, then);
    }

    // ---- releases ----

    /// An agent asks a node for a key of a leased keyring.
    pub fn release(&mut self, node: usize, request: ReleaseRequest) -> Handle {
        let handle = self.handle();
        let ReleaseRequest { agent, tenant, key, request: id, .. } = request;
        self.saw(Seen::Asked { node, handle, request: id, agent, tenant, key });
        if self.nodes[node].running.is_none() {
            self.released(node, handle, Err(Denied::Down));
            return handle;
        }
        self.ask_node(node, handle, request);
        handle
    }

    pub(crate) fn ask_node(&mut self, node: usize, handle: Handle, request: ReleaseRequest) {
        match &mut self.nodes[node].held {
            Some(held) => held.push_back(Event::Ask { node, handle, request: Box::new(request) }),
            None => self.try_release(node, handle, request, true),
        }
    }

    fn try_release(&mut self, node: usize, handle: Handle, request: ReleaseRequest, first: bool) {
        let now = self.nodes[node].now(self.at());
        let Some(view) = self.nodes[node].view().cloned() else {
            return self.released(node, handle, Err(Denied::Down));
        };
        let (decision, record) = decide(&view, &request, now);
        if let Decision::Release(_) | Decision::Refuse = decision {
            let ReleaseRequest { agent, tenant, key, .. } = request;
            let release = matches!(decision, Decision::Release(_));
            self.saw(Seen::Decided { node, now, handle: Some(handle), agent, tenant, key, release, blind: false });
        }
        match decision {
            Decision::Release(grant) => {
                self.later(node, record, Then::Release { handle, grant: Box::new(grant) });
            }
            Decision::Refuse => {
                let reason = record.reason.clone().unwrap_or_default();
                self.later(node, record, Then::Refuse { handle, reason });
            }
            Decision::Elsewhere { .. } => self.released(node, handle, Err(Denied::NoLease)),
            Decision::NeedLease { generation } => {
                let tenant = request.tenant;
                if let Some(running) = &mut self.nodes[node].running {
                    running.waiting.insert(handle, request);
                }
                if first {
                    self.patience(node, handle);
                    self.feed(node, Input::WantLease { tenant, generation });
                }
            }
        }
    }

    /// With a new view the releases that wait are decided again.
    pub(crate) fn retry_releases(&mut self, node: usize) {
        let Some(running) = &mut self.nodes[node].running else { return };
        for (handle, request) in std::mem::take(&mut running.waiting) {
            self.try_release(node, handle, request, false);
        }
    }

    pub(crate) fn give_up(&mut self, node: usize, handle: Handle) {
        let waited = self.nodes[node].running.as_mut().and_then(|running| running.waiting.remove(&handle));
        if waited.is_some() {
            self.released(node, handle, Err(Denied::NoLease));
        }
    }

    // ---- requests that a node carries ----

    /// A node carries an agent's request to custodians; what they say gathers under the handle.
    pub fn carry(&mut self, node: usize, request: RequestId, to: &[NodeId], message: &CustodyMessage) -> Handle {
        let handle = self.handle();
        self.outcomes.insert(handle, Outcome::Gathered(Vec::new()));
        if self.nodes[node].is_paused() {
            return handle;
        }
        if let Some(running) = &mut self.nodes[node].running {
            running.carried.insert(request, handle);
            to.iter().for_each(|custodian| self.send(node, custodian, Channel::Custody, message.to_frame()));
        }
        handle
    }

    /// What custodians said to a request so far.
    pub fn gathered(&self, handle: Handle) -> &[(NodeId, Verdict)] {
        match self.outcome(handle) {
            Some(Outcome::Gathered(answers)) => answers,
            Some(Outcome::Submitted(_) | Outcome::Released(_)) | None => &[],
        }
    }
}
