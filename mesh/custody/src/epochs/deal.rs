//! What an old member gives to the new ones.
//!
//! Dealer i draws fᵢ of degree t′−1 with fᵢ(0) = sᵢ. The deal holds Feldman commitments Cₖ to the coefficients 1 to t′−1
//! (that to the constant one is the dealer's verifying share, which everybody has), and fᵢ(j) for every recipient j,
//! encrypted by hashed ElGamal to its epoch key with one R = r·G for all of them.
//!
//! Guarantees of a [`VerifiedDeal`]: it is of this change and of a member of the old sharing; it has the degree asked
//! for and a ciphertext for exactly the recipients; and its maker knew r. The proof of that covers the whole deal, so
//! nobody takes R or a ciphertext out of another's deal into its own, and a complaint, which reveals eⱼ·R, reveals
//! nothing that the dealer of R does not know. Whether the ciphertexts hold what the commitments promise only their
//! recipients can tell ([`VerifiedDeal::check`]).
//!
//! Left to others: the dealer's signature.

use std::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::change::Change;
use super::complaint::Complaint;
use super::key::{EpochKey, EpochSecret};
use crate::codec::{self, DecodeError, Kind};
use crate::hash::Framed;
use crate::proof::Proof;
use crate::rng;
use crate::schedule::{COMMITMENT_LEN, KeySchedule, TAG_LEN};
use crate::secret::{SecretPoint, SecretScalar};
use crate::share::KeyShare;
use crate::suite::{self, Element, MAX_POINT_LEN, MAX_SCALAR_LEN, Scalar, Suite};
use crate::threshold::MemberIndex;

const KDF_SALT: &[u8] = b"keymesh-custody-v1 sub-share key schedule";

/// Why no deal can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DealingError {
    /// The share is not one of the sharing that the change begins with.
    #[error("the share is not one of the old sharing")]
    ForeignShare,
    /// A computed point is the identity; with real randomness this does not happen.
    #[error("a computed point is the identity")]
    Degenerate,
}

/// Why a deal does not count. The dealer is at fault if it signed it for this change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DealError {
    /// Made for another change, old sharing, set of recipients or attempt.
    #[error("the deal of member {dealer} is for another change")]
    OtherSession {
        /// Whose deal it claims to be.
        dealer: MemberIndex,
    },
    /// The old sharing has no such member.
    #[error("the old sharing has no member {dealer}")]
    NoSuchDealer {
        /// Whose deal it claims to be.
        dealer: MemberIndex,
    },
    /// The polynomial has another degree than the new threshold asks for.
    #[error("member {dealer} committed to degree {got} where {want} is asked for")]
    WrongDegree {
        /// Whose deal it is.
        dealer: MemberIndex,
        /// The degree.
        got: usize,
        /// t′−1.
        want: usize,
    },
    /// Ciphertexts for others than the recipients.
    #[error("the deal of member {dealer} is not for the recipients of the change")]
    WrongRecipients {
        /// Whose deal it is.
        dealer: MemberIndex,
    },
    /// Whoever made it did not know r, or a part was exchanged.
    #[error("the proof in the deal of member {dealer} does not hold")]
    ProofRefused {
        /// Whose deal it is.
        dealer: MemberIndex,
    },
}

/// Why a recipient does not take its part of a deal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError<C: Suite> {
    /// The deal was verified for another change. Nobody's fault but the caller's.
    #[error("the deal was verified for another change")]
    OtherSession,
    /// The secret is not that of a recipient of the change. Nobody's fault but the caller's.
    #[error("the epoch secret is not one of the change")]
    ForeignSecret,
    /// The dealer is at fault, and this shows it.
    #[error("the sub-share of member {} is not what it committed to", .0.dealer())]
    Wrong(Box<Complaint<C>>),
    /// A computed point is the identity; with real randomness this does not happen.
    #[error("a computed point is the identity")]
    Degenerate,
}

/// A deal. Nothing can be done with it before [`Deal::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Deal<C: Suite> {
    session: [u8; 32],
    dealer: MemberIndex,
    commitments: Vec<Element<C>>,
    commitment_bytes: Vec<u8>,
    r: Element<C>,
    r_bytes: Vec<u8>,
    proof: Proof<C>,
    recipients: Vec<MemberIndex>,
    boxes: Vec<u8>,
}

