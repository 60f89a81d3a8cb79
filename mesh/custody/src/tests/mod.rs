//! Tests of the crate, generic over the suite where it costs nothing.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::hash::Framed;
use crate::secret::SecretScalar;
use crate::suite::{self, Scalar, Suite};
use crate::{Capsule, KeyShare, MemberIndex, Offer, Partial, RootPublic, Threshold, VerifiedCapsule};

mod dkg;
mod epochs;
mod golden;
mod malformed;
mod opening;
mod p256;
mod secrecy;
mod sharing;
mod tampering;

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

fn index(i: u8) -> MemberIndex {
    MemberIndex::new(i).expect("indexes start at 1")
}

fn random_scalar<C: Suite>(rng: &mut ChaCha20Rng) -> Scalar<C> {
    let mut bytes = [0; 32];
    rng.fill_bytes(&mut bytes);
    Framed::<sha2::Sha512>::new::<C>("test scalar").part(&bytes).scalar::<C>()
}

/// Every (t, n) with 2 ≤ t ≤ 5 and t ≤ n ≤ 9.
fn sizes() -> impl Strategy<Value = (u8, u8)> {
    (2u8..=5).prop_flat_map(|t| (Just(t), t..=9))
}

/// Some t of the indexes 1..=n, in some order.
fn any_t(t: u8, n: u8, rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut indexes: Vec<u8> = (1..=n).collect();
    for i in (1..indexes.len()).rev() {
        indexes.swap(i, rng.next_u32() as usize % (i + 1));
    }
    indexes.truncate(t.into());
    indexes
}

/// A sharing made by a dealer who knows the polynomial: for tests only, the crate has none.
struct Dealt<C: Suite> {
    polynomial: Vec<Scalar<C>>,
    public: RootPublic<C>,
    shares: Vec<KeyShare<C>>,
}

impl<C: Suite> Dealt<C> {
    fn new(t: u8, n: u8, rng: &mut ChaCha20Rng) -> Self {
        Self::of((0..t).map(|_| random_scalar::<C>(rng)).collect(), n)
    }

    fn of(polynomial: Vec<Scalar<C>>, n: u8) -> Self {
        let threshold = Threshold::new(polynomial.len() as u8, n.into()).expect("valid size");
        let group = suite::generator::<C>() * polynomial[0];
        let values: Vec<Scalar<C>> = (1..=n).map(|i| evaluate::<C>(&polynomial, i)).collect();
        let verifying = values.iter().map(|value| suite::generator::<C>() * *value).collect();
        let public = RootPublic::new(threshold, group, verifying).expect("consistent");
        let share =
            |(i, value): (u8, &Scalar<C>)| KeyShare::new(index(i), SecretScalar::new(*value), group).expect("not zero");
        let shares = (1..=n).zip(&values).map(share).collect();
        Dealt { polynomial, public, shares }
    }

    fn share(&self, i: u8) -> &KeyShare<C> {
        &self.shares[usize::from(i) - 1]
    }

    fn partial(&self, i: u8, capsule: &VerifiedCapsule<C>, binding: &[u8]) -> Partial<C> {
        crate::open_partial(self.share(i), capsule, binding, &mut rng(7)).expect("the capsule is for this root")
    }
}

fn evaluate<C: Suite>(polynomial: &[Scalar<C>], at: u8) -> Scalar<C> {
    let x = suite::small::<C>(at);
    polynomial.iter().rev().fold(suite::zero::<C>(), |acc, coefficient| acc * x + *coefficient)
}

fn sealed<C: Suite>(label: &[u8], publics: &[RootPublic<C>], payload: &[u8], seed: u64) -> Capsule<C> {
    crate::seal(label, publics, payload, &mut rng(seed)).expect("within limits")
}

fn offers<'a, C: Suite>(partials: &'a [Partial<C>], binding: &'a [u8]) -> Vec<Offer<'a, C>> {
    partials.iter().map(|partial| Offer { partial, binding }).collect()
}

/// The byte-string fields of an encoding `[suite, …]` whose leading `numbers` fields are integers.
fn split(bytes: &[u8], numbers: usize) -> (Vec<u64>, Vec<Vec<u8>>) {
    let mut decoder = minicbor::Decoder::new(bytes);
    let fields = decoder.array().expect("an array").expect("of known length") as usize;
    let integers = (0..numbers).map(|_| decoder.u64().expect("an integer")).collect();
    let strings = (numbers..fields).map(|_| decoder.bytes().expect("bytes").to_vec()).collect();
    (integers, strings)
}

fn join(numbers: &[u64], strings: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = minicbor::Encoder::new(Vec::new());
    encoder.array((numbers.len() + strings.len()) as u64).expect("to memory");
    for number in numbers {
        encoder.u64(*number).expect("to memory");
    }
    for string in strings {
        encoder.bytes(string).expect("to memory");
    }
    encoder.into_writer()
}
