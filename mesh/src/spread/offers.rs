//! Pushing, announcing and pulling statements.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CustodyClass};
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, StatementId};
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Boot, Millis};
use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::message::{LIST, Message};
use super::peek::{causal_order, peek};
use super::wants::{Why, choose};
use super::{Action, Flood, Holdings, Misbehaviour, Spread, Step};
use crate::mutant::{self, Mutant};

/// Ids in one pull.
const PULL: usize = 1024;
/// So many ids are told as such. More come with a mended cut, which the peer most likely mends, too: a digest is shorter
/// and costs nothing more where that is so.
const NEWS: usize = 4;
/// The longest pause between two tries, in multiples of the first.
const BACKOFF: u64 = 4;

/// The ciphertexts that a statement names and that travel with it.
pub(super) fn named_blobs(statement: &Checked) -> Vec<BlobHash> {
    match statement.body() {
        Some(Body::CreateKeyring(keyring)) => match &keyring.class {
            CustodyClass::Leased { generation, .. } => vec![generation.capsule],
            CustodyClass::Quorum => Vec::new(),
        },
        Some(Body::OpenGeneration(new)) => vec![new.generation.capsule],
        Some(Body::CreateKey(key)) => vec![key.version.ciphertext],
        Some(Body::AddVersion(added)) => vec![added.version.ciphertext],
        Some(_) | None => Vec::new(),
    }
}

/// What a list of statements from a peer brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// How many statements were new.
    pub(super) fresh: u64,
    /// The ciphertexts that those name.
    pub(super) named: BTreeSet<BlobHash>,
}

impl Spread {
    /// Takes what is new among `statements`, keeps what lacks parents, and wants those.
    pub(super) fn take_statements(
        &mut self,
        from: NodeId,
        document: DocumentId,
        statements: &[ByteVec],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) -> Brought {
        let holds = step.holdings.holds(&document);
        let welcome = !holds || step.holdings.takes(&document, &from);
        let mut taken = BTreeSet::new();
        let mut brought = Brought::default();
        for bytes in statements {
            let Some(seen) = peek(bytes).filter(|seen| seen.document == document) else {
                step.misbehaved(from, Misbehaviour::NoStatement(document));
                return brought;
            };
            self.peer_has(&from, &document, &seen.id);
            if taken.contains(&seen.id) || step.holdings.contains(&document, &seen.id) {
                continue;
            }
            if self.waiting.contains(&seen.id) {
                self.want_parents(&seen.parents, document, from, &taken, step);
                continue;
            }
            let begins = seen.parents.is_empty();
            // Of a document that is not here only the beginning is taken, and what came along waits for it.
            let known = holds || begins || taken.contains(&StatementId::from(document));
            if !welcome || !known {
                continue;
            }
            if !self.peers.get_mut(&from).is_some_and(|peer| peer.meter.checks.take(1, step.now)) {
                self.flood(from, Flood::Checks, step);
                return brought;
            }
            let statement = match Checked::from_bytes(bytes) {
                Ok(statement) => statement,
                Err(error) => {
                    step.misbehaved(from, Misbehaviour::BadStatement { document, error });
                    return brought;
                }
            };
            self.wants.remove(&document, &seen.id);
            let named = named_blobs(&statement);
            let here = |id: &StatementId| taken.contains(id) || step.holdings.contains(&document, id);
            let fits = statement.parents().iter().all(here) || mutant::is(Mutant::ParentsUnchecked);
            if begins || (holds && fits) {
                taken.insert(seen.id);
                step.actions.push(Action::Take(from, statement));
            } else if self.waiting.put(statement, from, &self.limits) {
                self.want_parents(&seen.parents, document, from, &taken, step);
            } else {
                self.flood(from, Flood::Waiting, step);
                continue;
            }
            brought.fresh += 1;
            brought.named.extend(named);
        }
        brought
    }

    fn want_parents(
        &mut self,
        parents: &[StatementId],
        document: DocumentId,
        from: NodeId,
        taken: &BTreeSet<StatementId>,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        for parent in parents {
            let here =
                taken.contains(parent) || self.waiting.contains(parent) || step.holdings.contains(&document, parent);
            if !here {
                self.wants.add((document, *parent), Why::Parent, Some(from), step.now, &self.limits);
            }
        }
        self.scan_at = self.scan_at.min(step.now.plus(self.limits.retry));
    }

