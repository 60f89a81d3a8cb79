//! Complaints that anybody can judge.
//!
//! A recipient j that cannot use its part of a deal reveals K = eⱼ·R with a proof that log_G Eⱼ = log_R K. K fixes the
//! key and with it what the ciphertext holds, so everybody sees what the recipient saw: either the sub-share is not what
//! the dealer committed to, or the complaint is false.
//!
//! Guarantees: exactly one party is at fault, and never an honest one. The proof is bound to the session, the deal and
//! the complainer, so it cannot be used against another deal or in another's name. A complaint reveals fᵢ(j) of this one
//! deal and nothing else of eⱼ; where it is justified the deal does not count.
//!
//! Left to others: the complainer's signature. Only what the member at the complainer's place has signed may be judged:
//! a forged complaint in its name fails here and would blame it.

use std::fmt;

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::Sha512;

use super::change::Change;
use super::deal::VerifiedDeal;
use super::key::{EpochKey, EpochSecret};
use crate::codec::{self, DecodeError, Kind};
use crate::hash::Framed;
use crate::mutant::{self, Mistake};
use crate::proof::Proof;
use crate::rng;
use crate::secret::{SecretPoint, SecretScalar};
use crate::suite::{self, Element, MAX_POINT_LEN, MAX_SCALAR_LEN, Scalar, Suite};
use crate::threshold::MemberIndex;

/// Who did not follow the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This member of the old sharing: its deal is void.
    Dealer(MemberIndex),
    /// This recipient: its complaint is false and the deal stands.
    Complainer(MemberIndex),
}

/// A complaint that is not about the change and the deal it was judged against.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the complaint of member {complainer} is about another deal")]
pub struct ForeignComplaint {
    /// Whose complaint it claims to be.
    pub complainer: MemberIndex,
}

/// A recipient's statement that a deal does not give it what was promised, with what everybody needs to see that.
#[derive(Clone, PartialEq, Eq)]
pub struct Complaint<C: Suite> {
    session: [u8; 32],
    deal: [u8; 32],
    dealer: MemberIndex,
    complainer: MemberIndex,
    shared: Element<C>,
    shared_bytes: Vec<u8>,
    proof: Proof<C>,
}

#[cfg(feature = "testing")]
impl<C: Suite> Complaint<C> {
    /// Of this deal, revealing some other point than the one that `complainer` shares with the dealer, which nothing proves.
    pub(super) fn invented(deal: &VerifiedDeal<C>, complainer: MemberIndex, shared: Element<C>) -> Option<Self> {
        Some(Complaint {
            session: *deal.deal().session(),
            deal: deal.hash(),
            dealer: deal.dealer(),
            complainer,
            shared,
            shared_bytes: suite::point_bytes::<C>(&shared)?,
            proof: Proof { challenge: suite::zero::<C>(), response: suite::zero::<C>() },
        })
    }
}

#[derive(Encode, Decode)]
struct RawComplaint {
    #[n(0)]
    suite: u16,
    #[n(1)]
    kind: u8,
    #[n(2)]
    dealer: u8,
    #[n(3)]
    complainer: u8,
    #[cbor(n(4), with = "minicbor::bytes")]
    session: Vec<u8>,
    #[cbor(n(5), with = "minicbor::bytes")]
    deal: Vec<u8>,
    #[cbor(n(6), with = "minicbor::bytes")]
    shared: Vec<u8>,
    #[cbor(n(7), with = "minicbor::bytes")]
    challenge: Vec<u8>,
    #[cbor(n(8), with = "minicbor::bytes")]
    response: Vec<u8>,
}

impl<C: Suite> Complaint<C> {
    /// Longest encoding, in bytes.
    pub const MAX_BYTES: usize = 128 + MAX_POINT_LEN + 2 * MAX_SCALAR_LEN;

