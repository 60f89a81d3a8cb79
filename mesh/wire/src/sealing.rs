//! Sealing: to a public key, along a session, and at rest.
//!
//! Guarantees: what was sealed opens only with the right key under the same `info` and `aad`, byte for byte; every
//! refusal looks the same, so opening is no oracle; all randomness is the caller's. Implements RFC 9180 (HPKE, base
//! mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) by way of the `hpke` crate, with the curve arithmetic of
//! aws-lc in `kem`, and AES-256-GCM with a random 96-bit nonce (NIST SP 800-38D, 8.2.2) for what lies on disk. Serves I1 and I10: shares and keys cross a
//! boundary only sealed.
//!
//! Leaves to others: who sealed (base mode authenticates nobody; signatures are in [`crate::sign`]), what goes into
//! `info` and `aad`, and the encoding of what is sealed.

use std::fmt;
use std::str::FromStr;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use data_encoding::HEXLOWER;
use hpke::aead::{AeadCtxR, AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use rand_core::CryptoRng;

use crate::secret::{Secret32, SecretBytes};

mod kem;

use kem::{Dhkem, Private};

/// Bytes of an encapsulated key.
pub const ENCAPSULATED: usize = 32;

/// Bytes of an authentication tag.
pub const TAG: usize = 16;

/// Longest `info`, in bytes; RFC 9180 leaves it to the key derivation, which takes a 16-bit length.
pub const MOST_INFO: usize = 65_000;

/// First byte of what [`seal_at_rest`] returns: AES-256-GCM, 96-bit nonce in front.
const AT_REST: u8 = 1;
const NONCE: usize = 12;

/// Why something was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Altered, cut short, sealed to another key, or opened under another `info` or `aad`: deliberately not told apart.
    #[error("the sealed bytes do not open with this key in this context")]
    Refused,
    /// Bytes that are no public key anybody may seal to.
    #[error("not an X25519 public key in its one encoding, or a point of small order")]
    PublicKey,
    /// A session has used up its sequence numbers.
    #[error("the sealing session has sent all the messages it may")]
    Exhausted,
}

/// An X25519 public key to seal to: canonical and not of small order, checked once, so that sealing cannot fail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealingPublic([u8; 32]);

impl SealingPublic {
    /// Checks `bytes` as a public key.
    ///
    /// # Errors
    /// [`SealError::PublicKey`] for an encoding other than the canonical one (RFC 7748 would reduce it) and for the
    /// points whose shared secret is zero with every key.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, SealError> {
        let canonical = bytes[31] < 0x7f || (bytes[31] == 0x7f && (bytes[1..31] != [0xff; 30] || bytes[0] < 0xed));
        if !canonical || SMALL_ORDER.contains(&bytes) {
            return Err(SealError::PublicKey);
        }
        Ok(Self(bytes))
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn key(&self) -> <Dhkem as Kem>::PublicKey {
        <Dhkem as Kem>::PublicKey::from_bytes(&self.0).expect("32 bytes")
    }
}

/// The canonical encodings of the points of small order on the curve and its twist: 0, 1, −1 and two of order eight.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

impl fmt::Display for SealingPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SealingPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingPublic({}…)", HEXLOWER.encode(&self.0[..4]))
    }
}

impl FromStr for SealingPublic {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| SealError::PublicKey)?;
        Self::from_bytes(bytes.try_into().map_err(|_| SealError::PublicKey)?)
    }
}

impl serde::Serialize for SealingPublic {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SealingPublic {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for SealingPublic {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for SealingPublic {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes =
            d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("public key of wrong length"))?;
        Self::from_bytes(bytes).map_err(minicbor::decode::Error::custom)
    }
}

/// The private half of a sealing key pair, in locked memory, with the public half beside it.
#[derive(Debug)]
pub struct SealingSecret {
    scalar: Secret32,
    public: SealingPublic,
}

impl SealingSecret {
    /// A fresh key pair's private half.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self::from_secret(Secret32::random(rng))
    }

    /// A private key from its bytes. Any 32 are one: X25519 clamps them where they are used.
    pub fn from_secret(scalar: Secret32) -> Self {
        // A clamped scalar times the base point is never of small order and always encoded canonically.
        let public = SealingPublic(kem::public_half(scalar.expose_secret()));
        Self { scalar, public }
    }

    /// The public half.
    pub const fn public(&self) -> SealingPublic {
        self.public
    }

    /// The private key's bytes, to be sealed elsewhere.
    pub fn expose_secret(&self) -> &Secret32 {
        &self.scalar
    }

    fn key(&self) -> Private {
        Private::with_public(self.scalar.expose_secret(), self.public.0)
    }
}

/// Seals `plaintext` to whoever holds the private half of `public`. Returns the encapsulated key followed by the
/// ciphertext: [`ENCAPSULATED`] + [`TAG`] bytes longer than the plaintext.
///
/// `info` separates purposes (it enters the key), `aad` binds what travels beside the ciphertext.
///
/// # Panics
/// If `info` is longer than [`MOST_INFO`].
pub fn seal_to(public: &SealingPublic, info: &[u8], aad: &[u8], plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    let (mut session, encapsulated) = SessionSealer::new(public, info, rng);
    let ciphertext = session.seal(aad, plaintext).expect("the first message of a session");
    [&encapsulated[..], &ciphertext].concat()
}

