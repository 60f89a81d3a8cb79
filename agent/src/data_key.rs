//! A data key as it was released: 32 or 64 bytes in locked memory (I10).

use std::fmt;

use keymesh_wire::limits::DATA_KEY_BYTES;
use keymesh_wire::secret::{Secret32, Secret64, SecretBytes};
use subtle::ConstantTimeEq as _;

/// A released data key. Its bytes, as they are, are the volume's passphrase.
pub struct DataKey(Length);

enum Length {
    Short(Secret32),
    Long(Secret64),
}

impl DataKey {
    /// The key that `bytes` are; `None` unless they are 32 or 64.
    pub fn new(bytes: &SecretBytes) -> Option<Self> {
        const _: () = assert!(DATA_KEY_BYTES == 64, "the longest key has 64 bytes");
        Secret32::from_secret_bytes(bytes)
            .map(Length::Short)
            .or_else(|| Secret64::from_secret_bytes(bytes).map(Length::Long))
            .map(Self)
    }

    /// The secret bytes. The caller answers for every copy.
    pub fn expose_secret(&self) -> &[u8] {
        match &self.0 {
            Length::Short(key) => key.expose_secret(),
            Length::Long(key) => key.expose_secret(),
        }
    }

    /// Whether both are the same key, in a time that depends on the lengths alone.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.expose_secret().ct_eq(other.expose_secret()).into()
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_32_and_64_bytes_come_out_as_they_went_in() {
        for len in [32, 64] {
            let bytes: Vec<u8> = (0..len).collect();
            let key = DataKey::new(&SecretBytes::from_vec(bytes.clone())).expect("a key");
            assert_eq!(key.expose_secret(), bytes);
            assert_eq!(format!("{key:?}"), "DataKey");
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for len in [0, 16, 31, 33, 63, 65, 96] {
            assert!(DataKey::new(&SecretBytes::from_vec(vec![1; len])).is_none(), "{len} bytes");
        }
    }
}
