//! Which nodes run where, and on which addresses of this machine.
//!
//! Every node has a loopback address of its own, as it would have an address of its own elsewhere, and free ports on it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use crate::error::TestnetError;

/// Where one node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The node's name.
    pub name: &'static str,
    /// Its zone, as `provider/zone`.
    pub zone: &'static str,
}

/// Two, two and one node in three clouds: with 3 of 5 no provider holds three shares, and any one zone can be lost.
pub const THREE_CLOUDS: [Place; 5] = [
    Place { name: "aws-1", zone: "aws/eu-west-1a" },
    Place { name: "aws-2", zone: "aws/eu-west-1a" },
    Place { name: "gcp-1", zone: "gcp/europe-west4-b" },
    Place { name: "gcp-2", zone: "gcp/europe-west4-b" },
    Place { name: "azure-1", zone: "azure/westeurope-1" },
];

/// The same with a second node in the third cloud and one in a fourth, where shares can move to.
pub const FOUR_CLOUDS: [Place; 7] = [
    THREE_CLOUDS[0],
    THREE_CLOUDS[1],
    THREE_CLOUDS[2],
    THREE_CLOUDS[3],
    THREE_CLOUDS[4],
    Place { name: "azure-2", zone: "azure/westeurope-2" },
    Place { name: "own-1", zone: "own/hall-1" },
];

/// Five nodes at a provider and three of its customer's own, each in a zone of its own.
pub const PROVIDER_AND_CUSTOMER: [Place; 8] = [
    Place { name: "p1", zone: "provider/zone-a" },
    Place { name: "p2", zone: "provider/zone-b" },
    Place { name: "p3", zone: "provider/zone-c" },
    Place { name: "p4", zone: "provider/zone-d" },
    Place { name: "p5", zone: "provider/zone-e" },
    Place { name: "c1", zone: "customer/hall-1" },
    Place { name: "c2", zone: "customer/hall-2" },
    Place { name: "c3", zone: "customer/hall-3" },
];

/// The addresses of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For nodes.
    pub mesh: SocketAddr,
    /// For agents and people.
    pub door: SocketAddr,
}

impl Place {
    /// Who owns the hardware there.
    pub fn provider(&self) -> &'static str {
        self.zone.split('/').next().unwrap_or(self.zone)
    }
}

/// Free addresses for `count` nodes, each on its own loopback address.
///
/// The ports are free at this moment; another program can take one before the node does, which then says so.
///
/// # Errors
/// [`TestnetError::Io`] if the system gives none.
pub fn addresses(count: usize) -> Result<Vec<Addresses>, TestnetError> {
    let mut taken = BTreeSet::new();
    (0..count)
        .map(|index| {
            let last = u8::try_from(index % 200).unwrap_or_default() + 11;
            let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
            Ok(Addresses { mesh: free(ip, &mut taken)?, door: free(ip, &mut taken)? })
        })
        .collect()
}

/// A port that is free for TCP and UDP.
fn free(ip: IpAddr, taken: &mut BTreeSet<SocketAddr>) -> Result<SocketAddr, TestnetError> {
    let place = ip.to_string();
    loop {
        let tcp = TcpListener::bind((ip, 0)).map_err(TestnetError::io("find a free port on", &place))?;
        let address = tcp.local_addr().map_err(TestnetError::io("find a free port on", &place))?;
        if UdpSocket::bind(address).is_ok() && taken.insert(address) {
            return Ok(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_provider_has_a_threshold_of_nodes_and_any_zone_can_be_lost() {
        let zones: BTreeSet<_> = THREE_CLOUDS.map(|place| place.zone).into();
        for zone in zones {
            let there = THREE_CLOUDS.iter().filter(|place| place.zone == zone).count();
            assert!(there < 3 && THREE_CLOUDS.len() - there >= 3, "{zone}");
        }
    }

    #[test]
    fn every_node_has_addresses_of_its_own() {
        let all = addresses(5).expect("addresses");
        let ips: BTreeSet<_> = all.iter().map(|node| node.door.ip()).collect();
        assert_eq!(ips.len(), 5);
        assert!(all.iter().all(|node| node.mesh.ip() == node.door.ip() && node.mesh.port() != node.door.port()));
    }
}
