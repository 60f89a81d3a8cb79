//! One simulated node: identity, disk, clocks, and a running core between an inbox and its batches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use keymesh_mesh::release::ReleaseRequest;
use keymesh_mesh::replica::{Input, Replica, Step};
use keymesh_mesh::view::View;
use keymesh_wire::body::{NodeCard, Placement};
use keymesh_wire::ids::{BlobHash, NodeId, RequestId};
use keymesh_wire::sign::Identity;
use keymesh_wire::time::{Boot, Now, Wall};
use rand_chacha::ChaCha20Rng;

use crate::clock::Clocks;
use crate::disk::{Disk, Reach};
use crate::network::Spot;
use crate::world::{Event, Handle};

/// The wall clock's reading when a run begins: noon on 1 March 2026, when the instances of the vectors were launched.
pub const EPOCH: u64 = 1_772_366_400_000;

/// When a node is to crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doom {
    /// While it writes its batch with this number; so much of it reaches the disk.
    Batch(u64, Reach),
    /// While it writes the next batch with a root share in it.
    Share(Reach),
    /// While it writes the next batch that erases one.
    Erasure(Reach),
    /// While it writes the next batch with a word of its own on a change of sharing.
    Word(Reach),
    /// Once it has carried out as many effects as this.
    Effect(u64),
    /// While the next audit record is written; it is durable or torn.
    Record {
        /// Whether it is durable.
        durable: bool,
    },
}

/// A node, running or not.
#[derive(Debug)]
pub struct Node {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// How it introduces itself.
    pub card: NodeCard,
    /// Its disk.
    pub disk: Disk,
    /// A copy of its disk that somebody made earlier.
    pub backup: Option<Disk>,
    /// Its clocks.
    pub clocks: Clocks,
    /// Its randomness, and that of whatever happens to it.
    pub rng: ChaCha20Rng,
    /// How often it was started; whatever belongs to an earlier life is void.
    pub life: u32,
    /// Batches written in all lives.
    pub persists: u64,
    /// Effects carried out in all lives.
    pub effects: u64,
    /// A crash to come.
    pub doom: Option<Doom>,
    /// Ciphertexts that it destroyed.
    pub erased: BTreeSet<BlobHash>,
    /// Warnings for operators, in all lives.
    pub warnings: Vec<String>,
    /// The core while it runs.
    pub running: Option<Running>,
    /// What waits for a machine that stands still; none while it does not.
    pub(crate) held: Option<VecDeque<Event>>,
}

/// What a crash takes away.
#[derive(Debug)]
pub struct Running {
    /// The core.
    pub replica: Replica,
    /// The view that workers decide on.
    pub view: Option<Arc<View>>,
    /// What waits for the core.
    pub inbox: VecDeque<Input>,
    /// A step whose batch is being written.
    pub writing: Option<Step>,
    /// For which boot time a wake is set.
    pub wake: Option<Boot>,
    /// Whom the core wants connections with.
    pub peers: BTreeSet<NodeId>,
    /// With whom there is one.
    pub linked: BTreeSet<NodeId>,
    /// Releases that wait for a lease.
    pub waiting: BTreeMap<Handle, ReleaseRequest>,
    /// Requests of agents that this node carried to the custodians.
    pub carried: BTreeMap<RequestId, Handle>,
    /// Votes the core was asked for, with whom to tell.
    pub votes: BTreeMap<u64, (NodeId, RequestId)>,
}

impl Node {
    /// A node that was never started.
    pub fn new(identity: Identity, number: usize, place: &Spot, disk: Disk, skew: i64, rng: ChaCha20Rng) -> Self {
        let card = NodeCard {
            node: identity.principal(),
            sealing: *identity.sealing().public().as_bytes(),
            name: format!("n{number}"),
            zone: place.zone.clone(),
            provider: place.provider.clone(),
            mesh: vec![format!("10.0.0.{number}:7400")],
            door: vec![format!("10.0.0.{number}:7401")],
        };
        Self {
            identity: Arc::new(identity),
            card,
            disk,
            backup: None,
            clocks: Clocks::new(Wall(EPOCH.saturating_add_signed(skew))),
            rng,
            life: 0,
            persists: 0,
            effects: 0,
            doom: None,
            erased: BTreeSet::new(),
            warnings: Vec::new(),
            running: None,
            held: None,
        }
    }

    /// A second machine with this one's identity and disk, which was never started.
    pub(crate) fn twin(&self, rng: ChaCha20Rng, at: u64) -> Self {
        let mut clocks = self.clocks;
        clocks.start(at);
        Self {
            identity: self.identity.clone(),
            card: self.card.clone(),
            disk: self.disk.clone(),
            backup: None,
            clocks,
            rng,
            life: 0,
            persists: 0,
            effects: 0,
            doom: None,
            erased: BTreeSet::new(),
            warnings: Vec::new(),
            running: None,
            held: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.card.node
    }

    /// What its clocks show at virtual millisecond `at`.
    pub fn now(&self, at: u64) -> Now {
        self.clocks.now(at)
    }

    /// Whether its machine stands still.
    pub fn is_paused(&self) -> bool {
        self.held.is_some()
    }

    /// How a tenant places it, as a lessee.
    pub fn placement(&self) -> Placement {
        Placement {
            node: self.id(),
            sealing: self.card.sealing,
            zone: self.card.zone.clone(),
            provider: self.card.provider.clone(),
            lessee: true,
        }
    }

    /// The running core.
    pub fn replica(&self) -> Option<&Replica> {
        self.running.as_ref().map(|running| &running.replica)
    }

    /// The view that decisions are made on.
    pub fn view(&self) -> Option<&Arc<View>> {
        self.running.as_ref().and_then(|running| running.view.as_ref())
    }
}
