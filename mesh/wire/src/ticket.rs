//! Launch tickets: what a launcher signs about an instance it starts.
//!
//! Evidence such as an AWS identity document has no nonce, no expiry and no launching user. A ticket supplies them: it is
//! single-use, short-lived, names the instance or the agent's key it is for, and its signer must be a registered launcher.

use minicbor::{Decode, Encode};
use zeroize::Zeroize;

use crate::body::InstanceName;
use crate::envelope::Signable;
use crate::ids::{Nonce, PrincipalId, TenantId};
use crate::suite::Suite;
use crate::time::Wall;

/// What a launcher signs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ticket {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The tenant it is for.
    #[n(1)]
    pub tenant: TenantId,
    /// The launcher who signs.
    #[n(2)]
    pub launcher: PrincipalId,
    /// Used up by the first enrolment.
    #[n(3)]
    pub nonce: Nonce,
    /// The one instance that may use it, if the launcher knew it.
    #[n(4)]
    pub instance: Option<InstanceName>,
    /// The one key that may use it: the agent's, or a one-time key that came with the ticket and vouches for the agent's
    /// ([`Voucher`]). A ticket without either would serve whoever sees it on its way to the custodians.
    #[n(5)]
    pub agent: Option<PrincipalId>,
    /// When it was signed; the instance must not be older.
    #[n(6)]
    pub issued: Wall,
    /// When it stops being usable.
    #[n(7)]
    pub expires: Wall,
}

/// What the holder of a ticket's one-time key signs: which agent's key the ticket is for. Whoever carries evidence and ticket
/// to the custodians sees both, but cannot make them speak for a key of its own.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Voucher {
    /// The algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The ticket's one-time key, which signs.
    #[n(1)]
    pub bearer: PrincipalId,
    /// The tenant.
    #[n(2)]
    pub tenant: TenantId,
    /// The ticket's nonce.
    #[n(3)]
    pub ticket: Nonce,
    /// The agent's key.
    #[n(4)]
    pub agent: PrincipalId,
}

impl Signable for Voucher {
    const DOMAIN: &'static str = "keymesh ticket voucher v1";
    const LIMIT: usize = 512;

    fn signer(&self) -> PrincipalId {
        self.bearer
    }
}

/// A ticket as it is handed to an instance, say in its user data. Keep it as secret as a password that is good for minutes.
#[derive(Encode, Decode)]
pub struct TicketFile {
    /// The ticket's envelope.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub ticket: Vec<u8>,
    /// The seed of the one-time key, if the ticket is not for an agent's key itself.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub bearer: Option<Vec<u8>>,
}

impl TicketFile {
    /// The largest file, in bytes.
    pub const LIMIT: usize = 2048;
}

impl Drop for TicketFile {
    fn drop(&mut self) {
        self.bearer.zeroize();
    }
}

impl std::fmt::Debug for TicketFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketFile")
    }
}

impl Signable for Ticket {
    const DOMAIN: &'static str = "keymesh launch ticket v1";
    const LIMIT: usize = 1024;

    fn signer(&self) -> PrincipalId {
        self.launcher
    }
}
