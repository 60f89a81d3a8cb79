//! Every size and count that bytes from outside are held to, in one place.
//!
//! A limit throttles or refuses; it never makes a stored statement invalid later.

/// The largest encoded statement, envelope included.
pub const STATEMENT_BYTES: usize = 64 * 1024;
/// The largest ciphertext in the erasable store.
pub const BLOB_BYTES: usize = 64 * 1024;
/// The largest frame between two nodes.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// The largest body of a request at the door.
pub const BODY_BYTES: usize = 256 * 1024;
/// Causal parents of one statement.
pub const PARENTS: usize = 16;
/// Names of people, nodes, namespaces, keyrings and keys.
pub const NAME_BYTES: usize = 64;
/// Free texts: reasons, descriptions.
pub const TEXT_BYTES: usize = 1024;
/// A Cedar policy of one scope.
pub const POLICY_BYTES: usize = 32 * 1024;
/// Members of one committee.
pub const COMMITTEE: usize = 63;
/// A recipient's one-time key for a change of sharing, with its proof.
pub const EPOCH_KEY_BYTES: usize = 512;
/// A holder's deal to the largest committee.
pub const DEAL_BYTES: usize = 24 * 1024;
/// A complaint about a deal.
pub const COMPLAINT_BYTES: usize = 1024;
/// A partial, or what a custodian gave as one.
pub const PARTIAL_BYTES: usize = 512;
/// What a custodian signs of the capsule that its partial is of.
pub const CAPSULE_HEAD_BYTES: usize = 128;
/// Committees of one root.
pub const COMMITTEES: usize = 8;
/// Admins of one document.
pub const ADMINS: usize = 64;
/// Nodes placed by one tenant.
pub const TENANT_NODES: usize = 256;
/// Addresses of one node.
pub const ADDRESSES: usize = 8;
/// Operations of one edit.
pub const EDIT_OPS: usize = 64;
/// Statements one witness names.
pub const WITNESS_TARGETS: usize = 64;
/// The longest lease a keyring may ask for, in milliseconds: one day.
pub const LEASE_MAX_MS: u64 = 24 * 3600 * 1000;
/// The shortest lease a keyring may ask for, in milliseconds.
pub const LEASE_MIN_MS: u64 = 1000;
/// A data key as it is released.
pub const DATA_KEY_BYTES: usize = 64;
/// An instance identity document as an agent shows it, base64 included.
pub const EVIDENCE_BYTES: usize = 16 * 1024;
/// A signed request stays valid this long, in milliseconds.
pub const REQUEST_LIFE_MS: u64 = 60 * 1000;
