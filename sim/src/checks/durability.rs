//! I8: what was acknowledged is on the disk, when it is said and at every start; and a root is attested when every member
//! has its share on disk, so that no member can lose its part of a root that is in use.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::custody::slot::Slot;
use keymesh_wire::body::Body;
use keymesh_wire::ids::StatementId;
use keymesh_wire::statement::Checked;

use super::{Look, place_of};
use crate::seen::Seen;

#[derive(Debug, Default)]
pub(super) struct Durability {
    acknowledged: BTreeMap<usize, BTreeSet<StatementId>>,
    /// Which slots hold a share, by node; what lies on the disk of a copy counts as its original's, whose name it attests in.
    shares: BTreeSet<(usize, String)>,
    /// Copies of nodes with their originals.
    copies: BTreeMap<usize, usize>,
    /// Whose disk is an older copy since the last start.
    older: BTreeSet<usize>,
}

impl Durability {
    pub(super) fn stored(&self, look: &mut Look<'_>, statement: &Checked) {
        let Some(Body::AttestRoot(word)) = statement.body() else { return };
        let author = place_of(look.model, &statement.author());
        let Some(author) = author.filter(|author| look.is_honest(*author)) else { return };
        let root = look.model.statement(&word.root.into()).and_then(Checked::body);
        let Some(Body::ProposeRoot(spec)) = root else { return };
        let committee = spec.committees.get(usize::from(word.committee));
        let slot = Slot::Made { root: word.root, committee: word.committee, attempt: word.attempt }.to_string();
        for member in committee.into_iter().flat_map(|committee| &committee.members) {
            let Some(place) = place_of(look.model, member).filter(|place| look.is_honest(*place)) else { continue };
            if !self.shares.contains(&(place, slot.clone())) {
                let (n, m) = (author + 1, place + 1);
                look.wrong.push(format!("I8: n{n} attests {} while n{m} has no share on its disk", word.root));
            }
        }
    }

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
            Seen::Cloned { node, twin } => {
                self.copies.insert(*twin, *node);
            }
            Seen::Shared { node, slot } => {
                let identity = self.copies.get(node).unwrap_or(node);
                self.shares.insert((*identity, (*slot).to_owned()));
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
