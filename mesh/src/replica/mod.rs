//! The core of a node: one replica of everything the node holds.
//!
//! Contract: one thread calls [`Replica::step_all`] with the [`Input`]s that wait and the current time and randomness; it
//! writes the step's batch and only then carries out its effects (the types see to that); it calls with [`Input::Tick`] at
//! [`Replica::next_wake`] or earlier. The same inputs with the same times and random numbers give the same steps: no clock,
//! no socket and no operating system is read in here (I3).
//!
//! Releases do not come through here: workers decide on the published [`View`] (see [`crate::release`]).

mod accuse;
mod epochs;
mod fence;
mod intake;
mod library;
mod pace;
mod reactions;
mod repair;
mod sponsor;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keymesh_custody::epochs::EpochSecret;
use keymesh_custody::{DecodeError, KeyShare, Ristretto};
use keymesh_wire::api::{DocumentStatus, LeaseStatus, Submitted};
use keymesh_wire::body::{Body, GenerationRef, NodeCard, SharingRef};
use keymesh_wire::error::WireError;
use keymesh_wire::ids::{BlobHash, DocumentId, MeshId, NodeId, RequestId, StatementId, TenantId};
use keymesh_wire::secret::SecretBytes;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::{Checked, StatementError};
use keymesh_wire::time::{Boot, Millis, Now, Wall};
use rand_core::CryptoRng;

use crate::custody::ceremony::Ceremonies;
use crate::custody::change::Changing;
use crate::custody::lease::Asking;
use crate::custody::slot::Slot;
use crate::mutant::{self, Mutant, Shelf};
use crate::spread::{Holdings, Message, Spread, SpreadLimits};
use crate::state::tenant::TenantState;
use crate::state::{Document, DocumentState};
use crate::view::{ByTenant, HeldShare, HeldShares, Lease, PolicyCache, TenantView, View};

use fence::{Fence, Told};
use pace::Pace;
use repair::{Answered, Repairs};
use sponsor::Turn;

pub use library::{Library, Taken};
pub use step::{Batch, Channel, Durable, Effect, Held, Input, ReplyTo, Step, Write};

/// How long a wish for a lease is pursued.
const WISH: Millis = Millis(2_000);
/// How long after a failed request the next is made.
const ASK_AGAIN: Millis = Millis(150);
/// With more epochs than these in the making a node is in a crowd ([`Replica::is_in_a_crowd`]).
const FEW_CHANGES: usize = 3;

/// What a replica is told once.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// The node's identity.
    pub identity: Arc<Identity>,
    /// Its mesh.
    pub mesh: MeshId,
    /// How far clocks may differ before requests are refused.
    pub clock_tolerance: Millis,
    /// How old a sharing gets before this node, as one of its custodians, asks for new shares; nothing for never.
    pub refresh_after: Option<Millis>,
}

/// What a node found on its disk.
#[derive(Debug, Default)]
pub struct Stored {
    /// Envelopes of statements, in any order.
    pub statements: Vec<Vec<u8>>,
    /// Ciphertexts by document.
    pub blobs: Vec<(DocumentId, BlobHash, Vec<u8>)>,
    /// Root shares by slot.
    pub shares: Vec<(String, SecretBytes)>,
}

/// Why a replica cannot be built from what was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A stored statement does not hold.
    #[error("a stored statement does not hold: {0}")]
    Statement(#[from] StatementError),
    /// The mesh's genesis is not among the statements.
    #[error("the genesis of {0} is not stored; start from the mesh's genesis file")]
    NoGenesis(MeshId),
    /// Statements whose parents are not stored.
    #[error("{0} stored statements lack their parents: the store lost records; restore this node from its peers")]
    Orphans(usize),
    /// A share does not decode.
    #[error("the share in slot {slot} does not decode: {what}")]
    Share {
        /// Which slot.
        slot: String,
        /// What is wrong.
        what: String,
    },
}

/// To whom, whether to something that was handed in, and what.
type Reply = (ReplyTo, bool, Result<Submitted, WireError>);

/// A wish for a lease.
#[derive(Debug)]
struct Wish {
    until: Boot,
    ask_at: Boot,
}

