//! Capsules: ciphertexts to one or several roots, bound to what they are for.
//!
//! TDH2 of Shoup and Gennaro ("Securing threshold cryptosystems against chosen ciphertext attack", 2002), with one
//! point R = r·G for all required committees. The key is derived from every r·Yᵢ, in order, so without any one
//! committee nothing opens; public keys are never summed, so no committee can cancel another's.
//!
//! Guarantees:
//! - The proof shows that whoever made the capsule knew r (R and R̄ = r·H have the same logarithm) and covers label,
//!   all Yᵢ, R, R̄ and the payload ciphertext. A capsule grafted from parts of another does not verify, so a custodian
//!   that acts on a [`VerifiedCapsule`] only is no oracle for chosen points.
//! - A capsule opens to one payload at most. AES-GCM alone commits to no key: a sealer who is in league with a
//!   custodian could make one ciphertext that opens under a right and a wrong combination. So the key schedule yields a
//!   commitment beside the key, it lies in the capsule, and it is compared before anything is decrypted.
//! - The randomness is hedged: r and the proof's nonce are hashed from random bytes and from everything sealed, so a
//!   generator that repeats itself (a cloned machine) gives equal capsules for equal input and nothing worse.
//!
//! Left to others: authenticating the public keys, and what the label says (DESIGN section 3 lists it). The label does
//! not lie in the capsule: who opens knows what for.

use std::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::codec::{self, DecodeError};
use crate::hash::Framed;
use crate::proof::Proof;
use crate::schedule::{KeySchedule, TAG_LEN};
use crate::secret::{SecretPoint, SecretScalar};
use crate::share::RootPublic;
use crate::suite::{self, Element, MAX_POINT_LEN, MAX_SCALAR_LEN, Scalar, Suite};

/// Longest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Longest label, in bytes.
pub const MAX_LABEL: usize = 4 * 1024;
/// Most committees that one capsule can require.
pub const MAX_COMMITTEES: usize = 16;

const KDF_SALT: &[u8] = b"keymesh-custody-v1 TDH2 key schedule";

/// Why something cannot be sealed, or a capsule not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapsuleError {
    /// A payload above [`MAX_PAYLOAD`].
    #[error("payload of {len} bytes where at most {MAX_PAYLOAD} are allowed")]
    PayloadTooLong {
        /// Length asked for, in bytes.
        len: usize,
    },
    /// A label above [`MAX_LABEL`].
    #[error("label of {len} bytes where at most {MAX_LABEL} are allowed")]
    LabelTooLong {
        /// Length asked for, in bytes.
        len: usize,
    },
    /// No committee, or more than [`MAX_COMMITTEES`].
    #[error("{count} committees where 1 to {MAX_COMMITTEES} are allowed")]
    CommitteeCount {
        /// How many were given.
        count: usize,
    },
    /// The same root twice: it would count as two required committees.
    #[error("committees {first} and {second} have the same root")]
    DuplicateRoot {
        /// The first position, from 0.
        first: usize,
        /// The second position.
        second: usize,
    },
    /// Label, roots, points or payload are not those the capsule was made for.
    #[error("the capsule's proof does not hold for this label and these roots")]
    ProofRefused,
    /// An intermediate value came out as the identity; with honest input this does not happen.
    #[error("a computed point is the identity")]
    Degenerate,
}

/// A ciphertext to one or several roots. Nothing can be done with it before [`Capsule::verify`].
#[derive(Clone, PartialEq, Eq)]
pub struct Capsule<C: Suite> {
    r: Element<C>,
    r_bar: Element<C>,
    proof: Proof<C>,
    commitment: [u8; 32],
    ciphertext: Vec<u8>,
}

#[derive(Encode, Decode)]
struct RawCapsule {
    #[n(0)]
    suite: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    r: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    r_bar: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    challenge: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    response: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    commitment: Vec<u8>,
    #[cbor(n(6), with = "minicbor::bytes")]
    ciphertext: Vec<u8>,
}

