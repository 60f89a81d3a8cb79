//! What a transport tells its owner, bounded in number and in bytes.
//!
//! A slow receiver stops the reading from peers, and so, through the streams' windows, the peers themselves. Up and
//! Down of one peer alternate, Up first, and frames arrive only between them.

use std::sync::Arc;

use keymesh_wire::ids::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::config::Channel;

/// Something that happened between this node and its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer is connected and has accepted us.
    Up(NodeId),
    /// The last connection with the peer is gone. Frames queued for it are lost.
    Down(NodeId),
    /// A frame arrived. Within one peer and channel frames keep their order for as long as the peer stays up on one
    /// stream; after a broken stream some may be missing.
    Frame {
        /// The authenticated sender.
        from: NodeId,
        /// The channel it came by.
        channel: Channel,
        /// The frame, opaque.
        bytes: Vec<u8>,
    },
    /// The peer broke the framing.
    Misbehaved {
        /// The authenticated peer.
        from: NodeId,
        /// What it did.
        what: Misbehaviour,
    },
}

/// How a peer broke the framing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// It announced a frame above the limit; nothing was allocated and the stream was closed.
    #[error("announced a frame of {announced} bytes on {channel}, above the limit of {limit}")]
    OversizedFrame {
        /// The channel.
        channel: Channel,
        /// The announced length in bytes.
        announced: u32,
        /// The limit in bytes.
        limit: usize,
    },
}

/// The receiving end. Dropping it stops the reading from all peers.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<(Event, Option<OwnedSemaphorePermit>)>,
}

impl Events {
    /// The next event; `None` once the transport has stopped and the queue is empty. Cancelling loses nothing.
    pub async fn recv(&mut self) -> Option<Event> {
        self.queue.recv().await.map(|(event, _)| event)
    }

    /// The next event if one is waiting.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.queue.try_recv().ok().map(|(event, _)| event)
    }
}

/// The owner has dropped [`Events`].
#[derive(Debug)]
pub(super) struct Unwanted;

/// The sending end, shared by the tasks of all peers.
#[derive(Debug, Clone)]
pub(super) struct EventSender {
    queue: mpsc::Sender<(Event, Option<OwnedSemaphorePermit>)>,
    bytes: Arc<Semaphore>,
}

/// A queue of at most `events` events and `bytes` bytes of frames.
pub(super) fn queue(events: usize, bytes: u32) -> (EventSender, Events) {
    let (sender, receiver) = mpsc::channel(events);
    (EventSender { queue: sender, bytes: Arc::new(Semaphore::new(bytes as usize)) }, Events { queue: receiver })
}

impl EventSender {
    /// Sends an event that carries no frame, waiting for room.
    pub(super) async fn send(&self, event: Event) -> Result<(), Unwanted> {
        self.queue.send((event, None)).await.map_err(|_| Unwanted)
    }

    /// Sends a frame, waiting for room for its bytes and for itself.
    pub(super) async fn frame(&self, from: NodeId, channel: Channel, bytes: Vec<u8>) -> Result<(), Unwanted> {
        let cost = u32::try_from(bytes.len()).map_err(|_| Unwanted)?;
        let permit = self.bytes.clone().acquire_many_owned(cost).await.map_err(|_| Unwanted)?;
        self.queue.send((Event::Frame { from, channel, bytes }, Some(permit))).await.map_err(|_| Unwanted)
    }
}
