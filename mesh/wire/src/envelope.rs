//! Signed envelopes: COSE_Sign1 (RFC 9052) with one signer and nothing unprotected.
//!
//! A payload can be read only through [`Verified`], and there is no way to a [`Verified`] but a signature that holds
//! under the key the payload itself names. Each kind of payload has a domain string which is signed along (as COSE's
//! external data), so that a signature made for one purpose is worth nothing for another.

use std::ops::Deref;

use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, iana};
use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};

use crate::codec::{self, CodecError};
use crate::ids::PrincipalId;
use crate::mutant;
use crate::sign::{self, Identity, SIGNATURE_BYTES};
use crate::statement::Statement;

/// What an envelope adds to its payload at most: headers, lengths and the signature.
pub const ENVELOPE_OVERHEAD: usize = 96;

/// A payload that somebody signs.
pub trait Signable: Encode<()> + for<'b> Decode<'b, ()> {
    /// Separates this kind of payload from every other.
    const DOMAIN: &'static str;
    /// The largest payload accepted, in bytes.
    const LIMIT: usize;

    /// Whose signature the payload must carry.
    fn signer(&self) -> PrincipalId;
}

/// Why bytes are not a signed payload of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not a COSE_Sign1 in its one canonical form.
    #[error("not a canonical COSE_Sign1 envelope: {0}")]
    Envelope(&'static str),
    /// The payload does not decode.
    #[error("payload: {0}")]
    Payload(#[from] CodecError),
    /// The signature is not the named signer's over this payload for this purpose.
    #[error("the signature of {signer} does not hold for {domain}")]
    Signature {
        /// Who should have signed.
        signer: PrincipalId,
        /// What for.
        domain: &'static str,
    },
}

/// A payload whose signature has been checked, with the exact bytes that carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    payload: T,
    digest: [u8; 32],
    bytes: Vec<u8>,
}

impl<T: Signable> Verified<T> {
    /// Signs `payload`. The identity must be the signer that the payload names.
    pub fn sign(payload: T, identity: &Identity) -> Self {
        assert_eq!(payload.signer(), identity.principal(), "a payload is signed by the principal it names");
        let encoded = codec::encode(&payload);
        let digest = digest::<T>(&encoded);
        let envelope = CoseSign1Builder::new()
            .protected(HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build())
            .payload(encoded)
            .create_signature(T::DOMAIN.as_bytes(), |message| identity.sign(message).to_vec())
            .build();
        Self { payload, digest, bytes: to_bytes(envelope) }
    }

    /// Opens an envelope: canonical, of this kind, and signed by whom its payload names.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let limit = T::LIMIT + ENVELOPE_OVERHEAD;
        if bytes.len() > limit {
            return Err(CodecError::TooLong { got: bytes.len(), limit }.into());
        }
        let envelope = CoseSign1::from_slice(bytes).map_err(|_| EnvelopeError::Envelope("malformed"))?;
        if !envelope.unprotected.is_empty() {
            return Err(EnvelopeError::Envelope("unprotected headers present"));
        }
        let expected = HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build();
        if envelope.protected.header != expected {
            return Err(EnvelopeError::Envelope("protected header is not exactly EdDSA"));
        }
        let Some(encoded) = envelope.payload.clone() else {
            return Err(EnvelopeError::Envelope("payload missing"));
        };
        let message = envelope.tbs_data(T::DOMAIN.as_bytes());
        let signature = envelope.signature.clone();
        // coset accepts longer heads than necessary; our own writing of the same envelope is the only one we take.
        let rebuilt = CoseSign1Builder::new().protected(expected).payload(encoded.clone()).signature(signature).build();
        if to_bytes(rebuilt) != bytes {
            return Err(EnvelopeError::Envelope("not in canonical form"));
        }
        let payload: T = codec::decode(&encoded, T::LIMIT)?;
        let signer = payload.signer();
        let forgery_taken = mutant::takes_forgeries() && T::DOMAIN == Statement::DOMAIN;
        if !sign::verify(&signer, &message, &envelope.signature) && !forgery_taken {
            return Err(EnvelopeError::Signature { signer, domain: T::DOMAIN });
        }
        Ok(Self { digest: digest::<T>(&encoded), payload, bytes: bytes.to_vec() })
    }

    /// The envelope of a payload that both sides know, of which only the signature travelled.
    ///
    /// # Errors
    /// [`EnvelopeError::Signature`] when it is not the named signer's.
    pub fn from_parts(payload: T, signature: &[u8; SIGNATURE_BYTES]) -> Result<Self, EnvelopeError> {
        let encoded = codec::encode(&payload);
        let digest = digest::<T>(&encoded);
        let envelope = CoseSign1Builder::new()
            .protected(HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build())
            .payload(encoded)
            .signature(signature.to_vec())
            .build();
        let signer = payload.signer();
        if !sign::verify(&signer, &envelope.tbs_data(T::DOMAIN.as_bytes()), signature) {
            return Err(EnvelopeError::Signature { signer, domain: T::DOMAIN });
        }
        Ok(Self { payload, digest, bytes: to_bytes(envelope) })
    }

    /// The signature alone, for [`Verified::from_parts`].
    pub fn signature(&self) -> [u8; SIGNATURE_BYTES] {
        // It is the last member of the envelope's array, and this is the one form in which it is written.
        match self.bytes.last_chunk() {
            Some(signature) => *signature,
            None => unreachable!("an envelope holds a signature"),
        }
    }

    /// SHA-256 over the domain and the exact payload bytes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The envelope as it travels and is stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The payload on its own.
    pub fn into_payload(self) -> T {
        self.payload
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.payload
    }
}

fn to_bytes(envelope: CoseSign1) -> Vec<u8> {
    match envelope.to_vec() {
        Ok(bytes) => bytes,
        Err(never) => unreachable!("an envelope we built can be written: {never}"),
    }
}

fn digest<T: Signable>(encoded: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((T::DOMAIN.len() as u64).to_be_bytes());
    hash.update(T::DOMAIN.as_bytes());
    hash.update(encoded);
    hash.finalize().into()
}
