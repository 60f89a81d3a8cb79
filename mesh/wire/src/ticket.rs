//! Launch tickets: what a launcher signs about an instance it starts.
//!
//! Evidence such as an AWS identity document has no nonce, no expiry and no launching user. A ticket supplies them: it is
//! single-use, short-lived, names the instance or the agent's key it is for, and its signer must be a registered launcher.

use minicbor::{Decode, Encode};

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
    /// The one agent key that may use it, if the launcher knew it.
    #[n(5)]
    pub agent: Option<PrincipalId>,
    /// When it was signed; the instance must not be older.
    #[n(6)]
    pub issued: Wall,
    /// When it stops being usable.
    #[n(7)]
    pub expires: Wall,
}

impl Signable for Ticket {
    const DOMAIN: &'static str = "keymesh launch ticket v1";
    const LIMIT: usize = 1024;

    fn signer(&self) -> PrincipalId {
        self.launcher
    }
}
