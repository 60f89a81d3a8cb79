//! A seeded mistake for the simulator, which proves by it that its alarm rings: proofs of partials are not checked.
//!
//! Only with the feature `mutants`, which no release has: node and agent refuse to be compiled with it. Without it
//! everything here is a constant. Who switches it on is `keymesh_mesh::mutant`.

/// Whether this build can be made to go wrong on purpose.
pub const COMPILED_IN: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static UNPROVEN: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether this thread takes partials unproven from now on.
    pub fn take_unproven(whether: bool) {
        UNPROVEN.set(whether);
    }

    /// Whether it does.
    pub fn takes_unproven() -> bool {
        UNPROVEN.get()
    }
}

#[cfg(feature = "mutants")]
pub use switch::{take_unproven, takes_unproven};

/// Whether a partial counts although nobody checked its proof: never.
#[cfg(not(feature = "mutants"))]
pub const fn takes_unproven() -> bool {
    false
}
