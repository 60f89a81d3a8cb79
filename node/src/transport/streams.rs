//! The libp2p behaviour that opens and accepts the two kinds of stream.
//!
//! Small on purpose: it negotiates `/keymesh/spread/1` and `/keymesh/custody/1`, hands every stream to the driver with
//! the connection it belongs to, and reports what could not be opened. `libp2p-stream` does nearly this, but it drops an
//! inbound stream when two arrive at once, picks a connection at random where a peer has two, and never forgets a closed
//! connection. Who may connect is decided beside it, by the allow list.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, swarm};

use super::config::Channel;

/// Reports of one connection not yet taken by the swarm; inbound streams beyond it are dropped. An honest peer has two
/// streams open, so this bounds only what a misbehaving one can pile up.
const MAX_PENDING_REPORTS: usize = 16;

/// Which side opened a stream, and so which way its frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Opened by the peer; it sends.
    In,
    /// Opened here; we send.
    Out,
}

impl Direction {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::In => 0,
            Self::Out => 1,
        }
    }
}

/// What became of a stream.
#[derive(Debug)]
pub(super) enum Report {
    /// A stream is ready.
    Opened { channel: Channel, direction: Direction, stream: Stream },
    /// A stream that was asked for could not be opened.
    Failed { channel: Channel, reason: String },
}

/// A report with where it comes from.
#[derive(Debug)]
pub(super) struct StreamEvent {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) report: Report,
}

/// Opens and accepts streams on every connection of the swarm.
#[derive(Debug, Default)]
pub(super) struct Behaviour {
    actions: VecDeque<ToSwarm<StreamEvent, Channel>>,
    waker: Option<Waker>,
}

impl Behaviour {
    /// Asks for a stream to `peer` on one connection; a report follows unless the connection closes first.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId, channel: Channel) {
        self.actions.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: channel,
        });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, report: THandlerOutEvent<Self>) {
        self.actions.push_back(ToSwarm::GenerateEvent(StreamEvent { peer, connection, report }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(action) = self.actions.pop_front() {
            return Poll::Ready(action);
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// One connection's share of the work.
#[derive(Debug, Default)]
pub(super) struct Handler {
    wanted: VecDeque<Channel>,
    reports: VecDeque<Report>,
}

impl Handler {
    fn report(&mut self, report: Report) {
        if self.reports.len() < MAX_PENDING_REPORTS {
            self.reports.push_back(report);
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Channel;
    type ToBehaviour = Report;
    type InboundProtocol = Accept;
    type OutboundProtocol = Open;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Channel;

    fn listen_protocol(&self) -> SubstreamProtocol<Accept> {
        SubstreamProtocol::new(Accept, ())
    }

    /// A connection between listed peers stays, busy or not.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Open, Channel, Report>> {
        // No waker is kept: what fills these queues is called by the connection's own task, which polls afterwards.
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        if let Some(channel) = self.wanted.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Open(channel), channel),
            });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, channel: Channel) {
        self.wanted.push_back(channel);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Accept, Open, (), Channel>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (channel, stream), .. }) => {
                self.report(Report::Opened { channel, direction: Direction::In, stream })
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (channel, stream), ..
            }) => self.report(Report::Opened { channel, direction: Direction::Out, stream }),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: channel, error }) => {
                let reason = match error {
                    swarm::StreamUpgradeError::Timeout => "the peer did not answer in time".to_owned(),
                    swarm::StreamUpgradeError::NegotiationFailed => "the peer does not speak it".to_owned(),
                    swarm::StreamUpgradeError::Io(error) => error.to_string(),
                    swarm::StreamUpgradeError::Apply(never) => match never {},
                };
                self.report(Report::Failed { channel, reason });
            }
            _ => {}
        }
    }
}

/// Accepts a stream on any channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accept;

/// Opens a stream on one channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open(Channel);

/// A channel as the negotiation names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named(Channel);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.0.protocol()
    }
}

impl From<Named> for StreamProtocol {
    fn from(named: Named) -> Self {
        StreamProtocol::new(named.0.protocol())
    }
}

impl UpgradeInfo for Accept {
    type Info = Named;
    type InfoIter = [Named; 2];

    fn protocol_info(&self) -> [Named; 2] {
        Channel::ALL.map(Named)
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (Channel, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, named: Named) -> Self::Future {
        ready(Ok((named.0, stream)))
    }
}

impl UpgradeInfo for Open {
    type Info = Named;
    type InfoIter = [Named; 1];

    fn protocol_info(&self) -> [Named; 1] {
        [Named(self.0)]
    }
}

impl OutboundUpgrade<Stream> for Open {
    type Output = (Channel, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, named: Named) -> Self::Future {
        ready(Ok((named.0, stream)))
    }
}
