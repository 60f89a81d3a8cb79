//! Ciphertexts: pushed along with the statements that name them, pulled when they are missing.
//!
//! A ciphertext is taken only if live state misses it or a statement that came in the same frame names it; whether it
//! may be stored (I10: a destroyed hash is never admitted again) is the replica's judgement.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::ids::{BlobHash, DocumentId, NodeId};
use keymesh_wire::time::Boot;
use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use super::message::Message;
use super::wants::{Why, choose};
use super::{Action, Holdings, Misbehaviour, Spread, Step};

/// Ciphertexts asked for at a time, over all documents.
const ASKING: usize = 1024;
/// Hashes in one pull.
const PULL: usize = 64;
/// The longest pause between two tries, in multiples of the first.
const BACKOFF: u64 = 20;

impl Spread {
    /// Takes the wanted ones among `blobs`.
    pub(super) fn take_blobs(
        &mut self,
        from: NodeId,
        document: DocumentId,
        blobs: Vec<ByteVec>,
        named: &BTreeSet<BlobHash>,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        if blobs.is_empty() || (step.holdings.holds(&document) && !step.holdings.takes(&document, &from)) {
            return;
        }
        let missing: OnceCell<BTreeSet<BlobHash>> = OnceCell::new();
        for blob in blobs {
            let bytes = Vec::from(blob);
            let hash = BlobHash::from_bytes(Sha256::digest(&bytes).into());
            if step.holdings.blob(&document, &hash).is_some() {
                continue;
            }
            let missed = || missing.get_or_init(|| step.holdings.missing_blobs(&document).into_iter().collect());
            if named.contains(&hash) || missed().contains(&hash) {
                step.actions.push(Action::TakeBlob { document, hash, bytes, from });
            }
        }
    }

    /// A peer asks for ciphertexts.
    pub(super) fn blobs_pulled(
        &mut self,
        from: NodeId,
        document: DocumentId,
        hashes: &[BlobHash],
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        if !step.holdings.holds(&document) {
            return;
        }
        if !step.holdings.shares(&document, &from) {
            step.misbehaved(from, Misbehaviour::Foreign(document));
            return;
        }
        let distinct: BTreeSet<_> = hashes.iter().collect();
        let mut room = self.limits.answer_bytes;
        let (mut frame, mut filled) = (Vec::new(), 0);
        for hash in distinct {
            let Some(blob) = step.holdings.blob(&document, hash) else { continue };
            let Some(left) = room.checked_sub(blob.len()) else { break };
            if !self.may_serve(&from, blob.len(), step.now) {
                break;
            }
            room = left;
            if filled + blob.len() > self.limits.chunk_bytes && !frame.is_empty() {
                step.send(from, &Message::Blobs { document, blobs: std::mem::take(&mut frame) });
                filled = 0;
            }
            filled += blob.len();
            frame.push(ByteVec::from(blob.to_vec()));
        }
        if !frame.is_empty() {
            step.send(from, &Message::Blobs { document, blobs: frame });
        }
    }

    /// Pushes a ciphertext that was stored here.
    pub(super) fn forward_blob(
        &mut self,
        document: DocumentId,
        hash: BlobHash,
        step: &mut Step<'_, impl Holdings, impl CryptoRng>,
    ) {
        let Some(blob) = step.holdings.blob(&document, &hash) else { return };
        let message = Message::Blobs { document, blobs: vec![ByteVec::from(blob.to_vec())] };
        let mut peers = self.sharers(&document, step.holdings);
        step.shuffle(&mut peers);
        peers.truncate(self.limits.push_fanout);
        peers.iter().for_each(|peer| step.send(*peer, &message));
    }

    /// Finds out anew what is missing: of all documents now and then, of those that may just have become bare sooner.
    pub(super) fn scan_blobs(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let documents = if step.now >= self.blobs_at {
            self.blobs_at = step.now.plus(self.limits.reconcile_every);
            step.holdings.documents()
        } else if step.now >= self.bare_at {
            self.bare.iter().copied().collect()
        } else {
            return;
        };
        self.bare.clear();
        self.bare_at = Boot(u64::MAX);
        let mut missing: BTreeSet<(DocumentId, BlobHash)> = BTreeSet::new();
        for document in &documents {
            missing.extend(step.holdings.missing_blobs(document).into_iter().map(|hash| (*document, hash)));
        }
        for (document, hash) in self.blob_wants.keys() {
            let searched = documents.contains(&document) || !step.holdings.holds(&document);
            if searched && !missing.contains(&(document, hash)) {
                self.blob_wants.remove(&document, &hash);
            }
        }
        for key in missing {
            if self.blob_wants.len() >= ASKING {
                break;
            }
            if !self.blob_wants.contains(&key.0, &key.1) {
                self.blob_wants.add(key, Why::Blob, None, step.now, &self.limits);
                self.blob_wants.begin_with(&key.0, &key.1, self.turn);
                self.turn = self.turn.wrapping_add(1);
            }
        }
    }

    /// Asks for every missing ciphertext that is due, each time from the next peer.
    pub(super) fn pull_blobs_due(&mut self, step: &mut Step<'_, impl Holdings, impl CryptoRng>) {
        let mut pulls: BTreeMap<(NodeId, DocumentId), Vec<BlobHash>> = BTreeMap::new();
        let mut sharers: BTreeMap<DocumentId, Vec<NodeId>> = BTreeMap::new();
        for (document, hash) in self.blob_wants.due(step.now) {
            if step.holdings.blob(&document, &hash).is_some() {
                self.blob_wants.remove(&document, &hash);
                continue;
            }
            let others = sharers.entry(document).or_insert_with(|| self.sharers(&document, step.holdings));
            let Some(want) = self.blob_wants.get(&document, &hash) else { continue };
            if let Some(peer) = choose(want, others, |_| true) {
                pulls.entry((peer, document)).or_default().push(hash);
            }
            self.blob_wants.asked(&document, &hash, step.now, self.limits.retry, BACKOFF);
        }
        for ((peer, document), hashes) in pulls {
            for hashes in hashes.chunks(PULL) {
                step.send(peer, &Message::PullBlobs { document, hashes: hashes.to_vec() });
            }
        }
    }
}
