//! One peer: its queues, its counters, and the task that carries its frames and tells of its coming and going.
//!
//! The driver says, through the session, whether the peer is up and hands over streams; it never waits for this task,
//! and this task may wait for a slow receiver of events for as long as it likes. The session holds only the latest state
//! and at most one new stream per channel and direction, so a peer that comes and goes while nobody listens costs no
//! memory.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::io::{AsyncReadExt, BufReader};
use keymesh_wire::ids::NodeId;
use libp2p::swarm::Stream;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep};

use super::bucket::TokenBucket;
use super::config::{Channel, Limits};
use super::events::{Event, EventSender, Misbehaviour, Unwanted};
use super::frame;
use super::outbox::Outbox;
use super::stats::{ChannelCounters, ChannelStats, Counter, PeerStats};
use super::streams::Direction;

/// How much is gathered into one write.
const BATCH_BYTES: usize = 64 * 1024;

/// How much is read ahead of the frame in hand.
const READ_AHEAD: usize = 32 * 1024;

/// A round trip not measured.
const UNKNOWN: u64 = u64::MAX;

/// What a peer's task tells the driver.
#[derive(Debug)]
pub(super) enum Notice {
    /// The outbound stream of this session ended.
    StreamEnded { node: NodeId, session: u64, channel: Channel },
    /// The peer is down and the owner has been told.
    Idle { node: NodeId },
}

/// What callers, the driver and the peer's task share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: NodeId,
    outboxes: [Outbox; 2],
    counters: [ChannelCounters; 2],
    misbehaved: Counter,
    bucket: Mutex<TokenBucket>,
    round_trip_micros: AtomicU64,
    session: Mutex<Session>,
    changed: Notify,
}

/// The streams handed over and not yet taken, by channel and direction.
type Handover = [[Option<Stream>; 2]; 2];

#[derive(Debug, Default)]
struct Session {
    /// Number of the last session; sessions of one link never share one.
    number: u64,
    up: bool,
    streams: Handover,
}

impl Link {
    pub(super) fn new(node: NodeId, limits: &Limits, now: Instant) -> Self {
        let outbox = || Outbox::new(limits.queue_frames, limits.queue_bytes);
        Self {
            node,
            outboxes: [outbox(), outbox()],
            counters: Default::default(),
            misbehaved: Counter::default(),
            bucket: Mutex::new(TokenBucket::new(limits.inbound_bytes, limits.inbound_frames, now)),
            round_trip_micros: AtomicU64::new(UNKNOWN),
            session: Mutex::default(),
            changed: Notify::new(),
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn outbox(&self, channel: Channel) -> &Outbox {
        &self.outboxes[channel.index()]
    }

    pub(super) fn counters(&self, channel: Channel) -> &ChannelCounters {
        &self.counters[channel.index()]
    }

    pub(super) fn set_round_trip(&self, measured: Duration) {
        let micros = u64::try_from(measured.as_micros()).unwrap_or(UNKNOWN);
        self.round_trip_micros.store(micros, Ordering::Relaxed);
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        let micros = self.round_trip_micros.load(Ordering::Relaxed);
        (micros != UNKNOWN).then(|| Duration::from_micros(micros))
    }

    pub(super) fn is_up(&self) -> bool {
        self.session().up
    }

    /// Hands a stream over, beginning a session if none is on.
    pub(super) fn hand_over(&self, channel: Channel, direction: Direction, stream: Stream) {
        let mut session = self.session();
        if !session.up {
            session.up = true;
            session.number += 1;
            self.outboxes.iter().for_each(Outbox::open);
        }
        session.streams[channel.index()][direction.index()] = Some(stream);
        drop(session);
        self.changed.notify_one();
    }

    /// Ends the session, if one is on, and drops what was queued for it.
    pub(super) fn end_session(&self) {
        let mut session = self.session();
        session.up = false;
        session.streams = Handover::default();
        self.round_trip_micros.store(UNKNOWN, Ordering::Relaxed);
        for channel in Channel::ALL {
            self.counters(channel).dropped_frames.add(self.outbox(channel).close());
        }
        drop(session);
        self.changed.notify_one();
    }

    /// Whether `number` is the session that is on.
    pub(super) fn is_current(&self, number: u64) -> bool {
        let session = self.session();
        session.up && session.number == number
    }

    fn take_handover(&self) -> (Option<u64>, Handover) {
        let mut session = self.session();
        let streams = std::mem::take(&mut session.streams);
        (session.up.then_some(session.number), streams)
    }

    pub(super) fn stats(&self) -> PeerStats {
        let channels = Channel::ALL.map(|channel| {
            let (queued_frames, queued_bytes) = self.outbox(channel).queued();
            let counters = self.counters(channel);
            ChannelStats {
                channel,
                queued_frames,
                queued_bytes,
                sent_frames: counters.sent_frames.get(),
                sent_bytes: counters.sent_bytes.get(),
                received_frames: counters.received_frames.get(),
                received_bytes: counters.received_bytes.get(),
                dropped_frames: counters.dropped_frames.get(),
                truncated_frames: counters.truncated_frames.get(),
            }
        });
        PeerStats {
            node: self.node,
            connected: self.is_up(),
            round_trip_micros: self.round_trip().and_then(|took| u64::try_from(took.as_micros()).ok()),
            misbehaved: self.misbehaved.get(),
            channels: channels.into(),
        }
    }

    /// Charges one inbound frame and says how long to wait.
    fn charge(&self, bytes: u64) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, Instant::now())
    }
}

