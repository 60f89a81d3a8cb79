//! A recording: what happened in a run, in the order in which it happened, for people and for comparing runs.
//!
//! Nothing is recorded unless somebody listens, and whoever listens hears of a run that panics up to its last moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;

use keymesh_wire::body::Body;
use keymesh_wire::ids::{KeyId, StatementId};
use serde::{Deserialize, Serialize};

use crate::network::Network;
use crate::seen::Seen;
use crate::watch::Watch;
use crate::world::Handle;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in virtual milliseconds.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// An act begins.
    Act {
        /// Its number, as [`crate::scenario::Scenario::skip`] names it.
        number: u64,
        /// The hash of the trace so far.
        hash: String,
    },
    /// So many events happened.
    Events {
        /// How many.
        count: u64,
        /// The hash of the trace so far.
        hash: String,
    },
    /// A line of the timeline.
    Note {
        /// The act that it tells of, if it is that.
        act: Option<u64>,
        /// In words.
        text: String,
    },
    /// A statement is on a disk for the first time anywhere.
    Statement {
        /// The node's place.
        node: usize,
        /// Its kind.
        kind: String,
        /// Its id, shortened.
        id: String,
    },
    /// A node runs from now on.
    Up {
        /// The node's place.
        node: usize,
    },
    /// A node runs no more.
    Down {
        /// The node's place.
        node: usize,
        /// Where in the life of a batch it fell over.
        boundary: String,
    },
    /// Something happened to a node's disk, machine or clock.
    Trouble {
        /// The node's place.
        node: usize,
        /// In words.
        text: String,
    },
    /// A node's machine stands still from now on, or goes on.
    Still {
        /// The node's place.
        node: usize,
        /// Whether it stands still.
        still: bool,
    },
    /// From now on these nodes reach less than half of the others, there and back.
    Apart {
        /// The nodes' places.
        nodes: BTreeSet<usize>,
    },
    /// A node has a lease.
    Lease {
        /// The node's place.
        node: usize,
        /// Of which keyring.
        keyring: String,
        /// When it ends unless its machine stands still, in virtual milliseconds.
        until: u64,
    },
    /// A custodian contributed to a lease or a blind release.
    Contribution {
        /// The custodian's place.
        node: usize,
        /// To what.
        text: String,
    },
    /// A key left a node.
    Released {
        /// The node's place.
        node: usize,
        /// The key.
        key: String,
    },
    /// An agent was refused.
    Refused {
        /// The node's place.
        node: usize,
        /// The key.
        key: String,
        /// Why.
        why: String,
    },
    /// Something is wrong.
    Violation {
        /// What, with the name of the check first.
        text: String,
    },
    /// The run is over.
    End {
        /// How many events there were.
        events: u64,
        /// The hash over all of them.
        hash: String,
    },
    /// The run fell over.
    Panic {
        /// Why.
        text: String,
    },
}

impl What {
    /// What is wrong, if this is about something wrong.
    pub fn wrong(&self) -> Option<&str> {
        if let Self::Violation { text } | Self::Panic { text } = self { Some(text) } else { None }
    }
}

/// Puts what is seen into words and passes it on.
#[derive(Debug)]
pub(crate) struct Recorder {
    to: Sender<Entry>,
    statements: BTreeSet<StatementId>,
    asked: BTreeMap<Handle, KeyId>,
    apart: BTreeSet<usize>,
    still: BTreeSet<usize>,
}

impl Recorder {
    pub(crate) fn new(to: Sender<Entry>) -> Self {
        Self { to, statements: BTreeSet::new(), asked: BTreeMap::new(), apart: BTreeSet::new(), still: BTreeSet::new() }
    }

    /// Passes something on. Whether anybody still listens is no matter of the run.
    pub(crate) fn tell(&self, at: u64, what: What) {
        self.to.send(Entry { at, what }).unwrap_or_default();
    }

    /// Something was seen; the watch has taken note of it already.
    pub(crate) fn see(&mut self, at: u64, seen: &Seen<'_>, watch: &Watch) {
        let what = match seen {
            Seen::Stored { node, id, .. } if self.statements.insert(*id) => {
                let kind = watch.statements.get(id).and_then(|statement| statement.body()).map(Body::kind);
                let kind = kind.unwrap_or("no statement").to_owned();
                What::Statement { node: *node, kind, id: format!("{id:?}") }
            }
            Seen::Started { node, .. } => What::Up { node: *node },
            Seen::Crashed { node, boundary } => What::Down { node: *node, boundary: format!("{boundary:?}") },
            Seen::RolledBack { node } => {
                What::Trouble { node: *node, text: "an older copy of its disk is put in".to_owned() }
            }
            Seen::Cloned { node, twin } => {
                let text = format!("a second machine runs under its identity: n{}", twin + 1);
                What::Trouble { node: *node, text }
            }
            Seen::Clock { node, what } | Seen::Disk { node, what } => {
                What::Trouble { node: *node, text: (*what).to_owned() }
            }
            Seen::Warned { node, what } => What::Trouble { node: *node, text: format!("warns: {what}") },
            Seen::LeaseHeld { node, now, generation, expires, .. } => What::Lease {
                node: *node,
                keyring: format!("{:?}", generation.keyring),
                until: at + expires.0.saturating_sub(now.boot.0),
            },
            Seen::Leased { node, lessee, keyring, .. } => {
                let lessee = watch.model.place(lessee).map_or_else(|| format!("{lessee:?}"), |n| format!("n{}", n + 1));
                What::Contribution { node: *node, text: format!("a lease of {keyring:?} for {lessee}") }
            }
            Seen::Contributed { node, key, .. } => {
                What::Contribution { node: *node, text: format!("a blind release of {key:?}") }
            }
            Seen::Asked { handle, key, .. } => {
                self.asked.insert(*handle, *key);
                return;
            }
            Seen::Answered { node, handle, result, .. } => {
                let key = self.asked.remove(handle).map(|key| format!("{key:?}")).unwrap_or_default();
                match result {
                    Ok(_) => What::Released { node: *node, key },
                    Err(why) => What::Refused { node: *node, key, why: why.to_string() },
                }
            }
            Seen::Stored { .. }
            | Seen::Acknowledged { .. }
            | Seen::Recorded { .. }
            | Seen::Spread { .. }
            | Seen::Network { .. }
            | Seen::Shared { .. }
            | Seen::Decided { .. } => return,
        };
        self.tell(at, what);
    }

    /// Looks whether a node's machine stands still.
    pub(crate) fn stands(&mut self, at: u64, node: usize, still: bool) {
        let changed = if still { self.still.insert(node) } else { self.still.remove(&node) };
        if changed {
            self.tell(at, What::Still { node, still });
        }
    }

    /// Looks which nodes the network keeps apart from most others.
    pub(crate) fn look(&mut self, at: u64, network: &Network, nodes: usize) {
        let both = |a: usize, b: usize| network.reaches(a, b) && network.reaches(b, a);
        let reached = |a: usize| (0..nodes).filter(|b| a != *b && both(a, *b)).count();
        let apart: BTreeSet<usize> = (0..nodes).filter(|node| 2 * (reached(*node) + 1) < nodes).collect();
        if apart != self.apart {
            self.tell(at, What::Apart { nodes: apart.clone() });
            self.apart = apart;
        }
    }
}