/// One replica of everything a node holds.
#[derive(Debug)]
pub struct Replica {
    config: ReplicaConfig,
    me: NodeId,
    library: Library,
    spread: Spread,
    shares: BTreeMap<Slot, Arc<HeldShare>>,
    /// One-time keys for changes of sharing, by proposal.
    keys: BTreeMap<StatementId, Arc<EpochSecret<Ristretto>>>,
    changes: BTreeMap<SharingRef, (TenantId, Changing)>,
    pace: Pace,
    /// Epochs whose deals give this node no share: it has to be repaired.
    unopened: BTreeSet<SharingRef>,
    ceremonies: Ceremonies,
    leases: BTreeMap<(TenantId, GenerationRef), Arc<Lease>>,
    wishes: BTreeMap<(TenantId, GenerationRef), Wish>,
    sponsored: BTreeMap<(TenantId, GenerationRef), Turn>,
    looked_at_leases: Boot,
    asking: BTreeMap<RequestId, Asking>,
    policies: PolicyCache,
    tenants: ByTenant<TenantView>,
    members: Arc<BTreeMap<NodeId, NodeCard>>,
    view: Arc<View>,
    view_changed: bool,
    /// Tenants of which something changed since the view was published. Others are not looked at again: a node may hold
    /// many.
    touched: BTreeSet<TenantId>,
    in_use: ByTenant<HeldShares>,
    /// About whom how much was complained since when.
    complaints: BTreeMap<NodeId, (Boot, u32)>,
    refolded: BTreeSet<DocumentId>,
    /// When the first ciphertext of a document is to be erased, or was.
    erasures: BTreeMap<DocumentId, Wall>,
    late: Shelf<Write>,
    repairs: Repairs,
    answered: Answered,
    fences: BTreeMap<TenantId, Fence>,
    told: Told,
    last_step: Now,
    looked_at_ages: Boot,
}

impl Replica {
    /// Builds a replica from what the node stored. The first step publishes the first view and peers.
    pub fn restore(
        config: ReplicaConfig,
        stored: Stored,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Step), RestoreError> {
        let me = config.identity.principal();
        let mut replica = Self {
            me,
            library: Library::new(me, config.mesh),
            spread: Spread::new(me, SpreadLimits::default()),
            shares: BTreeMap::new(),
            keys: BTreeMap::new(),
            changes: BTreeMap::new(),
            pace: Pace::default(),
            unopened: BTreeSet::new(),
            ceremonies: BTreeMap::new(),
            leases: BTreeMap::new(),
            wishes: BTreeMap::new(),
            sponsored: BTreeMap::new(),
            looked_at_leases: now.boot,
            asking: BTreeMap::new(),
            policies: BTreeMap::new(),
            tenants: ByTenant::default(),
            view: Arc::new(View {
                me,
                mesh: config.mesh,
                members: Arc::default(),
                tenants: ByTenant::default(),
                leases: BTreeMap::new(),
                shares: ByTenant::default(),
                fenced: BTreeSet::new(),
                clock_tolerance: config.clock_tolerance,
            }),
            members: Arc::default(),
            view_changed: true,
            touched: BTreeSet::new(),
            in_use: ByTenant::default(),
            complaints: BTreeMap::new(),
            refolded: BTreeSet::new(),
            erasures: BTreeMap::new(),
            late: Shelf::new(),
            repairs: BTreeMap::new(),
            answered: BTreeMap::new(),
            fences: BTreeMap::new(),
            told: BTreeMap::new(),
            last_step: now,
            looked_at_ages: now.boot,
            config,
        };
        replica.load_statements(&stored.statements)?;
        for (document, hash, bytes) in stored.blobs {
            replica.library.put_blob(document, hash, bytes.into());
        }
        for (slot, share) in stored.shares {
            let Ok(place) = slot.parse::<Slot>() else { continue };
            let malformed = |error: DecodeError| RestoreError::Share { slot, what: error.to_string() };
            let bytes = share.expose_secret();
            match place {
                Slot::Key(change) => {
                    let key = EpochSecret::from_exposed(bytes).map_err(malformed)?;
                    replica.keys.insert(change, Arc::new(key));
                }
                Slot::Made { .. } | Slot::Epoch { .. } => {
                    let share = KeyShare::from_exposed(bytes).map_err(malformed)?;
                    replica.shares.insert(place, Arc::new(HeldShare { share, epoch: place.epoch() }));
                }
            }
        }
        let mut step = Step::default();
        replica.settle(now, rng, &mut step);
        Ok((replica, step))
    }

