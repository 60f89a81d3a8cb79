//! The watch: reads what is seen, counts it, and says at once what must not have happened.
//!
//! It holds every statement ever written anywhere, decoded once; what the nodes make of them is not asked. The oracle
//! ([`crate::model`]) follows what is on every disk, and the named checks ([`crate::checks`]) judge by it. To add a check,
//! give it a module there, feed it, and name it by its invariant.

use std::collections::BTreeMap;

use keymesh_wire::body::Body;
use keymesh_wire::ids::StatementId;
use keymesh_wire::statement::Checked;

use crate::checks::Checks;
use crate::coverage::Coverage;
use crate::kinds;
use crate::model::Model;
use crate::seen::Seen;

/// Reads with signatures checked, whatever mistake is seeded into the cores.
fn really<T>(read: impl FnOnce() -> T) -> T {
    #[cfg(feature = "mutants")]
    {
        let before = keymesh_wire::mutant::takes_forgeries();
        keymesh_wire::mutant::take_forgeries(false);
        let read = read();
        keymesh_wire::mutant::take_forgeries(before);
        read
    }
    #[cfg(not(feature = "mutants"))]
    read()
}

/// What is known of a run from outside.
#[derive(Debug, Default)]
pub struct Watch {
    /// Every statement that ever reached a disk.
    pub statements: BTreeMap<StatementId, Checked>,
    /// What was exercised.
    pub coverage: Coverage,
    /// The oracle.
    pub model: Model,
    /// The checks.
    pub checks: Checks,
}

impl Watch {
    /// Takes note of something. Returns what is wrong about it.
    pub(crate) fn see(&mut self, at: u64, seen: &Seen<'_>) -> Vec<String> {
        self.coverage.see(at, seen);
        match seen {
            Seen::Stored { node, id, bytes } => self.stored(at, *node, *id, bytes),
            Seen::Started { node, statements } => {
                self.model.started(*node, *statements);
                self.checks.see(at, &self.model, &mut self.coverage, seen)
            }
            _ => self.checks.see(at, &self.model, &mut self.coverage, seen),
        }
    }

    /// I2: only well-signed statements whose parents are there get to a disk.
    fn stored(&mut self, at: u64, node: usize, id: StatementId, bytes: &[u8]) -> Vec<String> {
        let new = !self.statements.contains_key(&id);
        if new {
            match really(|| Checked::from_bytes(bytes)) {
                Ok(statement) if statement.id() == id => {
                    if let Some(body) = statement.body() {
                        self.coverage.count(format!("statements {}", kinds::statement(body)));
                        if let Body::Sharing(word) = body {
                            self.coverage.count(format!("words on epochs {}", kinds::sharing_act(&word.act)));
                        }
                    }
                    self.statements.insert(id, statement);
                }
                Ok(other) => return vec![format!("I2: n{} stores {} under {id}", node + 1, other.id())],
                Err(error) => return vec![format!("I2: n{} stores what is no statement: {error}", node + 1)],
            }
        }
        let Some(statement) = self.statements.get(&id).filter(|statement| new || statement.bytes() == bytes) else {
            return vec![format!("I2: n{} stores other bytes under {id}", node + 1)];
        };
        if let Err(error) = self.model.stored(node, statement) {
            return vec![format!("I2: n{} stores {id}, but {error}", node + 1)];
        }
        self.checks.stored(at, &self.model, &mut self.coverage, node, statement, new)
    }
}
