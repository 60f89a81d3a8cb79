//! Changes of a sharing: other shares of the same root, with the root never assembled (I1).
//!
//! A root keeps its group key for ever and has numbered sharing epochs. What yields the next one:
//!
//! - **Refresh and reshare** are one primitive, verifiable secret redistribution (Desmedt and Jajodia 1997; Wong, Wang and
//!   Wing 2002). Members keep their places or change them, n and t may differ: nothing here asks.
//! - **Repair** ([`repair`]) gives one member its share of the current epoch (Laing and Stinson 2018), for one that lost it
//!   or was away during the change.
//!
//! ```text
//! new member j   EpochSecret::generate ── EpochKey Eⱼ = eⱼ·G with proof ─▶ all
//! all            Change::new(old, t′ of n′, keys, context)                  one session digest, equal for all
//! old member i   deal: fᵢ of degree t′−1 with fᵢ(0) = sᵢ ── Deal ─▶ all      commitments, fᵢ(j) encrypted to Eⱼ
//! all            Deal::verify                                               what everybody can check
//! new member j   VerifiedDeal::check ── nothing, or a Complaint ─▶ all       anybody judges it
//! (elsewhere)    agreement on a set D of at least t dealers
//! all            redistribute(D)                                            the new RootPublic, one transcript hash
//! new member j   take(D)                                                    its share of it
//! ```
//!
//! # What is guaranteed
//!
//! - The new [`RootPublic`](crate::RootPublic) has the old group key, a polynomial of degree exactly t′−1, and depends on
//!   the deals of D alone; members with other sets have other transcript hashes.
//! - A deal that passes [`Deal::verify`], and about which no recipient can complain rightly, gives every recipient the
//!   value that its commitments promise. A complaint is judged by anybody and blames exactly one party; an honest dealer
//!   or complainer is never blamed.
//! - Deals, complaints and keys are bound to the session: caller's context, the old sharing, t′ of n′ and every
//!   recipient's key. Those of another change, epoch or attempt are refused.
//! - Old deals become unreadable when the recipients' [`EpochSecret`]s are erased, which the caller does as soon as the
//!   change is over or given up.
//! - Randomness is hedged: everything drawn is hashed from random bytes, the session and the maker's secret, so a
//!   generator that repeats itself (a cloned machine, I9) repeats itself only for the same change.
//!
//! # What is left to others
//!
//! - That the change is wanted. From t deals on, t′ of its recipients have the root in their hands, whether or not the
//!   change is ever completed: deal for nobody who may not have a share.
//! - That enough recipients have checked. Commitments alone say nothing about what lies in the ciphertexts; with t′ honest
//!   recipients that do not complain, every deal's polynomial is known to be what its commitments say.
//! - Agreement on keys and on D, signing of everything sent, and that the signer of a deal or complaint is the member it
//!   names. A dealer keeps its deal durably before it sends it.
//! - Erasure of old shares and of epoch secrets: t old shares that somebody kept are the root for ever, and so are t′
//!   epoch secrets with t deals.

mod change;
mod complaint;
#[cfg(feature = "testing")]
pub mod danger;
mod deal;
mod key;
mod redistribute;
pub mod repair;

pub use change::{Change, ChangeError};
pub use complaint::{Complaint, Fault, ForeignComplaint};
pub use deal::{CheckError, Deal, DealError, DealingError, VerifiedDeal, deal};
pub use key::{EpochKey, EpochSecret};
pub use redistribute::{RedistributeError, Redistributed, TakeError, redistribute, take};
