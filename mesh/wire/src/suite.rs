//! Suite ids and levels, carried by everything that is signed, sealed or stored.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A set of algorithms. [`Suite::V1`]: SHA-256, Ed25519, X25519 HPKE with HKDF-SHA256 and AES-256-GCM, ristretto255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Suite(#[n(0)] pub u16);

impl Suite {
    /// The first suite.
    pub const V1: Self = Self(1);
}

/// A version of what software understands: statement kinds, wire protocols, store and configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Level(#[n(0)] pub u16);

/// The level of this software.
pub const LEVEL: Level = Level(1);

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