/// Seals `payload` (at most [`MAX_PAYLOAD`] bytes) so that it opens only under `label` and with t members of every
/// committee in `publics`, whose order counts. The caller has authenticated `publics`.
///
/// # Errors
/// When a size or the list of committees is out of bounds.
pub fn seal<C: Suite>(
    label: &[u8],
    publics: &[RootPublic<C>],
    payload: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Capsule<C>, CapsuleError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(CapsuleError::PayloadTooLong { len: payload.len() });
    }
    let context = Context::new(label, publics)?;
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *seed);
    let hedge = |name| {
        SecretScalar::<C>::new(
            Framed::<Sha512>::new::<C>(name).part(&*seed).part(&context.digest).part(payload).scalar::<C>(),
        )
    };
    let (secret, nonce) = (hedge("capsule r"), hedge("capsule nonce"));
    let shared: Vec<SecretPoint<C>> =
        publics.iter().map(|public| SecretPoint::new(public.group() * *secret.expose())).collect();
    let r = C::generator_times(secret.expose());
    let r_bytes = suite::point_bytes::<C>(&r).ok_or(CapsuleError::Degenerate)?;
    let keys = context.keys_for(&r_bytes, &shared)?;
    let ciphertext = keys.encrypt(&context.digest, payload);
    Capsule::prove(&context, &secret, &nonce, keys.commitment(), ciphertext)
}

impl<C: Suite> Capsule<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 128 + 2 * (MAX_POINT_LEN + MAX_SCALAR_LEN) + MAX_PAYLOAD + TAG_LEN;

    /// Checks the proof against the label and the ordered roots that the caller expects, which the caller takes from
    /// its own replica and never from whoever sent the capsule.
    ///
    /// # Errors
    /// [`CapsuleError::ProofRefused`] when anything was exchanged; the other variants for bad arguments.
    pub fn verify(self, label: &[u8], publics: &[RootPublic<C>]) -> Result<VerifiedCapsule<C>, CapsuleError> {
        let context = Context::new(label, publics)?;
        // Neither was the identity when it was parsed or sealed.
        let points = self.points().ok_or(CapsuleError::Degenerate)?;
        let challenge = |nonces: &[_]| context.challenge::<C>(&points, nonces, &self.commitment, &self.ciphertext);
        if !self.proof.holds(self.r, &[(C::second_generator(), self.r_bar)], challenge) {
            return Err(CapsuleError::ProofRefused);
        }
        let [r_bytes, _] = points;
        let head = CapsuleHead { hash: self.hash(), r: self.r, r_bytes };
        Ok(VerifiedCapsule { capsule: self, context, head })
    }

    /// Canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Parsing and sealing refuse the identity, the only point without bytes.
        let point = |point| suite::point_bytes::<C>(point).unwrap_or_default();
        codec::encode(&RawCapsule {
            suite: C::SUITE_ID,
            r: point(&self.r),
            r_bar: point(&self.r_bar),
            challenge: suite::scalar_bytes::<C>(&self.proof.challenge),
            response: suite::scalar_bytes::<C>(&self.proof.response),
            commitment: self.commitment.to_vec(),
            ciphertext: self.ciphertext.clone(),
        })
    }

    /// Parses; says nothing yet about what the capsule is for.
    ///
    /// # Errors
    /// For anything but canonical bytes within the limits.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawCapsule = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        if !(TAG_LEN..=MAX_PAYLOAD + TAG_LEN).contains(&raw.ciphertext.len()) {
            return Err(DecodeError::Length { field: "ciphertext", got: raw.ciphertext.len() });
        }
        Ok(Capsule {
            r: codec::point::<C>("R", &raw.r)?,
            r_bar: codec::point::<C>("R-bar", &raw.r_bar)?,
            proof: codec::proof::<C>(&raw.challenge, &raw.response)?,
            commitment: codec::array32("commitment", &raw.commitment)?,
            ciphertext: raw.ciphertext,
        })
    }

    /// A digest of the canonical bytes; partials are bound to it.
    pub fn hash(&self) -> [u8; 32] {
        Framed::<Sha256>::new::<C>("capsule").part(&self.to_bytes()).digest()
    }

    /// Makes the capsule of `secret` around what was sealed under its key.
    fn prove(
        context: &Context,
        secret: &SecretScalar<C>,
        nonce: &SecretScalar<C>,
        commitment: [u8; 32],
        ciphertext: Vec<u8>,
    ) -> Result<Self, CapsuleError> {
        let base = C::second_generator();
        let (r, r_bar) = (C::generator_times(secret.expose()), base * *secret.expose());
        let bytes = |point| suite::point_bytes::<C>(point).ok_or(CapsuleError::Degenerate);
        let points = [bytes(&r)?, bytes(&r_bar)?];
        let challenge = |nonces: &[_]| context.challenge::<C>(&points, nonces, &commitment, &ciphertext);
        let proof = Proof::new(&[base], secret, nonce, challenge).ok_or(CapsuleError::Degenerate)?;
        Ok(Capsule { r, r_bar, proof, commitment, ciphertext })
    }

    fn points(&self) -> Option<[Vec<u8>; 2]> {
        Some([suite::point_bytes::<C>(&self.r)?, suite::point_bytes::<C>(&self.r_bar)?])
    }

    /// A capsule whose proof holds and whose commitment and ciphertext are whatever a dishonest sealer likes.
    #[cfg(test)]
    pub(crate) fn danger_seal_wrongly(
        label: &[u8],
        publics: &[RootPublic<C>],
        r: Scalar<C>,
        commitment: [u8; 32],
        ciphertext: Vec<u8>,
    ) -> Result<Self, CapsuleError> {
        let nonce = SecretScalar::new(r + suite::one::<C>());
        Self::prove(&Context::new(label, publics)?, &SecretScalar::new(r), &nonce, commitment, ciphertext)
    }
}

