//! Every kind of statement and of input, with who brings it about in the workload.
//!
//! The lists and the matches come from one macro: a kind that the core gains and that has no line here does not compile,
//! and one whose line is an empty promise fails `tests/seeds.rs`.

use keymesh_mesh::replica::Input;
use keymesh_wire::body::{Body, SharingAct};

macro_rules! kinds {
    ($of:ident, $list:ident, $name:ident, $($variant:ident by $who:literal,)*) => {
        /// Every kind with who brings it about.
        pub const $list: &[(&str, &str)] = &[$((stringify!($variant), $who),)*];

        /// The kind's name in the list.
        pub fn $name(of: &$of) -> &'static str {
            match of {
                $($of::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

kinds! { Body, STATEMENTS, statement,
    MeshGenesis by "stage",
    AdmitNode by "stage, operate",
    RemoveNode by "operate",
    Endorse by "endorse, endorse_without_right",
    AddAdmin by "admins_change",
    RemoveAdmin by "admins_change",
    SuspendAdmin by "admins_change, operate, bribe",
    LiftSuspension by "admins_change",
    Edit by "edit, operate, backdate",
    TenantGenesis by "stage",
    PlaceNode by "placement",
    DisplaceNode by "placement",
    ProposeRoot by "stage, propose_root",
    AttestRoot by "custodians",
    CreateNamespace by "create_namespace, backdate",
    Grant by "stage, role",
    RevokeGrant by "role, backdate",
    CreateKeyring by "create_keyring",
    AttestGeneration by "lessees",
    AccuseGeneration by "lessees, after a false public half of create_keyring",
    CreateKey by "create_key",
    AddVersion by "add_version",
    SetKeyState by "key_state, destroy_yesterday",
    SetPolicy by "stage, policy",
    TrustEvidence by "stage, evidence",
    DistrustEvidence by "evidence",
    VoteEnrolment by "custodians, after enrol",
    Revoke by "revoke",
    Witness by "custodians",
    Rename by "rename",
    RefreshShares by "refresh",
    ReshareRoot by "reshare",
    Sharing by "custodians",
    OpenGeneration by "open_generation, rotate_due",
    AccuseCustodian by "lessees and agents that were given false partials",
}

kinds! { SharingAct, SHARING_ACTS, sharing_act,
    OfferKey by "recipients",
    CallDeals by "leaders",
    Deal by "holders",
    Complain by "recipients of bad deals",
    Propose by "leaders",
    Prepare by "holders",
    Ready by "recipients",
    Commit by "holders",
    Hold by "recipients",
    Erase by "holders, when recipients hold",
}

kinds! { Input, INPUTS, input,
    Submit by "people",
    PeerUp by "links",
    PeerDown by "links",
    Spread by "cores",
    Custody by "cores",
    WantLease by "agents",
    Vote by "custodians",
    Accuse by "agents that were given false partials",
    Tick by "time",
}
