//! Where later changes of a sharing belong. Nothing is here yet but the rules that the code above already keeps for it.
//!
//! A root keeps its group key for ever and has numbered sharing epochs. Each of the following yields, like a DKG, one
//! [`KeyShare`](crate::KeyShare) per member and one [`RootPublic`](crate::RootPublic) with the *same* group key:
//!
//! - **Refresh** (`refresh.rs`): same members, same t; every member deals a polynomial with constant term zero
//!   (`frost_core::keys::refresh`). It makes shares stolen earlier useless only where the old ones were erased.
//! - **Reshare** (`reshare.rs`): other members or another t; at least t old members deal λᵢ·sᵢ with Feldman
//!   commitments whose constant term is checked against λᵢ·Yᵢ.
//! - **Repair** (`repair.rs`): t members give one member its share back (`frost_core::keys::repairable`). The result must
//!   be compared with the verifying share, which the library does not do.
//!
//! What holds already: capsules bind the group key and not the epoch, so they survive all three; partials are checked
//! against the verifying shares of one epoch, and the caller's binding names it; [`RootPublic`](crate::RootPublic) is
//! checked to be consistent wherever it comes from; [`KeyShare::matches`](crate::KeyShare::matches) tells epochs apart.
//! Agreement on a transcript and erasure of the old epoch are the mesh's, not this crate's.