impl<C: Suite> fmt::Debug for Capsule<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capsule({} bytes sealed)", self.ciphertext.len().saturating_sub(TAG_LEN))
    }
}

/// A capsule whose proof held for one label and one ordered list of roots.
#[derive(Clone)]
pub struct VerifiedCapsule<C: Suite> {
    capsule: Capsule<C>,
    context: Context,
    head: CapsuleHead<C>,
}

/// What a partial is of: a capsule by its hash, and its point R.
///
/// Enough to see whether a partial holds, and of no use for opening anything: the ciphertext is not in it, so it may stay
/// where the capsule has been erased. Whether R is of a sound capsule it does not say.
#[derive(Clone, PartialEq, Eq)]
pub struct CapsuleHead<C: Suite> {
    hash: [u8; 32],
    r: Element<C>,
    r_bytes: Vec<u8>,
}

#[derive(Encode, Decode)]
struct RawHead {
    #[n(0)]
    suite: u16,
    #[cbor(n(1), with = "minicbor::bytes")]
    hash: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    r: Vec<u8>,
}

impl<C: Suite> CapsuleHead<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 16 + 32 + MAX_POINT_LEN;

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    pub(crate) fn r(&self) -> Element<C> {
        self.r
    }

    pub(crate) fn r_bytes(&self) -> &[u8] {
        &self.r_bytes
    }

    /// Canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&RawHead { suite: C::SUITE_ID, hash: self.hash.to_vec(), r: self.r_bytes.clone() })
    }

    /// Parses.
    ///
    /// # Errors
    /// For anything but canonical bytes: among others the identity and a point outside the group.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawHead = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        let (hash, r) = (codec::array32("hash", &raw.hash)?, codec::point::<C>("R", &raw.r)?);
        Ok(Self { hash, r, r_bytes: raw.r })
    }
}

impl<C: Suite> fmt::Debug for CapsuleHead<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapsuleHead")
    }
}

impl<C: Suite> VerifiedCapsule<C> {
    /// The capsule itself.
    pub fn capsule(&self) -> &Capsule<C> {
        &self.capsule
    }

