//! Statements that are signed well and refused all the same.

use keymesh_wire::body::*;
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::*;
use keymesh_wire::limits;
use keymesh_wire::statement::{Checked, Content, Statement, StatementError};
use keymesh_wire::suite::{LEVEL, Level, Suite};

use super::samples::*;

fn plain() -> Statement {
    Statement {
        suite: Suite::V1,
        level: LEVEL,
        author: who(1),
        document: Some(DocumentId::from_bytes([1; 32])),
        parents: vec![StatementId::from_bytes([1; 32])],
        time: TIME,
        body: codec::encode(&Body::RemoveNode(who(2))),
    }
}

fn read(statement: Statement) -> Result<Checked, StatementError> {
    Checked::from_bytes(Verified::sign(statement, &identity(1)).bytes())
}

#[test]
fn a_plain_one_is_taken() {
    assert!(read(plain()).is_ok());
}

#[test]
fn parents_out_of_order_twice_or_too_many_are_refused() {
    let id = |byte| StatementId::from_bytes([byte; 32]);
    let many = (0..=limits::PARENTS as u8).map(id).collect();
    for parents in [vec![id(2), id(1)], vec![id(1), id(1)], many] {
        assert_eq!(read(Statement { parents, ..plain() }), Err(StatementError::Parents));
    }
}

#[test]
fn a_statement_without_document_or_parents_is_refused_and_so_is_a_genesis_with_them() {
    let place = |statement| assert!(matches!(read(statement), Err(StatementError::Place(_))));
    place(Statement { document: None, ..plain() });
    place(Statement { parents: vec![], ..plain() });
    place(Statement { document: None, parents: vec![], ..plain() });
    let body = codec::encode(&bodies()[0]);
    place(Statement { body: body.clone(), ..plain() });
    place(Statement { body: body.clone(), document: None, ..plain() });
    place(Statement { body, parents: vec![], ..plain() });
}

#[test]
fn another_suite_is_refused() {
    assert_eq!(read(Statement { suite: Suite(2), ..plain() }), Err(StatementError::Suite(2)));
}

#[test]
fn an_unknown_body_is_kept_above_our_level_and_refused_at_it() {
    let body = b"\x82\x18\x63\x80".to_vec();
    assert!(matches!(read(Statement { body: body.clone(), ..plain() }), Err(StatementError::Body(_))));
    let above = read(Statement { body, level: Level(7), ..plain() }).expect("kept");
    assert_eq!(above.content(), &Content::Above(Level(7)));
    assert!(above.body().is_none());
}

#[test]
fn a_body_in_another_encoding_than_its_own_is_refused() {
    let body = codec::encode(&Body::RemoveNode(who(2)));
    for body in [[&body[..], &[0]].concat(), [&[0x98, 2][..], &body[1..]].concat(), body[..5].to_vec(), vec![]] {
        assert!(matches!(read(Statement { body, ..plain() }), Err(StatementError::Body(_))));
    }
}

#[test]
fn a_body_past_its_limits_is_refused() {
    let person = |name: &str| Person { principal: who(2), name: name.into() };
    let committee = |members: Vec<NodeId>, threshold, faults| {
        Body::ProposeRoot(RootSpec { committees: vec![CommitteeSpec { members, threshold, faults }] })
    };
    let three = || vec![who(11), who(12), who(13)];
    let Body::MeshGenesis(genesis) = bodies().remove(0) else { unreachable!("the first one") };
    let Body::CreateKeyring(keyring) = bodies().remove(17) else { unreachable!("the eighteenth one") };
    let CustodyClass::Leased { generation, .. } = &keyring.class else { unreachable!("a leased one") };
    let leased = |generation: Generation, ms| {
        let class = CustodyClass::Leased { generation, lease: keymesh_wire::time::Millis(ms) };
        Body::CreateKeyring(NewKeyring { class, ..keyring.clone() })
    };
    let refused = [
        Body::AddAdmin(person("")),
        Body::AddAdmin(person("Ann")),
        Body::AddAdmin(person("a b")),
        Body::AddAdmin(person("a/b")),
        Body::AddAdmin(person(&"a".repeat(limits::NAME_BYTES + 1))),
        Body::MeshGenesis(MeshGenesis { founders: vec![], ..genesis.clone() }),
        Body::MeshGenesis(MeshGenesis { founders: vec![person("a"), person("b")], endorsements: 1, ..genesis.clone() }),
        Body::MeshGenesis(MeshGenesis { endorsements: 0, ..genesis.clone() }),
        Body::MeshGenesis(MeshGenesis { endorsements: 4, ..genesis }),
        committee(three(), 1, 0),
        committee(three(), 4, 0),
        committee(three(), 2, 2),
        committee(vec![who(11), who(11)], 2, 1),
        committee(vec![], 2, 1),
        Body::ProposeRoot(RootSpec { committees: vec![] }),
        leased(generation.clone(), limits::LEASE_MIN_MS - 1),
        leased(generation.clone(), limits::LEASE_MAX_MS + 1),
        leased(Generation { number: 2, ..generation.clone() }, 1000),
        Body::Witness(vec![]),
        Body::Witness(vec![StatementId::from_bytes([1; 32]); 2]),
        Body::Edit(vec![]),
        Body::Edit(vec![EditOp::Delete { path: vec![] }]),
        Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: "x".repeat(limits::POLICY_BYTES + 1) }),
    ];
    for body in refused {
        let statement = match body.begins_document() {
            true => Statement { body: codec::encode(&body), document: None, parents: vec![], ..plain() },
            false => Statement { body: codec::encode(&body), ..plain() },
        };
        assert!(matches!(read(statement), Err(StatementError::Body(_))), "{body:?}");
    }
}

#[test]
fn statements_that_differ_in_anything_have_different_ids() {
    let first = read(plain()).expect("taken");
    let later = Statement { time: keymesh_wire::time::Wall(TIME.0 + 1), ..plain() };
    let elsewhere = Statement { document: Some(DocumentId::from_bytes([2; 32])), ..plain() };
    for other in [later, elsewhere] {
        assert_ne!(read(other).expect("taken").id(), first.id());
    }
    assert_eq!(read(plain()).expect("taken").id(), first.id());
}