    fn load_statements(&mut self, envelopes: &[Vec<u8>]) -> Result<(), RestoreError> {
        let mut open = Vec::with_capacity(envelopes.len());
        for bytes in envelopes {
            let statement = Checked::from_bytes(bytes)?;
            if mutant::is(Mutant::DenialDroppedOnRestart) && matches!(statement.body(), Some(Body::Revoke(_))) {
                continue;
            }
            open.push(statement);
        }
        // Whole documents first: a tenant may have placed this node after its genesis.
        let mut documents: BTreeMap<DocumentId, Vec<Checked>> = BTreeMap::new();
        for statement in open {
            documents.entry(statement.document()).or_default().push(statement);
        }
        let mut orphans = 0;
        for (_, statements) in documents {
            match assemble(statements) {
                Some((document, left)) => {
                    orphans += left.len();
                    self.library.adopt(document);
                }
                None => orphans += 1,
            }
        }
        if orphans > 0 && !mutant::is(Mutant::DenialDroppedOnRestart) {
            return Err(RestoreError::Orphans(orphans));
        }
        if !self.library.holds(&self.config.mesh.into()) {
            return Err(RestoreError::NoGenesis(self.config.mesh));
        }
        Ok(())
    }

    /// Takes one input.
    pub fn step(&mut self, now: Now, rng: &mut impl CryptoRng, input: Input) -> Step {
        self.step_all(now, rng, [input])
    }

    /// Takes inputs that came at once, and reacts once to what all of them brought: of a hundred words about one epoch,
    /// each folded and reacted to by itself, ninety-nine would be folded in vain.
    pub fn step_all(&mut self, now: Now, rng: &mut impl CryptoRng, inputs: impl IntoIterator<Item = Input>) -> Step {
        self.watch_time(now, rng);
        let mut step = Step::default();
        self.late.give_back(&mut step.batch.writes);
        let mut replies = Vec::new();
        for input in inputs {
            replies.extend(self.take(input, now, rng, &mut step));
        }
        self.settle(now, rng, &mut step);
        if mutant::is(Mutant::AckBeforeFsync) && replies.iter().any(|(_, submitted, _)| *submitted) {
            self.late.put_off(&mut step.batch.writes, 0);
        }
        // Whoever is answered finds what it handed in in the view that was published.
        for (to, _, result) in replies {
            step.effects.push(Effect::Reply { to, result });
        }
        step
    }

