//! Enrolment: binding this instance to its agent's key, once.
//!
//! Guarantees: the same request, with the same id, goes to every node that is asked, so that repeating it is harmless;
//! it is made anew only when it would be too old to be taken. The agent believes nothing: what the evidence says comes
//! back as the facts that custodians verified.

use std::sync::Arc;
use std::time::Duration;

use keymesh_wire::api::{Enrol, Enrolled};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{RequestId, TenantId};
use keymesh_wire::request::EnrolmentRequest;
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::ticket::{Ticket, TicketFile, Voucher};
use minicbor::Encode;

use crate::client::Client;
use crate::fleet::{Answered, Fleet, FleetError, Renewed};
use crate::keys::SIGNED_LIFE;
use crate::system;

/// Evidence as nodes decode it: the writing half of the type of the same name in `keymesh-mesh`, which an agent does
/// not depend on. A test fixes the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub enum Evidence {
    /// An AWS instance identity document: the base64 text of the PKCS#7 message, as the metadata service gave it.
    #[n(0)]
    AwsIid {
        /// The text.
        #[cbor(n(0), with = "minicbor::bytes")]
        pkcs7: Vec<u8>,
    },
}

impl Evidence {
    /// Its bytes in an enrolment.
    pub fn bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }
}

/// Enrols `identity` with `evidence` and a launch `ticket`. Waits for custodians who cannot vote yet
/// for as long as `fleet` allows.
///
/// # Errors
/// [`FleetError`].
pub fn enrol(
    fleet: &Fleet,
    identity: &Arc<Identity>,
    tenant: TenantId,
    evidence: &Evidence,
    ticket: TicketFile,
) -> Result<Answered<Enrolled>, FleetError> {
    let (identity, evidence) = (identity.clone(), evidence.bytes());
    let request = Renewed::<Enrol>::new(SIGNED_LIFE);
    let mut fleet = fleet.clone();
    fleet.times.hedge = fleet.times.hedge.max(HEDGE);
    fleet.ask(move |mut client: Client| {
        let enrol = request.get(|| {
            let request = EnrolmentRequest {
                suite: Suite::V1,
                tenant,
                request: RequestId::from_bytes(system::random_bytes()),
                agent: identity.principal(),
                issued: system::wall(),
                evidence: evidence.clone(),
                ticket: ticket.ticket.clone(),
                voucher: vouch(&ticket, tenant, &identity),
            };
            Enrol { request: Verified::sign(request, &identity).bytes().to_vec() }
        });
        client.post_json("/v1/enrol", &*enrol)
    })
}

/// With a ticket's one-time key: that the ticket is for this agent's key. Nothing if the ticket came without one; whatever is
/// wrong with a ticket, custodians say better.
fn vouch(file: &TicketFile, tenant: TenantId, identity: &Identity) -> Option<Vec<u8>> {
    let mut seed = <[u8; 32]>::try_from(file.bearer.as_deref()?).ok()?;
    let bearer = Identity::from_seed(Secret32::from_array(&mut seed));
    let ticket = Verified::<Ticket>::from_bytes(&file.ticket).ok()?;
    let voucher = Voucher {
        suite: Suite::V1,
        bearer: bearer.principal(),
        tenant,
        ticket: ticket.nonce,
        agent: identity.principal(),
    };
    Some(Verified::sign(voucher, &bearer).bytes().to_vec())
}

/// Votes take longer than releases: a node is given this long before the next is asked.
const HEDGE: Duration = Duration::from_secs(2);

/// How long enrolment waits for custodians unless told otherwise: votes are statements and must spread first.
pub const WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
#[path = "enrol_tests.rs"]
mod tests;
