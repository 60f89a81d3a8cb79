//! I8: what was acknowledged is on the disk, when it is said and at every start.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::ids::StatementId;

use super::Look;
use crate::seen::Seen;

#[derive(Debug, Default)]
pub(super) struct Durability {
    acknowledged: BTreeMap<usize, BTreeSet<StatementId>>,
    /// Whose disk is an older copy since the last start.
    older: BTreeSet<usize>,
}

impl Durability {
    pub(super) fn see(&mut self, look: &mut Look<'_>, seen: &Seen<'_>) {
        match seen {
            Seen::Acknowledged { node, statements, .. } if look.is_honest(*node) => {
                let known = self.acknowledged.entry(*node).or_default();
                for id in *statements {
                    if !look.model.holds(*node, id) {
                        look.wrong.push(format!("I8: n{} acknowledges {id}, which is not on its disk", node + 1));
                    }
                    known.insert(*id);
                }
            }
            Seen::RolledBack { node } => {
                self.older.insert(*node);
            }
            Seen::Started { node, statements } => {
                let older = self.older.remove(node);
                let Some(known) = self.acknowledged.get_mut(node) else { return };
                let lost: Vec<StatementId> = known.difference(statements).copied().collect();
                for id in lost {
                    known.remove(&id);
                    if !older && look.is_honest(*node) {
                        look.wrong.push(format!("I8: n{} acknowledged {id} and lost it", node + 1));
                    }
                }
            }
            _ => {}
        }
    }
}
