//! What liars make in a change, for simulators and tests of what others do about it. Only with the feature `testing`.
//!
//! Everything here a member could make by itself, with its own secrets and nobody else's.

use rand_core::CryptoRng;
use sha2::Sha512;

use super::change::Change;
use super::complaint::Complaint;
use super::deal::{Deal, VerifiedDeal, evaluate};
use crate::hash::Framed;
use crate::rng;
use crate::secret::SecretScalar;
use crate::share::KeyShare;
use crate::suite::Suite;
use crate::threshold::MemberIndex;

/// A deal that passes [`Deal::verify`] and gives the recipients for whom `wrong` holds something else than it promises.
pub fn false_deal<C: Suite>(
    change: &Change<C>,
    share: &KeyShare<C>,
    wrong: impl Fn(MemberIndex) -> bool,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Option<Deal<C>> {
    let coefficients: Vec<_> = (1..change.threshold().t()).map(|_| scalar::<C>(rng)).collect();
    let other = scalar::<C>(rng);
    let value = |j: MemberIndex| evaluate(if wrong(j) { &other } else { share.secret() }, &coefficients, j);
    let values: Vec<_> = change.recipients().map(|j| value(j).expose_bytes()).collect();
    let (secret, nonce) = (scalar::<C>(rng), scalar::<C>(rng));
    Deal::of(change, share.index(), &coefficients, &values, &secret, &nonce)
}

/// A complaint about a deal that reveals an invented point, as whoever wants an honest dealer blamed would make it.
pub fn false_complaint<C: Suite>(
    deal: &VerifiedDeal<C>,
    complainer: MemberIndex,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Option<Complaint<C>> {
    Complaint::invented(deal, complainer, C::generator_times(scalar::<C>(rng).expose()))
}

fn scalar<C: Suite>(rng: &mut (impl CryptoRng + ?Sized)) -> SecretScalar<C> {
    SecretScalar::new(Framed::<Sha512>::new::<C>("invented scalar").part(&*rng::seed(rng)).scalar::<C>())
}
