//! Tests of the fold: hand-written cases, one sentence each, and properties over random sets of statements.
//!
//! Every hand-written case is folded in several orders of delivery and must come out the same in all of them (I3).

mod custody;
mod endorsements;
mod generate;
pub(crate) mod generations;
mod objects;
mod oracle;
mod properties;
mod removal;
mod rights;
mod sharing;
pub(crate) mod story;
