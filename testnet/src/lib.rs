//! Real keymesh processes with faults: the demo and its metadata service.

pub mod metadata;
