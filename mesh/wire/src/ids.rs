//! Identifiers.
//!
//! Replicated state, capsules, disks and audit carry ids, never names (names are bindings inside a document and may be
//! ambiguous after a partition). Every id is a fixed-size byte string with its own type, so a key id cannot be passed
//! where a keyring id is meant, and a text form `prefix_hex` that says what it names.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text does not start with the prefix of this kind of id.
    #[error("expected an id starting with `{expected}_`, got `{got}`")]
    Prefix {
        /// The prefix this kind of id carries.
        expected: &'static str,
        /// The text that was given, at most 80 characters of it.
        got: String,
    },
    /// What follows the prefix is not lower-case hex of the right length.
    #[error("`{expected}_` must be followed by {digits} lower-case hex digits, got `{got}`")]
    Digits {
        /// The prefix this kind of id carries.
        expected: &'static str,
        /// How many hex digits must follow.
        digits: usize,
        /// The text that was given, at most 80 characters of it.
        got: String,
    },
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The text prefix of this kind of id.
            pub const PREFIX: &'static str = $prefix;
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// An id from its bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight hex digits, for tables where the whole id would not fit.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}…"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let got = || text.chars().take(80).collect::<String>();
                let digits = text
                    .strip_prefix(concat!($prefix, "_"))
                    .ok_or_else(|| IdError::Prefix { expected: $prefix, got: got() })?;
                let bytes = HEXLOWER
                    .decode(digits.as_bytes())
                    .ok()
                    .and_then(|bytes| <[u8; $len]>::try_from(bytes).ok())
                    .ok_or_else(|| IdError::Digits { expected: $prefix, digits: $len * 2, got: got() })?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                <[u8; $len]>::try_from(bytes)
                    .map(Self)
                    .map_err(|_| minicbor::decode::Error::message(concat!($prefix, " id has the wrong length")))
            }
        }
    };
}

id!(
    /// SHA-256 of a statement's domain and exact payload bytes.
    StatementId, 32, "stm");
id!(
    /// A replicated document: the id of the statement that began it.
    DocumentId, 32, "doc");
id!(
    /// A mesh: the id of its genesis statement.
    MeshId, 32, "mesh");
id!(
    /// A tenant: the id of its genesis statement.
    TenantId, 32, "ten");
id!(
    /// A namespace: the id of the statement that created it.
    NamespaceId, 32, "ns");
id!(
    /// A keyring: a hash over who created it where ([`crate::body::keyring_id`]).
    KeyringId, 32, "ring");
id!(
    /// A key: a hash over who created it where ([`crate::body::key_id`]).
    KeyId, 32, "key");
id!(
    /// A root: the id of the statement that proposed it.
    RootId, 32, "root");
id!(
    /// Whoever signs: the Ed25519 public key itself.
    PrincipalId, 32, "who");
id!(
    /// SHA-256 of a ciphertext in the erasable store.
    BlobHash, 32, "blob");
id!(
    /// A version of a key: random, so that two sides of a partition cannot collide.
    VersionId, 16, "ver");
id!(
    /// One request of a client; a retry carries the same id.
    RequestId, 16, "req");
id!(
    /// A single-use number.
    Nonce, 16, "nonce");

/// A node is a principal like any other.
pub type NodeId = PrincipalId;

macro_rules! born_of_statement {
    ($($name:ident),*) => {$(
        impl From<StatementId> for $name {
            fn from(id: StatementId) -> Self {
                Self::from_bytes(*id.as_bytes())
            }
        }

        impl From<$name> for StatementId {
            fn from(id: $name) -> Self {
                Self::from_bytes(*id.as_bytes())
            }
        }
    )*};
}

born_of_statement!(DocumentId, MeshId, TenantId, NamespaceId, RootId);

impl From<MeshId> for DocumentId {
    fn from(id: MeshId) -> Self {
        StatementId::from(id).into()
    }
}

impl From<TenantId> for DocumentId {
    fn from(id: TenantId) -> Self {
        StatementId::from(id).into()
    }
}

impl From<DocumentId> for MeshId {
    fn from(id: DocumentId) -> Self {
        StatementId::from(id).into()
    }
}

impl From<DocumentId> for TenantId {
    fn from(id: DocumentId) -> Self {
        StatementId::from(id).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = KeyId::from_bytes([7; 32]);
        assert_eq!(id.to_string().parse::<KeyId>(), Ok(id));
    }

    #[test]
    fn the_id_of_one_kind_is_refused_as_another() {
        let text = KeyId::from_bytes([7; 32]).to_string();
        assert!(matches!(text.parse::<KeyringId>(), Err(IdError::Prefix { expected: "ring", .. })));
    }

    #[test]
    fn a_short_or_upper_case_id_is_refused() {
        assert!(matches!("key_00".parse::<KeyId>(), Err(IdError::Digits { digits: 64, .. })));
        let upper = format!("key_{}", "AB".repeat(32));
        assert!(upper.parse::<KeyId>().is_err());
    }
}
