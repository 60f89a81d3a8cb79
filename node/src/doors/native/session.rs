//! A connection and the session that may be opened on it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use keymesh_wire::api::{SessionOpen, SessionOpened};
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::RequestId;
use keymesh_wire::request::{SessionProof, session_info};
use keymesh_wire::sealing::{SealingPublic, SessionSealer};
use keymesh_wire::secret::SecretBytes;

use crate::ops::{Allowance, Caller, Node};
use crate::runtime::randomness;

/// A session: whose key was proved, and the sealing of what is released to it.
#[derive(Debug)]
struct Session {
    caller: Caller,
    sealer: SessionSealer,
}

/// One TLS connection.
#[derive(Debug)]
pub(crate) struct Connection {
    exporter: [u8; 32],
    session: Mutex<Option<Session>>,
    /// What it may use up.
    pub(crate) allowance: Allowance,
}

impl Connection {
    pub(super) fn new(exporter: [u8; 32]) -> Self {
        Self { exporter, session: Mutex::new(None), allowance: Allowance::new() }
    }

    /// Opens a session, replacing one that was open. Whether the principal is known anywhere does not show.
    pub(super) fn open(&self, node: &Node, open: &SessionOpen) -> Result<SessionOpened, WireError> {
        let proof = Verified::<SessionProof>::from_bytes(&open.proof)
            .map_err(|error| WireError::new(Code::SessionInvalid, format!("the session's proof: {error}")))?;
        let invalid = |what: &str| WireError::new(Code::SessionInvalid, what);
        if proof.exporter != self.exporter {
            return Err(invalid("the proof was made for another connection"));
        }
        if proof.node != node.me {
            return Err(invalid("the proof was made for another node"));
        }
        if proof.mesh != node.mesh {
            return Err(invalid("the proof was made for another mesh"));
        }
        let recipient = SealingPublic::from_bytes(proof.recipient).map_err(|error| invalid(&error.to_string()))?;
        let (sealer, encapsulated) = SessionSealer::new(&recipient, &session_info(&proof), &mut randomness());
        let caller = Caller { principal: proof.agent, tenant: proof.tenant };
        *self.lock() = Some(Session { caller, sealer });
        Ok(SessionOpened { encapsulated: encapsulated.to_vec() })
    }

    /// Who asks, if a session is open.
    pub(super) fn caller(&self) -> Option<Caller> {
        self.lock().as_ref().map(|session| session.caller)
    }

    /// Seals a released key as the session's next message.
    pub(super) fn seal(&self, request: &RequestId, key: &SecretBytes) -> Result<Vec<u8>, WireError> {
        let mut session = self.lock();
        let session = session.as_mut().ok_or_else(no_session)?;
        let sealed = session.sealer.seal(request.as_bytes(), key.expose_secret());
        sealed.map_err(|error| WireError::new(Code::SessionRequired, error.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prove a key first.
pub(super) fn no_session() -> WireError {
    WireError::new(Code::SessionRequired, "open a session on this connection first")
}
