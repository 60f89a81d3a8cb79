//! What the cloud tells an instance about itself: the AWS instance metadata service, version 2 (token first).
//!
//! Guarantees: only literal addresses are spoken to and redirects are not followed, so no name service decides who
//! answers; sizes and times are bounded. The answers are hints and evidence, never trusted: custodians verify the
//! signed document, and a zone only decides which node is asked first.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use keymesh_wire::limits;

use crate::http::{self, HttpError};
use crate::timed::Timed;

/// Where every AWS instance finds its metadata service.
pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// How long a token is asked to live, in seconds: for the few requests that follow at once.
const TOKEN_SECONDS: &str = "60";

/// Why the metadata service gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Nobody answers there, or not with HTTP.
    #[error(
        "the metadata service at {address} gave no {what}: {source}. Elsewhere than on AWS, name it with --metadata"
    )]
    Http {
        /// Where it was asked.
        address: SocketAddr,
        /// What for.
        what: &'static str,
        /// What went wrong.
        source: HttpError,
    },
    /// It answered with something else than success.
    #[error("the metadata service at {address} answers {status} when asked for {what}")]
    Status {
        /// Where it was asked.
        address: SocketAddr,
        /// What for.
        what: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// Its answer is not of its form.
    #[error("the metadata service at {address} gave a {what} that is none")]
    Form {
        /// Where it was asked.
        address: SocketAddr,
        /// What for.
        what: &'static str,
    },
}

/// A metadata service with a token for it.
#[derive(Debug)]
pub struct Metadata {
    address: SocketAddr,
    within: Duration,
    token: String,
}

impl Metadata {
    /// Gets a token. `within` bounds this and each later request.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn connect(address: SocketAddr, within: Duration) -> Result<Self, MetadataError> {
        let mut metadata = Self { address, within, token: String::new() };
        let fields = &[("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS)];
        metadata.token = metadata.text("token", "PUT", "/latest/api/token", fields, 1024)?;
        Ok(metadata)
    }

    /// The instance's identity document, signed with RSA-2048: base64 text as custodians verify it.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn identity_document(&self) -> Result<Vec<u8>, MetadataError> {
        let path = "/latest/dynamic/instance-identity/rsa2048";
        self.get("identity document", path, limits::EVIDENCE_BYTES).map(String::into_bytes)
    }

    /// The instance's zone, as `aws/eu-west-1a`.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn zone(&self) -> Result<String, MetadataError> {
        let zone = self.get("zone", "/latest/meta-data/placement/availability-zone", limits::NAME_BYTES)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if zone.is_empty() || !zone.bytes().all(plain) {
            return Err(MetadataError::Form { address: self.address, what: "zone" });
        }
        Ok(format!("aws/{zone}"))
    }

    fn get(&self, what: &'static str, path: &str, limit: usize) -> Result<String, MetadataError> {
        self.text(what, "GET", path, &[("X-aws-ec2-metadata-token", &self.token)], limit)
    }

    fn text(
        &self,
        what: &'static str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        limit: usize,
    ) -> Result<String, MetadataError> {
        let address = self.address;
        let fail = |source| MetadataError::Http { address, what, source };
        let mut stream = Timed::connect(address, Instant::now() + self.within).map_err(|error| fail(error.into()))?;
        let host = address.to_string();
        // The token's request has no body, which a PUT must say.
        let body: Option<&[u8]> = (method == "PUT").then_some(b"");
        let answer = http::exchange(&mut stream, &http::Request { method, path, host: &host, fields, body }, limit);
        let answer = answer.map_err(fail)?;
        if answer.status != 200 {
            return Err(MetadataError::Status { address, what, status: answer.status });
        }
        let text = String::from_utf8(answer.body).ok().filter(|text| text.is_ascii() && !text.is_empty());
        text.ok_or(MetadataError::Form { address, what })
    }
}

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
