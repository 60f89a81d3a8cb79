//! Invites: how a node that nobody knows yet introduces itself to the people who admit nodes.
//!
//! An invite carries the node's card and the mesh it was set up for, signed by the node's own key, so that nobody can
//! exchange a sealing key or an address on its way to the admins. It gives no right: a node belongs to the mesh once
//! enough operators signed for it (I2), and who hands over the invite is theirs to judge.

use minicbor::{Decode, Encode};

use crate::body::NodeCard;
use crate::envelope::Signable;
use crate::ids::{MeshId, PrincipalId};
use crate::suite::Suite;

/// A node's introduction of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Invite {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The mesh the node was set up for.
    #[n(1)]
    pub mesh: MeshId,
    /// The card it wants to be admitted with.
    #[n(2)]
    pub card: NodeCard,
}

impl Signable for Invite {
    const DOMAIN: &'static str = "keymesh node invite v1";
    const LIMIT: usize = 4096;

    fn signer(&self) -> PrincipalId {
        self.card.node
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Verified;
    use crate::secret::Secret32;
    use crate::sign::Identity;

    #[test]
    fn an_invite_whose_address_was_exchanged_is_refused() {
        let node = Identity::from_seed(Secret32::build(|out| out.fill(7)));
        let card = NodeCard {
            node: node.principal(),
            sealing: *node.sealing().public().as_bytes(),
            name: "n1".into(),
            zone: "aws/eu-west-1a".into(),
            provider: "aws".into(),
            mesh: vec!["127.0.0.1:7400".into()],
            door: vec!["127.0.0.1:7401".into()],
        };
        let invite = Invite { suite: Suite::V1, mesh: MeshId::from_bytes([1; 32]), card };
        let signed = Verified::sign(invite.clone(), &node);
        assert_eq!(Verified::<Invite>::from_bytes(signed.bytes()).expect("holds").into_payload(), invite);

        let at = signed.bytes().windows(4).position(|bytes| bytes == b"7401").expect("the address is in there");
        let mut forged = signed.bytes().to_vec();
        forged[at + 3] = b'2';
        assert!(Verified::<Invite>::from_bytes(&forged).is_err());
    }
}
