//! Partial openings: what one custodian contributes to opening one capsule for one purpose.
//!
//! Guarantees: a partial exists only for a [`VerifiedCapsule`], so a bare point from outside is never multiplied by a
//! share. It carries a proof (Chaum and Pedersen 1992, made non-interactive; the decryption share of TDH2) that the
//! value is sᵢ·R for the sᵢ behind the member's verifying share, and the proof covers the capsule, the committee, the
//! index and the caller's binding: a partial replayed for another request, recipient or expiry does not verify.
//!
//! Nonces are hashed from the share, fresh random bytes and the whole statement. A generator that repeats itself, as on
//! a cloned or restored machine (I9), therefore repeats a nonce only for the same statement and reveals no share.
//!
//! Left to others: whether the requester may open this capsule now (I5), what the binding says (request, nonce,
//! recipient's key, share epoch, custodian, purpose, expiry), sealing the value to the recipient (t values open the
//! capsule: each is secret), and comparing a partial's index with the member who signed the message it came in.

use std::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::Sha512;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::capsule::{CapsuleHead, MAX_COMMITTEES, VerifiedCapsule};
use crate::codec::{self, DecodeError};
use crate::hash::Framed;
use crate::proof::Proof;
use crate::secret::{SecretPoint, SecretScalar};
use crate::share::{KeyShare, RootPublic};
use crate::suite::{self, MAX_POINT_LEN, MAX_SCALAR_LEN, Scalar, Suite};
use crate::threshold::MemberIndex;

/// Why a partial cannot be made or is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartialError {
    /// The capsule does not require this share's root.
    #[error("the capsule is not sealed to this share's root")]
    ForeignRoot,
    /// The index is not one of the committee's.
    #[error("the committee has no member {index}")]
    NoSuchMember {
        /// The index claimed.
        index: MemberIndex,
    },
    /// The partial is for another position among the capsule's committees.
    #[error("the partial is for committee {got}, not {want}")]
    OtherCommittee {
        /// The position it names, from 0.
        got: usize,
        /// The position of the root it was checked against.
        want: usize,
    },
    /// Another share, capsule, member or binding, or a value made up.
    #[error("the proof of member {index} does not hold")]
    ProofRefused {
        /// The member whose partial it claims to be.
        index: MemberIndex,
    },
    /// A computed point is the identity; with a real share this does not happen.
    #[error("a computed point is the identity")]
    Degenerate,
}

/// sᵢ·R of one member, with its proof. Key material: t of them open the capsule.
pub struct Partial<C: Suite> {
    committee: u8,
    index: MemberIndex,
    value: SecretPoint<C>,
    proof: Proof<C>,
}

#[derive(Encode, Decode, Zeroize, ZeroizeOnDrop)]
struct RawPartial {
    #[n(0)]
    suite: u16,
    #[n(1)]
    committee: u8,
    #[n(2)]
    index: u8,
    #[cbor(n(3), with = "minicbor::bytes")]
    value: Vec<u8>,
    #[cbor(n(4), with = "minicbor::bytes")]
    challenge: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    response: Vec<u8>,
}

/// Contributes `share` to opening `capsule`, for exactly what `binding` says.
///
/// # Errors
/// [`PartialError::ForeignRoot`] when the capsule is not sealed to the share's root.
pub fn open_partial<C: Suite>(
    share: &KeyShare<C>,
    capsule: &VerifiedCapsule<C>,
    binding: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) -> Result<Partial<C>, PartialError> {
    let position = capsule.position(share.group_key()).ok_or(PartialError::ForeignRoot)?;
    let committee = u8::try_from(position).map_err(|_| PartialError::ForeignRoot)?;
    let head = capsule.head();
    let value = SecretPoint::new(head.r() * *share.secret().expose());
    let value_bytes = value.expose_bytes().ok_or(PartialError::Degenerate)?;
    let statement = Statement {
        head,
        group_keys: capsule.group_keys(),
        committee,
        index: share.index(),
        verifying: share.verifying_bytes(),
        value: &value_bytes,
        binding,
    };
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *seed);
    let nonce = SecretScalar::<C>::new(
        statement.hash("partial nonce").part(&share.secret().expose_bytes()).part(&*seed).scalar::<C>(),
    );
    let proof = Proof::new(&[head.r()], share.secret(), &nonce, |nonces| statement.challenge(nonces));
    Ok(Partial { committee, index: share.index(), value, proof: proof.ok_or(PartialError::Degenerate)? })
}

