//! Proofs of knowledge of a logarithm, and that several points have the same one.
//!
//! Guarantees: a [`Proof`] over pairs (Gᵢ, Pᵢ) convinces that its maker knew the one x with Pᵢ = x·Gᵢ for all of them.
//! With one pair it is the proof of Schnorr (1991), with two that of Chaum and Pedersen (1992); both are made
//! non-interactive by hashing (Fiat and Shamir) and are zero-knowledge and sound in the random oracle model.
//!
//! Left to others: the challenge. It must hash every base, every point and all that the proof is to be bound to, next to
//! the nonce points handed to the closure; and the nonce must be secret and never used for a second statement.

use crate::secret::SecretScalar;
use crate::suite::{self, Element, Scalar, Suite};

/// A challenge and the response to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proof<C: Suite> {
    pub(crate) challenge: Scalar<C>,
    pub(crate) response: Scalar<C>,
}

impl<C: Suite> Proof<C> {
    /// Proves knowledge of `secret`; `None` when a nonce point is the identity, which a random nonce does not give.
    pub(crate) fn new<const N: usize>(
        bases: [Element<C>; N],
        secret: &SecretScalar<C>,
        nonce: &SecretScalar<C>,
        challenge: impl FnOnce([Vec<u8>; N]) -> Scalar<C>,
    ) -> Option<Self> {
        let challenge = challenge(encoded::<C, N>(bases.map(|base| base * *nonce.expose()))?);
        Some(Proof { challenge, response: *nonce.expose() + *secret.expose() * challenge })
    }

    /// Whether the proof holds for pairs of a base and a point.
    pub(crate) fn holds<const N: usize>(
        &self,
        pairs: [(Element<C>, Element<C>); N],
        challenge: impl FnOnce([Vec<u8>; N]) -> Scalar<C>,
    ) -> bool {
        let nonces = pairs.map(|(base, point)| base * self.response - point * self.challenge);
        encoded::<C, N>(nonces).is_some_and(|nonces| challenge(nonces) == self.challenge)
    }
}

fn encoded<C: Suite, const N: usize>(points: [Element<C>; N]) -> Option<[Vec<u8>; N]> {
    let bytes = points.map(|point| suite::point_bytes::<C>(&point));
    bytes.iter().all(Option::is_some).then(|| bytes.map(Option::unwrap_or_default))
}
