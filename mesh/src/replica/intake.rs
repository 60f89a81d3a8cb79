//! What comes in: statements from clients and peers, ciphertexts, custody messages.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use keymesh_wire::api::Submitted;
use keymesh_wire::body::{Body, CustodyClass, EnrolmentVote};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, PrincipalId, StatementId, TenantId};
use keymesh_wire::limits;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Millis, Now};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use super::library::Taken;
use super::step::{Channel, Effect, Step, Write};
use super::{Replica, assemble};
use crate::custody::ceremony::Outcome;
use crate::custody::lease::Progress;
use crate::custody::message::{Answer, CeremonyMessage, CustodyMessage, RefusalCode, Verdict};
use crate::mutant::{self, Mutant};
use crate::spread::{Action, Holdings};
use crate::state::Document;
use crate::state::document::made_somebody;
use crate::state::layout::lone_provider;

/// The most statements one submission may hold.
const SUBMIT_STATEMENTS: usize = 1024;
/// How often operators are told about one peer's custody messages within [`COMPLAINT_SPAN`]: each is a line in a log, and
/// a peer can send thousands in a second.
const COMPLAINTS: u32 = 20;
/// See [`COMPLAINTS`].
const COMPLAINT_SPAN: Millis = Millis::seconds(10);

impl Replica {
    /// A client hands statements in. All or nothing as far as form goes: nothing is kept of a submission with a malformed
    /// statement or a missing ciphertext.
    pub(super) fn submit(
        &mut self,
        envelopes: &[Vec<u8>],
        blobs: Vec<Vec<u8>>,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Result<Submitted, WireError> {
        if envelopes.is_empty() || envelopes.len() > SUBMIT_STATEMENTS {
            return Err(WireError::new(Code::Malformed, format!("hand in 1 to {SUBMIT_STATEMENTS} statements")));
        }
        let mut statements = Vec::with_capacity(envelopes.len());
        for (index, bytes) in envelopes.iter().enumerate() {
            let statement = Checked::from_bytes(bytes)
                .map_err(|error| WireError::new(Code::StatementInvalid, format!("statement {index}: {error}")))?;
            statements.push(statement);
        }
        let blobs: BTreeMap<BlobHash, Arc<[u8]>> = blobs
            .into_iter()
            .map(|bytes| (BlobHash::from_bytes(Sha256::digest(&bytes).into()), bytes.into()))
            .collect();
        if blobs.values().any(|bytes| bytes.len() > limits::BLOB_BYTES) {
            return Err(WireError::new(Code::TooLarge, format!("a ciphertext may have {} bytes", limits::BLOB_BYTES)));
        }
        let (statements, stranger) = self.without_strangers(statements);
        self.check_ciphertexts(&statements, &blobs)?;
        self.check_seals(&statements)?;
        let statements = self.adopt_documents(statements, now, rng, step)?;
        let mut ids = Vec::with_capacity(statements.len());
        for statement in statements {
            ids.push(statement.id());
            self.admit(statement, now, rng, step)?;
        }
        self.refold_now();
        for (hash, bytes) in blobs {
            for document in self.library.documents() {
                let actions = self.keep_blob(document, hash, bytes.clone(), None, now, rng, step);
                self.carry_out(actions, now, rng, step);
            }
        }
        let invalid = ids.iter().find(|id| self.library.all().any(|document| document.is_invalid(id)));
        match invalid.or(stranger.as_ref()) {
            None => Ok(Submitted { statements: ids }),
            Some(id) => Err(WireError::new(Code::NotAuthorised, self.why_invalid(id))),
        }
    }

    /// Why a statement counts nowhere, for whoever handed it in.
    fn why_invalid(&self, id: &StatementId) -> String {
        let lone = self.library.all().find_map(|document| match document.graph().get(id)?.body() {
            Some(Body::ProposeRoot(spec)) => lone_provider(spec, &document.tenant()?.nodes),
            Some(_) | None => None,
        });
        let doubt = self.library.all().find_map(|document| document.doubt(id));
        match (lone, doubt) {
            (Some(lone), _) => format!("{id} proposes no root: {lone}"),
            (None, Some(doubt)) => format!("{id} accuses nobody: {doubt}"),
            (None, None) => format!("the author of {id} has no right to it"),
        }
    }

    /// Takes out what strangers signed, except where somebody who is known built on it, and says what was taken out.
    ///
    /// Everybody may sign anything and nothing is ever forgotten, so otherwise whoever reaches a door could fill the disks
    /// of all nodes. From peers such statements are taken, because nodes must not differ in what they hold.
    fn without_strangers(&self, statements: Vec<Checked>) -> (Vec<Checked>, Option<StatementId>) {
        let mut somebodies: BTreeMap<DocumentId, BTreeSet<PrincipalId>> = BTreeMap::new();
        let mut known = Vec::with_capacity(statements.len());
        for statement in &statements {
            let Some(document) = self.library.document(&statement.document()) else {
                known.push(true);
                continue;
            };
            let somebodies = somebodies.entry(document.id()).or_insert_with(|| document.somebodies());
            let is = somebodies.contains(&statement.author());
            if is {
                somebodies.extend(statement.body().map(made_somebody).unwrap_or_default());
            }
            known.push(is || document.graph().contains(&statement.id()));
        }
        let mut built_on: BTreeSet<StatementId> = BTreeSet::new();
        let mut stranger = None;
        let mut kept = Vec::with_capacity(statements.len());
        for (statement, known) in statements.into_iter().zip(known).rev() {
            if known || built_on.contains(&statement.id()) {
                built_on.extend(statement.parents());
                kept.push(statement);
            } else {
                stranger = Some(statement.id());
            }
        }
        kept.reverse();
        (kept, stranger)
    }

    /// Every ciphertext that a new statement names comes along or is here already. A whole document that is handed over
    /// brings none: peers have those that still live, and of destroyed ones nobody has any.
    fn check_ciphertexts(
        &self,
        statements: &[Checked],
        blobs: &BTreeMap<BlobHash, Arc<[u8]>>,
    ) -> Result<(), WireError> {
        for statement in statements {
            let named = match statement.body() {
                Some(Body::CreateKeyring(new)) => match &new.class {
                    CustodyClass::Leased { generation, .. } => generation.capsule,
                    CustodyClass::Quorum => continue,
                },
                Some(Body::OpenGeneration(new)) => new.generation.capsule,
                Some(Body::CreateKey(new)) => new.version.ciphertext,
                Some(Body::AddVersion(new)) => new.version.ciphertext,
                _ => continue,
            };
            let document = statement.document();
            let known = !self.library.holds(&document) || self.library.contains(&document, &statement.id());
            if !known && !blobs.contains_key(&named) && self.library.blob(&document, &named).is_none() {
                let what = format!("{} names ciphertext {named}, which did not come along", statement.id());
                return Err(WireError::new(Code::Malformed, what));
            }
        }
        Ok(())
    }

    /// No version is sealed to a generation that only its creator knows, or that an expelled reader could read. From peers
    /// such statements are taken, because nodes must not differ in what they hold; the fold marks their keys as due.
    fn check_seals(&self, statements: &[Checked]) -> Result<(), WireError> {
        for document in self.library.all() {
            let here: Vec<&Checked> =
                statements.iter().filter(|statement| statement.document() == document.id()).collect();
            if let Some((id, unfit)) = document.unfit_seal(&here) {
                let what = format!("{id} seals to a generation that takes no new versions: {unfit}");
                return Err(WireError::new(Code::GenerationUnfit, what));
            }
        }
        Ok(())
    }

    /// Whole documents that come in one submission and place this node, though their genesis may not have. Returns the
    /// statements that are left.
    fn adopt_documents(
        &mut self,
        statements: Vec<Checked>,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Result<Vec<Checked>, WireError> {
        let mut left = Vec::new();
        let mut unknown: BTreeMap<DocumentId, Vec<Checked>> = BTreeMap::new();
        for statement in statements {
            if self.library.holds(&statement.document()) {
                left.push(statement);
            } else {
                unknown.entry(statement.document()).or_default().push(statement);
            }
        }
        for (id, statements) in unknown {
            let Some((document, orphans)) = assemble(statements.clone()) else {
                let what = format!("{id} is not held here; hand in the whole document or ask a node that holds it");
                return Err(WireError::new(Code::NotServedHere, what));
            };
            if !orphans.is_empty() {
                return Err(WireError::new(Code::Malformed, format!("statements of {id} lack their parents")));
            }
            let placed = document
                .tenant()
                .is_some_and(|tenant| tenant.mesh == self.config.mesh && tenant.nodes.contains_key(&self.me));
            if !placed {
                return Err(WireError::new(Code::NotServedHere, format!("{id} does not place this node")));
            }
            let ordered: Vec<Checked> =
                document.graph().entries().iter().map(|entry| entry.statement.clone()).collect();
            self.library.adopt(document);
            // All of it is written before anything that waited for a part of it: parents come before children on a disk.
            step.batch.writes.extend(ordered.iter().map(write_of));
            for statement in &ordered {
                let actions = self.spread.inserted(statement, None, &self.library, now.boot, rng);
                self.carry_out(actions, now, rng, step);
            }
            left.extend(statements);
        }
        Ok(left)
    }

    /// Takes one statement in and carries out what follows from it.
    fn admit(
        &mut self,
        statement: Checked,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Result<(), WireError> {
        let id = statement.id();
        match self.library.take(statement.clone()) {
            Taken::New => {
                let actions = self.inserted(&statement, None, now, rng, step);
                self.carry_out(actions, now, rng, step);
                Ok(())
            }
            Taken::Known => Ok(()),
            Taken::Orphan => {
                Err(WireError::new(Code::Malformed, format!("{id} lacks a parent here; hand its parents in first")))
            }
            Taken::Unwanted => {
                let what = format!("{id} belongs to a document that this node does not hold");
                Err(WireError::new(Code::NotServedHere, what))
            }
        }
    }

    /// Has a new statement written, and asks the spread what to do with it.
    fn inserted(
        &mut self,
        statement: &Checked,
        from: Option<NodeId>,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Vec<Action> {
        step.batch.writes.push(write_of(statement));
        if mutant::is(Mutant::WitnessBeforeDenial) && matches!(statement.body(), Some(Body::Revoke(_))) {
            let last = step.batch.writes.len() - 1;
            self.late.put_off(&mut step.batch.writes, last);
        }
        self.spread.inserted(statement, from, &self.library, now.boot, rng)
    }

    /// Signs a statement of this node and takes it in.
    pub(super) fn author(
        &mut self,
        document: DocumentId,
        body: &Body,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Option<StatementId> {
        let parents = self.library.document(&document)?.graph().parents_for(&self.me);
        let statement = Checked::sign(body, Some(document), parents, now.wall, &self.config.identity.clone()).ok()?;
        let id = statement.id();
        self.admit(statement, now, rng, step).ok()?;
        Some(id)
    }

    /// Carries out what the spread asks for. What follows from an action waits its turn: a long chain of statements that
    /// waited for one parent must not become a deep chain of calls.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Send { to, frame } => {
                    step.effects.push(Effect::Send { to, channel: Channel::Spread, frame });
                }
                // A peer's statement that does not fit here is no fault of anybody: the spread asks again.
                Action::Take(from, statement) => {
                    if self.library.take(statement.clone()) == Taken::New {
                        self.hear_of_itself(&statement, step);
                        queue.extend(self.inserted(&statement, Some(from), now, rng, step));
                    }
                }
                Action::TakeBlob { document, hash, bytes, from } => {
                    self.refold_now();
                    queue.extend(self.keep_blob(document, hash, bytes.into(), Some(from), now, rng, step));
                }
                Action::Misbehaved { peer, what } => {
                    step.effects.push(Effect::Warn(format!("{peer} {what}")));
                }
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a ciphertext with where it belongs and came from, and the step's context"
    )]
    fn keep_blob(
        &mut self,
        document: DocumentId,
        hash: BlobHash,
        bytes: Arc<[u8]>,
        from: Option<NodeId>,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Vec<Action> {
        if !self.library.take_blob(document, hash, bytes.clone()) {
            return Vec::new();
        }
        step.batch.writes.push(Write::Blob { document, hash, bytes });
        self.spread.blob_inserted(document, hash, from, &self.library, now.boot, rng)
    }

    /// This custodian votes for an enrolment, once per instance whatever it was asked meanwhile.
    pub(super) fn vote(
        &mut self,
        tenant: TenantId,
        vote: EnrolmentVote,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) -> Result<Submitted, WireError> {
        let refused = || WireError::new(Code::AlreadyBound, "this custodian voted for another key of the instance");
        let state = self
            .tenant_state(&tenant)
            .ok_or_else(|| WireError::new(Code::NotServedHere, "this node does not hold the tenant's document"))?;
        if let Some(enrolment) = state.enrolments.get(&vote.facts.instance)
            && let Some(mine) = enrolment.claims.iter().find(|claim| claim.votes.contains(&self.me))
            && (mine.agent == vote.agent || !mutant::is(Mutant::TwoKeysOneInstance))
        {
            let same = mine.agent == vote.agent;
            return if same { Ok(Submitted { statements: Vec::new() }) } else { Err(refused()) };
        }
        // Judged on a view that may have been older: of two requests at once, only one uses a ticket or a key up.
        if state.ticket_used_by_another(&vote.ticket, &vote.facts.instance, &self.me) {
            return Err(WireError::new(Code::TicketInvalid, "the ticket was used by another instance"));
        }
        if state.instance_of(&vote.agent, &self.me).is_some_and(|other| other != vote.facts.instance) {
            return Err(WireError::new(Code::AlreadyBound, "the agent's key belongs to another instance"));
        }
        if self.is_fenced(&tenant) {
            let what = "this custodian has not heard from its peers since it started; ask again in a moment";
            return Err(WireError::new(Code::QuorumUnavailable, what));
        }
        if state.is_moving(&self.me) {
            let what = "custody of the tenant's root is moving to other custodians; ask again in a moment";
            return Err(WireError::new(Code::QuorumUnavailable, what));
        }
        let id = self.author(tenant.into(), &Body::VoteEnrolment(vote), now, rng, step);
        self.refold_now();
        Ok(Submitted { statements: id.into_iter().collect() })
    }

    /// A message on the custody channel that the core handles itself.
    pub(super) fn custody(
        &mut self,
        from: NodeId,
        message: CustodyMessage,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        match message {
            CustodyMessage::Ceremony(envelope) => self.ceremony(from, &envelope, now, rng, step),
            CustodyMessage::Answer(answer) => self.lease_answer(from, answer, now, rng, step),
            CustodyMessage::TipsAsk(tenant, nonce) => self.tell_tips(from, tenant, nonce, now.boot, step),
            CustodyMessage::Tips(tenant, nonce, tips) => self.hear_tips(from, tenant, nonce, tips),
            CustodyMessage::Repair(envelopes) => self.repair(from, &envelopes, now, rng, step),
            CustodyMessage::Hello(_)
            | CustodyMessage::LeaseAsk(_)
            | CustodyMessage::QuorumAsk(_)
            | CustodyMessage::EnrolAsk(_) => {}
        }
    }

    fn ceremony(&mut self, from: NodeId, envelope: &[u8], now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let Ok(message) = Verified::<CeremonyMessage>::from_bytes(envelope) else {
            self.complain(from, format!("{from} sent an unreadable step of a key generation"), now.boot, step);
            return;
        };
        if message.member != from {
            let what = format!("{from} relayed a step of a key generation by {}", message.member);
            self.complain(from, what, now.boot, step);
            return;
        }
        let identity = self.config.identity.clone();
        if let Some(ceremony) = self.ceremonies.get_mut(&(message.root, message.committee)) {
            let mut outcomes = ceremony.receive(&message, &identity, now.boot, rng);
            let tenant = ceremony.tenant();
            outcomes.retain(|outcome| !matches!(outcome, Outcome::Warn(_)) || self.may_complain(from, now.boot));
            self.ceremony_outcomes(tenant, outcomes, now, rng, step);
        }
    }

    fn lease_answer(&mut self, from: NodeId, answer: Answer, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let Some(asking) = self.asking.get_mut(&answer.request) else { return };
        let place = asking.place();
        let mut complaint = None;
        let progress = match answer.verdict {
            Verdict::Partial(part) => asking.take(from, &part),
            Verdict::No(refusal) => {
                if refusal.code != RefusalCode::DenialsDiffer {
                    // A peer's words, for a log: one line, and not a long one.
                    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
                    let reason: String = refusal.reason.chars().take(limits::TEXT_BYTES).map(plain).collect();
                    let what = format!("{from} gives no lease of {}: {reason}", place.1.keyring);
                    complaint = Some(what);
                }
                asking.refuse(from)
            }
            Verdict::Voted => return,
        };
        if let Some(what) = complaint {
            self.complain(from, what, now.boot, step);
        }
        match progress {
            Progress::Waiting(culprits) => self.name_culprits(place.0, culprits, now, rng, step),
            Progress::Opened(lease, culprits) => {
                self.asking.remove(&answer.request);
                self.name_culprits(place.0, culprits, now, rng, step);
                self.lease_opened(answer.request, place, lease, now, rng, step);
            }
            Progress::Refused => {
                self.asking.remove(&answer.request);
            }
            Progress::FalseGeneration => {
                self.asking.remove(&answer.request);
                self.wishes.remove(&place);
                if !self.has_accused(&place) {
                    self.author(place.0.into(), &Body::AccuseGeneration(place.1), now, rng, step);
                }
                step.effects.push(Effect::Warn(format!("a generation of {} is false: accused", place.1.keyring)));
            }
            Progress::Unsound => {
                self.asking.remove(&answer.request);
                self.wishes.remove(&place);
                step.effects.push(Effect::Warn(format!("the capsule of {} can never be opened", place.1.keyring)));
            }
        }
    }

    fn may_complain(&mut self, about: NodeId, now: Boot) -> bool {
        let (since, said) = self.complaints.entry(about).or_insert((now, 0));
        if now.since(*since) >= COMPLAINT_SPAN {
            (*since, *said) = (now, 0);
        }
        *said = said.saturating_add(1);
        *said <= COMPLAINTS
    }

    pub(super) fn complain(&mut self, about: NodeId, what: String, now: Boot, step: &mut Step) {
        if self.may_complain(about, now) {
            step.effects.push(Effect::Warn(what));
        }
    }

    pub(super) fn refold_now(&mut self) {
        for id in self.library.refold() {
            self.refolded.insert(id);
        }
    }

    /// Documents with their states, for reactions.
    pub(super) fn document_of(&self, id: &DocumentId) -> Option<&Document> {
        self.library.document(id)
    }
}

fn write_of(statement: &Checked) -> Write {
    Write::Statement { document: statement.document(), id: statement.id(), bytes: statement.bytes().to_vec() }
}
