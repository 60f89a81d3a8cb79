//! Getting one key from the mesh, whichever way its keyring is kept.
//!
//! Guarantees: the key that comes back is the one that was asked for, in the version that was asked for; one request id
//! goes to every node that is asked, so a retry is one release in the audit (I7), unless it outlives the time for which
//! a signed request is taken. Of a quorum keyring's key no node learns anything ([`crate::quorum`]).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use keymesh_custody::CombineError;
use keymesh_wire::api::{AuditRef, Release};
use keymesh_wire::ids::{RequestId, TenantId, VersionId};
use keymesh_wire::limits;
use keymesh_wire::sign::Identity;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::data_key::DataKey;
use crate::error::ClientError;
use crate::fleet::{Answered, Fleet, FleetError, Renewed};
use crate::quorum::{Question, QuorumError, QuorumKey, RootPin, Wanted, Warning, accuse};
use crate::system;

/// A signed request is made anew after this time: well before nodes take it for too old.
pub(crate) const SIGNED_LIFE: Duration = Duration::from_millis(limits::REQUEST_LIFE_MS / 2);

/// How long an accusation may keep a key waiting.
const TELLING: Duration = Duration::from_secs(1);

/// How the keyring of a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A node that leased the keyring releases the key.
    Leased,
    /// Custodians open the key straight to the agent.
    Quorum,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leased => "leased",
            Self::Quorum => "quorum",
        })
    }
}

/// Text that names no custody class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a keyring's class is `leased` or `quorum`")]
pub struct ClassError;

impl FromStr for Class {
    type Err = ClassError;

    fn from_str(text: &str) -> Result<Self, ClassError> {
        match text {
            "leased" => Ok(Self::Leased),
            "quorum" => Ok(Self::Quorum),
            _ => Err(ClassError),
        }
    }
}

/// A key as it was released.
#[derive(Debug)]
pub struct Got {
    /// The data key.
    pub key: DataKey,
    /// Its version.
    pub version: VersionId,
    /// The root, for a key of a quorum keyring.
    pub root: Option<RootPin>,
    /// The node that answered.
    pub address: SocketAddr,
    /// The audit records of the release.
    pub audits: Vec<AuditRef>,
    /// What an operator should look at: nodes that failed, custodians whose partials were wrong.
    pub warnings: Vec<String>,
}

/// Gets the key that is `wanted` from the nearest node.
///
/// # Errors
/// [`FleetError`].
pub fn get(fleet: &Fleet, identity: &Arc<Identity>, wanted: &Wanted, class: Class) -> Result<Got, FleetError> {
    match class {
        Class::Leased => leased(fleet, identity.clone(), wanted),
        Class::Quorum => quorum(fleet, identity.clone(), wanted.clone()),
    }
}

fn leased(fleet: &Fleet, identity: Arc<Identity>, wanted: &Wanted) -> Result<Got, FleetError> {
    let request = Release {
        tenant: wanted.tenant,
        key: wanted.key,
        version: wanted.version,
        request: RequestId::from_bytes(system::random_bytes()),
        receipt: wanted.receipt.clone(),
        trace: None,
    };
    let answered =
        fleet.ask(move |client: Client| client.open_session(&identity, request.tenant)?.release_as(&request))?;
    let Answered { value: (key, released), address, failures } = answered;
    let warnings = failures.iter().map(ToString::to_string).collect();
    Ok(Got { key, version: released.version, root: None, address, audits: vec![released.audit], warnings })
}

fn quorum(fleet: &Fleet, identity: Arc<Identity>, wanted: Wanted) -> Result<Got, FleetError> {
    let question = Renewed::new(SIGNED_LIFE);
    let answered = fleet.ask(move |mut client: Client| {
        let question = question.get(|| Question::new(&wanted, &identity, system::wall(), &mut system::randomness()));
        let address = client.address();
        let opened = question.ask(&mut client, wanted.root, system::wall);
        let told = match &opened {
            Ok(got) => tell_on(client, &identity, wanted.tenant, &got.warnings),
            Err(QuorumError::Combine { warnings, .. } | QuorumError::Useless { warnings, .. }) => {
                tell_on(client, &identity, wanted.tenant, warnings)
            }
            Err(_) => Vec::new(),
        };
        opened.map(|got| (got, told)).map_err(|error| useless(address, error))
    })?;
    let Answered { value: (QuorumKey { key, version, root, audits, warnings }, told), address, failures } = answered;
    let failures = failures.iter().map(ToString::to_string);
    let warnings = failures.chain(warnings.iter().map(ToString::to_string)).chain(told).collect();
    Ok(Got { key, version, root: Some(root), address, audits, warnings })
}

/// Shows the node what custodians signed that does not hold, and says what came of it. Whoever waits for the key waits for
/// this no longer than [`TELLING`]; nobody waits where nothing was wrong.
pub(crate) fn tell_on(mut client: Client, identity: &Identity, tenant: TenantId, warnings: &[Warning]) -> Vec<String> {
    let proofs: Vec<_> = warnings.iter().filter_map(|warning| warning.proof.as_deref()).collect();
    if proofs.is_empty() {
        return Vec::new();
    }
    client.set_timeout(TELLING);
    let unheard = |error: ClientError| format!("the node does not take the proof against a custodian: {error}");
    let mut session = match client.open_session(identity, tenant) {
        Ok(session) => session,
        Err(error) => return vec![unheard(error)],
    };
    let tell = |proof| match accuse(&mut session, proof) {
        Ok(accused) => {
            format!("custodian {} is accused before everybody in {}", accused.custodian, accused.statement)
        }
        Err(error) => unheard(error),
    };
    proofs.into_iter().map(tell).collect()
}

fn useless(address: SocketAddr, error: QuorumError) -> ClientError {
    let passing = match error {
        // What a node says keeps its code.
        QuorumError::Client(error) => return error,
        QuorumError::Combine { ref source, .. } => matches!(source, CombineError::NotEnough { .. }),
        QuorumError::Useless { ref error, .. } => error.passing(),
        QuorumError::Other { .. }
        | QuorumError::Malformed { .. }
        | QuorumError::RootChanged { .. }
        | QuorumError::Capsule(_)
        | QuorumError::NotAKey { .. } => false,
    };
    ClientError::Useless { address, what: error.to_string(), passing }
}
