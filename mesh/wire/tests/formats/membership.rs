//! What an agent believes about who is a node.

use keymesh_wire::body::Body;
use keymesh_wire::ids::{DocumentId, MeshId, StatementId};
use keymesh_wire::membership::{MEMBERSHIP_STATEMENTS, Members, MembershipError, telling};
use keymesh_wire::statement::Checked;

use super::samples::*;

/// A mesh of three founders (keys 1, 2, 3) of whom two are needed, and what was said in it.
struct Mesh {
    id: MeshId,
    statements: Vec<Vec<u8>>,
}

impl Mesh {
    fn new() -> Self {
        let genesis = statement(&bodies()[0]);
        Self { id: genesis.id().into(), statements: vec![genesis.bytes().to_vec()] }
    }

    fn say(&mut self, seed: u8, body: &Body) -> StatementId {
        self.say_in(self.id.into(), seed, body)
    }

    fn say_in(&mut self, document: DocumentId, seed: u8, body: &Body) -> StatementId {
        let statement = Checked::sign(body, Some(document), vec![self.id.into()], TIME, &identity(seed)).expect("fits");
        self.statements.push(statement.bytes().to_vec());
        statement.id()
    }

    fn members(&self) -> Members {
        let forwards = Members::verify(self.id, &self.statements).expect("holds");
        let backwards: Vec<_> = self.statements.iter().rev().cloned().collect();
        assert_eq!(Members::verify(self.id, &backwards).as_ref(), Ok(&forwards), "in any order");
        forwards
    }

    fn has(&self, node: u8) -> bool {
        self.members().node(&who(node)).is_some()
    }
}

#[test]
fn a_node_that_enough_founders_admitted_is_a_member() {
    let mut mesh = Mesh::new();
    let admission = mesh.say(1, &Body::AdmitNode(card(11)));
    assert!(!mesh.has(11), "one founder is too few");
    mesh.say(1, &Body::Endorse(admission));
    assert!(!mesh.has(11), "and does not count twice");
    mesh.say(2, &Body::Endorse(admission));
    assert_eq!(mesh.members().node(&who(11)), Some(&card(11)));
    assert_eq!(mesh.members().nodes().count(), 1);
    assert_eq!(mesh.members().mesh(), mesh.id);
}

#[test]
fn a_forged_admission_makes_no_member() {
    let mut mesh = Mesh::new();
    let forged = mesh.say(9, &Body::AdmitNode(card(11)));
    for outsider in [9, 10, 12, 13] {
        mesh.say(outsider, &Body::Endorse(forged));
    }
    let by_one = mesh.say(1, &Body::AdmitNode(card(12)));
    mesh.say(9, &Body::Endorse(by_one));
    mesh.say(10, &Body::Endorse(by_one));
    assert_eq!(mesh.members().nodes().count(), 0);
}

#[test]
fn an_endorsement_is_for_the_one_statement_it_names() {
    let mut mesh = Mesh::new();
    mesh.say(1, &Body::AdmitNode(card(11)));
    let other = mesh.say(1, &Body::AdmitNode(card(12)));
    mesh.say(2, &Body::Endorse(other));
    assert!(mesh.has(12) && !mesh.has(11));
}

#[test]
fn a_removed_node_is_no_member_whatever_the_order() {
    let mut mesh = Mesh::new();
    let admission = mesh.say(1, &Body::AdmitNode(card(11)));
    mesh.say(2, &Body::Endorse(admission));
    let removal = mesh.say(3, &Body::RemoveNode(who(11)));
    assert!(mesh.has(11), "one founder alone does not remove");
    mesh.say(2, &Body::Endorse(removal));
    assert!(!mesh.has(11));
}

#[test]
fn another_mesh_by_the_same_founders_admits_nobody_here() {
    let mut mesh = Mesh::new();
    let elsewhere = DocumentId::from_bytes([8; 32]);
    let admission = mesh.say_in(elsewhere, 1, &Body::AdmitNode(card(11)));
    mesh.say_in(elsewhere, 2, &Body::Endorse(admission));
    assert_eq!(mesh.members().nodes().count(), 0);
    // Not even if the endorsement is given here.
    mesh.say(2, &Body::Endorse(admission));
    mesh.say(3, &Body::Endorse(admission));
    assert_eq!(mesh.members().nodes().count(), 0);
}

#[test]
fn the_wrong_mesh_id_is_noticed() {
    let mesh = Mesh::new();
    let wrong = MeshId::from_bytes([9; 32]);
    assert_eq!(Members::verify(wrong, &mesh.statements), Err(MembershipError::NoGenesis(wrong)));
    assert_eq!(Members::verify(mesh.id, &[]), Err(MembershipError::NoGenesis(mesh.id)));
    // A tenant's genesis is none of a mesh.
    let tenant = statement(&bodies()[1]);
    let id = MeshId::from(tenant.id());
    assert_eq!(Members::verify(id, &[tenant.bytes().to_vec()]), Err(MembershipError::NoGenesis(id)));
}

#[test]
fn an_altered_statement_is_named() {
    let mut mesh = Mesh::new();
    mesh.say(1, &Body::AdmitNode(card(11)));
    let last = mesh.statements[1].len() - 1;
    mesh.statements[1][last] ^= 1;
    assert!(matches!(Members::verify(mesh.id, &mesh.statements), Err(MembershipError::Statement { index: 1, .. })));
}

#[test]
fn too_many_statements_are_refused_unread() {
    let mesh = Mesh::new();
    let many = vec![Vec::new(); MEMBERSHIP_STATEMENTS + 1];
    assert_eq!(Members::verify(mesh.id, &many), Err(MembershipError::TooMany));
}

#[test]
fn what_a_node_shows_holds_no_more_than_what_founders_said_about_nodes() {
    let mut mesh = Mesh::new();
    let admission = mesh.say(1, &Body::AdmitNode(card(11)));
    mesh.say(2, &Body::Endorse(admission));
    // Proposed by somebody who is no founder, endorsed by two who are.
    let other = mesh.say(9, &Body::AdmitNode(card(12)));
    mesh.say(1, &Body::Endorse(other));
    mesh.say(2, &Body::Endorse(other));
    let all = mesh.members();
    let before = mesh.statements.len();
    for stranger in 20..40 {
        let own = mesh.say(stranger, &Body::AdmitNode(card(stranger)));
        mesh.say(stranger, &Body::Endorse(own));
        mesh.say(stranger, &Body::Endorse(admission));
        mesh.say(stranger, &Body::RemoveNode(who(11)));
    }
    let shown = telling(mesh.id, &mesh.statements);
    assert_eq!(shown.len(), before);
    assert_eq!(Members::verify(mesh.id, &shown), Ok(all));
    assert_eq!(telling(mesh.id, &mesh.statements[1..]), Vec::<Vec<u8>>::new(), "without the genesis nothing");
}
