//! The transport between real sockets on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::{AsyncWriteExt, StreamExt};
use keymesh::transport::peer_id::{node_id_of, peer_id_of};
use keymesh::transport::{
    Carrier, Channel, Event, Events, Limits, MAX_FRAME, Misbehaviour, PeerEntry, SendError, Transport, TransportConfig,
    TransportError, TransportHandle,
};
use keymesh_wire::ids::NodeId;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

/// Far beyond what anything here takes; reached only when something never happens.
const PATIENCE: Duration = Duration::from_secs(60);

fn config(seed: u8) -> TransportConfig {
    TransportConfig::new(Zeroizing::new([seed; 32]), vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
}

fn entry(handle: &TransportHandle) -> PeerEntry {
    PeerEntry { node: handle.node(), addresses: handle.listening().to_vec() }
}

async fn next(events: &mut Events) -> Event {
    timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("a running transport")
}

async fn until(events: &mut Events, wanted: &Event) {
    while next(events).await != *wanted {}
}

/// Two nodes that list each other and are up.
async fn pair(adapt: impl Fn(&mut TransportConfig)) -> ((TransportHandle, Events), (TransportHandle, Events)) {
    let start = |seed| {
        let mut config = config(seed);
        adapt(&mut config);
        Transport::start(config).unwrap()
    };
    let (a, mut a_events) = start(1);
    let (b, mut b_events) = start(2);
    a.set_peers(vec![entry(&a), entry(&b)]);
    b.set_peers(vec![entry(&a), entry(&b)]);
    assert_eq!(next(&mut a_events).await, Event::Up(b.node()));
    assert_eq!(next(&mut b_events).await, Event::Up(a.node()));
    ((a, a_events), (b, b_events))
}

async fn exchange(adapt: impl Fn(&mut TransportConfig)) {
    let ((a, mut a_events), (b, mut b_events)) = pair(adapt).await;
    let numbered = |number: u32| number.to_be_bytes().repeat(1 + (number as usize % 40) * 50);
    for number in 0..500 {
        a.send(b.node(), Channel::Spread, numbered(number)).unwrap();
        a.send(b.node(), Channel::Custody, numbered(number + 10_000)).unwrap();
        b.send(a.node(), Channel::Custody, numbered(number)).unwrap();
    }
    a.send(b.node(), Channel::Spread, vec![7; MAX_FRAME]).unwrap();

    let mut spread = Vec::new();
    let mut custody = Vec::new();
    while spread.len() < 501 || custody.len() < 500 {
        match next(&mut b_events).await {
            Event::Frame { from, channel, bytes } => {
                assert_eq!(from, a.node());
                match channel {
                    Channel::Spread => spread.push(bytes),
                    Channel::Custody => custody.push(bytes),
                }
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(spread.pop().unwrap(), vec![7; MAX_FRAME]);
    assert_eq!(spread, (0..500).map(numbered).collect::<Vec<_>>());
    assert_eq!(custody, (10_000..10_500).map(numbered).collect::<Vec<_>>());
    for number in 0..500 {
        let expected = Event::Frame { from: b.node(), channel: Channel::Custody, bytes: numbered(number) };
        assert_eq!(next(&mut a_events).await, expected);
    }
    let stats = a.stats();
    assert!(stats.peers[0].connected);
    assert_eq!(stats.peers[0].channels[0].sent_frames, 501);
    assert_eq!(stats.peers[0].channels[1].received_frames, 500);
}

#[tokio::test]
async fn two_nodes_exchange_frames_in_order_by_tcp() {
    exchange(|config| config.quic = false).await;
}

#[tokio::test]
async fn two_nodes_exchange_frames_in_order_by_quic() {
    exchange(|config| config.tcp = false).await;
}

#[tokio::test]
async fn a_frame_crosses_and_comes_back_and_the_round_trip_is_known() {
    for (tcp, quic) in [(true, false), (false, true)] {
        let ((a, mut a_events), (b, mut b_events)) = pair(|config| {
            config.tcp = tcp;
            config.quic = quic;
            config.limits.ping_interval = Duration::from_millis(20);
        })
        .await;
        let mut times = Vec::new();
        for _ in 0..200 {
            let sent = std::time::Instant::now();
            a.send(b.node(), Channel::Custody, vec![1; 200]).unwrap();
            let Event::Frame { bytes, .. } = next(&mut b_events).await else { panic!("not a frame") };
            b.send(a.node(), Channel::Custody, bytes).unwrap();
            let Event::Frame { .. } = next(&mut a_events).await else { panic!("not a frame") };
            times.push(sent.elapsed());
        }
        times.sort();
        println!("tcp {tcp}, quic {quic}: there and back, median {:?}, p99 {:?}", times[100], times[197]);
        let measured = async {
            while a.stats().peers[0].round_trip_micros.is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, measured).await.expect("a measured round trip");
    }
}

#[tokio::test]
async fn an_unlisted_peer_cannot_connect_and_sees_no_frames() {
    let ((a, mut a_events), (b, mut b_events)) = pair(|_| {}).await;
    let (stranger, mut stranger_events) = Transport::start(config(3)).unwrap();
    stranger.set_peers(vec![entry(&a)]);
    let refused = async {
        while a.stats().refused_connections < 3 {
            a.send(b.node(), Channel::Spread, vec![1]).unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("refusals");
    assert_eq!(stranger_events.try_recv(), None);
    assert_eq!(a_events.try_recv(), None);
    assert!(matches!(next(&mut b_events).await, Event::Frame { .. }));
    let refusal = a.send(stranger.node(), Channel::Spread, vec![1]);
    assert_eq!(refusal, Err(SendError::NotListed { to: stranger.node() }));
    let refusal = stranger.send(a.node(), Channel::Spread, vec![1]);
    assert_eq!(refusal, Err(SendError::Down { to: a.node() }));
}

#[tokio::test]
async fn a_peer_dropped_from_the_list_is_disconnected() {
    let ((a, mut a_events), (b, mut b_events)) = pair(|_| {}).await;
    a.set_peers(vec![]);
    until(&mut a_events, &Event::Down(b.node())).await;
    until(&mut b_events, &Event::Down(a.node())).await;
    assert!(a.stats().peers.is_empty());
    assert!(!b.stats().peers[0].connected);
    a.set_peers(vec![entry(&b)]);
    until(&mut a_events, &Event::Up(b.node())).await;
    until(&mut b_events, &Event::Up(a.node())).await;
}

#[tokio::test]
async fn a_cut_peer_goes_down_and_comes_back_when_healed() {
    let ((a, mut a_events), (b, mut b_events)) = pair(|_| {}).await;
    a.cut(vec![b.node()]);
    until(&mut a_events, &Event::Down(b.node())).await;
    until(&mut b_events, &Event::Down(a.node())).await;
    assert_eq!(a.send(b.node(), Channel::Custody, vec![1]), Err(SendError::Down { to: b.node() }));
    a.cut(vec![]);
    until(&mut a_events, &Event::Up(b.node())).await;
    until(&mut b_events, &Event::Up(a.node())).await;
    a.send(b.node(), Channel::Custody, vec![1]).unwrap();
    let frame = Event::Frame { from: a.node(), channel: Channel::Custody, bytes: vec![1] };
    assert_eq!(next(&mut b_events).await, frame);
}

async fn restart(adapt: impl Fn(&mut TransportConfig)) {
    let ((a, mut a_events), (b, b_events)) = pair(&adapt).await;
    let address = b.listening().to_vec();
    b.shutdown().await;
    drop((b, b_events));
    let node = a.stats().peers[0].node;
    until(&mut a_events, &Event::Down(node)).await;

    let mut again = config(2);
    adapt(&mut again);
    again.listen = address;
    let start = || {
        Transport::start(TransportConfig {
            seed: again.seed.clone(),
            listen: again.listen.clone(),
            limits: again.limits.clone(),
            ..again
        })
    };
    // Within one process the old sockets linger until their connections have drained.
    let started = async {
        loop {
            match start() {
                Err(TransportError::AddressInUse { .. }) => sleep(Duration::from_millis(50)).await,
                other => return other.unwrap(),
            }
        }
    };
    let (b, mut b_events) = timeout(PATIENCE, started).await.expect("the address again");
    // It lists its peer without an address, so the other one must redial.
    b.set_peers(vec![PeerEntry { node: a.node(), addresses: vec![] }]);
    until(&mut a_events, &Event::Up(node)).await;
    until(&mut b_events, &Event::Up(a.node())).await;
    a.send(node, Channel::Spread, vec![9]).unwrap();
    let frame = Event::Frame { from: a.node(), channel: Channel::Spread, bytes: vec![9] };
    assert_eq!(next(&mut b_events).await, frame);
}

#[tokio::test]
async fn a_restarted_peer_is_redialled_by_tcp() {
    restart(|config| config.quic = false).await;
}

#[tokio::test]
async fn a_restarted_peer_is_redialled_by_quic() {
    restart(|config| config.tcp = false).await;
}

#[tokio::test]
async fn a_peer_without_tcp_is_reached_by_quic() {
    let (a, mut a_events) = Transport::start(config(1)).unwrap();
    let mut quic_only = config(2);
    quic_only.tcp = false;
    let (b, _b_events) = Transport::start(quic_only).unwrap();
    a.set_peers(vec![entry(&b)]);
    b.set_peers(vec![PeerEntry { node: a.node(), addresses: vec![] }]);
    assert_eq!(next(&mut a_events).await, Event::Up(b.node()));
}

#[tokio::test]
async fn a_port_in_use_is_named_at_start() {
    for (tcp, quic, carrier) in [(true, true, Carrier::Tcp), (true, false, Carrier::Tcp), (false, true, Carrier::Quic)]
    {
        let (first, _events) = Transport::start(config(1)).unwrap();
        let mut second = config(2);
        (second.tcp, second.quic) = (tcp, quic);
        second.listen = first.listening().to_vec();
        match Transport::start(second) {
            Err(TransportError::AddressInUse { address, carrier: named }) => {
                assert_eq!((address, named), (first.listening()[0], carrier));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_limit_out_of_range_and_no_carrier_are_refused() {
    let mut wrong = config(1);
    wrong.limits.frame_bytes = MAX_FRAME + 1;
    assert!(matches!(Transport::start(wrong), Err(TransportError::Limit { limit: "frame_bytes" })));
    let mut silent = config(1);
    (silent.tcp, silent.quic) = (false, false);
    assert!(matches!(Transport::start(silent), Err(TransportError::NoCarrier)));
}

#[tokio::test]
async fn a_flood_against_a_slow_receiver_fills_bounded_queues_and_nothing_else() {
    let ((a, _a_events), (b, mut b_events)) = pair(|config| {
        config.limits = Limits { queue_frames: 64, queue_bytes: 2 * MAX_FRAME, event_queue: 8, ..Limits::default() };
        config.limits.event_bytes = MAX_FRAME as u32;
    })
    .await;
    let frame = vec![5; 128 * 1024];
    let mut accepted = 0_u64;
    let mut refused = 0_u64;
    // Full without a single success for this long means that everything on the way is full too.
    let mut stuck = 0;
    while stuck < 50 {
        match a.send(b.node(), Channel::Spread, frame.clone()) {
            Ok(()) => {
                accepted += 1;
                stuck = 0;
                tokio::task::yield_now().await;
            }
            Err(SendError::Full { frames, bytes, .. }) => {
                assert!(frames <= 64 && bytes <= 2 * MAX_FRAME);
                refused += 1;
                stuck += 1;
                sleep(Duration::from_millis(10)).await;
            }
            Err(other) => panic!("unexpected {other}"),
        }
        assert!(accepted < 4096, "half a GiB was swallowed by somebody who reads nothing");
    }
    println!("{} MiB on the way when all stood still", accepted * 128 / 1024);
    let stats = a.stats();
    assert_eq!(stats.peers[0].channels[0].dropped_frames, refused);
    assert!(b.stats().peers[0].channels[0].received_frames < 32);
    // The other channel shares the events but not the stream, and nothing accepted is lost once the reader reads.
    a.send(b.node(), Channel::Custody, vec![1]).unwrap();
    let mut custody = 0;
    let mut spread = 0;
    while spread < accepted || custody == 0 {
        match next(&mut b_events).await {
            Event::Frame { channel: Channel::Spread, bytes, .. } => {
                assert_eq!(bytes.len(), frame.len());
                spread += 1;
            }
            Event::Frame { channel: Channel::Custody, .. } => custody += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_frame_above_the_limit_is_not_queued() {
    let ((a, _a_events), (b, _b_events)) = pair(|config| config.limits.frame_bytes = 10).await;
    let refusal = a.send(b.node(), Channel::Spread, vec![0; 11]);
    assert_eq!(refusal, Err(SendError::TooLarge { len: 11, limit: 10 }));
}

#[tokio::test]
async fn a_slow_rate_delays_frames_and_loses_none() {
    let ((a, _a_events), (b, mut b_events)) = pair(|config| {
        config.limits.inbound_frames = keymesh::transport::Rate { per_second: 100, burst: 1 };
    })
    .await;
    let start = std::time::Instant::now();
    for number in 0..20 {
        a.send(b.node(), Channel::Spread, vec![number]).unwrap();
    }
    for number in 0..20 {
        let frame = Event::Frame { from: a.node(), channel: Channel::Spread, bytes: vec![number] };
        assert_eq!(next(&mut b_events).await, frame);
    }
    assert!(start.elapsed() >= Duration::from_millis(150), "twenty frames at a hundred a second");
}

/// A peer that speaks the wire format by hand.
struct RawPeer {
    control: libp2p_stream::Control,
    node: NodeId,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn raw_peer(target: &TransportHandle) -> RawPeer {
    let keypair = libp2p::identity::Keypair::ed25519_from_bytes([77; 32]).unwrap();
    let node = node_id_of(&keypair.public().to_peer_id()).unwrap();
    target.set_peers(vec![PeerEntry { node, addresses: vec![] }]);
    let mut swarm: Swarm<libp2p_stream::Behaviour> = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
        .build();
    let address = target.listening()[0];
    let address: Multiaddr = format!("/ip4/{}/tcp/{}", address.ip(), address.port()).parse().unwrap();
    let peer = peer_id_of(&target.node()).unwrap();
    let control = swarm.behaviour().new_control();
    // The list may reach the swarm of the target after the first attempt.
    let connected = async {
        loop {
            swarm.dial(DialOpts::peer_id(peer).addresses(vec![address.clone()]).build()).unwrap();
            loop {
                match swarm.select_next_some().await {
                    libp2p::swarm::SwarmEvent::ConnectionEstablished { .. } => return,
                    libp2p::swarm::SwarmEvent::OutgoingConnectionError { .. } => break,
                    _ => {}
                }
            }
        }
    };
    timeout(PATIENCE, connected).await.expect("a connection");
    let task = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    RawPeer { control, node, task }
}

#[tokio::test]
async fn a_peer_that_calls_in_again_has_lost_its_old_connection() {
    let (a, mut a_events) = Transport::start(config(1)).unwrap();
    let target = peer_id_of(&a.node()).unwrap();
    let custody = StreamProtocol::new("/keymesh/custody/1");
    let mut before = raw_peer(&a).await;
    let _old = before.control.open_stream(target, custody.clone()).await.unwrap();
    assert_eq!(next(&mut a_events).await, Event::Up(before.node));
    // Longer than two nodes dialling each other at once take to finish.
    sleep(Duration::from_secs(3)).await;
    let mut after = raw_peer(&a).await;
    assert_eq!(next(&mut a_events).await, Event::Down(after.node));
    let mut stream = after.control.open_stream(target, custody).await.unwrap();
    stream.write_all(&[0, 0, 0, 1, 4]).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(next(&mut a_events).await, Event::Up(after.node));
    let frame = Event::Frame { from: after.node, channel: Channel::Custody, bytes: vec![4] };
    assert_eq!(next(&mut a_events).await, frame);
}

#[tokio::test]
async fn eight_nodes_started_together_all_reach_each_other() {
    let mut nodes: Vec<_> = (1..=8).map(|seed| Transport::start(config(seed)).unwrap()).collect();
    let list: Vec<_> = nodes.iter().map(|(handle, _)| entry(handle)).collect();
    for (handle, _) in &nodes {
        handle.set_peers(list.clone());
    }
    for (_, events) in &mut nodes {
        for _ in 0..7 {
            assert!(matches!(next(events).await, Event::Up(_)));
        }
    }
    for (from, _) in &nodes {
        for to in list.iter().filter(|to| to.node != from.node()) {
            from.send(to.node, Channel::Spread, vec![1]).unwrap();
        }
    }
    for (_, events) in &mut nodes {
        for _ in 0..7 {
            assert!(matches!(next(events).await, Event::Frame { .. }));
        }
    }
}

#[tokio::test]
async fn an_oversized_prefix_closes_the_stream_and_names_the_peer() {
    let (a, mut a_events) = Transport::start(config(1)).unwrap();
    let mut raw = raw_peer(&a).await;
    let target = peer_id_of(&a.node()).unwrap();
    let spread = StreamProtocol::new("/keymesh/spread/1");
    let mut stream = raw.control.open_stream(target, spread.clone()).await.unwrap();
    stream.write_all(&[0, 0, 0, 2, 8, 9]).await.unwrap();
    stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(next(&mut a_events).await, Event::Up(raw.node));
    let frame = Event::Frame { from: raw.node, channel: Channel::Spread, bytes: vec![8, 9] };
    assert_eq!(next(&mut a_events).await, frame);
    let what = Misbehaviour::OversizedFrame { channel: Channel::Spread, announced: u32::MAX, limit: MAX_FRAME };
    assert_eq!(next(&mut a_events).await, Event::Misbehaved { from: raw.node, what });
    assert_eq!(a.stats().peers[0].misbehaved, 1);
    let closed = async { while stream.write_all(&[0; 1024]).await.and(stream.flush().await).is_ok() {} };
    timeout(PATIENCE, closed).await.expect("a closed stream");
    // The connection stays: what to do about the peer is decided above.
    let mut stream = raw.control.open_stream(target, spread).await.unwrap();
    stream.write_all(&[0, 0, 0, 1, 5]).await.unwrap();
    stream.flush().await.unwrap();
    let frame = Event::Frame { from: raw.node, channel: Channel::Spread, bytes: vec![5] };
    assert_eq!(next(&mut a_events).await, frame);
}

#[tokio::test]
async fn a_truncated_frame_is_dropped_and_counted() {
    let (a, mut a_events) = Transport::start(config(1)).unwrap();
    let mut raw = raw_peer(&a).await;
    let target = peer_id_of(&a.node()).unwrap();
    let mut stream = raw.control.open_stream(target, StreamProtocol::new("/keymesh/custody/1")).await.unwrap();
    stream.write_all(&[0, 0, 0, 1, 7, 0, 0, 0, 9, 1, 2]).await.unwrap();
    stream.close().await.unwrap();
    assert_eq!(next(&mut a_events).await, Event::Up(raw.node));
    let frame = Event::Frame { from: raw.node, channel: Channel::Custody, bytes: vec![7] };
    assert_eq!(next(&mut a_events).await, frame);
    let counted = async {
        while a.stats().peers[0].channels[1].truncated_frames == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect("a count");
    assert_eq!(a_events.try_recv(), None);
}

#[tokio::test]
async fn a_stream_refused_at_both_ends_leaves_no_peer_up() {
    let (a, mut a_events) = Transport::start(config(1)).unwrap();
    let raw = raw_peer(&a).await;
    // It is connected, but it accepts neither stream and opens none: not a peer anyone can talk to.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(a_events.try_recv(), None);
    assert_eq!(a.send(raw.node, Channel::Spread, vec![1]), Err(SendError::Down { to: raw.node }));
}
