//! Node ids and libp2p peer ids are the same 32 bytes in two wrappings.
//!
//! A node is its Ed25519 public key. libp2p names a peer by the identity multihash of that key's protobuf form, so the
//! conversion needs no table and loses nothing. Whether the key is one anybody can sign with is left to the handshake.

use keymesh_wire::ids::NodeId;
use libp2p::PeerId;

/// Multihash `identity`, 36 bytes long, then protobuf `{ 1: Ed25519, 2: 32 bytes }`: what precedes every Ed25519 key in
/// a peer id (libp2p peer-id specification).
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// Why a value is not a node's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerIdError {
    /// The peer id belongs to a key of another kind; no node has such a key.
    #[error("peer {peer} is not named by an Ed25519 key")]
    NotEd25519 {
        /// The peer id that was given.
        peer: PeerId,
    },
    /// The multihash could not be built from this node id.
    #[error("node {node} cannot be written as a peer id")]
    Encoding {
        /// The node id that was given.
        node: NodeId,
    },
}

/// The libp2p name of a node.
///
/// # Errors
/// [`PeerIdError::Encoding`] if libp2p refuses the encoding.
pub fn peer_id_of(node: &NodeId) -> Result<PeerId, PeerIdError> {
    let mut bytes = [0; PREFIX.len() + NodeId::LEN];
    bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
    bytes[PREFIX.len()..].copy_from_slice(node.as_bytes());
    PeerId::from_bytes(&bytes).map_err(|_| PeerIdError::Encoding { node: *node })
}

/// The node a libp2p peer id names.
///
/// # Errors
/// [`PeerIdError::NotEd25519`] if the id was made from a key of another kind.
pub fn node_id_of(peer: &PeerId) -> Result<NodeId, PeerIdError> {
    let bytes = peer.to_bytes();
    bytes
        .strip_prefix(&PREFIX)
        .and_then(|key| <[u8; NodeId::LEN]>::try_from(key).ok())
        .map(NodeId::from_bytes)
        .ok_or(PeerIdError::NotEd25519 { peer: *peer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_its_peer_id_name_each_other() {
        let keypair = libp2p::identity::Keypair::ed25519_from_bytes([9; 32]).unwrap();
        let public = keypair.public().try_into_ed25519().unwrap();
        let node = NodeId::from_bytes(public.to_bytes());
        assert_eq!(peer_id_of(&node).unwrap(), keypair.public().to_peer_id());
        assert_eq!(node_id_of(&keypair.public().to_peer_id()).unwrap(), node);
    }

    #[test]
    fn a_peer_named_by_another_kind_of_key_is_no_node() {
        let hashed = PeerId::random();
        assert_eq!(node_id_of(&hashed), Err(PeerIdError::NotEd25519 { peer: hashed }));
    }
}
