//! Combining partials: Lagrange in the exponent, optimistically.
//!
//! Guarantees: the result, when there is one, is what was sealed. The first t partials of each committee are combined
//! without checking a proof, because the capsule's key commitment tells a right combination from a wrong one. Only when
//! it does not match are all proofs checked; those that fail are named and the rest is combined again. No root and no
//! combination of shares exists at any time, only r·Yᵢ of this capsule (I1).
//!
//! Left to others: collecting partials of one sharing epoch per committee, and acting on a culprit. A culprit is the
//! offer at a place in the caller's list, because only the caller knows who really sent it: before blaming the member
//! at the named index, compare it with the signer of the message.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::capsule::{OpenFailure, VerifiedCapsule};
use crate::mutant::{self, Mistake};
use crate::partial::{Partial, PartialError};
use crate::secret::SecretPoint;
use crate::share::RootPublic;
use crate::suite::{self, Suite};
use crate::threshold::MemberIndex;

/// A partial and the binding that its custodian was asked to use.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a, C: Suite> {
    /// The partial.
    pub partial: &'a Partial<C>,
    /// What it must have been made for.
    pub binding: &'a [u8],
}

/// A partial that is not what it claims to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// Its place in the list of offers, from 0.
    pub offer: usize,
    /// The position of the committee it names, from 0.
    pub committee: usize,
    /// The member it names.
    pub index: MemberIndex,
    /// What is wrong with it.
    pub reason: PartialError,
}

/// An opened capsule.
pub struct Opened {
    /// What was sealed.
    pub payload: Zeroizing<Vec<u8>>,
    /// Offers found to be wrong on the way; empty when the first combination was right.
    pub culprits: Vec<Culprit>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("culprits", &self.culprits).finish_non_exhaustive()
    }
}

/// Why a capsule was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// The roots are not those the capsule was verified for, or not in that order.
    #[error("the roots given are not the capsule's")]
    OtherRoots,
    /// Too few usable partials of one committee (the first such); more of them help.
    #[error("committee {committee} gave {have} usable partials where {need} are needed")]
    NotEnough {
        /// The committee's position, from 0.
        committee: usize,
        /// How many distinct members gave a usable one.
        have: usize,
        /// The committee's threshold.
        need: usize,
        /// Offers found to be wrong; empty when proofs were not checked because there were too few anyway.
        culprits: Vec<Culprit>,
    },
    /// Every proof holds and yet the capsule does not open: whoever sealed it made it so. Final.
    #[error("the capsule was sealed wrongly: no partials can open it")]
    CapsuleUnsound {
        /// Offers found to be wrong besides.
        culprits: Vec<Culprit>,
    },
}

/// Opens `capsule` with partials of at least t members of every committee; surplus ones replace wrong ones.
///
/// `publics` are the roots of the capsule in its order, each in the sharing epoch that the offers were made under.
///
/// # Errors
/// [`CombineError::NotEnough`] when more or better partials could help, otherwise a final reason.
pub fn combine<C: Suite>(
    capsule: &VerifiedCapsule<C>,
    publics: &[RootPublic<C>],
    offers: &[Offer<'_, C>],
) -> Result<Opened, CombineError> {
    if !publics.iter().map(RootPublic::group_key).eq(capsule.group_keys().iter().map(Vec::as_slice)) {
        return Err(CombineError::OtherRoots);
    }
    let chosen = choose(publics, offers).map_err(|short| short.named(Vec::new()))?;
    match attempt(capsule, &chosen) {
        Ok(payload) => return Ok(Opened { payload, culprits: Vec::new() }),
        Err(OpenFailure::BadCiphertext) => return Err(CombineError::CapsuleUnsound { culprits: Vec::new() }),
        Err(OpenFailure::WrongKey) => {}
    }
    let (mut culprits, mut honest) = (Vec::new(), Vec::new());
    for (place, offer) in offers.iter().enumerate() {
        let partial = offer.partial;
        let checked = match publics.get(partial.committee()) {
            Some(_) if mutant::is(Mistake::PartialUnproven) => Ok(()),
            Some(public) => partial.verify(public, capsule, offer.binding),
            None => Err(PartialError::ForeignRoot),
        };
        match checked {
            Ok(()) => honest.push(offer),
            Err(reason) => {
                culprits.push(Culprit { offer: place, committee: partial.committee(), index: partial.index(), reason })
            }
        }
    }
    let chosen = match choose(publics, honest) {
        Ok(chosen) => chosen,
        Err(short) => return Err(short.named(culprits)),
    };
    match attempt(capsule, &chosen) {
        Ok(payload) => Ok(Opened { payload, culprits }),
        Err(OpenFailure::WrongKey | OpenFailure::BadCiphertext) => Err(CombineError::CapsuleUnsound { culprits }),
    }
}

/// For one committee, t partials by member index.
type Chosen<'a, C> = BTreeMap<u8, &'a Partial<C>>;

/// A committee with too few distinct members.
struct Short {
    committee: usize,
    have: usize,
    need: usize,
}

impl Short {
    fn named(self, culprits: Vec<Culprit>) -> CombineError {
        let Short { committee, have, need } = self;
        CombineError::NotEnough { committee, have, need, culprits }
    }
}

/// The first t offers of distinct members, for each committee.
fn choose<'a, C: Suite>(
    publics: &[RootPublic<C>],
    offers: impl IntoIterator<Item = &'a Offer<'a, C>>,
) -> Result<Vec<Chosen<'a, C>>, Short> {
    let mut chosen: Vec<Chosen<'a, C>> = publics.iter().map(|_| BTreeMap::new()).collect();
    for offer in offers {
        let (committee, index) = (offer.partial.committee(), offer.partial.index());
        let Some(public) = publics.get(committee) else { continue };
        if !public.threshold().contains(index) || chosen[committee].len() == usize::from(public.threshold().t()) {
            continue;
        }
        chosen[committee].entry(index.get()).or_insert(offer.partial);
    }
    for (committee, (public, partials)) in publics.iter().zip(&chosen).enumerate() {
        let (have, need) = (partials.len(), public.threshold().t().into());
        if have < need {
            return Err(Short { committee, have, need });
        }
    }
    Ok(chosen)
}

fn attempt<C: Suite>(
    capsule: &VerifiedCapsule<C>,
    chosen: &[Chosen<'_, C>],
) -> Result<Zeroizing<Vec<u8>>, OpenFailure> {
    let mut shared = Vec::with_capacity(chosen.len());
    for partials in chosen {
        let indexes: Vec<u8> = partials.keys().copied().collect();
        let mut sum = suite::identity::<C>();
        for (index, partial) in partials {
            let coefficient = suite::lagrange_at_zero::<C>(*index, &indexes).ok_or(OpenFailure::WrongKey)?;
            sum = sum + *partial.value().expose() * coefficient;
        }
        shared.push(SecretPoint::new(sum));
    }
    capsule.open(&shared)
}