    /// A peer says that it holds statements.
    pub(super) fn announced(
        &mut self,
        from: NodeId,
        document: DocumentId,
        ids: &[StatementId],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        if !step.holdings.holds(&document) || !step.holdings.takes(&document, &from) {
            return;
        }
        for id in ids {
            self.peer_has(&from, &document, id);
            if !step.holdings.contains(&document, id) && !self.waiting.contains(id) {
                self.wants.add((document, *id), Why::Announced, Some(from), step.now, &self.limits);
            }
        }
        self.pull_due(step);
    }

    /// A peer asks for statements.
    pub(super) fn pulled(
        &mut self,
        from: NodeId,
        document: DocumentId,
        ids: &[StatementId],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        if !step.holdings.holds(&document) {
            return;
        }
        if !step.holdings.shares(&document, &from) {
            step.misbehaved(from, Misbehaviour::Foreign(document));
            return;
        }
        let mut room = self.limits.answer_bytes;
        let mut chosen = BTreeSet::new();
        for id in ids {
            let Some(bytes) = step.holdings.bytes(&document, id) else { continue };
            let Some(left) = room.checked_sub(bytes.len()) else { break };
            if chosen.insert(*id) {
                room = left;
            }
        }
        if !self.may_serve(&from, self.limits.answer_bytes - room, step.now) {
            return;
        }
        let mut rest = causal_order(chosen, &document, step.holdings).into_iter().peekable();
        while rest.peek().is_some() {
            let statements = self.pack(&mut rest, &document, step.holdings);
            step.send(from, &Message::Push { document, statements, blobs: Vec::new() });
        }
    }

    /// The next envelopes of `ids` that fit one frame, at least one.
    pub(super) fn pack(
        &self,
        ids: &mut std::iter::Peekable<impl Iterator<Item = StatementId>>,
        document: &DocumentId,
        holdings: &impl Holdings,
    ) -> Vec<ByteVec> {
        let mut bytes = 0;
        let mut packed = Vec::new();
        while packed.len() < self.limits.chunk_statements.clamp(1, LIST)
            && let Some(id) = ids.peek()
        {
            if let Some(envelope) = holdings.bytes(document, id) {
                if !packed.is_empty() && bytes + envelope.len() > self.limits.chunk_bytes {
                    break;
                }
                bytes += envelope.len();
                packed.push(ByteVec::from(envelope.to_vec()));
            }
            ids.next();
        }
        packed
    }

    /// Asks for every missing statement that is due, and gives up on what nobody gave.
    pub(super) fn pull_due(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let mut pulls: BTreeMap<(NodeId, DocumentId), Vec<StatementId>> = BTreeMap::new();
        let mut sharers: BTreeMap<DocumentId, Vec<NodeId>> = BTreeMap::new();
        for (document, id) in self.wants.due(step.now) {
            if step.holdings.contains(&document, &id) || self.waiting.contains(&id) {
                self.wants.remove(&document, &id);
                continue;
            }
            let others = sharers.entry(document).or_insert_with(|| self.sharers(&document, step.holdings));
            let peers = &self.peers;
            let up = |peer: &NodeId| peers.get(peer).is_some_and(|peer| peer.up);
            let Some(want) = self.wants.get(&document, &id) else { continue };
            if want.tries >= self.limits.tries {
                let why = want.why;
                self.wants.remove(&document, &id);
                if why == Why::Parent {
                    self.give_up(document, id, step);
                }
                continue;
            }
            if let Some(peer) = choose(want, others, up) {
                pulls.entry((peer, document)).or_default().push(id);
            }
            self.wants.asked(&document, &id, step.now, self.limits.retry, BACKOFF);
        }
        for ((peer, document), ids) in pulls {
            for ids in ids.chunks(PULL) {
                step.send(peer, &Message::Pull { document, ids: ids.to_vec() });
            }
        }
    }

    fn give_up(
        &mut self,
        document: DocumentId,
        parent: StatementId,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let mut dropped: BTreeMap<NodeId, usize> = BTreeMap::new();
        for waiter in self.waiting.remove_descendants(&parent) {
            *dropped.entry(waiter.from).or_default() += 1;
        }
        for (peer, dropped) in dropped {
            step.misbehaved(peer, Misbehaviour::WithheldParents { document, parent, dropped });
        }
    }

