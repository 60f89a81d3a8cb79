//! What a DKG leaves behind: one secret share per member and the public side of the root.
//!
//! Guarantees: a [`RootPublic`] is consistent, wherever it came from: its verifying shares lie on one polynomial of
//! degree below t through the group key (checked with one random word of the dual code; Cascudo and David, SCRAPE,
//! 2017), so t partials that verify open to the same result whichever t they are. A [`KeyShare`] is secret (I10): it
//! leaves only through [`KeyShare::expose`], whose bytes the caller seals at once.
//!
//! Left to others: authenticating a [`RootPublic`] (anyone can make a consistent one), which sharing epoch it belongs
//! to, sealing shares and placing them outside the database.

use std::fmt;

use minicbor::{Decode, Encode};
use sha2::{Sha256, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::codec::{self, DecodeError};
use crate::hash::Framed;
use crate::secret::SecretScalar;
use crate::suite::{self, Element, MAX_POINT_LEN, MAX_SCALAR_LEN, Scalar, Suite};
use crate::threshold::{MemberIndex, Threshold};

/// The public side of one sharing of a root: the key that capsules are sealed to, and a verifying share per member.
///
/// Refresh and reshare change the verifying shares (and t and n); the group key stays, and capsules bind it alone.
#[derive(Clone, PartialEq, Eq)]
pub struct RootPublic<C: Suite> {
    threshold: Threshold,
    group: Element<C>,
    group_bytes: Vec<u8>,
    shares: Vec<Element<C>>,
    share_bytes: Vec<u8>,
}

#[derive(Encode, Decode)]
struct RawRootPublic {
    #[n(0)]
    suite: u16,
    #[n(1)]
    t: u8,
    #[n(2)]
    n: u8,
    #[cbor(n(3), with = "minicbor::bytes")]
    group: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    shares: Vec<u8>,
}

impl<C: Suite> RootPublic<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 32 + MAX_POINT_LEN * 256;

    /// Puts together and checks a group key and the verifying shares in index order.
    pub(crate) fn new(threshold: Threshold, group: Element<C>, shares: Vec<Element<C>>) -> Result<Self, DecodeError> {
        if shares.len() != usize::from(threshold.n()) {
            return Err(DecodeError::Length { field: "verifying shares", got: shares.len() });
        }
        let group_bytes = suite::point_bytes::<C>(&group).ok_or(DecodeError::Point { field: "group key" })?;
        let mut share_bytes = Vec::with_capacity(shares.len() * C::POINT_LEN);
        for share in &shares {
            let bytes = suite::point_bytes::<C>(share).ok_or(DecodeError::Point { field: "verifying share" })?;
            share_bytes.extend_from_slice(&bytes);
        }
        let public = RootPublic { threshold, group, group_bytes, shares, share_bytes };
        if public.is_consistent() { Ok(public) } else { Err(DecodeError::Inconsistent) }
    }

    /// t of n.
    pub fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// The canonical bytes of the key that capsules are sealed to.
    pub fn group_key(&self) -> &[u8] {
        &self.group_bytes
    }

    /// The canonical bytes of a member's verifying share; `None` for an index beyond n.
    pub fn verifying_share(&self, index: MemberIndex) -> Option<&[u8]> {
        self.share_bytes.chunks_exact(C::POINT_LEN).nth(index.offset())
    }

    /// Canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&RawRootPublic {
            suite: C::SUITE_ID,
            t: self.threshold.t(),
            n: self.threshold.n(),
            group: self.group_bytes.clone(),
            shares: self.share_bytes.clone(),
        })
    }

    /// Parses and checks; costs n + 1 multiplications.
    ///
    /// # Errors
    /// For anything but the canonical bytes of a consistent sharing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawRootPublic = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        let threshold = Threshold::new(raw.t, raw.n.into()).map_err(|_| DecodeError::Range { field: "threshold" })?;
        if raw.shares.len() != usize::from(raw.n) * C::POINT_LEN {
            return Err(DecodeError::Length { field: "verifying shares", got: raw.shares.len() });
        }
        let group = codec::point::<C>("group key", &raw.group)?;
        let shares = raw
            .shares
            .chunks_exact(C::POINT_LEN)
            .map(|share| codec::point::<C>("verifying share", share))
            .collect::<Result<_, _>>()?;
        Self::new(threshold, group, shares)
    }

    /// A digest of the canonical bytes. It changes with every sharing epoch; the root's lasting name is its group key.
    pub fn hash(&self) -> [u8; 32] {
        Framed::<Sha256>::new::<C>("root public").part(&self.to_bytes()).digest()
    }

    pub(crate) fn group(&self) -> Element<C> {
        self.group
    }

    pub(crate) fn share(&self, index: MemberIndex) -> Option<Element<C>> {
        self.shares.get(index.offset()).copied()
    }

    /// Values of a polynomial of degree below t at 0..=n are orthogonal to vᵢ·m(i) for every m of degree at most n−t,
    /// where vᵢ = ∏_{j≠i} 1/(i−j), which times the constant n!·(−1)ⁿ is (−1)ⁱ·C(n, i). Values that are not fail for all but
    /// a fraction 1/q of the m; m is drawn by hashing the values themselves.
    fn is_consistent(&self) -> bool {
        let n = self.threshold.n();
        let mask: Vec<Scalar<C>> = (0..=n - self.threshold.t())
            .map(|degree| {
                Framed::<Sha512>::new::<C>("dual code word")
                    .part(&[self.threshold.t(), n, degree])
                    .part(&self.group_bytes)
                    .part(&self.share_bytes)
                    .scalar::<C>()
            })
            .collect();
        let values = std::iter::once(self.group).chain(self.shares.iter().copied());
        let weighted = suite::alternating_binomials::<C>(n).into_iter().zip(0..=n).map(|(weight, place)| {
            let at = suite::small::<C>(place);
            weight * mask.iter().rev().fold(suite::zero::<C>(), |acc, coefficient| acc * at + *coefficient)
        });
        C::public_sum(&weighted.zip(values).collect::<Vec<_>>()) == suite::identity::<C>()
    }
}

