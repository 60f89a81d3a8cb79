//! The JSON inside an AWS instance identity document.
//!
//! Guarantees: an [`AwsDocument`] holds only fields of the form AWS documents, each present once, each a plain ASCII
//! text without anything that could be mistaken for a separator in a policy, an audit record or a resource name.
//! Fields this module does not know (`architecture`, `privateIp`, …) are ignored: AWS adds some now and then.

use std::fmt;

use keymesh_wire::time::Wall;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::certificate::Fingerprint;
use super::{EvidenceError, Facts, rfc3339};

/// A verified instance identity document. Only [`verify`](super::verify) makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsDocument {
    account_id: String,
    region: String,
    availability_zone: String,
    image_id: String,
    instance_id: String,
    instance_type: String,
    pending_time: Wall,
    version: String,
    signer: Fingerprint,
}

impl AwsDocument {
    /// Reads the fields from the signed content. `signer` is the pinned certificate whose key signed it.
    pub(super) fn parse(content: &[u8], signer: Fingerprint) -> Result<Self, EvidenceError> {
        let Object(fields) = serde_json::from_slice(content).map_err(|_| EvidenceError::NotJson)?;
        for (at, (field, _)) in fields.iter().enumerate() {
            if fields[..at].iter().any(|(earlier, _)| earlier == field) {
                return Err(EvidenceError::RepeatedField { field: clip(field) });
            }
        }
        let text = |field: &'static str, good: fn(&str) -> bool| {
            let found = fields.iter().find(|(name, _)| name == field);
            let (_, value) = found.ok_or(EvidenceError::MissingField { field })?;
            let value = value.as_str().ok_or(EvidenceError::FieldType { field })?;
            if good(value) {
                Ok(value.to_owned())
            } else {
                Err(EvidenceError::FieldValue { field, value: clip(value) })
            }
        };
        let pending = text("pendingTime", |value| rfc3339::parse(value).is_some())?;
        Ok(Self {
            account_id: text("accountId", |id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit()))?,
            region: text("region", |name| plain(name, b"-"))?,
            availability_zone: text("availabilityZone", |name| plain(name, b"-"))?,
            image_id: text("imageId", |id| id.strip_prefix("ami-").is_some_and(|rest| plain(rest, b"")))?,
            instance_id: text("instanceId", |id| id.strip_prefix("i-").is_some_and(|rest| plain(rest, b"")))?,
            instance_type: text("instanceType", |name| plain(name, b"-."))?,
            pending_time: rfc3339::parse(&pending)
                .ok_or(EvidenceError::FieldValue { field: "pendingTime", value: pending })?,
            version: text("version", |version| plain(version, b"-."))?,
            signer,
        })
    }

    /// The twelve digits of the owning account.
    pub fn account_id(&self) -> &str {
        &self.account_id
    }

    /// The region: `eu-west-1`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The zone: `eu-west-1a`.
    pub fn availability_zone(&self) -> &str {
        &self.availability_zone
    }

    /// The machine image: `ami-…`.
    pub fn image_id(&self) -> &str {
        &self.image_id
    }

    /// The instance: `i-…`.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// The kind of machine: `m7g.large`.
    pub fn instance_type(&self) -> &str {
        &self.instance_type
    }

    /// When AWS began to launch the instance.
    pub fn pending_time(&self) -> Wall {
        self.pending_time
    }

    /// The version of the document's own format: `2017-09-30`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The pinned certificate whose key signed the document.
    pub fn signer(&self) -> Fingerprint {
        self.signer
    }

    /// The same facts in the words every provider shares.
    pub fn facts(&self) -> Facts {
        Facts {
            instance: format!("aws:{}:{}", self.account_id, self.instance_id),
            provider: "aws".into(),
            account: self.account_id.clone(),
            region: self.region.clone(),
            zone: format!("aws/{}", self.availability_zone),
            image: self.image_id.clone(),
            instance_type: self.instance_type.clone(),
            pending: self.pending_time,
        }
    }
}

/// Lower-case letters, digits and the given marks; not empty, at most 64 long.
fn plain(text: &str, marks: &[u8]) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || marks.contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(good)
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A JSON object with its fields in order and repetitions kept, which a map type would hide.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Object(fields))
            }
        }
        d.deserialize_map(Fields)
    }
}
