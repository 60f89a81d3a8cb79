//! Seeded mistakes for the simulator, which proves by them that its alarm rings.
//!
//! Only with the feature `mutants`, which no release has: node and agent refuse to be compiled with it. Without it
//! everything here is a constant. Who switches them on is `keymesh_mesh::mutant`.

/// Whether this build can be made to go wrong on purpose.
pub const COMPILED_IN: bool = cfg!(feature = "mutants");

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Partials are combined without looking at their proofs.
    PartialUnproven,
    /// A repaired share is not compared with the member's verifying share.
    RepairUnchecked,
    /// The session digest of a change covers neither the old sharing nor the recipients' keys.
    TranscriptNotBound,
    /// A complaint is judged without looking at its proof.
    ComplaintBelieved,
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mistake;

    thread_local! {
        static MADE: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// From now on this thread makes this mistake, or none.
    pub fn make(mistake: Option<Mistake>) {
        MADE.set(mistake);
    }

    /// Whether this thread makes it.
    pub fn is(mistake: Mistake) -> bool {
        MADE.get() == Some(mistake)
    }
}

#[cfg(feature = "mutants")]
pub use switch::{is, make};

/// Whether the mistake is made: never.
#[cfg(not(feature = "mutants"))]
pub const fn is(_mistake: Mistake) -> bool {
    false
}
