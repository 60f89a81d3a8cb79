//! Errors that cross the network: a stable code, whether trying again can help, and a text that is safe to show.
//!
//! Somebody without a right to know learns one thing only, [`Code::Refused`]: an unknown key, a forbidden one, a revoked
//! instance and an unknown agent give the same bytes. The reason is in the node's audit log.

use serde::{Deserialize, Serialize};

/// Stable error codes. Codes are only ever added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The answer is no; nothing more is said.
    Refused,
    /// The request is not one this door takes: its form, a field, a size.
    Malformed,
    /// A body or field is larger than allowed.
    TooLarge,
    /// The session has not proved an agent's key yet.
    SessionRequired,
    /// The proof does not fit this connection, node, mesh or tenant.
    SessionInvalid,
    /// This node does not serve the tenant; another does.
    NotServedHere,
    /// Too few custodians answered in time.
    QuorumUnavailable,
    /// The node is starting, stopping, overloaded, or cannot write its audit log.
    Unavailable,
    /// Too many requests.
    Throttled,
    /// The statement is not valid: signature, form, level.
    StatementInvalid,
    /// The statement's author has no right to it.
    NotAuthorised,
    /// What the request names does not exist here (only to callers who may know).
    NotFound,
    /// The name stands for several objects; use an id.
    Ambiguous,
    /// The evidence of the instance does not hold.
    EvidenceInvalid,
    /// The launch ticket does not hold, is used up, or is for something else.
    TicketInvalid,
    /// The instance is bound to another agent's key.
    AlreadyBound,
    /// The clocks differ too much.
    ClockDifference,
    /// A request came too late or was used before.
    Stale,
    /// A version is sealed to a generation that nobody attested yet, or that somebody expelled could read.
    GenerationUnfit,
    /// An error inside the node.
    Internal,
}

impl Code {
    /// Whether the same request may succeed later or at another node.
    pub fn retryable(self) -> bool {
        match self {
            Self::QuorumUnavailable | Self::Unavailable | Self::Throttled | Self::NotServedHere | Self::Internal => {
                true
            }
            Self::SessionRequired | Self::Stale | Self::ClockDifference => true,
            Self::Refused
            | Self::Malformed
            | Self::TooLarge
            | Self::SessionInvalid
            | Self::StatementInvalid
            | Self::NotAuthorised
            | Self::NotFound
            | Self::Ambiguous
            | Self::EvidenceInvalid
            | Self::TicketInvalid
            | Self::AlreadyBound
            | Self::GenerationUnfit => false,
        }
    }

    /// The HTTP status that carries it.
    pub fn status(self) -> u16 {
        match self {
            Self::Refused | Self::NotAuthorised => 403,
            Self::Malformed | Self::StatementInvalid | Self::EvidenceInvalid | Self::TicketInvalid => 400,
            Self::TooLarge => 413,
            Self::SessionRequired | Self::SessionInvalid => 401,
            Self::NotFound => 404,
            Self::Ambiguous | Self::AlreadyBound | Self::Stale | Self::ClockDifference | Self::GenerationUnfit => 409,
            Self::Throttled => 429,
            Self::NotServedHere => 421,
            Self::QuorumUnavailable | Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

/// An error as it crosses the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} [{code:?}]")]
pub struct WireError {
    /// The stable code.
    pub code: Code,
    /// Whether the same request may succeed later or at another node.
    pub retryable: bool,
    /// For people; safe to show, at most a few lines.
    pub message: String,
}

impl WireError {
    /// An error with a text for people.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, retryable: code.retryable(), message: message.into() }
    }

    /// The one refusal.
    pub fn refused() -> Self {
        Self::new(Code::Refused, "refused; ask an operator of the tenant, the reason is in the audit log")
    }
}
