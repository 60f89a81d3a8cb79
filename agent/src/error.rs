//! What goes wrong between an agent and one node.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{MeshId, NodeId};
use keymesh_wire::membership::MembershipError;
use rustls::{CertificateError, OtherError};

/// Why a node did not give what was asked for. Every variant names the address it happened at.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("{address}: cannot connect: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing came within the time given.
    #[error("{address}: no answer within {} ms while {doing}", .within.as_millis())]
    Timeout {
        /// Where.
        address: SocketAddr,
        /// What was waited for.
        doing: &'static str,
        /// How long.
        within: Duration,
    },
    /// The connection broke.
    #[error("{address}: the connection broke while {doing}: {source}")]
    Transport {
        /// Where.
        address: SocketAddr,
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No secure connection: not a node, or one this software cannot speak to.
    #[error("{address}: no TLS connection to a node there: {}", tls_text(.source))]
    Tls {
        /// Where.
        address: SocketAddr,
        /// What failed.
        source: rustls::Error,
    },
    /// Another node than the pinned one.
    #[error("{address}: expected node {expected}, found {found}. If the node was replaced, pin its new key")]
    OtherNode {
        /// Where.
        address: SocketAddr,
        /// The pinned node.
        expected: NodeId,
        /// Who is there.
        found: NodeId,
    },
    /// The holder of a key that the mesh's founders did not admit, or removed.
    #[error("{address}: {node} is not a node of {mesh}. Nothing was sent to it")]
    NotAMember {
        /// Where.
        address: SocketAddr,
        /// Who is there.
        node: NodeId,
        /// The mesh.
        mesh: MeshId,
    },
    /// What it shows as its mesh's membership does not hold.
    #[error("{address}: its list of members does not hold: {source}")]
    Membership {
        /// Where.
        address: SocketAddr,
        /// What is wrong.
        source: MembershipError,
    },
    /// The node answered with an error.
    #[error("{address}: {source}")]
    Wire {
        /// Where.
        address: SocketAddr,
        /// The error, with its stable code.
        source: WireError,
    },
    /// The node answered with an error newer than this software.
    #[error("{address}: {message} [{code}, unknown to this version]")]
    UnknownCode {
        /// Where.
        address: SocketAddr,
        /// The code.
        code: String,
        /// Whether trying again can help, by the node's word.
        retryable: bool,
        /// For people.
        message: String,
    },
    /// More bytes than are taken.
    #[error("{address}: {source}")]
    TooLarge {
        /// Where.
        address: SocketAddr,
        /// Which bytes.
        source: crate::http::HttpError,
    },
    /// Not an answer of a keymesh node.
    #[error("{address}: not an answer of a keymesh node: {what}")]
    Malformed {
        /// Where.
        address: SocketAddr,
        /// What is wrong with it.
        what: String,
    },
    /// The released key does not open in this session: both ends are out of step, or the answer was altered.
    #[error("{address}: the released key does not open in this session; a new session may help")]
    Sealed {
        /// Where.
        address: SocketAddr,
    },
    /// An answer in good form that is of no use: it does not open, or is for something else.
    #[error("{address}: {what}")]
    Useless {
        /// Where.
        address: SocketAddr,
        /// Why.
        what: String,
        /// Whether the same node may do better a little later.
        passing: bool,
    },
    /// A call on a connection that failed before or that the node closed.
    #[error("{address}: the connection is closed; connect again")]
    Closed {
        /// Where.
        address: SocketAddr,
    },
}

/// What people read of a TLS error: ours about certificates come wrapped.
fn tls_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(ours))) => ours.to_string(),
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            "it does not have the key in its certificate".to_owned()
        }
        other => other.to_string(),
    }
}

impl ClientError {
    /// Where it happened.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Connect { address, .. }
            | Self::Timeout { address, .. }
            | Self::Transport { address, .. }
            | Self::Tls { address, .. }
            | Self::OtherNode { address, .. }
            | Self::NotAMember { address, .. }
            | Self::Membership { address, .. }
            | Self::Wire { address, .. }
            | Self::UnknownCode { address, .. }
            | Self::TooLarge { address, .. }
            | Self::Malformed { address, .. }
            | Self::Useless { address, .. }
            | Self::Sealed { address }
            | Self::Closed { address } => *address,
        }
    }

    /// The stable code, if the node answered with one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Wire { source, .. } => Some(source.code),
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Transport { .. }
            | Self::Tls { .. }
            | Self::OtherNode { .. }
            | Self::NotAMember { .. }
            | Self::Membership { .. }
            | Self::UnknownCode { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Useless { .. }
            | Self::Sealed { .. }
            | Self::Closed { .. } => None,
        }
    }

    /// Whether the same request may succeed later or at another node. A node that misbehaves says nothing about others.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Wire { source, .. } => source.code.retryable(),
            Self::UnknownCode { retryable, .. } => *retryable,
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Transport { .. }
            | Self::Tls { .. }
            | Self::OtherNode { .. }
            | Self::NotAMember { .. }
            | Self::Membership { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::Useless { .. }
            | Self::Sealed { .. }
            | Self::Closed { .. } => true,
        }
    }

    /// Whether the same node may give the answer a little later. Where this is not so for any node, waiting is in vain.
    pub fn passing(&self) -> bool {
        match self {
            Self::Wire { .. } | Self::UnknownCode { .. } => self.retryable(),
            Self::Useless { passing, .. } => *passing,
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Transport { .. }
            | Self::Sealed { .. }
            | Self::Closed { .. } => true,
            Self::Tls { .. }
            | Self::OtherNode { .. }
            | Self::NotAMember { .. }
            | Self::Membership { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => false,
        }
    }
}
