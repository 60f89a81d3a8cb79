//! What a node knows of the other nodes beside the connection: their cards, clocks and audit heads.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keymesh_mesh::custody::message::{AuditHead, Hello};
use keymesh_wire::body::NodeCard;
use keymesh_wire::ids::NodeId;
use keymesh_wire::suite::Level;
use keymesh_wire::time::{Millis, Wall};

/// One other node.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its card as admitted.
    pub card: NodeCard,
    /// Whether there is a connection.
    pub up: bool,
    /// How far its wall clock is from ours in milliseconds, positive when it is ahead.
    pub clock_difference: Option<i64>,
    /// Its level.
    pub level: Option<Level>,
    /// The highest audit head it showed.
    pub witnessed: Option<AuditHead>,
    /// The head that is on our disk.
    stored: Option<AuditHead>,
}

/// All other admitted nodes.
#[derive(Debug, Default)]
pub struct Peers {
    peers: Mutex<BTreeMap<NodeId, Peer>>,
}

/// What a hello gave reason to say to operators.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Things to look at.
    pub warnings: Vec<String>,
}

impl Peers {
    /// Takes the admitted nodes. `witnessed` gives the audit head stored for a node that is new here.
    pub fn admit(&self, cards: &[NodeCard], witnessed: impl Fn(&NodeId) -> Option<AuditHead>) {
        let mut peers = self.lock();
        let mut next = BTreeMap::new();
        for card in cards {
            let peer = match peers.remove(&card.node) {
                Some(known) => Peer { card: card.clone(), ..known },
                None => {
                    let stored = witnessed(&card.node);
                    let card = card.clone();
                    Peer { card, up: false, clock_difference: None, level: None, witnessed: stored.clone(), stored }
                }
            };
            next.insert(card.node, peer);
        }
        *peers = next;
    }

    /// A connection came or went.
    pub fn connected(&self, node: &NodeId, up: bool) {
        if let Some(peer) = self.lock().get_mut(node) {
            peer.up = up;
            if !up {
                peer.clock_difference = None;
            }
        }
    }

    /// Takes a hello.
    pub fn hello(&self, from: &NodeId, hello: &Hello, now: Wall, tolerance: Millis) -> Heard {
        let mut heard = Heard::default();
        let mut peers = self.lock();
        let Some(peer) = peers.get_mut(from) else { return heard };
        let name = &peer.card.name;
        let difference = i64::try_from(hello.time.0).unwrap_or(i64::MAX) - i64::try_from(now.0).unwrap_or(i64::MAX);
        let far = |difference: i64| difference.unsigned_abs() > tolerance.0;
        if far(difference) && !peer.clock_difference.is_some_and(far) {
            let apart = Millis(difference.unsigned_abs());
            heard.warnings.push(format!("the clock of {name} ({from}) differs from ours by {apart}"));
        }
        peer.clock_difference = Some(difference);
        peer.level = Some(hello.level);
        if let Some(head) = &hello.audit {
            match &peer.witnessed {
                Some(known) if head.sequence < known.sequence => {
                    let (was, is) = (known.sequence, head.sequence);
                    heard.warnings.push(format!(
                        "the audit log of {name} ({from}) ended at record {was} and now ends at {is}: records were lost or removed"
                    ));
                    peer.witnessed = Some(head.clone());
                }
                Some(known) if head.sequence == known.sequence && head.chain != known.chain => {
                    let at = head.sequence;
                    heard.warnings.push(format!(
                        "the audit log of {name} ({from}) is not the one seen before: record {at} has another chain hash"
                    ));
                    peer.witnessed = Some(head.clone());
                }
                _ => peer.witnessed = Some(head.clone()),
            }
        }
        heard
    }

    /// Heads that differ from those on our disk; they count as stored from now on.
    pub fn heads_to_store(&self) -> Vec<(NodeId, AuditHead)> {
        let mut heads = Vec::new();
        for (node, peer) in self.lock().iter_mut() {
            if peer.witnessed != peer.stored
                && let Some(head) = peer.witnessed.clone()
            {
                peer.stored = Some(head.clone());
                heads.push((*node, head));
            }
        }
        heads
    }

    /// The smallest difference to a peer's clock, if our clock is farther than `tolerance` from most of those we hear.
    pub fn clock_is_off(&self, tolerance: Millis) -> Option<Millis> {
        let peers = self.lock();
        let apart: Vec<u64> = peers.values().filter_map(|p| p.clock_difference).map(i64::unsigned_abs).collect();
        let far: Vec<u64> = apart.iter().copied().filter(|apart| *apart > tolerance.0).collect();
        if far.len() * 2 > apart.len() { far.into_iter().min().map(Millis) } else { None }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Peer> {
        self.lock().values().cloned().collect()
    }

    /// Those that are connected.
    pub fn up(&self) -> Vec<NodeId> {
        self.lock().values().filter(|peer| peer.up).map(|peer| peer.card.node).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(number: u8) -> NodeCard {
        NodeCard {
            node: NodeId::from_bytes([number; 32]),
            sealing: [0; 32],
            name: format!("n{number}"),
            zone: "aws/a".into(),
            provider: "aws".into(),
            mesh: vec![],
            door: vec![],
        }
    }

    fn hello(time: u64, sequence: u64) -> Hello {
        Hello { level: Level(1), time: Wall(time), audit: Some(AuditHead { sequence, chain: [sequence as u8; 32] }) }
    }

    #[test]
    fn a_log_that_went_back_is_reported() {
        let peers = Peers::default();
        peers.admit(&[card(1)], |_| Some(AuditHead { sequence: 10, chain: [10; 32] }));
        let node = card(1).node;
        assert_eq!(peers.hello(&node, &hello(0, 12), Wall(0), Millis(1)), Heard::default());
        let heard = peers.hello(&node, &hello(0, 9), Wall(0), Millis(1));
        assert!(heard.warnings[0].contains("ended at record 12 and now ends at 9"), "{heard:?}");
        assert_eq!(peers.heads_to_store().len(), 1);
        assert_eq!(peers.heads_to_store(), vec![]);
    }

    #[test]
    fn a_clock_is_off_when_most_peers_say_so() {
        let peers = Peers::default();
        peers.admit(&[card(1), card(2), card(3)], |_| None);
        let tolerance = Millis(1000);
        peers.hello(&card(1).node, &hello(600_000, 1), Wall(0), tolerance);
        peers.hello(&card(2).node, &hello(10, 1), Wall(0), tolerance);
        assert_eq!(peers.clock_is_off(tolerance), None);
        peers.hello(&card(3).node, &hello(610_000, 1), Wall(0), tolerance);
        assert_eq!(peers.clock_is_off(tolerance), Some(Millis(600_000)));
    }
}
