//! What a custodian gives towards an opening, signed, and the accusation that follows when it does not hold (I5).
//!
//! A custodian signs what it contributes: the hash of the partial together with all that the partial is bound to and the
//! head of the capsule it is of, which is not the ciphertext: accusations stay for ever, ciphertexts must not (I10). The
//! signature travels inside the seal to the recipient's one-time key, so that whoever carries the answer can neither
//! remove it from a partial nor put another one in a custodian's name without the recipient's notice. A recipient that
//! finds the partial false holds a proof that convinces everybody who knows the sharing's public half, and reveals neither its one-time key nor any other partial.
//!
//! The signature covers the hash and not the partial, so that nothing that is kept or compared on the way holds a copy of
//! key material; only an accusation carries the partial itself.
//!
//! Left to others: whether the partial is false, which takes the sharing (`keymesh_mesh::custody::accusation`).

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};

use crate::envelope::{EnvelopeError, Signable, Verified};
use crate::ids::{BlobHash, PrincipalId};
use crate::label::PartialBinding;
use crate::limits;
use crate::sealing::{self, SealError, SealingPublic, SealingSecret};
use crate::secret::SecretBytes;
use crate::sign::{Identity, SIGNATURE_BYTES};

/// A custodian's word that it gave this partial for this purpose.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PartialClaim {
    /// What the partial is bound to; names the custodian.
    #[n(0)]
    pub binding: PartialBinding,
    /// SHA-256 of the partial's bytes.
    #[n(1)]
    pub partial: BlobHash,
    /// The head of the capsule that it is of, as the custody crate encodes it: at most
    /// [`limits::CAPSULE_HEAD_BYTES`] bytes.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub head: Vec<u8>,
}

impl Signable for PartialClaim {
    const DOMAIN: &'static str = "keymesh partial v1";
    const LIMIT: usize = 512;

    fn signer(&self) -> PrincipalId {
        self.binding.custodian
    }
}

impl PartialClaim {
    /// The claim to these bytes.
    pub fn new(binding: PartialBinding, head: &[u8], partial: &[u8]) -> Self {
        Self { binding, partial: sha256(partial), head: head.to_vec() }
    }
}

/// A partial as its recipient finds it in the seal: the bytes, and a signature that has not been looked at.
///
/// A partial that holds needs no signature, so this is checked only when it comes to an accusation.
#[derive(Debug)]
pub struct Contribution {
    plaintext: SecretBytes,
}

impl Contribution {
    /// Signs `partial`, of the capsule with this head, for `binding`, and seals it with the signature to the recipient.
    ///
    /// # Panics
    /// When the identity is not the custodian's that the binding names.
    pub fn seal(
        recipient: &SealingPublic,
        binding: &PartialBinding,
        head: &[u8],
        partial: &[u8],
        identity: &Identity,
        rng: &mut impl CryptoRng,
    ) -> Vec<u8> {
        let claim = Verified::sign(PartialClaim::new(binding.clone(), head, partial), identity);
        let plaintext = SecretBytes::from_vec([claim.signature().as_slice(), partial].concat());
        sealing::seal_to(recipient, &binding.bytes(), &[], plaintext.expose_secret(), rng)
    }

    /// Opens what was sealed for exactly this binding.
    ///
    /// # Errors
    /// [`SealError::Refused`] when it was not, or holds too few or too many bytes.
    pub fn open(secret: &SealingSecret, binding: &PartialBinding, sealed: &[u8]) -> Result<Self, SealError> {
        let plaintext = sealing::open_with(secret, &binding.bytes(), &[], sealed)?;
        let fits = SIGNATURE_BYTES..=SIGNATURE_BYTES + limits::PARTIAL_BYTES;
        if !fits.contains(&plaintext.expose_secret().len()) {
            return Err(SealError::Refused);
        }
        Ok(Self { plaintext })
    }

    /// The partial's bytes.
    pub fn partial(&self) -> &[u8] {
        &self.plaintext.expose_secret()[SIGNATURE_BYTES..]
    }

    /// The custodian's word for it, if it gave that of the capsule with this head, which is the recipient's own and not taken
    /// from anybody: only then can others be shown.
    pub fn claim(&self, binding: &PartialBinding, head: &[u8]) -> Option<Verified<PartialClaim>> {
        let signature = self.plaintext.expose_secret().first_chunk::<SIGNATURE_BYTES>()?;
        Verified::from_parts(PartialClaim::new(binding.clone(), head, self.partial()), signature).ok()
    }

    /// The accusation that this partial, which the recipient found false, is worth: nothing if the custodian did not sign.
    pub fn accuse(&self, binding: &PartialBinding, head: &[u8]) -> Option<CustodianAccusation> {
        let claim = self.claim(binding, head)?.bytes().to_vec();
        let accusation = CustodianAccusation { claim, partial: self.partial().to_vec() };
        accusation.claim().is_ok().then_some(accusation)
    }
}

/// A custodian gave a partial that does not hold, with everything that is needed to see it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CustodianAccusation {
    /// The envelope of the custodian's [`PartialClaim`].
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub claim: Vec<u8>,
    /// The partial.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub partial: Vec<u8>,
}

/// Why something is no accusation, whatever the sharing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccusationError {
    /// The custodian did not sign this.
    #[error("the custodian's signature: {0}")]
    Claim(#[from] EnvelopeError),
    /// The custodian signed another partial.
    #[error("the partial is not the one that the custodian signed")]
    OtherPartial,
    /// More bytes than an accusation may have.
    #[error("the {what} is longer than {limit} bytes")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// How long it may be.
        limit: usize,
    },
}

impl CustodianAccusation {
    /// The custodian's word, which it gave for exactly this partial.
    ///
    /// # Errors
    /// [`AccusationError`].
    pub fn claim(&self) -> Result<Verified<PartialClaim>, AccusationError> {
        let fits = |what, bytes: &[u8], limit| match bytes.len() > limit {
            true => Err(AccusationError::TooLong { what, limit }),
            false => Ok(()),
        };
        fits("partial", &self.partial, limits::PARTIAL_BYTES)?;
        let claim = Verified::<PartialClaim>::from_bytes(&self.claim)?;
        fits("head of the capsule", &claim.head, limits::CAPSULE_HEAD_BYTES)?;
        if claim.partial != sha256(&self.partial) {
            return Err(AccusationError::OtherPartial);
        }
        Ok(claim)
    }
}

fn sha256(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(Sha256::digest(bytes).into())
}
