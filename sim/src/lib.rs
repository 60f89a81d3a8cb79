//! Many keymesh cores under one seed: clock, network, disk, checks.