    /// Reveals eⱼ·R; `None` when a point is the identity.
    pub(crate) fn new(
        deal: &VerifiedDeal<C>,
        secret: &EpochSecret<C>,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Option<Self> {
        let key = secret.public();
        let shared = deal.r() * *secret.secret().expose();
        let mut complaint = Complaint {
            session: *deal.deal().session(),
            deal: deal.hash(),
            dealer: deal.dealer(),
            complainer: key.member(),
            shared,
            shared_bytes: suite::point_bytes::<C>(&shared)?,
            proof: Proof { challenge: suite::zero::<C>(), response: suite::zero::<C>() },
        };
        let seed = rng::seed(rng);
        let nonce = SecretScalar::new(
            complaint.hash("complaint nonce", key).part(&secret.secret().expose_bytes()).part(&*seed).scalar::<C>(),
        );
        complaint.proof = Proof::new(&[deal.r()], secret.secret(), &nonce, |nonces| complaint.challenge(key, nonces))?;
        Some(complaint)
    }

    /// Whom it accuses.
    pub fn dealer(&self) -> MemberIndex {
        self.dealer
    }

    /// Whose complaint it claims to be; compare with the signer.
    pub fn complainer(&self) -> MemberIndex {
        self.complainer
    }

    /// The [`Deal::hash`](super::Deal::hash) of the deal it is about.
    pub fn deal_hash(&self) -> &[u8; 32] {
        &self.deal
    }

    /// Says who is at fault.
    ///
    /// # Errors
    /// When the complaint is about another deal or change, so that this one says nothing about anybody.
    pub fn judge(&self, change: &Change<C>, deal: &VerifiedDeal<C>) -> Result<Fault, ForeignComplaint> {
        let complainer = self.complainer;
        let about = (change.session(), deal.deal().session(), deal.hash(), deal.dealer());
        if about != (&self.session, &self.session, self.deal, self.dealer) {
            return Err(ForeignComplaint { complainer });
        }
        // Who receives nothing has nothing to complain about.
        let Some(key) = change.key(complainer) else { return Ok(Fault::Complainer(complainer)) };
        let proved = self.proof.holds(key.point(), &[(deal.r(), self.shared)], |nonces| self.challenge(key, nonces));
        if !proved && !mutant::is(Mistake::ComplaintBelieved) {
            return Ok(Fault::Complainer(complainer));
        }
        Ok(match deal.open_with(key, &SecretPoint::new(self.shared)) {
            Some(_) => Fault::Complainer(complainer),
            None => Fault::Dealer(self.dealer),
        })
    }

    /// Canonical bytes, to be signed and sent to everybody.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&RawComplaint {
            suite: C::SUITE_ID,
            kind: Kind::Complaint as u8,
            dealer: self.dealer.get(),
            complainer: self.complainer.get(),
            session: self.session.to_vec(),
            deal: self.deal.to_vec(),
            shared: self.shared_bytes.clone(),
            challenge: suite::scalar_bytes::<C>(&self.proof.challenge),
            response: suite::scalar_bytes::<C>(&self.proof.response),
        })
    }

    /// Parses; [`Complaint::judge`] checks.
    ///
    /// # Errors
    /// For anything but canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw: RawComplaint = codec::decode(bytes, Self::MAX_BYTES)?;
        codec::check_suite::<C>(raw.suite)?;
        codec::check_kind(raw.kind, Kind::Complaint)?;
        Ok(Complaint {
            session: codec::array32("session", &raw.session)?,
            deal: codec::array32("deal", &raw.deal)?,
            dealer: codec::index("dealer", raw.dealer)?,
            complainer: codec::index("complainer", raw.complainer)?,
            shared: codec::point::<C>("shared point", &raw.shared)?,
            shared_bytes: raw.shared,
            proof: codec::proof::<C>(&raw.challenge, &raw.response)?,
        })
    }

    fn hash(&self, purpose: &str, key: &EpochKey<C>) -> Framed<Sha512> {
        // The deal's hash covers R.
        Framed::new::<C>(purpose)
            .part(&self.session)
            .part(&self.deal)
            .part(&[self.dealer.get(), self.complainer.get()])
            .part(key.point_bytes())
            .part(&self.shared_bytes)
    }

    pub(crate) fn challenge(&self, key: &EpochKey<C>, nonces: &[Vec<u8>]) -> Scalar<C> {
        nonces.iter().fold(self.hash("complaint proof", key), |hash, nonce| hash.part(nonce)).scalar::<C>()
    }
}

impl<C: Suite> fmt::Debug for Complaint<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Complaint(member {} about dealer {})", self.complainer, self.dealer)
    }
}
