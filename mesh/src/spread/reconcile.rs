//! Anti-entropy: digests, range-based set reconciliation, and the transfers that follow from it.
//!
//! 1. A node tells its [`Summary`] of the documents it shares with a peer when they connect, and later whenever it is
//!    that peer's turn ([`super::partners`]).
//! 2. Where the ids differ, the side that holds more opens a session (the lower node id, when both hold as much); the
//!    other side answers with its own summary, so that exactly one of the two begins. Both wait a little if they are
//!    about to get the same from elsewhere ([`super::mends`]).
//! 3. Both give half a salt ([`Salted`]); ranges, the oldest statements first, go back and forth until the initiator knows both differences.
//! 4. The initiator closes with the salted ids that it lacks. Each side streams what the other lacks in causal order, one
//!    chunk for each credit; the receiver gives credit as fast as it can check signatures.
//! 5. When a stream ends, the summaries are compared again: over ids, and over the folded state.
//!
//! A session compares the sets as they were when it began; what came meanwhile was pushed or is found the next time.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::ids::{DocumentId, NodeId, StatementId};
use keymesh_wire::time::{Boot, Millis};
use negentropy::{Id, Negentropy};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use super::message::{LACKING, LIST, Message, SaltedId, Summary, Told};
use super::peek::causal_order;
use super::salted::{SaltHalf, Salted, Sides};
use super::{Action, Holdings, Lag, Misbehaviour, Peer, Spread, Step};
use crate::mutant::{self, Mutant};

/// Sessions at a time that one peer may make this node answer, and that this node begins with one peer.
const SESSIONS_PER_PEER: usize = 2;
/// How long a pair of nodes leaves a document alone after reconciling it.
pub(super) const QUIET: Millis = Millis(1000);
/// How often that doubles for a peer that holds no more than before, although it was sent what it lacks: it may be full,
/// or wait to be handed the whole document by its operators, or lie.
const DOUBLINGS: u32 = 5;
/// How long a session that finds no room waits.
const BUSY: Millis = Millis(100);
/// Ids that cost as much to salt as one signature costs to check.
const IDS_PER_CHECK: u64 = 64;
/// Ids whose fingerprints cost as much to add up as one signature costs to check.
const SUMS_PER_CHECK: u64 = 4096;

/// A reconciliation of one document with one peer.
#[derive(Debug)]
pub(super) enum Session {
    /// Begun here; the peer's half of the salt is awaited.
    Opening { session: u64, half: SaltHalf, deadline: Boot },
    /// Begun here; an answer is awaited.
    Asking { session: u64, set: Salted, rounds: u32, have: BTreeSet<Id>, lack: BTreeSet<SaltedId>, deadline: Boot },
    /// Begun by the peer; its next question is awaited.
    Answering { session: u64, set: Salted, rounds: u32, deadline: Boot },
}

impl Session {
    /// When it is given up.
    pub(super) fn deadline(&self) -> Boot {
        match self {
            Self::Opening { deadline, .. } | Self::Asking { deadline, .. } | Self::Answering { deadline, .. } => {
                *deadline
            }
        }
    }

    fn is_mine(&self) -> bool {
        match self {
            Self::Opening { .. } | Self::Asking { .. } => true,
            Self::Answering { .. } => false,
        }
    }
}

/// What a peer lacks, on its way.
#[derive(Debug)]
pub(super) struct Stream {
    session: u64,
    rest: std::iter::Peekable<std::vec::IntoIter<StatementId>>,
    state: Flow,
}

/// Credit that is owed to a peer.
#[derive(Debug)]
pub(super) struct Credit {
    session: u64,
    fresh: u64,
    /// When it is given.
    pub(super) due: Boot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// The next chunk may go from then on.
    Ready(Boot),
    /// Credit is awaited until then.
    Sent(Boot),
}

impl Stream {
    /// When it goes on or is given up.
    pub(super) fn wake(&self) -> Boot {
        match self.state {
            Flow::Ready(at) | Flow::Sent(at) => at,
        }
    }
}

impl Summary {
    /// Of a document that is not held.
    pub const NOTHING: Self = Self { ids: [0; 32], count: 0, state: [0; 32] };
}

