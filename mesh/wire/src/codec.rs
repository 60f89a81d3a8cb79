//! Strict decoding: one value, one encoding.
//!
//! Ids and signatures are over exact bytes, so a value that could be written in two ways would have two ids. Decoding
//! therefore demands that encoding the result again gives the very same bytes, which also refuses trailing bytes,
//! non-minimal heads, duplicate or unordered map keys and indefinite lengths.

use minicbor::{Decode, Encode};

/// Why bytes are not the value they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes than the limit for this kind of value.
    #[error("{got} bytes where at most {limit} are allowed")]
    TooLong {
        /// How many came.
        got: usize,
        /// How many may.
        limit: usize,
    },
    /// Not the CBOR this value is written in.
    #[error("malformed encoding: {0}")]
    Malformed(String),
    /// The value has another encoding than the one given.
    #[error("not the canonical encoding of its value")]
    NotCanonical,
}

/// The one encoding of `value`.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    match minicbor::to_vec(value) {
        Ok(bytes) => bytes,
        // Writing into a Vec cannot fail and no type of ours refuses to be written.
        Err(never) => unreachable!("encoding into memory failed: {never}"),
    }
}

/// The value that `bytes` encode canonically, if there are at most `limit` of them.
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong { got: bytes.len(), limit });
    }
    let value: T = minicbor::decode(bytes).map_err(|error| CodecError::Malformed(error.to_string()))?;
    if encode(&value) != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

/// Bytes as base64url text without padding, for JSON: `#[serde(with = "keymesh_wire::codec::base64")]`.
pub mod base64 {
    use data_encoding::BASE64URL_NOPAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes bytes as text.
    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64URL_NOPAD.encode(bytes))
    }

    /// Reads bytes from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| D::Error::custom("expected base64url without padding"))
    }
}

/// Several byte strings as base64url texts: `#[serde(with = "keymesh_wire::codec::base64_list")]`.
pub mod base64_list {
    use data_encoding::BASE64URL_NOPAD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    /// Writes each byte string as text.
    pub fn serialize<S: Serializer>(list: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
        list.iter().map(|bytes| BASE64URL_NOPAD.encode(bytes)).collect::<Vec<_>>().serialize(s)
    }

    /// Reads each byte string from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Vec<u8>>, D::Error> {
        Vec::<String>::deserialize(d)?
            .iter()
            .map(|text| BASE64URL_NOPAD.decode(text.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| D::Error::custom("expected base64url without padding"))
    }
}
