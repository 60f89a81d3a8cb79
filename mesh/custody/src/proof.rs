//! Proofs of knowledge of a logarithm, and that several points have the same one.
//!
//! Guarantees: a [`Proof`] over pairs (Gᵢ, Pᵢ), of which G₁ is the first generator, convinces that its maker knew the one x
//! with Pᵢ = x·Gᵢ for all of them. With one pair it is the proof of Schnorr (1991), with two that of Chaum and Pedersen
//! (1992); both are made non-interactive by hashing (Fiat and Shamir) and are zero-knowledge and sound in the random oracle model.
//!
//! Left to others: the challenge. It must hash every base, every point and all that the proof is to be bound to, next to
//! the nonce points handed to the closure; and the nonce must be secret and never used for a second statement.

use crate::secret::{SecretPoint, SecretScalar};
use crate::suite::{self, Element, Scalar, Suite};

/// A challenge and the response to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proof<C: Suite> {
    pub(crate) challenge: Scalar<C>,
    pub(crate) response: Scalar<C>,
}

impl<C: Suite> Proof<C> {
    /// Proves knowledge of `secret` over the first generator and `bases`; `None` when a nonce point is the identity, which
    /// a random nonce does not give.
    pub(crate) fn new(
        bases: &[Element<C>],
        secret: &SecretScalar<C>,
        nonce: &SecretScalar<C>,
        challenge: impl FnOnce(&[Vec<u8>]) -> Scalar<C>,
    ) -> Option<Self> {
        let first = C::generator_times(nonce.expose());
        let nonces = std::iter::once(first).chain(bases.iter().map(|base| *base * *nonce.expose()));
        let challenge = challenge(&encoded::<C>(nonces)?);
        Some(Proof { challenge, response: *nonce.expose() + *secret.expose() * challenge })
    }

    /// Whether the proof holds for `point` over the first generator and for `further` pairs of a base and a point, all of
    /// them public.
    pub(crate) fn holds(
        &self,
        point: Element<C>,
        further: &[(Element<C>, Element<C>)],
        challenge: impl FnOnce(&[Vec<u8>]) -> Scalar<C>,
    ) -> bool {
        let further = further.iter().map(|(base, point)| self.nonce(*base, *point));
        self.matches(std::iter::once(self.nonce(suite::generator::<C>(), point)).chain(further), challenge)
    }

    /// Whether it holds for `point` over the first generator and for `secret` over `base`. Slower than [`Proof::holds`],
    /// and leaves no more of `secret` in memory than any arithmetic does.
    pub(crate) fn holds_for_secret(
        &self,
        point: Element<C>,
        (base, secret): (Element<C>, &SecretPoint<C>),
        challenge: impl FnOnce(&[Vec<u8>]) -> Scalar<C>,
    ) -> bool {
        let second = base * self.response - *secret.expose() * self.challenge;
        self.matches([self.nonce(suite::generator::<C>(), point), second], challenge)
    }

    /// The nonce point that the prover must have used for this pair.
    fn nonce(&self, base: Element<C>, point: Element<C>) -> Element<C> {
        C::public_sum(&[(self.response, base), (suite::zero::<C>() - self.challenge, point)])
    }

    fn matches(
        &self,
        nonces: impl IntoIterator<Item = Element<C>>,
        challenge: impl FnOnce(&[Vec<u8>]) -> Scalar<C>,
    ) -> bool {
        encoded::<C>(nonces).is_some_and(|nonces| challenge(&nonces) == self.challenge)
    }
}

fn encoded<C: Suite>(points: impl IntoIterator<Item = Element<C>>) -> Option<Vec<Vec<u8>>> {
    points.into_iter().map(|point| suite::point_bytes::<C>(&point)).collect()
}