impl<C: Suite> Partial<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 32 + MAX_POINT_LEN + 2 * MAX_SCALAR_LEN;

    /// The position, from 0, of the committee among those that the capsule requires.
    pub fn committee(&self) -> usize {
        self.committee.into()
    }

    /// The member it claims to come from.
    pub fn index(&self) -> MemberIndex {
        self.index
    }

    pub(crate) fn value(&self) -> &SecretPoint<C> {
        &self.value
    }

    /// Checks the proof: the value is sᵢ·R of the member with this index in `public`, made for `capsule` and `binding`.
    ///
    /// # Errors
    /// When anything of that is not so.
    pub fn verify(
        &self,
        public: &RootPublic<C>,
        capsule: &VerifiedCapsule<C>,
        binding: &[u8],
    ) -> Result<(), PartialError> {
        self.verify_of(public, capsule.head(), capsule.group_keys(), binding)
    }

    /// The same by no more than the capsule's head and the group keys, in order, of the roots that it is sealed to. That the
    /// head is of a sound capsule is left to whoever signed it.
    ///
    /// # Errors
    /// As [`Partial::verify`].
    pub fn verify_of(
        &self,
        public: &RootPublic<C>,
        head: &CapsuleHead<C>,
        group_keys: &[Vec<u8>],
        binding: &[u8],
    ) -> Result<(), PartialError> {
        let want = group_keys.iter().position(|key| key == public.group_key()).ok_or(PartialError::ForeignRoot)?;
        if want != self.committee() {
            return Err(PartialError::OtherCommittee { got: self.committee(), want });
        }
        let index = self.index;
        let (Some(share), Some(verifying)) = (public.share(index), public.verifying_share(index)) else {
            return Err(PartialError::NoSuchMember { index });
        };
        let value = self.value.expose_bytes().ok_or(PartialError::Degenerate)?;
        let committee = self.committee;
        let statement = Statement { head, group_keys, committee, index, verifying, value: &value, binding };
        if self.proof.holds_for_secret(share, (head.r(), &self.value), |nonces| statement.challenge(nonces)) {
            Ok(())
        } else {
            Err(PartialError::ProofRefused { index })
        }
    }

    /// Canonical bytes; seal them to the recipient.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(codec::encode(&RawPartial {
            suite: C::SUITE_ID,
            committee: self.committee,
            index: self.index.get(),
            // Parsing and opening refuse the identity, the only point without bytes.
            value: self.value.expose_bytes().unwrap_or_default().to_vec(),
            challenge: suite::scalar_bytes::<C>(&self.proof.challenge),
            response: suite::scalar_bytes::<C>(&self.proof.response),
        }))
    }

    /// Parses; the proof is not checked yet.
    ///
    /// # Errors
    /// For anything but canonical bytes: among others the identity, a point outside the group, an unreduced scalar.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawPartial = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        if usize::from(raw.committee) >= MAX_COMMITTEES {
            return Err(DecodeError::Range { field: "committee" });
        }
        Ok(Partial {
            committee: raw.committee,
            index: MemberIndex::new(raw.index).ok_or(DecodeError::Range { field: "index" })?,
            value: SecretPoint::new(codec::point::<C>("value", &raw.value)?),
            proof: codec::proof::<C>(&raw.challenge, &raw.response)?,
        })
    }
}

impl<C: Suite> fmt::Debug for Partial<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Partial(committee {}, member {})", self.committee, self.index)
    }
}

/// What a partial's proof is about.
struct Statement<'a, C: Suite> {
    head: &'a CapsuleHead<C>,
    group_keys: &'a [Vec<u8>],
    committee: u8,
    index: MemberIndex,
    verifying: &'a [u8],
    value: &'a [u8],
    binding: &'a [u8],
}

impl<C: Suite> Statement<'_, C> {
    fn hash(&self, purpose: &str) -> Framed<Sha512> {
        Framed::new::<C>(purpose)
            .part(&self.head.hash())
            .part(&[self.committee, self.index.get()])
            .list(self.group_keys)
            .part(self.verifying)
            .part(self.head.r_bytes())
            .part(self.value)
            .part(self.binding)
    }

    fn challenge(&self, nonces: &[Vec<u8>]) -> Scalar<C> {
        nonces.iter().fold(self.hash("partial proof"), |hash, nonce| hash.part(nonce)).scalar::<C>()
    }
}
