//! Lies about statements and ciphertexts: what is served, and what is said to be held.

use keymesh_mesh::spread::{Message, SaltedId};
use minicbor::bytes::ByteVec;

use super::*;

impl Liar {
    pub(super) fn bend_spread(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Push { document, statements, blobs } => {
                let (statements, blobs) = (self.serve(statements), self.serve_blobs(blobs));
                let empty = statements.is_empty() && blobs.is_empty();
                (!empty).then_some(Message::Push { document, statements, blobs })
            }
            Message::Blobs { document, blobs } => {
                let blobs = self.serve_blobs(blobs);
                (!blobs.is_empty()).then_some(Message::Blobs { document, blobs })
            }
            Message::Chunk { document, session, statements } => {
                let statements = self.serve(statements);
                (!statements.is_empty()).then_some(Message::Chunk { document, session, statements })
            }
            Message::Digests { mut told } if self.does(Lie::FalseDigests) => {
                for told in &mut told {
                    match draw::between(&mut self.rng, 0, 4) {
                        // The same statements, folded to something else.
                        0 => told.summary.state = self.random_id(),
                        1 => (told.summary.ids, told.summary.state) = (self.random_id(), self.random_id()),
                        2 => (told.summary.ids, told.summary.count) = (self.random_id(), u64::MAX),
                        3 => (told.summary.ids, told.summary.count) = (self.random_id(), 0),
                        _ => {}
                    }
                }
                Some(Message::Digests { told })
            }
            Message::Ask { document, session, mut ranges } if self.does(Lie::FalseRanges) => {
                self.bend_ranges(&mut ranges);
                Some(Message::Ask { document, session, ranges })
            }
            Message::Answer { document, session, mut ranges } if self.does(Lie::FalseRanges) => {
                self.bend_ranges(&mut ranges);
                Some(Message::Answer { document, session, ranges })
            }
            Message::Close { document, session, .. } if self.does(Lie::FalseRanges) => {
                let mut lacking: Vec<SaltedId> = (0..8).map(|_| SaltedId(self.random_id())).collect();
                lacking.sort_unstable();
                Some(Message::Close { document, session, lacking })
            }
            other => Some(other),
        }
    }

    fn serve(&mut self, statements: Vec<ByteVec>) -> Vec<ByteVec> {
        if self.does(Lie::Withholds) {
            return Vec::new();
        }
        let (halves, hides) = (self.does(Lie::ServesHalf), self.does(Lie::HidesRevocations));
        let silent = self.does(Lie::SilentInEpochs);
        let is_word = |bytes: &ByteVec| {
            let said = Checked::from_bytes(bytes).ok();
            said.is_some_and(|said| matches!(said.body(), Some(Body::Sharing(_))))
        };
        let kept = |bytes: &ByteVec| {
            let denial = || Checked::from_bytes(bytes).ok().is_some_and(|said| said.body().is_some_and(is_denial));
            let is_hidden = (hides && denial()) || (silent && is_word(bytes));
            (!halves || draw::chance(&mut self.rng, 500)) && !is_hidden
        };
        statements.into_iter().filter(kept).collect()
    }

    fn serve_blobs(&mut self, blobs: Vec<ByteVec>) -> Vec<ByteVec> {
        if self.does(Lie::Withholds) {
            return Vec::new();
        }
        let halves = self.does(Lie::ServesHalf);
        blobs.into_iter().filter(|_| !halves || draw::chance(&mut self.rng, 500)).collect()
    }

    fn bend_ranges(&mut self, ranges: &mut Vec<u8>) {
        match draw::between(&mut self.rng, 0, 2) {
            0 => self.alter(ranges),
            1 => *ranges = self.random(40),
            _ => {}
        }
    }

    /// Whether a frame brings a denial. Which ones is remembered, for false words about them.
    pub(super) fn spots_denials(&mut self, frame: &[u8]) -> bool {
        let Ok(Message::Push { document, statements, .. } | Message::Chunk { document, statements, .. }) =
            Message::from_frame(frame)
        else {
            return false;
        };
        let brought = statements.iter().filter_map(|bytes| Checked::from_bytes(bytes).ok());
        let denials: Vec<StatementId> =
            brought.filter(|said| said.body().is_some_and(is_denial)).map(|said| said.id()).collect();
        self.denials.extend(denials.iter().map(|id| (*id, document)));
        !denials.is_empty()
    }
}