impl<C: Suite> fmt::Debug for RootPublic<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootPublic({}, ", self.threshold)?;
        self.group_bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// One member's secret share of a root.
pub struct KeyShare<C: Suite> {
    index: MemberIndex,
    secret: SecretScalar<C>,
    group: Element<C>,
    group_bytes: Vec<u8>,
    verifying: Element<C>,
    verifying_bytes: Vec<u8>,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct RawKeyShare {
    #[n(0)]
    suite: u16,
    #[n(1)]
    index: u8,
    #[cbor(n(2), with = "minicbor::bytes")]
    group: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    secret: Vec<u8>,
}

impl<C: Suite> KeyShare<C> {
    /// Longest exposed encoding, in bytes.
    pub const MAX_BYTES: usize = 32 + MAX_POINT_LEN + MAX_SCALAR_LEN;

    /// Puts a share together; a zero scalar (which opens nothing) is refused.
    pub(crate) fn new(index: MemberIndex, secret: SecretScalar<C>, group: Element<C>) -> Result<Self, DecodeError> {
        let verifying = C::generator_times(secret.expose());
        let verifying_bytes = suite::point_bytes::<C>(&verifying).ok_or(DecodeError::Scalar { field: "share" })?;
        let group_bytes = suite::point_bytes::<C>(&group).ok_or(DecodeError::Point { field: "group key" })?;
        Ok(KeyShare { index, secret, group, group_bytes, verifying, verifying_bytes })
    }

    /// The holder's place in the committee.
    pub fn index(&self) -> MemberIndex {
        self.index
    }

    /// The canonical bytes of the root's group key.
    pub fn group_key(&self) -> &[u8] {
        &self.group_bytes
    }

    /// Whether this is a share of exactly that sharing: the same root, an index of it and the verifying share it
    /// states. A share of another epoch of the root does not match.
    pub fn matches(&self, public: &RootPublic<C>) -> bool {
        self.group == public.group() && public.share(self.index) == Some(self.verifying)
    }

    /// The secret bytes, for a caller that seals them at once.
    pub fn expose(&self) -> Zeroizing<Vec<u8>> {
        let raw = RawKeyShare {
            suite: C::SUITE_ID,
            index: self.index.get(),
            group: self.group_bytes.clone(),
            secret: self.secret.expose_bytes().to_vec(),
        };
        Zeroizing::new(codec::encode(&raw))
    }

    /// Parses bytes that the caller has just unsealed. Compare with [`KeyShare::matches`] before use.
    ///
    /// # Errors
    /// For anything but the canonical bytes of a share.
    pub fn from_exposed(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawKeyShare = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        let index = MemberIndex::new(raw.index).ok_or(DecodeError::Range { field: "index" })?;
        let secret = SecretScalar::parse(&raw.secret).ok_or(DecodeError::Scalar { field: "share" })?;
        Self::new(index, secret, codec::point::<C>("group key", &raw.group)?)
    }

    /// A testing aid: what a member that lies uses, a share of another secret in its own place. Nobody learns anything by it
    /// that the member could not tell.
    ///
    /// # Errors
    /// When the secret is one less than nothing.
    pub fn danger_altered(&self) -> Result<Self, DecodeError> {
        let one = <<C::Group as frost_core::Group>::Field as frost_core::Field>::one();
        Self::new(self.index, SecretScalar::new(*self.secret.expose() + one), self.group)
    }

    pub(crate) fn secret(&self) -> &SecretScalar<C> {
        &self.secret
    }

    pub(crate) fn verifying_bytes(&self) -> &[u8] {
        &self.verifying_bytes
    }
}

impl<C: Suite> fmt::Debug for KeyShare<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyShare")
    }
}
