//! What the simulator saw happen: the one stream that the model, the checks, the coverage and the timeline read.
//!
//! Nothing in here is asked of a core: every entry is something a bystander with access to all disks, wires and clients
//! could have written down. Entries come in the order in which things happened.

use std::collections::BTreeSet;

use keymesh_wire::audit::AuditRecord;
use keymesh_wire::body::GenerationRef;
use keymesh_wire::ids::{DocumentId, KeyId, KeyringId, NodeId, PrincipalId, RequestId, StatementId, TenantId};
use keymesh_wire::time::{Boot, Now, Wall};

use crate::world::{Denied, Handle};

/// Where in the life of a batch a node fell over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Boundary {
    /// Not while it wrote.
    Idle,
    /// Before anything of the batch was on disk.
    BeforeWrite,
    /// After the shares, before the rest.
    BetweenWrites,
    /// With everything written and no effect carried out.
    BeforeEffects,
    /// With some of the effects carried out.
    BetweenEffects,
    /// Because the disk took no more.
    FailedWrite,
    /// After a decision, before its audit record was on disk.
    BeforeRecord,
    /// With the record on disk and nothing sent.
    AfterRecord,
}

/// Something that happened.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A statement is on a node's disk from now on.
    Stored {
        /// The node's place.
        node: usize,
        /// The statement.
        id: StatementId,
        /// Its envelope, as it lies there.
        bytes: &'a [u8],
    },
    /// A root share is on a node's disk from now on.
    Shared {
        /// The node's place.
        node: usize,
        /// The slot it lies in.
        slot: &'a str,
    },
    /// A client was told that a node has these.
    Acknowledged {
        /// The node's place.
        node: usize,
        /// The document.
        document: DocumentId,
        /// The statements.
        statements: &'a [StatementId],
    },
    /// A node started; it knows what is on its disk.
    Started {
        /// The node's place.
        node: usize,
        /// What is on its disk.
        statements: &'a BTreeSet<StatementId>,
    },
    /// A node stopped.
    Crashed {
        /// The node's place.
        node: usize,
        /// Where.
        boundary: Boundary,
    },
    /// A node's disk holds less than it did: an older copy was put back, or a part of it was moved away. What was
    /// acknowledged there and is on no other disk is lost.
    RolledBack {
        /// The node's place.
        node: usize,
    },
    /// Something happened to a node's disk.
    Disk {
        /// The node's place.
        node: usize,
        /// In words.
        what: &'a str,
    },
    /// A second machine runs under a node's identity from now on, from a copy of its disk.
    Cloned {
        /// The node's place.
        node: usize,
        /// The place of the second machine.
        twin: usize,
    },
    /// The network changed.
    Network {
        /// In words.
        what: &'a str,
    },
    /// A node's machine stood still for a while or its clock jumped.
    Clock {
        /// The node's place.
        node: usize,
        /// In words.
        what: &'a str,
    },
    /// An agent asked a node for a key of a leased keyring.
    Asked {
        /// The node's place.
        node: usize,
        /// The client's request.
        handle: Handle,
        /// The request's id, as audit records name it.
        request: RequestId,
        /// The agent.
        agent: PrincipalId,
        /// The tenant.
        tenant: TenantId,
        /// The key.
        key: KeyId,
    },
    /// An audit record is durable at a node from now on.
    Recorded {
        /// The node's place.
        node: usize,
        /// The record.
        record: &'a AuditRecord,
    },
    /// A node decided on a release or a contribution; the record is about to be written.
    Decided {
        /// The node's place.
        node: usize,
        /// Its clocks.
        now: Now,
        /// The client's request, for a leased release.
        handle: Option<Handle>,
        /// The agent.
        agent: PrincipalId,
        /// The tenant.
        tenant: TenantId,
        /// The key.
        key: KeyId,
        /// Whether it will release.
        release: bool,
        /// A contribution to a blind release rather than a leased release.
        blind: bool,
    },
    /// A key left a node, or an agent was refused.
    Answered {
        /// The node's place.
        node: usize,
        /// The client's request.
        handle: Handle,
        /// The node's clocks when the key was opened.
        now: Now,
        /// The key or why not.
        result: Result<&'a [u8], &'a Denied>,
    },
    /// A custodian contributed to a blind release.
    Contributed {
        /// The node's place.
        node: usize,
        /// The request.
        request: RequestId,
        /// When it was made, by the agent's word.
        issued: Wall,
        /// The agent.
        agent: PrincipalId,
        /// The tenant.
        tenant: TenantId,
        /// The key.
        key: KeyId,
        /// Its clocks.
        now: Now,
        /// With its shares of which committees of the root, by their epochs.
        shares: &'a [(u8, u32)],
    },
    /// A custodian contributed to a lease.
    Leased {
        /// The custodian's place.
        node: usize,
        /// The request.
        request: RequestId,
        /// When it was made, by the lessee's word.
        issued: Wall,
        /// The lessee.
        lessee: NodeId,
        /// The tenant.
        tenant: TenantId,
        /// The keyring.
        keyring: KeyringId,
        /// The custodian's clocks.
        now: Now,
        /// With its shares of which committees of the root, by their epochs.
        shares: &'a [(u8, u32)],
    },
    /// A node's view holds a lease it did not hold, or one for longer.
    LeaseHeld {
        /// The lessee's place.
        node: usize,
        /// Its clocks.
        now: Now,
        /// The tenant.
        tenant: TenantId,
        /// The generation.
        generation: GenerationRef,
        /// When it ends, on the lessee's boot clock.
        expires: Boot,
    },
    /// A frame of the spread channel left a node.
    Spread {
        /// The sender's place.
        from: usize,
        /// To whom.
        to: NodeId,
        /// Its bytes.
        frame: &'a [u8],
    },
    /// A node warned its operators.
    Warned {
        /// The node's place.
        node: usize,
        /// The warning.
        what: &'a str,
    },
}