#[derive(Encode, Decode)]
struct RawDeal {
    #[n(0)]
    suite: u16,
    #[n(1)]
    kind: u8,
    #[n(2)]
    dealer: u8,
    #[cbor(n(3), with = "minicbor::bytes")]
    session: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    commitments: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    r: Vec<u8>,
    #[cbor(n(6), with = "minicbor::bytes")]
    challenge: Vec<u8>,
    #[cbor(n(7), with = "minicbor::bytes")]
    response: Vec<u8>,
    #[cbor(n(8), with = "minicbor::bytes")]
    recipients: Vec<u8>,
    #[cbor(n(9), with = "minicbor::bytes")]
    boxes: Vec<u8>,
}

/// Length of one recipient's part: commitment to the key, encrypted scalar, tag.
const fn box_len<C: Suite>() -> usize {
    COMMITMENT_LEN + C::SCALAR_LEN + TAG_LEN
}

/// Deals `share` for `change`.
///
/// # Errors
/// [`DealingError::ForeignShare`] when the share is of another root or epoch.
pub fn deal<C: Suite>(
    change: &Change<C>,
    share: &KeyShare<C>,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Deal<C>, DealingError> {
    if !share.matches(change.old()) {
        return Err(DealingError::ForeignShare);
    }
    let seed = rng::seed(rng);
    let own = share.secret().expose_bytes();
    let hedge = |purpose: &str, place: u8| {
        let hash = Framed::<Sha512>::new::<C>(purpose).part(&*seed).part(&own).part(change.session());
        SecretScalar::<C>::new(hash.part(&[share.index().get(), place]).scalar::<C>())
    };
    let coefficients: Vec<_> = (1..change.threshold().t()).map(|k| hedge("deal coefficient", k)).collect();
    let values: Vec<_> =
        change.recipients().map(|j| evaluate(share.secret(), &coefficients, j).expose_bytes()).collect();
    Deal::of(change, share.index(), &coefficients, &values, &hedge("deal r", 0), &hedge("deal nonce", 0))
        .ok_or(DealingError::Degenerate)
}

/// The value at j of the polynomial with this constant term and these coefficients above it.
pub(super) fn evaluate<C: Suite>(
    constant: &SecretScalar<C>,
    above: &[SecretScalar<C>],
    j: MemberIndex,
) -> SecretScalar<C> {
    let x = suite::small::<C>(j.get());
    let sum = above.iter().rev().fold(suite::zero::<C>(), |acc, coefficient| (acc + *coefficient.expose()) * x);
    SecretScalar::new(sum + *constant.expose())
}

impl<C: Suite> Deal<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize =
        512 + 255 * MAX_POINT_LEN + 2 * MAX_SCALAR_LEN + 255 * (1 + COMMITMENT_LEN + MAX_SCALAR_LEN + TAG_LEN);

    /// A deal of exactly these coefficients and these encoded values, in the order of the recipients; `None` when a
    /// point is the identity. Nothing here says that the values are those of the polynomial.
    pub(crate) fn of(
        change: &Change<C>,
        dealer: MemberIndex,
        coefficients: &[SecretScalar<C>],
        values: &[Zeroizing<Vec<u8>>],
        secret: &SecretScalar<C>,
        nonce: &SecretScalar<C>,
    ) -> Option<Self> {
        let commitments: Vec<_> = coefficients.iter().map(|above| C::generator_times(above.expose())).collect();
        let mut commitment_bytes = Vec::with_capacity(commitments.len() * C::POINT_LEN);
        for commitment in &commitments {
            commitment_bytes.extend_from_slice(&suite::point_bytes::<C>(commitment)?);
        }
        let r = C::generator_times(secret.expose());
        let r_bytes = suite::point_bytes::<C>(&r)?;
        let mut boxes = Vec::with_capacity(values.len() * box_len::<C>());
        for (key, value) in change.keys().zip(values) {
            let shared = SecretPoint::<C>::new(key.point() * *secret.expose());
            let info = info(change.session(), dealer, &r_bytes, key);
            let keys = KeySchedule::derive(KDF_SALT, &shared.expose_bytes()?, &info);
            boxes.extend_from_slice(&keys.commitment());
            boxes.extend_from_slice(&keys.encrypt(&info, value));
        }
        let recipients = change.recipients().collect();
        let proof = Proof { challenge: suite::zero::<C>(), response: suite::zero::<C>() };
        let deal = Deal {
            session: *change.session(),
            dealer,
            commitments,
            commitment_bytes,
            r,
            r_bytes,
            proof,
            recipients,
            boxes,
        };
        deal.proved(secret, nonce)
    }

    /// The same with a proof that holds, if `secret` is the logarithm of R.
    pub(crate) fn proved(mut self, secret: &SecretScalar<C>, nonce: &SecretScalar<C>) -> Option<Self> {
        self.proof = Proof::new(&[], secret, nonce, |nonces| self.challenge(nonces))?;
        Some(self)
    }

    /// Whose deal it claims to be; compare with the signer.
    pub fn dealer(&self) -> MemberIndex {
        self.dealer
    }

    /// The digest of the change that it was made for; see [`Change::session`].
    pub fn session(&self) -> &[u8; 32] {
        &self.session
    }

    /// Checks everything that everybody can check.
    ///
    /// # Errors
    /// When the deal is of another change or its maker did not follow the protocol.
    pub fn verify(self, change: &Change<C>) -> Result<VerifiedDeal<C>, DealError> {
        let dealer = self.dealer;
        if self.session != *change.session() {
            return Err(DealError::OtherSession { dealer });
        }
        let Some(verifying) = change.old().share(dealer) else { return Err(DealError::NoSuchDealer { dealer }) };
        let (got, want) = (self.commitments.len(), usize::from(change.threshold().t()) - 1);
        if got != want {
            return Err(DealError::WrongDegree { dealer, got, want });
        }
        if !change.recipients().eq(self.recipients.iter().copied()) {
            return Err(DealError::WrongRecipients { dealer });
        }
        if !self.proof.holds(self.r, &[], |nonces| self.challenge(nonces)) {
            return Err(DealError::ProofRefused { dealer });
        }
        let hash = self.hash();
        Ok(VerifiedDeal { deal: self, verifying, hash })
    }

    /// Canonical bytes, to be signed and sent to everybody.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&RawDeal {
            suite: C::SUITE_ID,
            kind: Kind::Deal as u8,
            dealer: self.dealer.get(),
            session: self.session.to_vec(),
            commitments: self.commitment_bytes.clone(),
            r: self.r_bytes.clone(),
            challenge: suite::scalar_bytes::<C>(&self.proof.challenge),
            response: suite::scalar_bytes::<C>(&self.proof.response),
            recipients: self.recipient_bytes(),
            boxes: self.boxes.clone(),
        })
    }

    /// Parses; nothing is verified yet.
    ///
    /// # Errors
    /// For anything but canonical bytes within the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawDeal = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        codec::check_kind(raw.kind, Kind::Deal)?;
        let recipients = codec::ascending("recipients", &raw.recipients)?;
        if raw.boxes.len() != recipients.len() * box_len::<C>() {
            return Err(DecodeError::Length { field: "boxes", got: raw.boxes.len() });
        }
        Ok(Deal {
            session: codec::array32("session", &raw.session)?,
            dealer: codec::index("dealer", raw.dealer)?,
            commitments: codec::points::<C>("commitments", &raw.commitments)?,
            commitment_bytes: raw.commitments,
            r: codec::point::<C>("R", &raw.r)?,
            r_bytes: raw.r,
            proof: codec::proof::<C>(&raw.challenge, &raw.response)?,
            recipients,
            boxes: raw.boxes,
        })
    }

    /// A digest of the canonical bytes: what agreement is about, and what complaints and transcripts name.
    pub fn hash(&self) -> [u8; 32] {
        Framed::<Sha256>::new::<C>("deal").part(&self.to_bytes()).digest()
    }

    fn recipient_bytes(&self) -> Vec<u8> {
        self.recipients.iter().map(|index| index.get()).collect()
    }

    pub(crate) fn challenge(&self, nonces: &[Vec<u8>]) -> Scalar<C> {
        let hash = Framed::<Sha512>::new::<C>("deal proof")
            .part(&self.session)
            .part(&[self.dealer.get()])
            .part(&self.commitment_bytes)
            .part(&self.r_bytes)
            .part(&self.recipient_bytes())
            .part(&self.boxes);
        nonces.iter().fold(hash, |hash, nonce| hash.part(nonce)).scalar::<C>()
    }
}

