//! The one way from a door into the mesh.
//!
//! Doors translate a protocol and hold no logic; what they ask for is here, the same for every door: releases and blind
//! releases, enrolments, submissions, and what may be read. Decisions about keys are the core's, made on the published
//! view ([`keymesh_mesh::release`]); this module waits for leases and custodians, and sees to it that nothing leaves before
//! its audit record is durable (I7).

mod accuse;
mod enrol;
mod gather;
mod hedge;
mod quorum;
mod read;
mod release;
mod replies;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use keymesh_mesh::replica::{self, Input, ReplyTo};
use keymesh_mesh::view::{TenantView, View};
use keymesh_wire::api::Submitted;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{MeshId, NodeId, TenantId};
use keymesh_wire::sign::Identity;
use keymesh_wire::time::{Boot, Millis};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::runtime::audit::Auditor;
use crate::runtime::clock;
use crate::runtime::core::Command;
use crate::runtime::crash::Crash;
use crate::runtime::custodian::Custodian;
use crate::runtime::metrics::{Gauges, Metrics};
use crate::runtime::peers::Peers;
use crate::runtime::rate::Bucket;
use crate::transport::{Channel, TransportHandle};

pub use gather::Gatherings;
pub use read::Reader;
pub use release::Released;
pub use replies::Replies;

/// How long a release waits for a lease, and a blind release for custodians.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long the core may take to answer.
const CORE: Duration = Duration::from_secs(10);
/// Warnings kept for the status.
const WARNINGS: usize = 32;

/// What a session proved: who is asking, and for which tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Whose key was proved.
    pub principal: keymesh_wire::ids::PrincipalId,
    /// The tenant the proof names.
    pub tenant: TenantId,
}

/// How much of a scarce thing one connection may use. Made by doors, one for each connection.
#[derive(Debug)]
pub struct Allowance {
    refusals: Bucket,
    enrolments: Bucket,
    statements: Bucket,
    accusations: Bucket,
}

impl Allowance {
    /// Of an ordinary connection.
    pub fn new() -> Self {
        Self {
            refusals: Bucket::new(32, 256),
            enrolments: Bucket::new(2, 30),
            statements: Bucket::new(500, 4096),
            accusations: Bucket::new(2, 16),
        }
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self::new()
    }
}

/// What all connections together may use.
#[derive(Debug)]
struct Shared {
    refusals: Bucket,
    enrolments: Bucket,
    statements: Bucket,
    accusations: Bucket,
}

/// A running node, as doors and the runtime share it.
#[derive(Debug)]
pub struct Node {
    /// This node.
    pub me: NodeId,
    /// Its mesh.
    pub mesh: MeshId,
    /// How far clocks may differ.
    pub clock_tolerance: Millis,
    /// When it started.
    pub started: Boot,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The audit log.
    pub audit: Auditor,
    /// The other nodes.
    pub peers: Peers,
    /// To the other nodes.
    pub transport: TransportHandle,
    /// To the core.
    pub commands: mpsc::Sender<Command>,
    /// What the core will answer.
    pub replies: Replies,
    /// What custodians will answer.
    pub gatherings: Gatherings,
    /// What this node remembers as a custodian.
    pub custodian: Custodian,
    /// Where it is to end on purpose, if faults are allowed.
    pub crash: Crash,
    /// Signs what this node contributes as a custodian.
    pub identity: Arc<Identity>,
    /// Whether it gives false partials on purpose, if faults are allowed.
    pub lies: AtomicBool,
    /// Statements that say who is a node.
    pub membership: ArcSwap<Vec<Vec<u8>>>,
    view: ArcSwap<View>,
    published: watch::Sender<u64>,
    warnings: Mutex<VecDeque<String>>,
    clock_off: AtomicBool,
    stopping: AtomicBool,
    shared: Shared,
    /// One reading of the whole audit log at a time.
    audit_reader: Semaphore,
}

/// What a node is made of.
#[derive(Debug)]
pub struct Parts {
    /// This node.
    pub me: NodeId,
    /// Its keys.
    pub identity: Arc<Identity>,
    /// Its mesh.
    pub mesh: MeshId,
    /// How far clocks may differ.
    pub clock_tolerance: Millis,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The audit log.
    pub audit: Auditor,
    /// To the other nodes.
    pub transport: TransportHandle,
    /// To the core.
    pub commands: mpsc::Sender<Command>,
    /// What this node remembers as a custodian.
    pub custodian: Custodian,
    /// The view of the restored replica.
    pub view: Arc<View>,
}

impl Node {
    /// A node that has just started.
    pub fn new(parts: Parts) -> Self {
        Self {
            me: parts.me,
            mesh: parts.mesh,
            clock_tolerance: parts.clock_tolerance,
            started: clock::now().boot,
            metrics: parts.metrics,
            audit: parts.audit,
            peers: Peers::default(),
            transport: parts.transport,
            commands: parts.commands,
            replies: Replies::default(),
            gatherings: Gatherings::default(),
            custodian: parts.custodian,
            crash: Crash::default(),
            identity: parts.identity,
            lies: AtomicBool::new(false),
            membership: ArcSwap::default(),
            view: ArcSwap::new(parts.view),
            published: watch::Sender::new(0),
            warnings: Mutex::default(),
            clock_off: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            shared: Shared {
                refusals: Bucket::new(256, 4096),
                enrolments: Bucket::new(50, 500),
                // Each is a signature to check on the core's one thread, whoever signed it.
                statements: Bucket::new(2000, 16_384),
                // Each is several curve multiplications, whoever brings it.
                accusations: Bucket::new(20, 200),
            },
            audit_reader: Semaphore::new(1),
        }
    }

