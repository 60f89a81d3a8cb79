//! What comes from other nodes, and to whom it goes.
//!
//! Statements and key generations go to the core, answers to whoever asked, questions to the custodian. A slow core slows
//! the reading from peers; questions beyond what is worked on at once are dropped, because their askers ask again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keymesh_mesh::custody::message::{Answer, AuditHead, CustodyMessage, Hello};
use keymesh_mesh::replica::{self, Input};
use keymesh_wire::codec;
use keymesh_wire::ids::NodeId;
use keymesh_wire::suite::LEVEL;
use tokio::runtime::Handle;

use super::core::{Command, witness_key};
use super::{clock, custodian};
use crate::disk::{Batch, RedbStore, Store};
use crate::ops::Node;
use crate::transport::{Channel, Event, Events};

/// How often a node says that it is there.
const HELLO: Duration = Duration::from_secs(2);
/// After how many hellos the audit heads of peers are put on disk.
const STORE_EVERY: u32 = 15;

/// Serves the transport until it ends.
pub async fn events(node: Arc<Node>, mut events: Events) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Up(peer) => {
                tracing::info!(%peer, "connected");
                node.peers.connected(&peer, true);
                to_core(&node, Input::PeerUp(peer)).await;
                node.send(peer, replica::Channel::Custody, hello(&node).to_frame());
            }
            Event::Down(peer) => {
                tracing::info!(%peer, "disconnected");
                node.peers.connected(&peer, false);
                to_core(&node, Input::PeerDown(peer)).await;
            }
            Event::Frame { from, channel: Channel::Spread, bytes } => {
                to_core(&node, Input::Spread { from, frame: bytes }).await;
            }
            Event::Frame { from, channel: Channel::Custody, bytes } => match CustodyMessage::from_frame(&bytes) {
                Ok(message) => custody(&node, from, message).await,
                Err(error) => {
                    node.metrics.peer_dropped.fetch_add(1, Ordering::Relaxed);
                    if node.custodian.may_complain(from) {
                        node.warn(format!("{from} sent an unreadable message on custody: {error}"));
                    }
                }
            },
            Event::Misbehaved { from, what } => node.warn(format!("{from} {what}")),
        }
    }
}

/// A message on the custody channel.
pub async fn custody(node: &Arc<Node>, from: NodeId, message: CustodyMessage) {
    match message {
        CustodyMessage::Hello(hello) => {
            let heard = node.peers.hello(&from, &hello, clock::wall(), node.clock_tolerance);
            for warning in heard.warnings {
                node.warn(warning);
            }
        }
        CustodyMessage::Ceremony(_)
        | CustodyMessage::TipsAsk(..)
        | CustodyMessage::Tips(..)
        | CustodyMessage::Repair(_) => to_core(node, Input::Custody { from, message }).await,
        CustodyMessage::Answer(Answer { request, verdict }) => {
            if let Some(verdict) = node.gatherings.deliver(request, from, verdict) {
                let message = CustodyMessage::Answer(Answer { request, verdict });
                to_core(node, Input::Custody { from, message }).await;
            }
        }
        CustodyMessage::LeaseAsk(envelope) => custodian::serve(node, from, custodian::Ask::Lease(envelope)),
        CustodyMessage::QuorumAsk(envelope) => custodian::serve(node, from, custodian::Ask::Quorum(envelope)),
        CustodyMessage::EnrolAsk(envelope) => custodian::serve(node, from, custodian::Ask::Enrol(envelope)),
    }
}

/// A message of the core to this very node, which may be a custodian of what it asks for.
pub fn to_myself(node: &Arc<Node>, runtime: &Handle, channel: replica::Channel, frame: &[u8]) {
    match (channel, CustodyMessage::from_frame(frame)) {
        (replica::Channel::Custody, Ok(message)) => {
            let node = node.clone();
            runtime.spawn(async move { custody(&node, node.me, message).await });
        }
        (channel, message) => tracing::warn!(?channel, ok = message.is_ok(), "a frame to this node itself is dropped"),
    }
}

async fn to_core(node: &Node, input: Input) {
    // A core that has ended takes the node with it; nothing is left to do here.
    let _ = node.commands.send(Command::Input(input)).await;
}

fn hello(node: &Node) -> CustodyMessage {
    let head = node.audit.head();
    let audit = AuditHead { sequence: head.seq, chain: head.chain_hash };
    CustodyMessage::Hello(Hello { level: LEVEL, time: clock::wall(), audit: Some(audit) })
}

/// Says every two seconds that this node is there, watches the clocks and keeps what peers showed of their logs.
pub async fn hellos(node: Arc<Node>, store: Arc<RedbStore>) {
    let mut ticks = tokio::time::interval(HELLO);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count: u32 = 0;
    loop {
        ticks.tick().await;
        let frame = hello(&node).to_frame();
        for peer in node.peers.up() {
            node.send(peer, replica::Channel::Custody, frame.clone());
        }
        node.watch_clock();
        count = count.wrapping_add(1);
        if count.is_multiple_of(STORE_EVERY) {
            store_heads(&node, &store).await;
        }
    }
}

async fn store_heads(node: &Node, store: &Arc<RedbStore>) {
    let mut batch = Batch::new();
    for (peer, head) in node.peers.heads_to_store() {
        batch.put_meta(&witness_key(&peer), codec::encode(&head));
    }
    if batch.is_empty() {
        return;
    }
    let store = store.clone();
    let stored = tokio::task::spawn_blocking(move || store.commit(&batch).map(drop)).await;
    if let Ok(Err(error)) = stored {
        node.warn(format!("what peers showed of their audit logs could not be kept: {error}"));
    }
}