    /// What is to be answered, and whether something was handed in.
    fn take(&mut self, input: Input, now: Now, rng: &mut impl CryptoRng, step: &mut Step) -> Option<Reply> {
        // Statements are only put beside each other; whatever else comes is judged by the state, which has to be that of
        // all statements that came before.
        if !matches!(&input, Input::Spread { frame, .. } if Message::is_for_the_graph(frame)) {
            self.refold_now();
        }
        match input {
            Input::Submit { statements, blobs, reply } => {
                return Some((reply, true, self.submit(&statements, blobs, now, rng, step)));
            }
            Input::PeerUp(peer) => {
                self.spread.peer_up(peer, now.boot);
                self.hurry_fences(now.boot);
            }
            Input::PeerDown(peer) => self.spread.peer_down(peer),
            Input::Spread { from, frame } => {
                let actions = self.spread.receive(from, &frame, &self.library, now.boot, rng);
                self.carry_out(actions, now, rng, step);
            }
            Input::Custody { from, message } => self.custody(from, message, now, rng, step),
            Input::WantLease { tenant, generation } => {
                // A wish that is there keeps its pace: many releases that wait ask no more often than one.
                let wish =
                    self.wishes.entry((tenant, generation)).or_insert(Wish { until: now.boot, ask_at: now.boot });
                wish.until = wish.until.max(now.boot.plus(WISH));
                self.pursue_leases(now, rng, step);
            }
            Input::Vote { tenant, vote, reply } => {
                return Some((reply, false, self.vote(tenant, *vote, now, rng, step)));
            }
            Input::Accuse { tenant, accusation, reply } => {
                return Some((reply, false, self.accuse(tenant, *accusation, now, rng, step)));
            }
            Input::Tick => self.tick(now, rng, step),
        }
        None
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn next_wake(&self) -> Option<Boot> {
        let ceremonies = self.ceremonies.values().map(|ceremony| ceremony.next_wake());
        // While an answer is awaited nothing is asked: waking for that before its time is up would be waking in vain.
        let awaited: BTreeMap<_, _> =
            self.asking.values().map(|asking| (asking.place(), asking.overdue_at())).collect();
        let wishes = self.wishes.iter().map(|(place, wish)| {
            awaited.get(place).map_or(wish.ask_at, |overdue| (*overdue).max(wish.ask_at)).min(wish.until)
        });
        let leases = self.leases.iter().map(|(place, lease)| self.lease_wake(place, lease));
        let changes = self.changes.values().filter_map(|(_, changing)| changing.next_wake());
        let fences = self.fences.values().filter_map(Fence::next_wake);
        let turns = self.sponsored.values().map(|turn| turn.due);
        let repairs = self.repairs.values().map(|(_, repairing)| repairing.next_wake());
        let making = ceremonies.chain(fences).chain(changes).chain(self.pace.next_wake()).chain(repairs);
        making.chain(wishes).chain(leases).chain(turns).chain(self.spread.next_wake()).min()
    }

    /// Whether words of peers may wait a moment for those that follow, to be taken together: several epochs are being made,
    /// of which everybody says much in a short time.
    pub fn is_in_a_crowd(&self) -> bool {
        self.changes.len() > FEW_CHANGES
    }

    /// The envelopes of a document's statements, parents before children.
    pub fn statements(&self, document: &DocumentId) -> Option<Vec<Vec<u8>>> {
        let document = self.library.document(document)?;
        Some(document.graph().entries().iter().map(|entry| entry.statement.bytes().to_vec()).collect())
    }

    /// A document that this node holds.
    pub fn document(&self, document: &DocumentId) -> Option<&Document> {
        self.library.document(document)
    }

    /// A ciphertext that this node holds.
    pub fn blob(&self, document: &DocumentId, hash: &BlobHash) -> Option<&[u8]> {
        self.library.blob(document, hash)
    }

    /// How this node holds its documents.
    pub fn documents(&self) -> Vec<DocumentStatus> {
        let status = |document: &Document| DocumentStatus {
            document: document.id(),
            name: match &**document.state() {
                DocumentState::Mesh(mesh) => mesh.name.clone(),
                DocumentState::Tenant(tenant) => tenant.name.clone(),
            },
            statements: document.graph().len(),
            digest: data_encoding::HEXLOWER.encode(&document.digest()),
            heads: document.graph().heads().copied().collect(),
            waiting: self.waiting(&document.id()),
            lacking: document.tenant().map(|tenant| self.lacks(tenant)).unwrap_or_default(),
        };
        self.library.all().map(status).collect()
    }

    /// The leases this node holds.
    pub fn leases(&self, now: Now) -> Vec<LeaseStatus> {
        let status = |((tenant, generation), lease): (&(TenantId, GenerationRef), &Arc<Lease>)| {
            let keyring = &generation.keyring;
            let known = self.tenants.get(tenant).and_then(|view| view.tenant().keyrings.get(keyring));
            LeaseStatus {
                tenant: *tenant,
                keyring: *keyring,
                name: known.and_then(|keyring| keyring.names.iter().next().cloned()).unwrap_or_default(),
                generation: lease.generation,
                remaining: lease.expires.since(now.boot),
            }
        };
        self.leases.iter().map(status).collect()
    }

    /// In how many documents a peer's last announced digest differs from this node's.
    pub fn lag(&self, peer: &NodeId) -> usize {
        let differs = |document: &&DocumentId| {
            let lag = self.spread.peer_lag(peer, document);
            lag.is_some_and(|lag| lag.told.state != self.library.digest(document))
        };
        self.library.documents().iter().filter(differs).count()
    }

    /// The view that decisions are made on.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    fn waiting(&self, document: &DocumentId) -> usize {
        let members = self.view.members.keys();
        members.filter_map(|peer| self.spread.peer_lag(peer, document)).map(|lag| lag.waiting).sum()
    }

    fn tenant_state(&self, tenant: &TenantId) -> Option<&TenantState> {
        self.library.document(&(*tenant).into()).and_then(Document::tenant)
    }
}

/// A document from its statements in any order, and those that did not fit.
fn assemble(statements: Vec<Checked>) -> Option<(Document, Vec<Checked>)> {
    let (genesis, mut rest): (Vec<_>, Vec<_>) =
        statements.into_iter().partition(|statement| statement.body().is_some_and(Body::begins_document));
    let mut document = Document::begin(genesis.into_iter().next()?)?;
    loop {
        let before = rest.len();
        rest.retain(|statement| {
            let ready = statement.parents().iter().all(|parent| document.graph().contains(parent));
            if ready {
                document.insert(statement.clone());
            }
            !ready
        });
        if rest.is_empty() || rest.len() == before {
            break;
        }
    }
    document.refold();
    Some((document, rest))
}
