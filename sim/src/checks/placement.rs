//! I2: what a tenant placed nowhere near a node gets to no such node. Judged by every placement that anybody ever signed:
//! whether one took effect is for the oracle, but without any there is no doubt.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::spread::Message;
use keymesh_wire::body::Body;
use keymesh_wire::ids::{DocumentId, NodeId};
use keymesh_wire::statement::Checked;

use super::Look;
use crate::seen::Seen;

#[derive(Debug, Default)]
pub(super) struct Placement {
    placed: BTreeMap<DocumentId, BTreeSet<NodeId>>,
}

impl Placement {
    pub(super) fn stored(&mut self, statement: &Checked) {
        match statement.body() {
            Some(Body::TenantGenesis(genesis)) => {
                let placed = self.placed.entry(statement.document()).or_default();
                placed.extend(genesis.nodes.iter().map(|placement| placement.node));
            }
            Some(Body::PlaceNode(placement)) => {
                self.placed.entry(statement.document()).or_default().insert(placement.node);
            }
            _ => {}
        }
    }

    pub(super) fn see(&self, look: &mut Look<'_>, seen: &Seen<'_>) {
        let Seen::Spread { from, to, frame } = seen else { return };
        if !look.is_honest(*from) {
            return;
        }
        let Ok(Message::Push { document, .. } | Message::Blobs { document, .. } | Message::Chunk { document, .. }) =
            Message::from_frame(frame)
        else {
            return;
        };
        if self.placed.get(&document).is_some_and(|placed| !placed.contains(to)) {
            look.wrong.push(format!("I2: n{} sends of {document} to {to}, where nobody placed it", from + 1));
        }
    }
}
