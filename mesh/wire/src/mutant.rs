//! A seeded mistake for the simulator, which proves by it that its alarm rings: signatures of statements that do not hold
//! are taken.
//!
//! Only with the feature `mutants`, which no release has: node and agent refuse to be compiled with it. Without it
//! everything here is a constant. Who switches it on is `keymesh_mesh::mutant`.

/// Whether this build can be made to go wrong on purpose.
pub const COMPILED_IN: bool = cfg!(feature = "mutants");

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static FORGERIES: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether this thread takes forged statements from now on.
    pub fn take_forgeries(whether: bool) {
        FORGERIES.set(whether);
    }

    /// Whether it does.
    pub fn takes_forgeries() -> bool {
        FORGERIES.get()
    }
}

#[cfg(feature = "mutants")]
pub use switch::{take_forgeries, takes_forgeries};

/// Whether a statement is taken although its signature does not hold: never.
#[cfg(not(feature = "mutants"))]
pub const fn takes_forgeries() -> bool {
    false
}