impl<C: Suite> fmt::Debug for Deal<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deal(member {} to {} recipients)", self.dealer, self.recipients.len())
    }
}

/// What a sub-share's key is for: everything but the secret point.
fn info<C: Suite>(session: &[u8; 32], dealer: MemberIndex, r_bytes: &[u8], key: &EpochKey<C>) -> [u8; 32] {
    Framed::<Sha256>::new::<C>("sub-share key")
        .part(session)
        .part(&[dealer.get(), key.member().get()])
        .part(r_bytes)
        .part(key.point_bytes())
        .digest()
}

/// A deal of which everything holds that can be checked without a recipient's secret.
#[derive(Clone)]
pub struct VerifiedDeal<C: Suite> {
    deal: Deal<C>,
    verifying: Element<C>,
    hash: [u8; 32],
}

impl<C: Suite> VerifiedDeal<C> {
    /// The deal itself.
    pub fn deal(&self) -> &Deal<C> {
        &self.deal
    }

    /// Whose deal it is.
    pub fn dealer(&self) -> MemberIndex {
        self.deal.dealer
    }

    /// [`Deal::hash`], computed once.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Opens the recipient's part and compares it with the commitments. Nothing of it is kept: [`take`](super::take)
    /// opens it again once it is agreed which deals count.
    ///
    /// # Errors
    /// [`CheckError::Wrong`] with the complaint to publish when the dealer is at fault.
    pub fn check(
        &self,
        change: &Change<C>,
        secret: &EpochSecret<C>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<(), CheckError<C>> {
        self.open(change, secret, rng).map(drop)
    }

    /// The recipient's value.
    pub(crate) fn open(
        &self,
        change: &Change<C>,
        secret: &EpochSecret<C>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Result<SecretScalar<C>, CheckError<C>> {
        if self.deal.session != *change.session() {
            return Err(CheckError::OtherSession);
        }
        let key = secret.public();
        if change.key(key.member()).is_none_or(|known| known.point() != key.point()) {
            return Err(CheckError::ForeignSecret);
        }
        match self.open_with(key, &SecretPoint::new(self.deal.r * *secret.secret().expose())) {
            Some(value) => Ok(value),
            None => {
                let complaint = Complaint::new(self, secret, rng).ok_or(CheckError::Degenerate)?;
                Err(CheckError::Wrong(Box::new(complaint)))
            }
        }
    }

    /// The value for the holder of `key`, given eⱼ·R; `None` when it does not decrypt, is no reduced scalar or is not
    /// what the commitments promise.
    pub(super) fn open_with(&self, key: &EpochKey<C>, shared: &SecretPoint<C>) -> Option<SecretScalar<C>> {
        let deal = &self.deal;
        let place = deal.recipients.iter().position(|index| *index == key.member())?;
        let (commitment, ciphertext) =
            deal.boxes.chunks_exact(box_len::<C>()).nth(place)?.split_at_checked(COMMITMENT_LEN)?;
        let info = info(&deal.session, deal.dealer, &deal.r_bytes, key);
        let keys = KeySchedule::derive(KDF_SALT, &shared.expose_bytes()?, &info);
        if !keys.is_committed_to_by(commitment) {
            return None;
        }
        let value = SecretScalar::parse(&keys.decrypt(&info, ciphertext)?)?;
        (C::generator_times(value.expose()) == self.promised(key.member())).then_some(value)
    }

    /// fᵢ(j)·G, from the commitments.
    fn promised(&self, j: MemberIndex) -> Element<C> {
        horner::<C>(self.verifying, &self.deal.commitments, j)
    }

    pub(super) fn verifying(&self) -> Element<C> {
        self.verifying
    }

    pub(super) fn commitments(&self) -> &[Element<C>] {
        &self.deal.commitments
    }

    pub(super) fn r(&self) -> Element<C> {
        self.deal.r
    }
}

impl<C: Suite> fmt::Debug for VerifiedDeal<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifiedDeal").field(&self.deal).finish()
    }
}

/// The value at j of the polynomial in the exponent with this constant term and these coefficients above it.
pub(super) fn horner<C: Suite>(constant: Element<C>, above: &[Element<C>], j: MemberIndex) -> Element<C> {
    let sum = above
        .iter()
        .rev()
        .fold(suite::identity::<C>(), |acc, coefficient| suite::small_multiple::<C>(acc + *coefficient, j.get()));
    sum + constant
}