    /// Looks after statements that wait although nobody is asked for their parents: an account was full, or the replica
    /// did not take what was given to it.
    pub(super) fn scan_waiting(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        if step.now < self.scan_at {
            return;
        }
        let mut unwanted = Vec::new();
        let mut came = Vec::new();
        for (parent, waiter) in self.waiting.parents() {
            let document = waiter.statement.document();
            if !step.holdings.holds(&document) {
                unwanted.push(parent);
            } else if step.holdings.contains(&document, &parent) {
                came.push((document, parent));
            } else if !self.waiting.contains(&parent) && !self.wants.contains(&document, &parent) {
                self.wants.add((document, parent), Why::Parent, Some(waiter.from), step.now, &self.limits);
            }
        }
        for parent in unwanted {
            self.waiting.remove_descendants(&parent);
        }
        for (document, parent) in came {
            self.release_children(document, &parent, step);
        }
        self.scan_at =
            if self.waiting.is_empty() { Boot(u64::MAX) } else { step.now.plus(Millis(self.limits.retry.0 * BACKOFF)) };
    }

    /// What waited for `statement` and now has all its parents is taken.
    pub(super) fn release(&mut self, statement: &Checked, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let (document, id) = (statement.document(), statement.id());
        self.wants.remove(&document, &id);
        self.waiting.remove(&id);
        self.release_children(document, &id, step);
    }

    fn release_children(
        &mut self,
        document: DocumentId,
        parent: &StatementId,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let holdings = step.holdings;
        let ready = |statement: &Checked| statement.parents().iter().all(|id| holdings.contains(&document, id));
        for waiter in self.waiting.release(parent, ready) {
            if holdings.takes(&document, &waiter.from) {
                step.actions.push(Action::Take(waiter.from, waiter.statement));
            }
        }
    }

    /// Passes a statement on. What was submitted here goes out with its bytes: to all peers if it is small, for they all
    /// lack it and would pull it from here, or to a few, and by its id to the others. What came from a peer goes by its
    /// id to a few, a little later and together with what else came: a mended cut brings many.
    pub(super) fn forward(
        &mut self,
        statement: &Checked,
        from: Option<NodeId>,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let (document, id) = (statement.document(), statement.id());
        let hashes = named_blobs(statement);
        if hashes.iter().any(|hash| step.holdings.blob(&document, hash).is_none()) {
            self.bare.insert(document);
            self.bare_at = self.bare_at.min(step.now.plus(self.limits.announce_delay));
        }
        if from.is_some() {
            self.news.entry((document, id)).or_default().extend(from);
            self.announce_at = self.announce_at.min(step.now.plus(self.limits.announce_delay));
            return;
        }
        let blobs: Vec<_> = hashes
            .iter()
            .filter_map(|hash| step.holdings.blob(&document, hash))
            .map(|blob| ByteVec::from(blob.to_vec()))
            .collect();
        let size = statement.bytes().len() + blobs.iter().map(|blob| blob.len()).sum::<usize>();
        let mut peers = self.sharers(&document, step.holdings);
        step.shuffle(&mut peers);
        let few = if size <= self.limits.push_small { peers.len() } else { self.limits.push_fanout };
        let (push, announce) = peers.split_at(few.min(peers.len()));
        let message = Message::Push { document, statements: vec![ByteVec::from(statement.bytes().to_vec())], blobs };
        push.iter().for_each(|peer| step.send(*peer, &message));
        let message = Message::Announce { document, ids: vec![id] };
        announce.iter().for_each(|peer| step.send(*peer, &message));
    }

    /// Tells a few peers what was gathered.
    pub(super) fn flush_announces(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        if step.now < self.announce_at {
            return;
        }
        self.announce_at = Boot(u64::MAX);
        let mut documents: BTreeMap<DocumentId, Vec<(StatementId, BTreeSet<NodeId>)>> = BTreeMap::new();
        for ((document, id), known) in std::mem::take(&mut self.news) {
            documents.entry(document).or_default().push((id, known));
        }
        for (document, news) in documents {
            let mut peers = self.sharers(&document, step.holdings);
            // Whoever is known to have all of it needs no word.
            peers.retain(|peer| news.iter().any(|(_, known)| !known.contains(peer)));
            step.shuffle(&mut peers);
            for peer in peers.into_iter().take(self.limits.announce_fanout) {
                let ids: Vec<_> = news.iter().filter(|(_, known)| !known.contains(&peer)).map(|(id, _)| *id).collect();
                if ids.len() > NEWS {
                    self.tell(peer, &[document], step);
                } else {
                    step.send(peer, &Message::Announce { document, ids });
                }
            }
        }
    }

    /// A peer showed that it holds a statement: it need not be told.
    fn peer_has(&mut self, peer: &NodeId, document: &DocumentId, id: &StatementId) {
        if let Some(known) = self.news.get_mut(&(*document, *id)) {
            known.insert(*peer);
        }
    }
}
