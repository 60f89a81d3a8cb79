//! Who is a node of a mesh, judged from signed statements alone.
//!
//! An agent pins the mesh id and nothing else. A node shows the genesis (whose hash is the mesh id) and the statements
//! that admitted it; this module checks that enough of the genesis' founders stand behind the admission. It is the
//! agent's small judgement: full authority (later admins, suspensions, removal order) is the fold's in `keymesh-mesh`. It
//! errs on the strict side: a removal by enough founders counts whatever its causal place.

use std::collections::{BTreeMap, BTreeSet};

use crate::body::{Body, MeshGenesis, NodeCard};
use crate::ids::{MeshId, NodeId, PrincipalId, StatementId};
use crate::limits;
use crate::statement::{Checked, StatementError};

/// The most statements a membership may hold.
pub const MEMBERSHIP_STATEMENTS: usize = 4096;

/// Why a membership does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Too many statements.
    #[error("more than {MEMBERSHIP_STATEMENTS} statements")]
    TooMany,
    /// A statement does not hold by itself.
    #[error("statement {index}: {error}")]
    Statement {
        /// Its place in the list.
        index: usize,
        /// What is wrong.
        error: StatementError,
    },
    /// No statement has the pinned mesh id.
    #[error("no genesis of {0} among the statements")]
    NoGenesis(MeshId),
}

/// The nodes of a mesh that enough founders admitted and not enough removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    mesh: MeshId,
    nodes: BTreeMap<NodeId, NodeCard>,
}

impl Members {
    /// Checks `statements` (envelopes in any order) against the pinned mesh id.
    pub fn verify(mesh: MeshId, statements: &[Vec<u8>]) -> Result<Self, MembershipError> {
        if statements.len() > MEMBERSHIP_STATEMENTS {
            return Err(MembershipError::TooMany);
        }
        let mut checked = Vec::with_capacity(statements.len());
        for (index, bytes) in statements.iter().enumerate() {
            let statement = Checked::from_bytes(bytes).map_err(|error| MembershipError::Statement { index, error })?;
            if statement.document() == mesh.into() {
                checked.push(statement);
            }
        }
        // Of several admissions of one node the one with the highest id counts, whatever the order they are shown in.
        checked.sort_by_key(Checked::id);
        let genesis = checked
            .iter()
            .find_map(|statement| match statement.body() {
                Some(Body::MeshGenesis(genesis)) if MeshId::from(statement.id()) == mesh => Some(genesis.clone()),
                _ => None,
            })
            .ok_or(MembershipError::NoGenesis(mesh))?;
        let supporters = supporters(&genesis, &checked);
        let passed = |id: &StatementId| {
            supporters.get(id).is_some_and(|people| people.len() >= usize::from(genesis.endorsements))
        };
        let mut nodes = BTreeMap::new();
        for statement in checked.iter().filter(|statement| passed(&statement.id())) {
            if let Some(Body::AdmitNode(card)) = statement.body() {
                nodes.insert(card.node, card.clone());
            }
        }
        for statement in checked.iter().filter(|statement| passed(&statement.id())) {
            if let Some(Body::RemoveNode(node)) = statement.body() {
                nodes.remove(node);
            }
        }
        Ok(Self { mesh, nodes })
    }

    /// The mesh.
    pub fn mesh(&self) -> MeshId {
        self.mesh
    }

    /// The card of a node, if it is a member.
    pub fn node(&self, node: &NodeId) -> Option<&NodeCard> {
        self.nodes.get(node)
    }

    /// All members.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeCard> {
        self.nodes.values()
    }
}

/// Those of a mesh's statements by which [`Members::verify`] judges: the genesis, and what its founders said about nodes.
/// Anybody can sign admissions and endorsements, and so many that a client would refuse the whole list; a node shows these.
pub fn telling(mesh: MeshId, statements: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let checked: Vec<Checked> = statements.iter().filter_map(|bytes| Checked::from_bytes(bytes).ok()).collect();
    let genesis = checked.iter().find_map(|statement| match statement.body() {
        Some(Body::MeshGenesis(genesis)) if MeshId::from(statement.id()) == mesh => Some(genesis),
        _ => None,
    });
    let Some(genesis) = genesis else { return Vec::new() };
    let supported = supporters(genesis, &checked);
    let nodes: BTreeSet<StatementId> = checked
        .iter()
        .filter(|statement| matches!(statement.body(), Some(Body::AdmitNode(_) | Body::RemoveNode(_))))
        .map(Checked::id)
        .filter(|id| supported.contains_key(id))
        .collect();
    let tells = |statement: &&Checked| match statement.body() {
        Some(Body::MeshGenesis(_)) => MeshId::from(statement.id()) == mesh,
        Some(Body::AdmitNode(_) | Body::RemoveNode(_)) => nodes.contains(&statement.id()),
        Some(Body::Endorse(target)) => {
            nodes.contains(target) && supported.get(target).is_some_and(|people| people.contains(&statement.author()))
        }
        _ => false,
    };
    checked.iter().filter(tells).map(|statement| statement.bytes().to_vec()).collect()
}

fn supporters(genesis: &MeshGenesis, statements: &[Checked]) -> BTreeMap<StatementId, BTreeSet<PrincipalId>> {
    let founders: BTreeSet<_> = genesis.founders.iter().map(|founder| founder.principal).collect();
    let mut supporters: BTreeMap<StatementId, BTreeSet<PrincipalId>> = BTreeMap::new();
    for statement in statements.iter().filter(|statement| founders.contains(&statement.author())) {
        let target = match statement.body() {
            Some(Body::AdmitNode(_) | Body::RemoveNode(_)) => statement.id(),
            Some(Body::Endorse(target)) => *target,
            _ => continue,
        };
        supporters.entry(target).or_default().insert(statement.author());
    }
    supporters
}

/// The size of a membership answer that a client accepts, in bytes.
pub const MEMBERSHIP_BYTES: usize = 8 * limits::FRAME_BYTES;
