//! The thread that steps the core.
//!
//! It takes whatever inputs wait, steps them together, and writes what follows in one commit; only then the effects
//! are carried out (I7, I8; the types of [`keymesh_mesh::replica`] see to the order). Questions to the core wait for the
//! commit, too, so that nobody is told of a statement that a power cut could take back.
//!
//! A batch that cannot be written ends the node: the store accepts nothing after a failed commit, and an answer was given
//! to nobody. Whoever supervises the process starts it again, and it then says what is wrong with the disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keymesh_mesh::custody::message::AuditHead;
use keymesh_mesh::replica::{Effect, Input, Replica, Step, Write};
use keymesh_wire::api::DocumentStatus;
use keymesh_wire::body::NodeCard;
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId};
use keymesh_wire::{codec, membership};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::crash::Side;
use super::{clock, dispatch};
use crate::disk::error::DiskError;
use crate::disk::{Batch, Blobs, MeshCopy, RedbStore, Slots, Store};
use crate::ops::Node;
use crate::transport::PeerEntry;

/// Inputs taken into one commit.
const AT_ONCE: usize = 256;
/// The longest pause between two ticks.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The shortest: a timer that stays due, because what it waits for has not come, must not keep a processor busy.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

/// While many epochs are being made, how long after one step words of peers are gathered for the next.
const GATHER: Duration = Duration::from_millis(50);

/// How nice the core's thread is to the workers of this machine: where both want one processor, a release gets nine parts
/// and statements one. Never less, so that no number of releases keeps a denial out.
const NICE: i32 = 10;

/// What the core's thread is asked.
#[derive(Debug)]
pub enum Command {
    /// Something happened.
    Input(Input),
    /// How it holds its documents.
    Documents(oneshot::Sender<Vec<DocumentStatus>>),
    /// A document's statements, parents before children.
    Statements(DocumentId, oneshot::Sender<Option<Vec<Vec<u8>>>>),
    /// A ciphertext.
    Blob(DocumentId, BlobHash, oneshot::Sender<Option<Vec<u8>>>),
    /// In how many documents each of these peers lags.
    Lag(Vec<NodeId>, oneshot::Sender<Vec<usize>>),
    /// Finish what is under way and end.
    Stop,
}

/// Where the core's batches go.
#[derive(Debug)]
pub struct Disk {
    /// Statements.
    pub store: Arc<RedbStore>,
    /// Shares.
    pub slots: Slots,
    /// Ciphertexts.
    pub blobs: Blobs,
    /// Who belongs to the mesh, beside the store.
    pub mesh: MeshCopy,
}

/// The core with what it needs to run.
pub struct Core {
    /// The replica.
    pub replica: Replica,
    /// Its disk.
    pub disk: Disk,
    /// What it shares with the doors.
    pub node: Arc<Node>,
    /// What it is asked.
    pub commands: mpsc::Receiver<Command>,
    /// The runtime on which it waits.
    pub runtime: Handle,
}