    /// [`Capsule::hash`], computed once.
    pub fn hash(&self) -> [u8; 32] {
        self.head.hash
    }

    /// What partials of it are of.
    pub fn head(&self) -> &CapsuleHead<C> {
        &self.head
    }

    /// The position, from 0, of the root with this group key among the required ones.
    pub fn position(&self, group_key: &[u8]) -> Option<usize> {
        self.context.keys.iter().position(|key| key == group_key)
    }

    /// The group keys of the required roots, in order.
    pub fn group_keys(&self) -> &[Vec<u8>] {
        &self.context.keys
    }

    /// Opens with one combined r·Yᵢ per committee.
    pub(crate) fn open(&self, shared: &[SecretPoint<C>]) -> Result<Zeroizing<Vec<u8>>, OpenFailure> {
        let keys = self.context.keys_for(&self.head.r_bytes, shared).map_err(|_| OpenFailure::WrongKey)?;
        if !keys.is_committed_to_by(&self.capsule.commitment) {
            return Err(OpenFailure::WrongKey);
        }
        keys.decrypt(&self.context.digest, &self.capsule.ciphertext).ok_or(OpenFailure::BadCiphertext)
    }
}

impl<C: Suite> fmt::Debug for VerifiedCapsule<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifiedCapsule").field(&self.capsule).finish()
    }
}

/// Why combined points do not open a capsule.
pub(crate) enum OpenFailure {
    /// They are not r·Yᵢ, or the sealer lied about the commitment.
    WrongKey,
    /// They are, and the ciphertext is not what the key makes: the sealer lied.
    BadCiphertext,
}

/// What a capsule is for: the label and the ordered group keys, and one digest over both.
#[derive(Clone)]
struct Context {
    keys: Vec<Vec<u8>>,
    digest: [u8; 32],
}

impl Context {
    fn new<C: Suite>(label: &[u8], publics: &[RootPublic<C>]) -> Result<Self, CapsuleError> {
        if label.len() > MAX_LABEL {
            return Err(CapsuleError::LabelTooLong { len: label.len() });
        }
        if publics.is_empty() || publics.len() > MAX_COMMITTEES {
            return Err(CapsuleError::CommitteeCount { count: publics.len() });
        }
        let keys: Vec<Vec<u8>> = publics.iter().map(|public| public.group_key().to_vec()).collect();
        for (second, key) in keys.iter().enumerate() {
            if let Some(first) = keys[..second].iter().position(|earlier| earlier == key) {
                return Err(CapsuleError::DuplicateRoot { first, second });
            }
        }
        let digest = Framed::<Sha256>::new::<C>("capsule context").part(label).list(&keys).digest();
        Ok(Context { keys, digest })
    }

    fn challenge<C: Suite>(
        &self,
        points: &[Vec<u8>; 2],
        nonces: &[Vec<u8>],
        commitment: &[u8; 32],
        ciphertext: &[u8],
    ) -> Scalar<C> {
        let hash = Framed::<Sha512>::new::<C>("capsule proof").part(&self.digest);
        let hash = points.iter().chain(nonces).fold(hash, |hash, point| hash.part(point));
        hash.part(commitment).part(ciphertext).scalar::<C>()
    }

    /// The secret input is every r·Yᵢ in order (fixed lengths, so concatenation is unambiguous), the info is the
    /// digest and R.
    fn keys_for<C: Suite>(&self, r_bytes: &[u8], shared: &[SecretPoint<C>]) -> Result<KeySchedule, CapsuleError> {
        let mut input = Zeroizing::new(Vec::with_capacity(shared.len() * C::POINT_LEN));
        for point in shared {
            input.extend_from_slice(&point.expose_bytes().ok_or(CapsuleError::Degenerate)?);
        }
        let info = Framed::<Sha256>::new::<C>("capsule key").part(&self.digest).part(r_bytes).digest();
        Ok(KeySchedule::derive(KDF_SALT, &input, &info))
    }
}
