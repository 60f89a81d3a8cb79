//! Threshold cryptography of keymesh: distributed key generation, capsules, partial openings, combination, and changes
//! of a sharing.
//!
//! # Threat model
//!
//! A root is a secret polynomial of degree t−1 over a prime-order group; n members each hold one of its values, its
//! value at zero exists nowhere (I1). The adversary
//! - corrupts up to t−1 members of a committee, chosen before the run (*static* corruption), reads their shares and
//!   speaks for them; during a change of the sharing up to t−1 old and t′−1 new members, of which some may be the same;
//! - may *move*: corrupt others in the next sharing epoch, as long as in each it has at most t−1, where a member counts in
//!   every epoch whose share, or whose change's [`EpochSecret`](epochs::EpochSecret), it has not erased;
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
//! In a change of the sharing (Desmedt and Jajodia 1997; Wong, Wang and Wing 2002) the group key stays, t dealers suffice,
//! and wrong deals are shown to everybody without blaming an honest member. What static adversaries see of it can be
//! simulated from public keys and their own shares. The encryption of sub-shares is signed hashed ElGamal, whose security
//! under chosen ciphertexts is proved in the algebraic group model with random oracles (Fuchsbauer, Plouviez and Seurin
//! 2020) and is not expected to be provable in the random oracle model alone (Bernhard, Fischlin and Warinschi 2016);
//! here one nonce serves several recipients and complaints reveal Diffie–Hellman values, for which `docs/custody.md` gives
//! an argument and no published proof.
//!
//! **What does not**: adaptive corruption has no proof here. Shares of different epochs add up for an adversary that
//! moves, unless they are refreshed and erased, and erasure is the caller's. A first DKG can be aborted by any one member,
//! who can thereby and by speaking last bias the group key (harmless for decryption); a change can be stalled by too few
//! dealers or recipients, and a dealer that speaks last can bias the new polynomial, not its value at zero. A recipient of
//! t partials can open the capsule again later. Who gives t′ recipients t deals gives them the root. Nothing here is
//! post-quantum: recorded deals open to whoever can compute logarithms. Nobody's right to open or to change a committee is
//! judged here: that is the caller's (I5).
//!
//! # Parts
//!
//! [`Committee`] and [`Threshold`]; [`Dkg`] makes a [`RootPublic`] and [`KeyShare`]s; [`seal`] makes a [`Capsule`], whose
//! [`Capsule::verify`] gives the [`VerifiedCapsule`] that alone can be opened: [`open_partial`] by each custodian,
//! [`combine`] by the recipient. Everything is generic over a [`Suite`]; [`Ristretto`] is the one in use. Refresh, reshare
//! and repair: [`epochs`].
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

pub use capsule::{Capsule, CapsuleError, CapsuleHead, MAX_COMMITTEES, MAX_LABEL, MAX_PAYLOAD, VerifiedCapsule, seal};
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