    /// The view to decide on.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Decide on this from now on.
    pub fn publish(&self, view: Arc<View>) {
        self.view.store(view);
        self.published.send_modify(|count| *count += 1);
    }

    /// For operators: into the log and the status.
    pub fn warn(&self, what: String) {
        tracing::warn!("{what}");
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.back() != Some(&what) {
            if warnings.len() == WARNINGS {
                warnings.pop_front();
            }
            warnings.push_back(what);
        }
    }

    /// Queues a frame for a peer. One that cannot be queued is lost and counted; what still matters is sent again.
    pub fn send(&self, to: NodeId, channel: replica::Channel, frame: Vec<u8>) -> bool {
        let channel = match channel {
            replica::Channel::Spread => Channel::Spread,
            replica::Channel::Custody => Channel::Custody,
        };
        match self.transport.send(to, channel, frame) {
            Ok(()) => true,
            Err(error) => {
                self.metrics.send_failures.fetch_add(1, Ordering::Relaxed);
                tracing::trace!(%error, "not sent");
                false
            }
        }
    }

    /// Gives the core an input that it answers, and waits for the answer.
    ///
    /// # Errors
    /// The core's own, or [`Code::Unavailable`] if there is no answer.
    pub async fn ask_core(&self, input: impl FnOnce(ReplyTo) -> Input) -> Result<Submitted, WireError> {
        let (to, answer) = self.replies.expect();
        let input = Command::Input(input(to));
        let asked = async {
            self.commands.send(input).await.ok()?;
            answer.await.ok()
        };
        let answered = tokio::time::timeout(CORE, asked).await;
        self.replies.forget(to);
        answered.ok().flatten().unwrap_or_else(|| Err(unavailable()))
    }

    /// Stops answering: the node is about to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why releases cannot be served at the moment, if so.
    pub fn trouble(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the node is stopping".to_owned());
        }
        if self.commands.is_closed() {
            return Some("the core has ended".to_owned());
        }
        if self.clock_off.load(Ordering::Relaxed) {
            return Some("this node's clock differs from those of most of its peers".to_owned());
        }
        self.audit.failing()
    }

    /// Compares the clock with those of the peers. While it is off, no key is released.
    pub fn watch_clock(&self) {
        let off = self.peers.clock_is_off(self.clock_tolerance);
        let was = self.clock_off.swap(off.is_some(), Ordering::Relaxed);
        match off {
            Some(apart) if !was => {
                self.warn(format!("this node's clock is {apart} from those of most of its peers: no key is released"));
            }
            None if was => tracing::info!("this node's clock agrees with those of its peers again"),
            Some(_) | None => {}
        }
    }

    /// Values for `/metrics` that are read off, not counted.
    pub fn gauges(&self) -> Gauges {
        let peers = self.peers.all();
        let now = clock::now();
        Gauges {
            peers_up: peers.iter().filter(|peer| peer.up).count(),
            peers: peers.len(),
            leases: self.view().leases.values().filter(|lease| !lease.is_over(now)).count(),
            audit_sequence: self.audit.head().seq,
            audit_syncs: self.audit.syncs(),
            healthy: self.trouble().is_none(),
        }
    }

    /// Takes statements and ciphertexts in; answers once they are on disk.
    ///
    /// # Errors
    /// The core's verdict, [`Code::Throttled`].
    pub async fn submit(
        &self,
        allowance: &Allowance,
        statements: Vec<Vec<u8>>,
        blobs: Vec<Vec<u8>>,
    ) -> Result<Submitted, WireError> {
        let amount = u32::try_from(statements.len().max(1)).unwrap_or(u32::MAX);
        if !(allowance.statements.take(amount) && self.shared.statements.take(amount)) {
            return Err(self.throttled());
        }
        self.ask_core(|reply| Input::Submit { statements, blobs, reply }).await
    }

    /// Takes one refusal from the connection's allowance and the common one: each costs a record on disk.
    fn may_refuse(&self, allowance: &Allowance) -> Result<(), WireError> {
        if allowance.refusals.take(1) && self.shared.refusals.take(1) { Ok(()) } else { Err(self.throttled()) }
    }

    fn throttled(&self) -> WireError {
        self.metrics.throttled.fetch_add(1, Ordering::Relaxed);
        WireError::new(Code::Throttled, "too many requests; try again in a while")
    }

    /// Says no if no key may leave this node at the moment.
    fn must_be_well(&self) -> Result<(), WireError> {
        if self.stopping.load(Ordering::Relaxed) || self.clock_off.load(Ordering::Relaxed) {
            return Err(WireError::new(Code::Unavailable, "this node releases no keys at the moment; ask another"));
        }
        Ok(())
    }
}

/// A tenant that this node serves.
fn served<'v>(view: &'v View, tenant: &TenantId) -> Result<&'v Arc<TenantView>, WireError> {
    let missing = || WireError::new(Code::NotServedHere, "this node does not serve the tenant; ask another");
    view.tenant(tenant).ok_or_else(missing)
}

fn unavailable() -> WireError {
    WireError::new(Code::Unavailable, "the node cannot answer at the moment; try again or ask another")
}