/// Opens what [`seal_to`] sealed.
///
/// # Errors
/// [`SealError::Refused`], whatever was wrong.
pub fn open_with(secret: &SealingSecret, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, SealError> {
    let (encapsulated, ciphertext) = sealed.split_first_chunk().ok_or(SealError::Refused)?;
    SessionOpener::new(secret, encapsulated, info)?.open(aad, ciphertext)
}

/// As [`open_with`], for a secret of 32 bytes, which goes straight to locked memory.
///
/// # Errors
/// [`SealError::Refused`], also if the plaintext has another length.
pub fn open_secret_with(secret: &SealingSecret, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Secret32, SealError> {
    Secret32::from_secret_bytes(&open_with(secret, info, aad, sealed)?).ok_or(SealError::Refused)
}

/// The sending end of an HPKE context: many messages under one encapsulated key, numbered implicitly.
pub struct SessionSealer {
    context: AeadCtxS<AesGcm256, HkdfSha256, Dhkem>,
}

impl SessionSealer {
    /// Starts a session towards `public`; the second value is the encapsulated key the other end starts from.
    ///
    /// # Panics
    /// If `info` is longer than [`MOST_INFO`].
    pub fn new(public: &SealingPublic, info: &[u8], rng: &mut impl CryptoRng) -> (Self, [u8; ENCAPSULATED]) {
        assert!(info.len() <= MOST_INFO, "an info of {} bytes", info.len());
        let (encapsulated, context) = hpke::setup_sender_with_rng(&OpModeS::Base, &public.key(), info, rng)
            .expect("a checked public key gives a shared secret");
        (Self { context }, encapsulated.to_bytes().into())
    }

    /// Seals the next message: [`TAG`] bytes longer than the plaintext.
    ///
    /// # Errors
    /// [`SealError::Exhausted`] after 2^96 messages.
    pub fn seal(&mut self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.context.seal(plaintext, aad).map_err(|_| SealError::Exhausted)
    }
}

impl fmt::Debug for SessionSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSealer")
    }
}

/// The receiving end of an HPKE context: messages open in the order they were sealed and in no other.
pub struct SessionOpener {
    context: AeadCtxR<AesGcm256, HkdfSha256, Dhkem>,
}

impl SessionOpener {
    /// Starts a session from the sender's encapsulated key.
    ///
    /// # Errors
    /// [`SealError::Refused`] for an encapsulated key of small order or an overlong `info`.
    pub fn new(secret: &SealingSecret, encapsulated: &[u8; ENCAPSULATED], info: &[u8]) -> Result<Self, SealError> {
        if info.len() > MOST_INFO {
            return Err(SealError::Refused);
        }
        let encapsulated = <Dhkem as Kem>::EncappedKey::from_bytes(encapsulated).expect("32 bytes");
        hpke::setup_receiver(&OpModeR::Base, &secret.key(), &encapsulated, info)
            .map(|context| Self { context })
            .map_err(|_| SealError::Refused)
    }

    /// Opens the next message. One that is refused does not count: the right one still opens afterwards.
    ///
    /// # Errors
    /// [`SealError::Refused`] if it is not exactly the next message, sealed with this `aad`.
    pub fn open(&mut self, aad: &[u8], ciphertext: &[u8]) -> Result<SecretBytes, SealError> {
        self.context.open(ciphertext, aad).map(SecretBytes::from_vec).map_err(|_| SealError::Refused)
    }
}

impl fmt::Debug for SessionOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionOpener")
    }
}

/// Seals `plaintext` under a symmetric key for disk: suite byte, nonce, ciphertext, tag.
///
/// `aad` names the place the bytes belong to, so that they open nowhere else. The nonce is random: one key serves at
/// most 2^32 calls before two nonces may meet.
pub fn seal_at_rest(key: &Secret32, aad: &[u8], plaintext: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
    let mut nonce = [0; NONCE];
    rng.fill_bytes(&mut nonce);
    let ciphertext = Aes256Gcm::new(key.expose_secret().into())
        .encrypt(&Nonce::from(nonce), Payload { msg: plaintext, aad })
        .expect("shorter than the 64 GiB limit of AES-GCM");
    [&[AT_REST][..], &nonce, &ciphertext].concat()
}

/// Opens what [`seal_at_rest`] sealed.
///
/// # Errors
/// [`SealError::Refused`] for an unknown suite, another key, another `aad`, or altered bytes.
pub fn open_at_rest(key: &Secret32, aad: &[u8], sealed: &[u8]) -> Result<SecretBytes, SealError> {
    let body = sealed.strip_prefix(&[AT_REST]).ok_or(SealError::Refused)?;
    let (nonce, ciphertext) = body.split_first_chunk::<NONCE>().ok_or(SealError::Refused)?;
    Aes256Gcm::new(key.expose_secret().into())
        .decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad })
        .map(SecretBytes::from_vec)
        .map_err(|_| SealError::Refused)
}

#[cfg(test)]
mod tests;