impl Core {
    /// Carries out `first`, the step of the restore, and then serves commands until told to stop.
    ///
    /// # Errors
    /// [`DiskError`] of a batch that could not be written.
    pub fn run(mut self, first: Step) -> Result<(), DiskError> {
        // On Linux this is the calling thread's alone.
        if let Err(error) = rustix::process::setpriority_process(None, NICE) {
            tracing::warn!(%error, "releases have no priority over statements");
        }
        self.refresh_membership();
        self.finish(first, Vec::new())?;
        let mut stepped = Instant::now();
        loop {
            let now = clock::now();
            let wait = self.replica.next_wake().map_or(LONGEST_WAIT, |at| Duration::from_millis(at.since(now.boot).0));
            let mut next = self.receive(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT));
            let mut inputs = Vec::new();
            let mut questions = Vec::new();
            let mut taken = 0;
            let mut stop = false;
            let mut hurries = !self.replica.is_in_a_crowd();
            while let Some(command) = next {
                taken += 1;
                hurries |= !matches!(command, Command::Input(Input::Spread { .. }));
                match command {
                    Command::Input(input) => inputs.push(input),
                    Command::Stop => stop = true,
                    question => questions.push(question),
                }
                next = match GATHER.checked_sub(stepped.elapsed()) {
                    _ if stop || taken >= AT_ONCE => None,
                    Some(rest) if !hurries => self.receive(rest),
                    _ => self.commands.try_recv().ok(),
                };
            }
            stepped = Instant::now();
            if self.replica.next_wake().is_some_and(|at| at <= clock::now().boot) || taken == 0 {
                inputs.push(Input::Tick);
            }
            let step = self.step(inputs);
            self.finish(step, questions)?;
            if stop {
                return Ok(());
            }
        }
    }

    /// The next command that comes within `wait`.
    fn receive(&mut self, wait: Duration) -> Option<Command> {
        let received = self.runtime.block_on(async { tokio::time::timeout(wait, self.commands.recv()).await });
        // When nobody is left who could command anything, it is over.
        received.ok().map(|command| command.unwrap_or(Command::Stop))
    }

    fn step(&mut self, inputs: Vec<Input>) -> Step {
        if inputs.is_empty() {
            return Step::default();
        }
        self.node.metrics.steps.fetch_add(inputs.len() as u64, Ordering::Relaxed);
        self.replica.step_all(clock::now(), &mut super::randomness(), inputs)
    }

    /// Writes the batch, then carries out the effects and answers the questions.
    fn finish(&mut self, step: Step, questions: Vec<Command>) -> Result<(), DiskError> {
        let mesh = DocumentId::from(self.node.mesh);
        let mut members = false;
        let Self { disk, node, .. } = self;
        let durable = step.batch.persist(|writes| {
            members =
                writes.iter().any(|write| matches!(write, Write::Statement { document, .. } if *document == mesh));
            let started = Instant::now();
            let count = writes.len() as u64;
            let written = write(disk, node, writes);
            node.metrics.batches.fetch_add(1, Ordering::Relaxed);
            node.metrics.batch_writes.fetch_add(count, Ordering::Relaxed);
            node.metrics.batch_time.observe(started.elapsed());
            written
        })?;
        if members {
            self.refresh_membership();
        }
        for effect in step.effects.release(&durable) {
            self.carry_out(effect);
        }
        for question in questions {
            self.answer(question);
        }
        Ok(())
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Send { to, channel, frame } => {
                if to == self.node.me {
                    dispatch::to_myself(&self.node, &self.runtime, channel, &frame);
                } else {
                    self.node.send(to, channel, frame);
                }
            }
            Effect::Reply { to, result } => self.node.replies.answer(to, result),
            Effect::Publish(view) => self.node.publish(view),
            Effect::Peers(cards) => self.peers(&cards),
            Effect::Warn(what) => self.node.warn(what),
        }
    }

    fn peers(&self, cards: &[NodeCard]) {
        let others: Vec<NodeCard> = cards.iter().filter(|card| card.node != self.node.me).cloned().collect();
        let store = &self.disk.store;
        self.node.peers.admit(&others, |node| {
            let stored = store.meta(&witness_key(node)).ok().flatten()?;
            codec::decode::<AuditHead>(&stored, 128).ok()
        });
        let entries = others.iter().map(|card| PeerEntry { node: card.node, addresses: addresses(card) });
        self.node.transport.set_peers(entries.collect());
    }

    fn answer(&self, question: Command) {
        // Whoever no longer waits for an answer needs none.
        match question {
            Command::Documents(to) => drop(to.send(self.replica.documents())),
            Command::Statements(document, to) => drop(to.send(self.replica.statements(&document))),
            Command::Blob(document, hash, to) => {
                drop(to.send(self.replica.blob(&document, &hash).map(<[u8]>::to_vec)));
            }
            Command::Lag(peers, to) => drop(to.send(peers.iter().map(|peer| self.replica.lag(peer)).collect())),
            Command::Input(_) | Command::Stop => {}
        }
    }

    fn refresh_membership(&self) {
        let statements = self.replica.statements(&self.node.mesh.into()).unwrap_or_default();
        if let Err(error) = self.disk.mesh.write(&statements) {
            // It is of use only to a node that loses its store; the store itself is whole.
            tracing::warn!(%error, "the copy of the mesh's document is not up to date");
        }
        self.node.membership.store(Arc::new(membership::telling(self.node.mesh, &statements)));
    }
}

/// The addresses at which a node's card says other nodes reach it. Names are not resolved: membership is signed.
fn addresses(card: &NodeCard) -> Vec<SocketAddr> {
    card.mesh.iter().filter_map(|address| address.parse().ok()).collect()
}

/// Where the audit head that a peer showed is kept.
pub(super) fn witness_key(node: &NodeId) -> String {
    format!("witness/{node}")
}

fn is_slot(write: &Write) -> bool {
    matches!(write, Write::Share { .. } | Write::EraseShare { .. })
}

/// Ciphertexts of one document.
type Ciphertexts = Vec<(BlobHash, Arc<[u8]>)>;

/// Ciphertexts and shares first, because statements speak of them; then all statements in one commit; what is to be erased
/// once its reason is on disk; audit records last.
fn write(disk: &Disk, node: &Node, writes: Vec<Write>) -> Result<(), DiskError> {
    let mut statements = Batch::new();
    let mut count = 0;
    let mut blobs: BTreeMap<DocumentId, Ciphertexts> = BTreeMap::new();
    let mut erased = Vec::new();
    let mut records = Vec::new();
    let said = node.crash.kinds(&node.me, writes.iter().filter(|write| matches!(write, Write::Statement { .. })));
    for write in writes {
        let slot = node.crash.kinds(&node.me, is_slot(&write).then_some(&write));
        node.crash.pass(Side::Before, &slot);
        match write {
            Write::Statement { document, id, bytes } => {
                statements.put_statement(document, id, bytes);
                count += 1;
            }
            Write::Blob { document, hash, bytes } => blobs.entry(document).or_default().push((hash, bytes)),
            Write::EraseBlob { document, hash } => erased.push((document, hash)),
            Write::EraseShare { slot } => drop(disk.slots.erase(&slot)?),
            Write::Share { slot, share } => disk.slots.put(&slot, &share, &mut super::randomness())?,
            Write::Audit(record) => records.push(record),
        }
        node.crash.pass(Side::After, &slot);
    }
    for (document, blobs) in &blobs {
        let blobs: Vec<(BlobHash, &[u8])> = blobs.iter().map(|(hash, bytes)| (*hash, &**bytes)).collect();
        disk.blobs.put_all(*document, &blobs)?;
    }
    node.crash.pass(Side::Before, &said);
    disk.store.commit(&statements)?;
    node.crash.pass(Side::After, &said);
    node.metrics.statements.fetch_add(count, Ordering::Relaxed);
    for (document, hash) in erased {
        disk.blobs.erase(document, hash)?;
    }
    for record in records {
        node.audit.record_blocking(&record)?;
    }
    Ok(())
}
