//! The spread among a few nodes: it converges, costs what the difference costs, and bears with bad peers.

mod convergence;
mod golden;
mod hostile;
pub(crate) mod net;
mod turns;
