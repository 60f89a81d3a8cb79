//! What the nodes of a swarm sent, by node and by what it was for.

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Pushing, announcing and pulling statements.
    Spreading = 0,
    /// Telling digests.
    Comparing = 1,
    /// Reconciling and the transfers that follow.
    Mending = 2,
}

/// Of a frame, by the message's number behind the version byte and the head of its array.
fn purpose(frame: &[u8]) -> Purpose {
    match frame.get(2) {
        Some(0..=4) => Purpose::Spreading,
        Some(5) => Purpose::Comparing,
        _ => Purpose::Mending,
    }
}

/// Frames and their bytes, without what a transport adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

/// All that was sent since the last clearing.
#[derive(Debug)]
pub struct Tally {
    sent: Vec<[Count; 3]>,
    sessions: u64,
}

impl Tally {
    /// Of so many nodes, which sent nothing yet.
    pub fn new(nodes: usize) -> Self {
        Self { sent: vec![[Count::default(); 3]; nodes], sessions: 0 }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.sent.len());
    }

    /// A node sent a frame.
    pub fn sent(&mut self, node: usize, frame: &[u8]) {
        let purpose = purpose(frame);
        self.sent[node][purpose as usize].add(Count { frames: 1, bytes: frame.len() as u64 });
        if frame.get(2) == Some(&6) {
            self.sessions += 1;
        }
    }

    /// What all nodes sent for one purpose.
    pub fn total(&self, purpose: Purpose) -> Count {
        let mut total = Count::default();
        self.sent.iter().for_each(|of| total.add(of[purpose as usize]));
        total
    }

    /// What all nodes sent for anything.
    pub fn all(&self) -> Count {
        let mut total = Count::default();
        (0..self.sent.len()).for_each(|node| total.add(self.of(node)));
        total
    }

    /// What one node sent for anything.
    pub fn of(&self, node: usize) -> Count {
        let mut total = Count::default();
        self.sent[node].iter().for_each(|of| total.add(*of));
        total
    }

    /// What the node that sent most bytes sent.
    pub fn busiest(&self) -> Count {
        (0..self.sent.len()).map(|node| self.of(node)).max_by_key(|count| count.bytes).unwrap_or_default()
    }

    /// Reconciliations that were begun.
    pub fn sessions(&self) -> u64 {
        self.sessions
    }
}

#[cfg(test)]
mod tests {
    use keymesh_mesh::spread::Message;
    use keymesh_wire::ids::DocumentId;

    use super::*;

    #[test]
    fn frames_are_told_apart_by_their_third_byte() {
        let document = DocumentId::from_bytes([1; 32]);
        let push = Message::Push { document, statements: Vec::new(), blobs: Vec::new() };
        let blobs = Message::Blobs { document, blobs: Vec::new() };
        let open = Message::Open { document, session: 1, salt: [0; 16] };
        let credit = Message::Credit { document, session: 1, fresh: 1 };
        let of = |message: &Message| purpose(&message.to_frame());
        assert_eq!((of(&push), of(&blobs)), (Purpose::Spreading, Purpose::Spreading));
        assert_eq!(of(&Message::Digests { told: Vec::new() }), Purpose::Comparing);
        assert_eq!((of(&open), of(&credit)), (Purpose::Mending, Purpose::Mending));
        let mut tally = Tally::new(2);
        tally.sent(1, &open.to_frame());
        assert_eq!((tally.sessions(), tally.busiest(), tally.of(0)), (1, tally.of(1), Count::default()));
    }
}
