//! What a group must bring so that custody can be built over it.
//!
//! Guarantees: every number and point that the rest of the crate touches comes from one [`Suite`], which is a
//! [`frost_core::Ciphersuite`] (so the DKG of RFC 9591's authors applies) plus the three things TDH2 needs beyond it:
//! a second generator, a map from uniform bytes to scalars, and fixed encoding lengths.
//!
//! The second generator comes from hash-to-group (RFC 9380, appendix B; RFC 9496, section 4.3.4) over a constant
//! string, so nobody knows its discrete logarithm and it depends on no committee's key.
//!
//! Left to others: which suite a mesh uses; it travels as [`Suite::SUITE_ID`] in every encoding here.

use std::sync::OnceLock;

use curve25519_dalek::traits::VartimeMultiscalarMul;
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar as Scalar25519};
pub use frost_core::{Ciphersuite, Element, Scalar};
use frost_core::{Field, Group};
use sha2::{Digest, Sha512};

/// The suite in use: ristretto255 (RFC 9496) with SHA-512.
pub type Ristretto = frost_ristretto255::Ristretto255Sha512;

/// Domain of the hash-to-group call that yields the second generator. Changing it is a new suite.
const SECOND_GENERATOR_DST: &[u8] = b"keymesh-custody-v1-ristretto255_XMD:SHA-512_R255MAP_RO_";
const SECOND_GENERATOR_MSG: &[u8] = b"TDH2 second generator";

/// The longest point and scalar encodings of any suite, in bytes; limits of decoders are made of them.
pub(crate) const MAX_POINT_LEN: usize = 64;
pub(crate) const MAX_SCALAR_LEN: usize = 64;

/// A prime-order group with everything custody needs.
pub trait Suite: Ciphersuite {
    /// The number that names the suite in every encoding and in every hash.
    const SUITE_ID: u16;
    /// Length of an encoded point, in bytes (at most 64).
    const POINT_LEN: usize;
    /// Length of an encoded scalar, in bytes (at most 64).
    const SCALAR_LEN: usize;

    /// A generator whose discrete logarithm to the first one nobody knows.
    fn second_generator() -> Element<Self>;

    /// Reduces 64 uniform bytes to a scalar whose bias is negligible.
    fn scalar_from_wide(bytes: &[u8; 64]) -> Scalar<Self>;

    /// `scalar` times the first generator, in a time that says nothing about `scalar`.
    fn generator_times(scalar: &Scalar<Self>) -> Element<Self> {
        generator::<Self>() * *scalar
    }

    /// The sum of every scalar times its point. The time it takes tells the scalars and copies of the points stay on the
    /// heap: for public values alone.
    fn public_sum(terms: &[(Scalar<Self>, Element<Self>)]) -> Element<Self> {
        terms.iter().fold(identity::<Self>(), |sum, (scalar, point)| sum + *point * *scalar)
    }
}

impl Suite for Ristretto {
    const SUITE_ID: u16 = 1;
    const POINT_LEN: usize = 32;
    const SCALAR_LEN: usize = 32;

    fn second_generator() -> RistrettoPoint {
        static CACHE: OnceLock<RistrettoPoint> = OnceLock::new();
        *CACHE.get_or_init(|| {
            let mut uniform = [0; 64];
            expand_message_xmd(SECOND_GENERATOR_DST, SECOND_GENERATOR_MSG, &mut uniform);
            RistrettoPoint::from_uniform_bytes(&uniform)
        })
    }

    fn scalar_from_wide(bytes: &[u8; 64]) -> Scalar25519 {
        Scalar25519::from_bytes_mod_order_wide(bytes)
    }

    fn generator_times(scalar: &Scalar25519) -> RistrettoPoint {
        RistrettoPoint::mul_base(scalar)
    }

    fn public_sum(terms: &[(Scalar25519, RistrettoPoint)]) -> RistrettoPoint {
        RistrettoPoint::vartime_multiscalar_mul(
            terms.iter().map(|(scalar, _)| scalar),
            terms.iter().map(|(_, point)| point),
        )
    }
}

/// `expand_message_xmd` of RFC 9380, section 5.3.1, with SHA-512 and at most one block (64 bytes) of output.
pub(crate) fn expand_message_xmd(dst: &[u8], msg: &[u8], out: &mut [u8]) {
    const BLOCK: usize = 128;
    assert!(out.len() <= 64 && dst.len() <= 255, "one block of output, a short domain");
    let dst_len = [dst.len() as u8];
    let first = Sha512::new()
        .chain_update([0; BLOCK])
        .chain_update(msg)
        .chain_update((out.len() as u16).to_be_bytes())
        .chain_update([0])
        .chain_update(dst)
        .chain_update(dst_len)
        .finalize();
    let second = Sha512::new().chain_update(first).chain_update([1]).chain_update(dst).chain_update(dst_len).finalize();
    out.copy_from_slice(&second[..out.len()]);
}