impl Spread {
    /// What is held of a document. The ids are hashed anew only when the replica's digest changed.
    pub(super) fn summary(&mut self, document: &DocumentId, holdings: &impl Holdings) -> Summary {
        if !holdings.holds(document) {
            self.summaries.remove(document);
            return Summary::NOTHING;
        }
        let state = holdings.digest(document);
        if let Some(summary) = self.summaries.get(document).filter(|summary| summary.state == state) {
            return *summary;
        }
        let ids = holdings.ids(document);
        let mut hash = Sha256::new();
        ids.iter().for_each(|id| hash.update(id.as_bytes()));
        let summary = Summary { ids: hash.finalize().into(), count: ids.len() as u64, state };
        self.summaries.insert(*document, summary);
        summary
    }

    /// Tells a peer the summaries of documents that it may hold.
    pub(super) fn tell(
        &mut self,
        peer: NodeId,
        documents: &[DocumentId],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        for documents in documents.chunks(LIST) {
            let told = documents
                .iter()
                .map(|document| Told { document: *document, summary: self.summary(document, step.holdings) })
                .collect();
            step.send(peer, &Message::Digests { told });
        }
    }

    /// Tells the digests that are due, and looks again at documents that a session left unequal.
    pub(super) fn compare_due(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let busy = self.mends.is_busy(step.now);
        for peer in self.partners.due(step.now, busy, &self.limits, step.rng) {
            let mut documents = step.holdings.documents();
            documents.retain(|document| step.holdings.shares(document, &peer));
            self.tell(peer, &documents, step);
            self.mends.retain(|document| step.holdings.holds(document));
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.lag.retain(|document, _| step.holdings.holds(document));
            }
        }
        let due: Vec<_> = self.checks.iter().filter(|(_, at)| **at <= step.now).map(|(key, _)| *key).collect();
        let mut tell: BTreeMap<NodeId, Vec<DocumentId>> = BTreeMap::new();
        for (peer, document) in due {
            self.checks.remove(&(peer, document));
            if step.holdings.holds(&document) && step.holdings.shares(&document, &peer) {
                tell.entry(peer).or_default().push(document);
            }
        }
        for (peer, documents) in tell {
            self.tell(peer, &documents, step);
        }
    }

    /// A peer told what it holds.
    pub(super) fn told(&mut self, from: NodeId, told: &[Told], step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let mut reply = BTreeSet::new();
        for Told { document, summary: theirs } in told {
            if !step.holdings.holds(document) {
                if theirs.count > 0 {
                    reply.insert(*document);
                }
                continue;
            }
            let (shares, takes) = (step.holdings.shares(document, &from), step.holdings.takes(document, &from));
            if !shares && !takes {
                continue;
            }
            let ours = self.summary(document, step.holdings);
            let quiet_until = self.note(from, *document, *theirs, step.now);
            if ours.ids == theirs.ids {
                self.mends.same(document, &from);
                if ours.state != theirs.state {
                    self.diverged(from, *document, &ours, theirs, step);
                }
                continue;
            }
            let key = (from, *document);
            if self.sessions.contains_key(&key) || self.streams.contains_key(&key) {
                continue;
            }
            if let Some(at) = self.mends.wait(document, &from, step.now) {
                self.checks.insert(key, at);
                continue;
            }
            let mine = ours.count > theirs.count || (ours.count == theirs.count && self.me < from);
            if !mine {
                // No mend yet: the peer may be waiting for others, too, and whoever waited for it would wait for nothing.
                reply.insert(*document);
            } else if shares {
                if quiet_until > step.now {
                    self.checks.insert(key, quiet_until);
                } else {
                    self.open(from, *document, step);
                }
            }
        }
        if !reply.is_empty() {
            let reply: Vec<_> = reply.into_iter().collect();
            self.tell(from, &reply, step);
        }
    }

    fn note(&mut self, peer: NodeId, document: DocumentId, told: Summary, now: Boot) -> Boot {
        let Some(entry) = self.peers.get_mut(&peer) else { return now };
        let lag = entry.lag.entry(document).or_insert_with(|| Lag::new(told, now));
        lag.told = told;
        lag.at = now;
        lag.quiet_until
    }

    fn diverged(
        &mut self,
        peer: NodeId,
        document: DocumentId,
        ours: &Summary,
        theirs: &Summary,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let digests = (ours.state, theirs.state);
        let Some(Peer { lag, meter, .. }) = self.peers.get_mut(&peer) else { return };
        let Some(lag) = lag.get_mut(&document) else { return };
        // A peer that tells another state each time must not write a line into the log each time.
        if lag.reported != Some(digests) && meter.reports.take(1, step.now) {
            lag.reported = Some(digests);
            let (count, ours, theirs) = (ours.count, ours.state, theirs.state);
            step.misbehaved(peer, Misbehaviour::Diverged { document, count, ours, theirs });
        }
    }

    fn open(&mut self, peer: NodeId, document: DocumentId, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let mine = self.sessions.iter().filter(|(_, session)| session.is_mine());
        let with_peer = mine.clone().filter(|((of, _), _)| *of == peer).count();
        if mine.count() >= self.limits.sessions || with_peer >= SESSIONS_PER_PEER {
            self.checks.insert((peer, document), step.now.plus(BUSY));
            return;
        }
        let mut half = [0; 16];
        step.rng.fill_bytes(&mut half);
        let session = step.rng.next_u64();
        let deadline = step.now.plus(self.limits.session_timeout);
        self.sessions.insert((peer, document), Session::Opening { session, half, deadline });
        self.mends.progress(document, peer, step.now);
        step.send(peer, &Message::Open { document, session, salt: half });
    }

    /// A peer begins a session.
    pub(super) fn opened(
        &mut self,
        from: NodeId,
        document: DocumentId,
        session: u64,
        half: SaltHalf,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        if step.holdings.holds(&document) && !step.holdings.takes(&document, &from) {
            step.misbehaved(from, Misbehaviour::Foreign(document));
            return;
        }
        // Both may have begun at once: the lower id's session goes on.
        let key = (from, document);
        if self.sessions.get(&key).is_some_and(Session::is_mine) && self.me < from {
            return;
        }
        let answering = self
            .sessions
            .iter()
            .filter(|((of, document), session)| *of == from && *document != key.1 && !session.is_mine());
        if answering.count() >= SESSIONS_PER_PEER || !self.may_salt(&from, &document, step) {
            return;
        }
        if step.holdings.holds(&document) && self.mends.wait(&document, &from, step.now).is_some() {
            step.send(from, &Message::Close { document, session, lacking: Vec::new() });
            return;
        }
        let mut own = [0; 16];
        step.rng.fill_bytes(&mut own);
        let sides = Sides { initiator: from, initiator_half: half, responder: self.me, responder_half: own };
        let deadline = step.now.plus(self.limits.session_timeout);
        let set = self.salted(&sides, &document, step);
        self.sessions.insert(key, Session::Answering { session, set, rounds: 0, deadline });
        self.mends.progress(document, from, step.now);
        step.send(from, &Message::Accept { document, session, salt: own });
    }

    fn salted(&self, sides: &Sides, document: &DocumentId, step: &Step<'_, impl Holdings, impl CryptoRng>) -> Salted {
        Salted::new(sides, &step.holdings.ids(document), |id| step.holdings.height(document, id))
    }

    /// Salting a document's ids is work that a peer can cause: it counts like checking its statements.
    fn may_salt(
        &mut self,
        peer: &NodeId,
        document: &DocumentId,
        step: &Step<'_, impl Holdings, impl CryptoRng>,
    ) -> bool {
        let count = self.summary(document, step.holdings).count;
        self.may_work(peer, 1 + count / IDS_PER_CHECK, step.now)
    }

    fn may_work(&mut self, peer: &NodeId, checks: u64, now: Boot) -> bool {
        self.peers.get_mut(peer).is_some_and(|peer| peer.meter.checks.take(checks, now))
    }

    /// The peer takes part in the session that was begun here.
    pub(super) fn accepted(
        &mut self,
        from: NodeId,
        document: DocumentId,
        session: u64,
        theirs: SaltHalf,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let key = (from, document);
        let half = match self.sessions.get(&key) {
            Some(Session::Opening { session: mine, half, .. }) if *mine == session => *half,
            Some(_) | None => return,
        };
        self.sessions.remove(&key);
        if !step.holdings.holds(&document) || !step.holdings.shares(&document, &from) {
            return;
        }
        if !self.may_salt(&from, &document, step) {
            return;
        }
        let sides = Sides { initiator: self.me, initiator_half: half, responder: from, responder_half: theirs };
        let set = self.salted(&sides, &document, step);
        let first = Negentropy::borrowed(&set, self.limits.reconcile_bytes).and_then(|mut side| side.initiate());
        let Ok(ranges) = first else { return };
        let deadline = step.now.plus(self.limits.session_timeout);
        let (have, lack) = (BTreeSet::new(), BTreeSet::new());
        self.sessions.insert(key, Session::Asking { session, set, rounds: 0, have, lack, deadline });
        step.send(from, &Message::Ask { document, session, ranges });
    }

    /// The initiator's ranges.
    pub(super) fn asked(
        &mut self,
        from: NodeId,
        document: DocumentId,
        session: u64,
        ranges: &[u8],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let key = (from, document);
        let Some(Session::Answering { session: theirs, set, rounds, deadline }) = self.sessions.get_mut(&key) else {
            return;
        };
        let cost = 1 + set.len() as u64 / SUMS_PER_CHECK;
        let may = self.peers.get_mut(&from).is_some_and(|peer| peer.meter.checks.take(cost, step.now));
        if *theirs != session || !may {
            return;
        }
        *rounds += 1;
        *deadline = step.now.plus(self.limits.session_timeout);
        self.mends.progress(document, from, step.now);
        if *rounds > self.limits.rounds {
            self.sessions.remove(&key);
            return;
        }
        let answer =
            Negentropy::borrowed(&*set, self.limits.reconcile_bytes).and_then(|mut side| side.reconcile(ranges));
        match answer {
            Ok(ranges) => step.send(from, &Message::Answer { document, session, ranges }),
            Err(error) => {
                self.sessions.remove(&key);
                step.misbehaved(from, Misbehaviour::Ranges { document, what: error.to_string() });
            }
        }
    }

    /// The responder's ranges.
    pub(super) fn answered(
        &mut self,
        from: NodeId,
        document: DocumentId,
        session: u64,
        ranges: &[u8],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let key = (from, document);
        let Some(Session::Asking { session: mine, set, rounds, have, lack, deadline }) = self.sessions.get_mut(&key)
        else {
            return;
        };
        if *mine != session {
            return;
        }
        let (mut have_now, mut lack_now) = (Vec::new(), Vec::new());
        let next = Negentropy::borrowed(&*set, self.limits.reconcile_bytes).and_then(|mut side| {
            side.set_initiator();
            side.reconcile_with_ids(ranges, &mut have_now, &mut lack_now)
        });
        if mutant::is(Mutant::ReconciliationEndsEarly) && matches!(next, Ok(None)) {
            (have_now, lack_now) = (Vec::new(), Vec::new());
        }
        have.extend(have_now);
        lack.extend(lack_now.into_iter().map(|id| SaltedId(id.to_bytes())).take(LACKING + 1));
        // One more than fits is enough to know that it does not fit.
        while lack.len() > LACKING + 1 {
            lack.pop_last();
        }
        *rounds += 1;
        *deadline = step.now.plus(self.limits.session_timeout);
        self.mends.progress(document, from, step.now);
        match next {
            Ok(Some(ranges)) if *rounds < self.limits.rounds => {
                step.send(from, &Message::Ask { document, session, ranges });
            }
            Ok(_) => self.close(from, document, session, step),
            Err(error) => {
                self.sessions.remove(&key);
                step.misbehaved(from, Misbehaviour::Ranges { document, what: error.to_string() });
            }
        }
    }

    /// Both differences are known, or as much of them as the rounds allowed.
    fn close(
        &mut self,
        peer: NodeId,
        document: DocumentId,
        session: u64,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let key = (peer, document);
        let Some(Session::Asking { set, have, lack, .. }) = self.sessions.remove(&key) else { return };
        // A part of a large difference would come without its ancestors. Once the peer has what it lacks, it holds more,
        // begins a session itself and streams everything in order.
        let lacking: Vec<_> = if lack.len() > LACKING { Vec::new() } else { lack.into_iter().collect() };
        step.send(peer, &Message::Close { document, session, lacking });
        if let Some(lag) = self.peers.get_mut(&peer).and_then(|peer| peer.lag.get_mut(&document)) {
            let given = (!have.is_empty()).then_some(lag.told.count);
            let same = given.is_some() && lag.given == given;
            lag.in_vain = if same { (lag.in_vain + 1).min(DOUBLINGS) } else { 0 };
            lag.given = given;
            lag.quiet_until = step.now.plus(Millis(QUIET.0 << lag.in_vain));
        }
        let have = set.originals(&have);
        self.stream(peer, document, session, have, step);
    }

    /// The peer knows both differences; this side streams what the peer lacks. Or the peer, asked to take part, does not
    /// for now: it is about to get the same from elsewhere.
    pub(super) fn closed(
        &mut self,
        from: NodeId,
        document: DocumentId,
        session: u64,
        lacking: &[SaltedId],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let key = (from, document);
        let set = match self.sessions.get(&key) {
            Some(Session::Answering { session: theirs, set, .. }) if *theirs == session => set,
            Some(Session::Opening { session: mine, .. }) if *mine == session => {
                self.sessions.remove(&key);
                self.mends.ended(&document, &from);
                self.checks.insert(key, step.now.plus(QUIET));
                return;
            }
            Some(_) | None => return,
        };
        let ids = set.originals(&lacking.iter().map(|SaltedId(id)| Id::from_byte_array(*id)).collect());
        self.sessions.remove(&key);
        if ids.is_empty() || !step.holdings.holds(&document) || !step.holdings.shares(&document, &from) {
            return;
        }
        if self.may_work(&from, 1 + ids.len() as u64 / IDS_PER_CHECK, step.now) {
            self.stream(from, document, session, ids, step);
        }
    }

    fn stream(
        &mut self,
        peer: NodeId,
        document: DocumentId,
        session: u64,
        ids: BTreeSet<StatementId>,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let rest = causal_order(ids, &document, step.holdings).into_iter().peekable();
        self.streams.insert((peer, document), Stream { session, rest, state: Flow::Ready(step.now) });
        self.send_chunk(peer, document, step);
    }

    /// Sends the next chunk of a stream, or ends it with a digest.
    fn send_chunk(&mut self, peer: NodeId, document: DocumentId, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let Some(mut stream) = self.streams.remove(&(peer, document)) else { return };
        if !step.holdings.holds(&document) || !step.holdings.shares(&document, &peer) {
            return;
        }
        if stream.rest.peek().is_none() {
            self.tell(peer, &[document], step);
            return;
        }
        if self.may_serve(&peer, self.limits.chunk_bytes, step.now) {
            let statements = self.pack(&mut stream.rest, &document, step.holdings);
            step.send(peer, &Message::Chunk { document, session: stream.session, statements });
            stream.state = Flow::Sent(step.now.plus(self.limits.session_timeout));
        } else {
            stream.state = Flow::Ready(step.now.plus(BUSY));
        }
        self.streams.insert((peer, document), stream);
    }

    /// A chunk was taken: credit for the next, as soon as that one's signatures may be checked.
    pub(super) fn chunk_taken(
        &mut self,
        from: NodeId,
        document: DocumentId,
        session: u64,
        fresh: u64,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        if step.holdings.holds(&document) {
            self.mends.progress(document, from, step.now);
        }
        let statements = self.limits.chunk_statements as u64;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let pause = peer.meter.checks.until(statements, step.now);
        let begins = |action: &Action| matches!(action, Action::Take(_, taken) if taken.document() == document);
        if pause == Millis(0) {
            step.send(from, &Message::Credit { document, session, fresh });
        } else if step.holdings.holds(&document) || step.actions.iter().any(begins) {
            self.credits.insert((from, document), Credit { session, fresh, due: step.now.plus(pause) });
        }
    }

    /// Gives the credits that are due.
    pub(super) fn send_credits(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let now = step.now;
        self.credits.retain(|(peer, document), Credit { session, fresh, due }| {
            let wait = *due > now;
            if !wait {
                step.send(*peer, &Message::Credit { document: *document, session: *session, fresh: *fresh });
            }
            wait
        });
    }

    /// The peer is ready for the next chunk. When the last one told it nothing, it gets the same from somebody else, and
    /// this stream would only double that: digests are compared again a little later.
    pub(super) fn credited(
        &mut self,
        from: NodeId,
        document: DocumentId,
        session: u64,
        fresh: u64,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let key = (from, document);
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if stream.session != session || !matches!(stream.state, Flow::Sent(_)) {
            return;
        }
        if fresh == 0 && stream.rest.peek().is_some() {
            self.streams.remove(&key);
            self.checks.insert(key, step.now.plus(QUIET));
        } else {
            self.send_chunk(from, document, step);
        }
    }

    /// Goes on with streams that waited for their rate and gives up those that wait for a silent peer.
    pub(super) fn send_streams(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let due: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.wake() <= step.now)
            .map(|(key, s)| (*key, s.state))
            .collect();
        for ((peer, document), state) in due {
            match state {
                Flow::Ready(_) => self.send_chunk(peer, document, step),
                Flow::Sent(_) => self.retry((peer, document), step.now),
            }
        }
    }

    /// Gives up sessions whose peer is silent.
    pub(super) fn expire_sessions(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let due: Vec<_> =
            self.sessions.iter().filter(|(_, session)| session.deadline() <= step.now).map(|(key, _)| *key).collect();
        for key in due {
            self.retry(key, step.now);
        }
    }

    /// Forgets what went on about a document with a peer and compares digests again.
    fn retry(&mut self, key: (NodeId, DocumentId), now: Boot) {
        self.streams.remove(&key);
        self.sessions.remove(&key);
        self.checks.insert(key, now);
    }
}
