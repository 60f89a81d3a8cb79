//! Statements: the only way replicated state changes.
//!
//! A statement is immutable and signed, names the document it belongs to and the statements its author had seen
//! (`parents`), and is known by the hash of its exact bytes. Replication is set union; what a set of statements *means*
//! is decided by the fold in `keymesh-mesh`. This module holds their shape and the limits that need no state to check.

use minicbor::{Decode, Encode};

use crate::body::Body;
use crate::codec;
use crate::envelope::{EnvelopeError, Signable, Verified};
use crate::ids::{DocumentId, PrincipalId, StatementId};
use crate::limits;
use crate::sign::Identity;
use crate::suite::{LEVEL, Level, Suite};
use crate::time::Wall;

/// What a statement's signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Statement {
    /// The algorithms behind its ids and signature.
    #[n(0)]
    pub suite: Suite,
    /// The lowest level of software that understands it.
    #[n(1)]
    pub level: Level,
    /// Who signs.
    #[n(2)]
    pub author: PrincipalId,
    /// The document it belongs to; absent in the statement that begins a document.
    #[n(3)]
    pub document: Option<DocumentId>,
    /// The newest statements of the document its author had seen: sorted, distinct, at most [`limits::PARENTS`].
    #[n(4)]
    pub parents: Vec<StatementId>,
    /// The author's wall clock, a claim that no fold relies on.
    #[n(5)]
    pub time: Wall,
    /// The encoded [`Body`], kept as bytes so that a node can forward kinds it does not know.
    #[n(6)]
    #[cbor(with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

impl Signable for Statement {
    const DOMAIN: &'static str = "keymesh statement v1";
    const LIMIT: usize = limits::STATEMENT_BYTES;

    fn signer(&self) -> PrincipalId {
        self.author
    }
}

/// Why a well-signed statement is not one this software takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The envelope or its signature does not hold.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Made with algorithms this software does not have.
    #[error("statement made with unknown suite {0}")]
    Suite(u16),
    /// Too many parents, or not in order.
    #[error("parents must be sorted, distinct and at most {limit}", limit = limits::PARENTS)]
    Parents,
    /// A statement that begins a document names none and has no parents; every other one names both.
    #[error("{0}")]
    Place(&'static str),
    /// The body does not decode although the statement claims a level this software has.
    #[error("body: {0}")]
    Body(String),
}

/// What a statement says, as far as this software understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A body of a known kind, within its limits.
    Known(Body),
    /// Above this software's level: stored and forwarded, never acted upon.
    Above(Level),
}

/// A checked statement: signature, canonical form and stateless limits hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    verified: Verified<Statement>,
    content: Content,
}

impl Checked {
    /// Signs a statement of `body` by `identity`. `document` and `parents` are empty for a statement that begins one.
    pub fn sign(
        body: &Body,
        document: Option<DocumentId>,
        mut parents: Vec<StatementId>,
        time: Wall,
        identity: &Identity,
    ) -> Result<Self, StatementError> {
        parents.sort_unstable();
        parents.dedup();
        let statement = Statement {
            suite: Suite::V1,
            level: body.level(),
            author: identity.principal(),
            document,
            parents,
            time,
            body: codec::encode(body),
        };
        Self::check(Verified::sign(statement, identity))
    }

    /// Reads a statement from its envelope and checks everything that needs no state.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StatementError> {
        Self::check(Verified::from_bytes(bytes)?)
    }

    fn check(verified: Verified<Statement>) -> Result<Self, StatementError> {
        if verified.suite != Suite::V1 {
            return Err(StatementError::Suite(verified.suite.0));
        }
        if verified.parents.len() > limits::PARENTS || !verified.parents.is_sorted_by(|a, b| a < b) {
            return Err(StatementError::Parents);
        }
        let content = match codec::decode::<Body>(&verified.body, limits::STATEMENT_BYTES) {
            // Above this software's level nothing is acted upon, even if it happens to decode.
            _ if verified.level > LEVEL => Content::Above(verified.level),
            Ok(body) => {
                if body.level() > verified.level {
                    return Err(StatementError::Body(format!("{} needs level {}", body.kind(), body.level())));
                }
                body.check().map_err(|what| StatementError::Body(what.to_string()))?;
                Content::Known(body)
            }
            Err(error) => return Err(StatementError::Body(error.to_string())),
        };
        let begins = matches!(&content, Content::Known(body) if body.begins_document());
        match (begins, verified.document.is_none() && verified.parents.is_empty()) {
            (true, false) => Err(StatementError::Place("a genesis statement names no document and no parents")),
            (false, true) => Err(StatementError::Place("a statement must name its document and parents")),
            (false, false) if verified.document.is_none() || verified.parents.is_empty() => {
                Err(StatementError::Place("a statement must name its document and parents"))
            }
            _ => Ok(Self { verified, content }),
        }
    }

    /// The statement's id.
    pub fn id(&self) -> StatementId {
        StatementId::from_bytes(*self.verified.digest())
    }

    /// The document it belongs to: for a genesis statement the one it begins.
    pub fn document(&self) -> DocumentId {
        self.verified.document.unwrap_or_else(|| self.id().into())
    }

    /// Who signed it.
    pub fn author(&self) -> PrincipalId {
        self.verified.author
    }

    /// What its author had seen.
    pub fn parents(&self) -> &[StatementId] {
        &self.verified.parents
    }

    /// When its author says it was made.
    pub fn time(&self) -> Wall {
        self.verified.time
    }

    /// What it says.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What it says, if this software understands it.
    pub fn body(&self) -> Option<&Body> {
        match &self.content {
            Content::Known(body) => Some(body),
            Content::Above(_) => None,
        }
    }

    /// The envelope, as it travels and is stored.
    pub fn bytes(&self) -> &[u8] {
        self.verified.bytes()
    }
}
