//! The invariants as named checks, run on everything that is seen. Each violation begins with its invariant's name.
//!
//! - `releases`: I2, I4, I5 by the oracle, I7, and that leases end;
//! - `revocations`: I6;
//! - `durability`: I8;
//! - `identity`: I9, and that votes are for what evidence shows (I2);
//! - `fences`: I9, that who forgot its last words keeps silent;
//! - `placement`: I2, that tenants lie only where they are placed;
//! - `agree`: I2 and I3, the product's state against the oracle's;
//! - `tally`: no check, but how often what makes them hard came about.
//!
//! I1 is looked for by the canaries of [`crate::world`], and I10 is no matter of a simulation.

pub mod agree;
mod durability;
mod epochs;
mod fences;
mod identity;
mod placement;
mod releases;
mod revocations;
mod tally;

use std::collections::BTreeSet;

use keymesh_wire::body::Body;
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId};
use keymesh_wire::statement::Checked;

use crate::coverage::Coverage;
use crate::model::Model;
use crate::model::story::Set;
use crate::seen::Seen;

/// Which check a violation comes from: an invariant, `liveness`, `panic`, or `conduct` for what nodes may not do to each
/// other, to their runtime, or to their clients.
pub fn name(violation: &str) -> &str {
    let name = violation.split_once(':').map(|(name, _)| name).unwrap_or_default();
    let invariant =
        name.strip_prefix('I').is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    if invariant || ["liveness", "panic"].contains(&name) { name } else { "conduct" }
}

/// What a check looks at when something was seen.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    /// The virtual time.
    pub at: u64,
    /// The oracle, which has taken note already.
    pub model: &'a Model,
    /// Nodes of whom nothing is expected.
    pub liars: &'a BTreeSet<usize>,
    /// Where to count.
    pub coverage: &'a mut Coverage,
    /// What is wrong.
    pub wrong: Vec<String>,
}

impl Look<'_> {
    fn is_honest(&self, node: usize) -> bool {
        !self.liars.contains(&node)
    }
}

/// All checks with what they remember.
#[derive(Debug, Default)]
pub struct Checks {
    liars: BTreeSet<usize>,
    durability: durability::Durability,
    epochs: epochs::Epochs,
    fences: fences::Fences,
    identity: identity::Identity,
    placement: placement::Placement,
    releases: releases::Releases,
    revocations: revocations::Revocations,
    digests: agree::Digests,
}

impl Checks {
    /// From now on nothing is expected of a node: it lies.
    pub fn distrust(&mut self, node: usize) {
        self.liars.insert(node);
    }

    /// Evidence with this hash is genuine, and only such counts.
    pub fn genuine(&mut self, evidence: BlobHash) {
        self.identity.genuine(evidence);
    }

    /// Whether something is expected of a node.
    pub fn trusts(&self, node: usize) -> bool {
        !self.liars.contains(&node)
    }

    /// A statement reached a disk. `new` says that it never was on one before.
    pub(crate) fn stored(
        &mut self,
        at: u64,
        model: &Model,
        coverage: &mut Coverage,
        node: usize,
        statement: &Checked,
        new: bool,
    ) -> Vec<String> {
        let mut look = Look { at, model, liars: &self.liars, coverage, wrong: Vec::new() };
        if new {
            tally::count(&mut look, statement);
        }
        check_place(&mut look, node, statement);
        if new {
            self.durability.stored(&mut look, statement);
        }
        self.placement.stored(statement);
        self.epochs.stored(&mut look, node, statement, new);
        self.fences.stored(&mut look, node, statement, new);
        self.identity.stored(&mut look, node, statement, new);
        self.revocations.stored(&mut look, node, statement);
        look.wrong
    }

    /// Something else happened.
    pub(crate) fn see(&mut self, at: u64, model: &Model, coverage: &mut Coverage, seen: &Seen<'_>) -> Vec<String> {
        let mut look = Look { at, model, liars: &self.liars, coverage, wrong: Vec::new() };
        self.durability.see(&mut look, seen);
        self.epochs.see(&mut look, seen);
        self.fences.see(&mut look, seen);
        self.identity.see(seen);
        self.placement.see(&mut look, seen);
        self.releases.see(&mut look, seen);
        self.revocations.see(&mut look, seen, &self.releases);
        look.wrong
    }

    /// Two nodes with one set of statements have one digest (I3).
    pub(crate) fn digest(&mut self, node: usize, document: DocumentId, set: &Set, digest: [u8; 32]) -> Option<String> {
        self.digests.note(node, document, set, digest)
    }
}

/// I1: a tenant's bytes lie only where its document places them.
fn check_place(look: &mut Look<'_>, node: usize, statement: &Checked) {
    let document = statement.document();
    let is_tenant = look.model.story(&document).and_then(|story| story.body(0));
    if matches!(is_tenant, Some(Body::TenantGenesis(_)))
        && !look.model.id(node).is_some_and(|id| look.model.was_ever_placed(&document, &id))
    {
        look.wrong.push(format!("I1: n{} stores a statement of {document}, which never placed it there", node + 1));
    }
}

fn place_of(model: &Model, id: &NodeId) -> Option<usize> {
    model.place(id)
}
