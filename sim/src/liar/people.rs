//! People who lie with their genuine keys: an admin below the endorsement threshold, and the operators of the mesh.
//!
//! Both hand signed statements to whoever submits them. What they may achieve is said with each [`Abuse`]: a single admin
//! can deny, and nothing else (I4); the mesh operator can narrow what a tenant trusts, and never widen it (I2).

use keymesh_wire::body::{
    Body, CommitteeSpec, Named, NewPolicy, NodeCard, Person, Placement, Renaming, Revocation, Role, RoleGrant,
    RootSpec, Scope, Subject,
};
use keymesh_wire::ids::{BlobHash, DocumentId, MeshId, StatementId, TenantId};
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use rand_core::CryptoRng;

use crate::draw;
use crate::people::Signer;
use crate::world::World;

/// What statements of a liar may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abuse {
    /// Nothing: nobody's state may change by it in what is trusted or permitted.
    Void,
    /// It takes something away from somebody, which its signer may do.
    Denies,
    /// It changes names that people read.
    Renames,
}

/// What a corrupted admin of a tenant says at a node, alone, endorsing himself where that could help.
///
/// # Panics
/// When the node does not run or does not hold the tenant: ask another one.
pub fn corrupted_admin(
    world: &World,
    node: usize,
    tenant: TenantId,
    admin: &Signer,
    rng: &mut impl CryptoRng,
) -> (Abuse, Vec<Checked>) {
    let state = world.tenant(node, tenant).expect("a running node with the tenant");
    let me = admin.identity.principal();
    let friend = Identity::from_seed(Secret32::random(rng));
    let other = state.admins.keys().find(|other| **other != me).copied().unwrap_or(friend.principal());
    let instance = state.enrolments.keys().next().cloned().unwrap_or_else(|| "aws:0:i-0".to_owned());
    let keyring = state.keyrings.keys().next().copied();
    let evidence = BlobHash::from_bytes([draw::between(rng, 0, 255) as u8; 32]);
    let (abuse, body) = match draw::between(rng, 0, 10) {
        0 => (Abuse::Denies, Body::SuspendAdmin(other)),
        1 => (Abuse::Denies, Body::Revoke(revocation(instance))),
        2 => (Abuse::Void, Body::DistrustEvidence(evidence)),
        3 if keyring.is_some() => {
            let object = keyring.map_or_else(|| unreachable!("looked at above"), Named::Keyring);
            (Abuse::Renames, Body::Rename(Renaming { object, name: "mine".to_owned() }))
        }
        drawn => (Abuse::Void, proposal(drawn, world, node, &friend, other)),
    };
    let document = tenant.into();
    let first = admin.sign(Some(document), world.heads(node, document), world.at(), &body);
    let mut statements = vec![first];
    if abuse == Abuse::Void {
        endorse(&mut statements, document, admin, world.at(), 2);
    }
    (abuse, statements)
}

/// What operators of the mesh say at a node, all of them together, to get at a tenant.
///
/// # Panics
/// As [`corrupted_admin`].
pub fn operator(
    world: &World,
    node: usize,
    mesh: MeshId,
    tenant: TenantId,
    founders: &[&Signer],
    rng: &mut impl CryptoRng,
) -> (Abuse, Vec<Checked>) {
    let state = world.tenant(node, tenant).expect("a running node with the tenant");
    let friend = Identity::from_seed(Secret32::random(rng));
    let admin = state.admins.keys().next().copied().unwrap_or(friend.principal());
    let instance = state.enrolments.keys().next().cloned().unwrap_or_else(|| "aws:0:i-0".to_owned());
    let (document, body) = match draw::between(rng, 0, 9) {
        // A node of theirs in the mesh is a stranger to the tenant.
        0 | 1 => (mesh.into(), Body::AdmitNode(card(world, node, &friend))),
        2 => (tenant.into(), Body::Revoke(revocation(instance))),
        3 => (tenant.into(), Body::SuspendAdmin(admin)),
        drawn => (tenant.into(), proposal(drawn, world, node, &friend, admin)),
    };
    (Abuse::Void, world.together(node, document, founders, &body))
}

/// Operators take a node out of the mesh: it narrows what every tenant has.
pub fn operator_removes(world: &World, node: usize, mesh: MeshId, founders: &[&Signer], victim: usize) -> Vec<Checked> {
    world.together(node, mesh.into(), founders, &Body::RemoveNode(world.node(victim).id()))
}

fn revocation(instance: String) -> Revocation {
    Revocation { subject: Subject::Instance(instance), reason: "because".to_owned() }
}

/// Something that needs more than one person.
fn proposal(drawn: u64, world: &World, node: usize, friend: &Identity, other: keymesh_wire::ids::PrincipalId) -> Body {
    let principal = friend.principal();
    let members = (0..world.size()).map(|node| world.node(node).id()).collect();
    match drawn {
        4 => Body::AddAdmin(Person { principal, name: "friend".to_owned() }),
        5 => Body::RemoveAdmin(other),
        6 => {
            Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: "permit(principal, action, resource);".to_owned() })
        }
        7 => Body::PlaceNode(Placement {
            node: principal,
            sealing: *friend.sealing().public().as_bytes(),
            zone: "nowhere/z9".to_owned(),
            provider: "nobody".to_owned(),
            lessee: true,
        }),
        8 => Body::ProposeRoot(RootSpec { committees: vec![CommitteeSpec { members, threshold: 2, faults: 0 }] }),
        9 => Body::DisplaceNode(world.node(node).id()),
        _ => Body::Grant(RoleGrant {
            principal,
            name: "friend".to_owned(),
            role: Role::NamespaceAdmin,
            scope: Scope::Tenant,
        }),
    }
}

fn card(world: &World, node: usize, friend: &Identity) -> NodeCard {
    NodeCard {
        node: friend.principal(),
        sealing: *friend.sealing().public().as_bytes(),
        name: "stranger".to_owned(),
        ..world.node(node).card.clone()
    }
}

/// One person's endorsements of his own proposal, each with another past and time.
fn endorse(statements: &mut Vec<Checked>, document: DocumentId, who: &Signer, at: u64, times: u64) {
    let Some(target) = statements.first().map(Checked::id) else { return };
    for time in 1..=times {
        let parents: Vec<StatementId> = statements.last().map(Checked::id).into_iter().collect();
        statements.push(who.sign(Some(document), parents, at + time, &Body::Endorse(target)));
    }
}