pub(crate) fn zero<C: Suite>() -> Scalar<C> {
    <<C::Group as Group>::Field as Field>::zero()
}

pub(crate) fn one<C: Suite>() -> Scalar<C> {
    <<C::Group as Group>::Field as Field>::one()
}

pub(crate) fn invert<C: Suite>(scalar: &Scalar<C>) -> Option<Scalar<C>> {
    <<C::Group as Group>::Field as Field>::invert(scalar).ok()
}

pub(crate) fn generator<C: Suite>() -> Element<C> {
    C::Group::generator()
}

pub(crate) fn identity<C: Suite>() -> Element<C> {
    C::Group::identity()
}

/// A small public number as a scalar, by doubling and adding: the field trait offers no conversion.
pub(crate) fn small<C: Suite>(n: u8) -> Scalar<C> {
    (0..8).rev().fold(zero::<C>(), |acc, bit| {
        let doubled = acc + acc;
        if n >> bit & 1 == 1 { doubled + one::<C>() } else { doubled }
    })
}

/// Canonical bytes of a point; `None` for the identity, which no encoding of this crate may hold.
pub(crate) fn point_bytes<C: Suite>(point: &Element<C>) -> Option<Vec<u8>> {
    C::Group::serialize(point).ok().map(|bytes| bytes.as_ref().to_vec())
}

/// Parses a point; `None` for a wrong length, a non-canonical encoding, a point off the prime-order group or the
/// identity.
pub(crate) fn parse_point<C: Suite>(bytes: &[u8]) -> Option<Element<C>> {
    let point = C::Group::deserialize(&bytes.try_into().ok()?).ok()?;
    // Other groups accept several encodings of one point; here a point has one.
    (point_bytes::<C>(&point)? == bytes).then_some(point)
}

pub(crate) fn scalar_bytes<C: Suite>(scalar: &Scalar<C>) -> Vec<u8> {
    <<C::Group as Group>::Field as Field>::serialize(scalar).as_ref().to_vec()
}

/// Parses a scalar; `None` for a wrong length or a value not reduced.
pub(crate) fn parse_scalar<C: Suite>(bytes: &[u8]) -> Option<Scalar<C>> {
    <<C::Group as Group>::Field as Field>::deserialize(&bytes.try_into().ok()?).ok()
}

/// A small public number to a small power.
pub(crate) fn power<C: Suite>(base: u8, exponent: u8) -> Scalar<C> {
    (0..exponent).fold(one::<C>(), |acc, _| acc * small::<C>(base))
}

/// `n`·`point` for a small public number, by doubling and adding: an order of magnitude faster than a full scalar.
pub(crate) fn small_multiple<C: Suite>(point: Element<C>, n: u8) -> Element<C> {
    (0..8 - n.leading_zeros()).rev().fold(identity::<C>(), |acc, bit| {
        let doubled = acc + acc;
        if n >> bit & 1 == 1 { doubled + point } else { doubled }
    })
}

/// (−1)ⁱ·C(n, i) for i from 0 to n, by Pascal's triangle.
pub(crate) fn alternating_binomials<C: Suite>(n: u8) -> Vec<Scalar<C>> {
    let mut row = vec![one::<C>()];
    for _ in 0..n {
        row.push(zero::<C>());
        for place in (1..row.len()).rev() {
            row[place] = row[place] - row[place - 1];
        }
    }
    row
}

/// The Lagrange coefficient at zero of `index` among the points `indexes` (distinct, non-zero, `index` one of them).
pub(crate) fn lagrange_at_zero<C: Suite>(index: u8, indexes: &[u8]) -> Option<Scalar<C>> {
    lagrange_at::<C>(0, index, indexes)
}

/// The same at another place.
pub(crate) fn lagrange_at<C: Suite>(place: u8, index: u8, indexes: &[u8]) -> Option<Scalar<C>> {
    let (place, own) = (small::<C>(place), small::<C>(index));
    let (mut numerator, mut denominator) = (one::<C>(), one::<C>());
    for &other in indexes.iter().filter(|&&other| other != index) {
        let other = small::<C>(other);
        numerator = numerator * (other - place);
        denominator = denominator * (other - own);
    }
    Some(numerator * invert::<C>(&denominator)?)
}
