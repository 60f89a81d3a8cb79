//! From an agreed set of deals to the new sharing.
//!
//! With D the set of dealers and λᵢ their Lagrange coefficients at zero, the new polynomial is Σ λᵢ·fᵢ + c·x^(t′−1). Its
//! value at zero is Σ λᵢ·sᵢ, the root; nobody computes it. Its other coefficients are random as soon as one dealer of D is
//! honest, which t of them ensure against t−1 liars.
//!
//! The *shift* c is a hash of the session and the deals, public and the same for all. Without it a dealer that speaks last,
//! in league with new member j, who tells it what the others dealt j, could choose its polynomial so that j's new share is
//! zero. That is no secret, so the sharing would have to be refused, and with it every change that this dealer takes part
//! in. With it, whoever wants to hit zero has to guess a hash.
//!
//! Guarantees: the result is a function of the change and the deals, the same for everybody whatever the order; it has
//! the old group key and degree exactly t′−1; a [`KeyShare`] that is handed out matches it. The transcript hash covers
//! the session, every deal of D and the result, so two members with other sets see that they differ.
//!
//! Left to others: that everybody uses the same D, and that no deal of it was justly complained about.

use std::collections::BTreeMap;

use rand_core::CryptoRng;
use sha2::{Sha256, Sha512};

use super::change::Change;
use super::deal::{CheckError, VerifiedDeal, horner};
use super::key::EpochSecret;
use crate::hash::Framed;
use crate::secret::SecretScalar;
use crate::share::{KeyShare, RootPublic};
use crate::suite::{self, Element, Scalar, Suite};
use crate::threshold::MemberIndex;

/// Why deals make no new sharing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedistributeError {
    /// Too few dealers.
    #[error("{have} deals where the old sharing needs {need}")]
    NotEnough {
        /// How many there are.
        have: usize,
        /// The old threshold.
        need: usize,
    },
    /// Two deals of one member.
    #[error("there are two deals of member {dealer}")]
    TwoDeals {
        /// Whose.
        dealer: MemberIndex,
    },
    /// A deal that was verified for another change.
    #[error("the deal of member {dealer} is for another change")]
    OtherSession {
        /// Whose.
        dealer: MemberIndex,
    },
    /// An outcome was given that is another set's.
    #[error("the outcome is not that of these deals")]
    OtherDeals,
    /// The result has a share that is zero or a lower degree, which nobody can bring about, or another group key, which
    /// verified deals do not have.
    #[error("the deals sum to no sharing of the root")]
    Degenerate,
}

/// Why a member does not get its new share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError<C: Suite> {
    /// There is no new sharing.
    #[error(transparent)]
    NoSharing(#[from] RedistributeError),
    /// A deal does not hold what it should, or the secret is not of this change.
    #[error(transparent)]
    Deal(#[from] CheckError<C>),
}

/// The public outcome of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redistributed<C: Suite> {
    /// The new sharing; its group key is the old one.
    pub public: RootPublic<C>,
    /// Covers the session, the deals that count and the new sharing.
    pub transcript_hash: [u8; 32],
}

/// The new sharing that these deals make, which all are taken to count.
///
/// # Errors
/// When there are too few, one is of another change, or they make no sharing.
pub fn redistribute<'a, C: Suite>(
    change: &Change<C>,
    deals: impl IntoIterator<Item = &'a VerifiedDeal<C>>,
) -> Result<Redistributed<C>, RedistributeError> {
    Agreed::new(change, deals)?.public(change)
}

/// The share of the recipient with this secret in the sharing that [`redistribute`] gives for the same deals.
///
/// # Errors
/// As there; and [`CheckError::Wrong`] with a complaint when a deal does not hold what it promises, which the agreement
/// should have excluded.
pub fn take<'a, C: Suite>(
    change: &Change<C>,
    deals: impl IntoIterator<Item = &'a VerifiedDeal<C>>,
    secret: &EpochSecret<C>,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<KeyShare<C>, TakeError<C>> {
    let agreed = Agreed::new(change, deals)?;
    agreed.public(change)?.open(&agreed, change, secret, rng)
}

