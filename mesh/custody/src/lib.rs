//! Threshold cryptography of keymesh: distributed key generation, capsules, partial openings, combination.
//!
//! # Threat model
//!
//! A root is a secret polynomial of degree t−1 over a prime-order group; n members each hold one of its values, its
//! value at zero exists nowhere (I1). The adversary
//! - corrupts up to t−1 members of a committee, chosen before the run (*static* corruption), reads their shares and
//!   speaks for them;
//! - is *rushing*: it sees what honest members broadcast before its own members speak;
//! - may stop any member at any time (*abort*), and carries, delays, repeats and reorders all messages;
//! - chooses labels, capsules, points and bindings at will and gets openings of every capsule that policy lets it open.
//!
//! It cannot forge the caller's signatures or read what the caller seals to an honest member.
//!
//! **What holds** (computational Diffie–Hellman for secrecy, Shoup and Gennaro 2002, random oracles): payloads of
//! capsules that honest custodians do not open for it stay hidden, also under chosen ciphertexts (*TDH2*); a capsule
//! opened under another label, for other roots, or with a point or payload of another capsule is refused before any
//! share is used; a custodian that sends a wrong partial is named and cannot make anyone accept a wrong payload, even in
//! league with whoever sealed the capsule. A payload sealed to several committees needs t members of every one.
//!
//! **What does not**: adaptive corruption has no proof here; shares of different epochs add up for an adversary that
//! moves, unless they are refreshed and erased. A first DKG can be aborted by any one member, who can thereby and by
//! speaking last bias the group key (harmless for decryption). A recipient of t partials can open the capsule again
//! later. Nothing here is post-quantum. Nobody's right to open is judged here: that is the caller's (I5).
//!
//! # Parts
//!
//! [`Committee`] and [`Threshold`]; [`Dkg`] makes a [`RootPublic`] and [`KeyShare`]s; [`seal`] makes a [`Capsule`], whose
//! [`Capsule::verify`] gives the [`VerifiedCapsule`] that alone can be opened: [`open_partial`] by each custodian,
//! [`combine`] by the recipient. Everything is generic over a [`Suite`]; [`Ristretto`] is the one in use. Where refresh,
//! reshare and repair go: [`epochs`].
//!
//! No clock, no randomness of its own, no input or output: generators are arguments.

mod capsule;
mod codec;
mod combine;
mod committee;
mod dkg;
pub mod epochs;
mod hash;
pub mod mutant;
mod partial;
mod proof;
mod rng;
mod schedule;
mod secret;
mod share;
mod suite;
mod threshold;

#[cfg(test)]
mod tests;

pub use capsule::{Capsule, CapsuleError, MAX_COMMITTEES, MAX_LABEL, MAX_PAYLOAD, VerifiedCapsule, seal};
pub use codec::DecodeError;
pub use combine::{CombineError, Culprit, Offer, Opened, combine};
pub use committee::Committee;
pub use dkg::{
    Abort, Broadcast, Disagreement, Dkg, DkgError, DkgMessage, Echo, MessageKind, Outcome, Output, Round1, SubShare,
};
pub use partial::{Partial, PartialError, open_partial};
pub use share::{KeyShare, RootPublic};
pub use suite::{Ciphersuite, Element, Ristretto, Scalar, Suite};
pub use threshold::{CommitteeError, MemberIndex, Threshold};