/// Serves one peer until the owner drops its events or the task is aborted.
pub(super) async fn serve(link: Arc<Link>, events: EventSender, notices: mpsc::Sender<Notice>, frame_limit: usize) {
    let mut pumps = Pumps::default();
    let mut announced: Option<u64> = None;
    loop {
        let (session, streams) = link.take_handover();
        if announced.is_some() && announced != session {
            pumps.stop_all().await;
            announced = None;
            if events.send(Event::Down(link.node)).await.is_err() {
                return;
            }
        }
        match session {
            Some(number) if announced.is_none() => {
                if events.send(Event::Up(link.node)).await.is_err() {
                    return;
                }
                announced = Some(number);
            }
            Some(_) => {}
            None => {
                // The driver is gone if nobody hears this, and it aborts this task on its way out.
                let _ = notices.send(Notice::Idle { node: link.node }).await;
            }
        }
        for (channel, by_direction) in Channel::ALL.into_iter().zip(streams) {
            let [inbound, outbound] = by_direction;
            if let Some(stream) = inbound {
                let pump = receive(stream, channel, link.clone(), events.clone(), frame_limit);
                pumps.replace((channel, Direction::In), pump).await;
            }
            if let Some(stream) = outbound {
                pumps.replace((channel, Direction::Out), transmit(stream, channel, link.clone())).await;
            }
        }
        tokio::select! {
            () = link.changed.notified() => {}
            ended = pumps.next_ended(), if !pumps.is_empty() => {
                if let (Some((channel, Direction::Out)), Some(session)) = (ended, announced) {
                    let _ = notices.send(Notice::StreamEnded { node: link.node, session, channel }).await;
                }
            }
        }
    }
}

type PumpKey = (Channel, Direction);

/// The tasks that move frames, at most one per channel and direction.
#[derive(Default)]
struct Pumps {
    tasks: JoinSet<()>,
    running: HashMap<Id, (PumpKey, AbortHandle)>,
    /// Ended while another was waited for, and not yet told.
    ended: VecDeque<PumpKey>,
}