impl<C: Suite> Redistributed<C> {
    /// What [`take`] gives for the deals that this is the outcome of, without working that out again.
    ///
    /// # Errors
    /// As there; [`RedistributeError::OtherDeals`] if these are not those.
    pub fn take<'a>(
        &self,
        change: &Change<C>,
        deals: impl IntoIterator<Item = &'a VerifiedDeal<C>>,
        secret: &EpochSecret<C>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<KeyShare<C>, TakeError<C>> {
        let agreed = Agreed::new(change, deals)?;
        if agreed.transcript_hash(change, &self.public) != self.transcript_hash {
            return Err(RedistributeError::OtherDeals.into());
        }
        self.open(&agreed, change, secret, rng)
    }

    fn open(
        &self,
        agreed: &Agreed<'_, C>,
        change: &Change<C>,
        secret: &EpochSecret<C>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<KeyShare<C>, TakeError<C>> {
        let member = secret.public().member();
        let mut sum = SecretScalar::new(agreed.shift * suite::power::<C>(member.get(), agreed.degree));
        for (deal, weight) in &agreed.deals {
            let value = deal.open(change, secret, rng)?;
            sum = SecretScalar::new(*sum.expose() + *value.expose() * *weight);
        }
        let share = KeyShare::new(member, sum, self.public.group()).ok();
        share.filter(|share| share.matches(&self.public)).ok_or(TakeError::NoSharing(RedistributeError::Degenerate))
    }
}

/// Deals of distinct dealers, in order, with the weights that the set gives them, and what else makes the new polynomial.
struct Agreed<'a, C: Suite> {
    deals: Vec<(&'a VerifiedDeal<C>, Scalar<C>)>,
    hashes: Vec<[u8; 32]>,
    /// t′−1.
    degree: u8,
    shift: Scalar<C>,
}

impl<'a, C: Suite> Agreed<'a, C> {
    fn new(
        change: &Change<C>,
        deals: impl IntoIterator<Item = &'a VerifiedDeal<C>>,
    ) -> Result<Self, RedistributeError> {
        let mut by_dealer = BTreeMap::new();
        for deal in deals {
            let dealer = deal.dealer();
            if deal.deal().session() != change.session() {
                return Err(RedistributeError::OtherSession { dealer });
            }
            if by_dealer.insert(dealer.get(), deal).is_some() {
                return Err(RedistributeError::TwoDeals { dealer });
            }
        }
        let (have, need) = (by_dealer.len(), change.old().threshold().t().into());
        if have < need {
            return Err(RedistributeError::NotEnough { have, need });
        }
        let dealers: Vec<u8> = by_dealer.keys().copied().collect();
        let hashes: Vec<[u8; 32]> = by_dealer.values().map(|deal| deal.hash()).collect();
        let shift = Framed::<Sha512>::new::<C>("resharing shift").part(change.session()).list(&hashes).scalar::<C>();
        let weighed = by_dealer.into_iter().map(|(dealer, deal)| {
            let weight = suite::lagrange_at_zero::<C>(dealer, &dealers).ok_or(RedistributeError::Degenerate)?;
            Ok((deal, weight))
        });
        let deals = weighed.collect::<Result<_, _>>()?;
        Ok(Agreed { deals, hashes, degree: change.threshold().t() - 1, shift })
    }

    /// A weighted sum of one point of each deal.
    fn sum(&self, of: impl Fn(&VerifiedDeal<C>) -> Element<C>) -> Element<C> {
        C::public_sum(&self.deals.iter().map(|(deal, weight)| (*weight, of(deal))).collect::<Vec<_>>())
    }

    fn public(&self, change: &Change<C>) -> Result<Redistributed<C>, RedistributeError> {
        let threshold = change.threshold();
        let group = self.sum(VerifiedDeal::verifying);
        let mut above: Vec<Element<C>> =
            (0..usize::from(self.degree)).map(|k| self.sum(|deal| deal.commitments()[k])).collect();
        if let Some(highest) = above.last_mut() {
            *highest = *highest + C::generator_times(&self.shift);
        }
        if group != change.old().group() || above.last() == Some(&suite::identity::<C>()) {
            return Err(RedistributeError::Degenerate);
        }
        let shares = threshold.indexes().map(|member| horner::<C>(group, &above, member)).collect();
        let public = RootPublic::new(threshold, group, shares).map_err(|_| RedistributeError::Degenerate)?;
        let transcript_hash = self.transcript_hash(change, &public);
        Ok(Redistributed { public, transcript_hash })
    }

    fn transcript_hash(&self, change: &Change<C>, public: &RootPublic<C>) -> [u8; 32] {
        Framed::<Sha256>::new::<C>("resharing transcript")
            .part(change.session())
            .list(&self.hashes)
            .part(&public.to_bytes())
            .digest()
    }
}
