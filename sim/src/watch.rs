//! The watch: reads what is seen, counts it, and says at once what must not have happened.
//!
//! It holds every statement ever written anywhere, decoded once; what the nodes make of them is not asked. To add a
//! check, give it a module, feed it from [`Watch::see`], and name it by its invariant.

use std::collections::BTreeMap;

use keymesh_wire::ids::StatementId;
use keymesh_wire::statement::Checked;

use crate::coverage::Coverage;
use crate::seen::Seen;

/// What is known of a run from outside.
#[derive(Debug, Default)]
pub struct Watch {
    /// Every statement that ever reached a disk.
    pub statements: BTreeMap<StatementId, Checked>,
    /// What was exercised.
    pub coverage: Coverage,
}

impl Watch {
    /// Takes note of something. Returns what is wrong about it.
    pub(crate) fn see(&mut self, at: u64, seen: &Seen<'_>) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Seen::Stored { node, id, bytes } = seen
            && !self.statements.contains_key(id)
        {
            match Checked::from_bytes(bytes) {
                Ok(statement) if statement.id() == *id => {
                    self.statements.insert(*id, statement);
                }
                Ok(other) => wrong.push(format!("n{} stores {} under {id}", node + 1, other.id())),
                Err(error) => wrong.push(format!("I2: n{} stores what is no statement: {error}", node + 1)),
            }
        }
        self.coverage.see(at, seen);
        wrong
    }
}
