//! A network between hosts on this machine, each in a namespace of its own, that holds every packet for the delay of its way.
//!
//! A switch in this process: it opens one TUN device in each namespace, reads the IPv4 packets that the kernel routes to
//! it, and writes each to the device of the host it is addressed to once its time has come. So TCP handshakes, its
//! congestion windows and its acknowledgements see the distance, as they would between zones. Nothing is lost or put out
//! of order but for want of room. Devices and namespaces go with the process.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keymesh_testnet::netns::Namespace;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tun::Tun;

use crate::error::BenchError;

/// The hosts' network, a /24 of the addresses for benchmarks (RFC 2544).
const NETWORK: [u8; 3] = [198, 18, 0];
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The last byte of the first host's address.
const FIRST: u8 = 11;
/// As of Ethernet.
const MTU: u16 = 1500;
/// Packets under way at most; more are dropped, as a router does.
const UNDER_WAY: usize = 65_536;
/// Packets that wait to be put on their way.
const ARRIVED: usize = 4096;
/// Where the destination is in an IPv4 header (RFC 791).
const DESTINATION: std::ops::Range<usize> = 16..20;

/// A host of the network.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network: whoever is started in there is on this host.
    pub namespace: Arc<Namespace>,
}

/// The network. Dropping it cuts all hosts off.
#[derive(Debug)]
pub struct Switch {
    /// The hosts.
    pub hosts: Vec<Host>,
    end: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// A packet under way, earliest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    due: Instant,
    /// Tells packets apart that are due at the same time.
    number: u64,
    to: usize,
    bytes: Vec<u8>,
}

impl Switch {
    /// Connects `count` hosts, at most 200. `one_way` is how long a packet takes from one to another.
    ///
    /// # Errors
    /// [`BenchError::Testnet`] without root, [`BenchError::Io`] if there are no TUN devices.
    ///
    /// # Panics
    /// With more than 200 hosts.
    pub fn start(count: u8, one_way: impl Fn(usize, usize) -> Duration) -> Result<Self, BenchError> {
        assert!(count <= 200, "{count} hosts have no addresses");
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(BenchError::io("start", "the switch"))?;
        let (mut hosts, mut devices) = (Vec::new(), Vec::new());
        for index in 0..count {
            let [a, b, c] = NETWORK;
            let host = Host { address: Ipv4Addr::new(a, b, c, FIRST + index), namespace: Arc::new(Namespace::new()?) };
            devices.push(Arc::new(device(&host, &runtime)?));
            hosts.push(host);
        }
        let hosts_way = |from| (0..hosts.len()).map(|to| one_way(from, to)).collect();
        let ways: Vec<Vec<Duration>> = (0..hosts.len()).map(hosts_way).collect();
        let (queue, arrived) = sync_channel(ARRIVED);
        let (end, ended) = watch::channel(false);
        let out = devices.clone();
        let threads = vec![
            thread::spawn(move || deliver(&arrived, &out)),
            thread::spawn(move || collect(&runtime, devices, ways, &queue, ended)),
        ];
        Ok(Self { hosts, end, threads })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.end.send_replace(true);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The device in a host's namespace, up and with the host's address.
fn device(host: &Host, runtime: &Runtime) -> Result<Tun, BenchError> {
    let open = || {
        let _entered = runtime.enter();
        let builder = Tun::builder().name("wan").mtu(MTU.into()).address(host.address).netmask(MASK);
        builder.close_on_exec().up().build()
    };
    let opened = host.namespace.within(open)?.map_err(std::io::Error::other);
    let mut devices = opened.map_err(BenchError::io("open a TUN device by", "/dev/net/tun"))?;
    devices.pop().ok_or(BenchError::Unexpected("no TUN device was opened"))
}

/// Reads what hosts send, until the end.
fn collect(
    runtime: &Runtime,
    devices: Vec<Arc<Tun>>,
    ways: Vec<Vec<Duration>>,
    queue: &SyncSender<Packet>,
    mut ended: watch::Receiver<bool>,
) {
    runtime.block_on(async move {
        let mut readers = JoinSet::new();
        for (device, ways) in devices.into_iter().zip(ways) {
            readers.spawn(read(device, ways, queue.clone()));
        }
        // An error means that the switch is gone, which is an end as well.
        let _ = ended.wait_for(|ended| *ended).await;
    });
}

/// Reads what one host sends. One that has no route to its destination, or finds no room, is dropped.
async fn read(device: Arc<Tun>, ways: Vec<Duration>, queue: SyncSender<Packet>) {
    let mut buffer = vec![0; usize::from(MTU)];
    let mut number = 0;
    // A device breaks only with its namespace.
    while let Ok(length) = device.recv(&mut buffer).await {
        let now = Instant::now();
        let bytes = buffer.get(..length).unwrap_or_default();
        let Some(to) = destination(bytes) else { continue };
        let Some(way) = ways.get(to) else { continue };
        number += 1;
        let _ = queue.try_send(Packet { due: now + *way, number, to, bytes: bytes.to_vec() });
    }
}

/// The host that an IPv4 packet is for.
fn destination(packet: &[u8]) -> Option<usize> {
    let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let address = packet.get(DESTINATION).filter(|_| is_ipv4)?;
    let last = address.strip_prefix(&NETWORK)?.first()?;
    last.checked_sub(FIRST).map(usize::from)
}

/// Writes packets to their hosts when they are due, until nobody reads any more.
fn deliver(arrived: &Receiver<Packet>, devices: &[Arc<Tun>]) {
    let mut under_way: BinaryHeap<Reverse<Packet>> = BinaryHeap::new();
    loop {
        let now = Instant::now();
        while under_way.peek().is_some_and(|Reverse(next)| next.due <= now) {
            if let Some(Reverse(packet)) = under_way.pop()
                && let Some(device) = devices.get(packet.to)
            {
                // What a host does not take is lost, as on any network.
                let _ = device.try_send(&packet.bytes);
            }
        }
        let next = match under_way.peek() {
            Some(Reverse(next)) => arrived.recv_timeout(next.due.saturating_duration_since(now)),
            None => arrived.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match next {
            Ok(packet) if under_way.len() < UNDER_WAY => under_way.push(Reverse(packet)),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[DESTINATION].copy_from_slice(&to);
        packet
    }

    #[test]
    fn packets_go_to_hosts_of_this_network_alone() {
        assert_eq!(destination(&ipv4([198, 18, 0, FIRST])), Some(0));
        assert_eq!(destination(&ipv4([198, 18, 0, FIRST + 3])), Some(3));
        assert_eq!(destination(&ipv4([198, 18, 0, FIRST - 1])), None);
        assert_eq!(destination(&ipv4([198, 18, 1, FIRST])), None);
        let mut ipv6 = ipv4([198, 18, 0, FIRST]);
        ipv6[0] = 0x60;
        assert_eq!((destination(&ipv6), destination(&[0x45; 19]), destination(&[])), (None, None, None));
    }

    #[test]
    fn the_packet_that_is_due_first_goes_first_and_those_of_one_moment_in_their_order() {
        let now = Instant::now();
        let packet = |ms, number| Packet { due: now + Duration::from_millis(ms), number, to: 0, bytes: Vec::new() };
        let mut heap: BinaryHeap<_> = [packet(2, 1), packet(1, 3), packet(1, 2)].map(Reverse).into();
        let order: Vec<u64> = std::iter::from_fn(|| heap.pop()).map(|Reverse(packet)| packet.number).collect();
        assert_eq!(order, [2, 3, 1]);
    }
}