impl Pumps {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.ended.is_empty()
    }

    /// Starts `pump` after the one it replaces has ended: two writers would tear one queue's order apart.
    async fn replace(&mut self, key: PumpKey, pump: impl Future<Output = ()> + Send + 'static) {
        let old: Vec<Id> = self.running.iter().filter(|(_, (k, _))| *k == key).map(|(id, _)| *id).collect();
        for id in old {
            if let Some((_, handle)) = self.running.get(&id) {
                handle.abort();
            }
            while self.running.contains_key(&id) {
                match self.join_next().await {
                    Some(ended) if ended != key => self.ended.push_back(ended),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        let handle = self.tasks.spawn(pump);
        self.running.insert(handle.id(), (key, handle));
    }

    /// Waits for a pump to end and says which; `None` if none is running.
    async fn next_ended(&mut self) -> Option<PumpKey> {
        match self.ended.pop_front() {
            Some(key) => Some(key),
            None => self.join_next().await,
        }
    }

    async fn join_next(&mut self) -> Option<PumpKey> {
        let id = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        };
        self.running.remove(&id).map(|(key, _)| key)
    }

    async fn stop_all(&mut self) {
        self.tasks.shutdown().await;
        self.running.clear();
        self.ended.clear();
    }
}

/// Reads frames from a stream until it ends, breaks or offends.
async fn receive(stream: Stream, channel: Channel, link: Arc<Link>, events: EventSender, limit: usize) {
    match receive_frames(stream, channel, &link, &events, limit).await {
        Ok(()) => {}
        Err(Stop::Unwanted) => {}
        Err(Stop::Stream(error)) => {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                link.counters(channel).truncated_frames.add(1);
            }
            tracing::debug!(node = %link.node, %channel, %error, "inbound stream broke");
        }
        Err(Stop::Oversized(announced)) => {
            link.misbehaved.add(1);
            tracing::info!(node = %link.node, %channel, announced, "peer announced an oversized frame");
            let what = Misbehaviour::OversizedFrame { channel, announced, limit };
            // Offending costs as much as the largest frame, so that it cannot be repeated faster than frames.
            sleep(link.charge(limit as u64)).await;
            let _ = events.send(Event::Misbehaved { from: link.node, what }).await;
        }
    }
}

/// Why a reader stopped before the stream's end.
enum Stop {
    Stream(io::Error),
    Oversized(u32),
    Unwanted,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl From<Unwanted> for Stop {
    fn from(_: Unwanted) -> Self {
        Self::Unwanted
    }
}

async fn receive_frames(
    stream: Stream,
    channel: Channel,
    link: &Link,
    events: &EventSender,
    limit: usize,
) -> Result<(), Stop> {
    let mut stream = BufReader::with_capacity(READ_AHEAD, stream);
    while let Some(announced) = frame::read_length(&mut stream).await? {
        let len = announced as usize;
        if len > limit {
            return Err(Stop::Oversized(announced));
        }
        let debt = link.charge((len + frame::PREFIX_LEN) as u64);
        if !debt.is_zero() {
            sleep(debt).await;
        }
        let bytes = frame::read_body(&mut stream, len).await?;
        events.frame(link.node, channel, bytes).await?;
        let counters = link.counters(channel);
        counters.received_frames.add(1);
        counters.received_bytes.add(len as u64);
    }
    Ok(())
}

/// Writes the channel's queue to a stream until it breaks or the peer closes it.
async fn transmit(mut stream: Stream, channel: Channel, link: Arc<Link>) {
    let counters = link.counters(channel);
    let mut scratch = Vec::with_capacity(BATCH_BYTES);
    loop {
        // Nothing is ever read from this stream but its end, which is how a broken one is noticed while idle.
        let mut byte = [0];
        let batch = tokio::select! {
            biased;
            batch = link.outbox(channel).take(BATCH_BYTES) => batch,
            _ = stream.read(&mut byte) => return,
        };
        let bytes: usize = batch.iter().map(Vec::len).sum();
        if let Err(error) = frame::write_batch(&mut stream, &mut scratch, &batch).await {
            counters.dropped_frames.add(batch.len() as u64);
            tracing::debug!(node = %link.node, %channel, %error, "outbound stream broke");
            return;
        }
        counters.sent_frames.add(batch.len() as u64);
        counters.sent_bytes.add(bytes as u64);
        if scratch.capacity() > 4 * BATCH_BYTES {
            scratch = Vec::with_capacity(BATCH_BYTES);
        }
    }
}
