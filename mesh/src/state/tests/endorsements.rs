//! Proposals and endorsements: who counts, when, and what a late endorsement cannot do.

use keymesh_wire::body::{Body, Role, Scope};
use keymesh_wire::suite::Level;

use super::story::*;

const LAUNCHER: (Role, Scope) = (Role::Launcher, Scope::Tenant);

fn launch() -> Body {
    grant("eve", LAUNCHER.0, LAUNCHER.1)
}

fn no_launch() -> Body {
    revoke_grant("eve", LAUNCHER.0, LAUNCHER.1)
}

#[test]
fn a_change_that_needs_two_waits_for_the_second() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 2);
    let proposal = story.say("ann", &launch());
    let state = story.tenant_now();
    assert!(state.grants.is_empty());
    assert_eq!(state.pending.len(), 1);
    story.endorse("bob", proposal);
    let state = story.tenant_now();
    assert_eq!(state.grants.len(), 1);
    assert!(state.pending.is_empty());
}

#[test]
fn an_endorsement_counts_once_per_person() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 3);
    let proposal = story.say("ann", &launch());
    for _ in 0..3 {
        story.endorse("bob", proposal);
        story.endorse("ann", proposal);
    }
    let state = story.tenant_now();
    assert!(state.grants.is_empty());
    assert_eq!(state.pending[0].persons.len(), 2);
    story.endorse("cem", proposal);
    assert_eq!(story.tenant_now().grants.len(), 1);
}

#[test]
fn an_endorsement_that_saw_a_denial_does_not_lift_the_proposal_over_it() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 2);
    let proposal = story.say("ann", &launch());
    story.say("cem", &no_launch());
    story.endorse("bob", proposal);
    let state = story.tenant_now();
    assert!(state.pending.is_empty(), "it has its endorsements");
    assert!(state.grants.is_empty(), "and is denied all the same");
}

#[test]
fn a_concurrent_revocation_wins_over_a_grant() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    story.say_after("ann", &genesis, &launch());
    story.say_after("bob", &genesis, &no_launch());
    assert!(story.tenant_now().grants.is_empty());
}

#[test]
fn a_grant_that_has_seen_the_revocation_works_again() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 2);
    story.together(&["ann", "bob"], &launch());
    story.say("cem", &no_launch());
    assert!(story.tenant_now().grants.is_empty());
    story.together(&["ann", "bob"], &launch());
    assert_eq!(story.tenant_now().grants.len(), 1);
}

#[test]
fn a_grant_that_has_seen_one_revocation_falls_to_another_it_had_not_seen() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.say("ann", &launch());
    let before = story.heads();
    let seen = story.say_after("bob", &before, &no_launch());
    story.say_after("cem", &before, &no_launch());
    story.say_after("ann", &[seen], &launch());
    assert!(story.tenant_now().grants.is_empty());
}

#[test]
fn an_endorsement_by_somebody_who_became_admin_later_does_not_count() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    let proposal = story.say("ann", &launch());
    story.endorse("dan", proposal);
    story.together(&["ann", "bob"], &Body::AddAdmin(person("dan")));
    assert!(story.tenant_now().grants.is_empty());
    story.endorse("dan", proposal);
    assert_eq!(story.tenant_now().grants.len(), 1, "judged at its own place, where dan is an admin");
}

#[test]
fn an_endorsement_by_somebody_removed_before_does_not_count() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 2);
    let proposal = story.say("ann", &launch());
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.endorse("bob", proposal);
    assert!(story.tenant_now().grants.is_empty());
    story.endorse("cem", proposal);
    assert_eq!(story.tenant_now().grants.len(), 1);
}

#[test]
fn an_endorsement_must_have_seen_what_it_endorses() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    let proposal = story.say("ann", &launch());
    story.say_after("bob", &[story.genesis()], &Body::Endorse(proposal));
    assert!(story.tenant_now().grants.is_empty());
}

#[test]
fn a_guarded_change_by_an_outsider_stays_without_authority_however_many_endorse_it() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    let proposal = story.say("eve", &launch());
    story.endorse("ann", proposal);
    story.endorse("bob", proposal);
    let state = story.tenant_now();
    assert!(state.grants.is_empty() && state.pending.is_empty());
}

#[test]
fn an_admin_is_added_by_more_than_half_however_few_a_guarded_change_needs() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let proposal = story.say("ann", &Body::AddAdmin(person("dan")));
    assert!(!story.tenant_now().admins.contains_key(&who("dan")));
    story.endorse("bob", proposal);
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "bob", "cem", "dan"]));
}

#[test]
fn an_outsider_names_nobody() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    story.together(&["ann", "bob"], &Body::AddAdmin(person("dan")));
    for word in ["zed", "zoe", "yan"] {
        let mut renamed = person("dan");
        renamed.name = word.into();
        story.say("eve", &Body::AddAdmin(renamed));
    }
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "bob", "dan"]));
}

#[test]
fn a_mesh_operator_has_no_authority_in_a_tenants_document() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let quiet = story.tenant_now();
    for body in [
        launch(),
        no_launch(),
        policy("permit(principal, action, resource);"),
        revoke("i-1"),
        Body::AddAdmin(person("op")),
        Body::RemoveAdmin(who("ann")),
        Body::SuspendAdmin(who("ann")),
        Body::DisplaceNode(who("n1")),
        Body::PlaceNode(placement("n9")),
        Body::AdmitNode(keymesh_wire::body::NodeCard {
            node: who("n9"),
            sealing: [0; 32],
            name: "n9".into(),
            zone: "aws/a".into(),
            provider: "aws".into(),
            mesh: vec!["127.0.0.1:1".into()],
            door: vec!["127.0.0.1:2".into()],
        }),
        vote("agent", "i-1"),
        Body::Witness(vec![story.genesis()]),
        Body::Rename(keymesh_wire::body::Renaming {
            object: keymesh_wire::body::Named::Namespace(keymesh_wire::ids::NamespaceId::from_bytes([1; 32])),
            name: "x".into(),
        }),
    ] {
        story.say("op", &body);
    }
    assert_eq!(story.tenant_now(), quiet);
}

#[test]
fn a_tenants_kinds_have_no_authority_in_the_mesh_document_and_the_other_way_round() {
    let mut story = Story::mesh(&["ann", "bob"], 1);
    let quiet = story.mesh_now();
    story.say("ann", &launch());
    story.say("ann", &Body::PlaceNode(placement("n1")));
    story.say("ann", &revoke("i-1"));
    assert_eq!(story.mesh_now(), quiet);
}

#[test]
fn a_statement_of_another_document_is_foreign() {
    let story = Story::tenant(&["ann", "bob"], 1);
    let mut other = Story::mesh(&["ann", "bob"], 1);
    other.say("ann", &Body::RemoveNode(who("n1")));
    let mut document = story.document_now();
    for statement in other.statements() {
        assert_eq!(document.insert(statement.clone()), crate::state::graph::Insertion::Foreign);
    }
}

#[test]
fn a_statement_above_our_level_is_stored_and_raises_the_level_the_document_asks_for() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    assert_eq!(story.document_now().above(), None);
    let statement = unknown(&identity("ann"), story.document(), story.heads(), 3);
    let id = story.add(statement);
    story.add(unknown(&identity("n1"), story.document(), vec![story.genesis()], 2));
    let document = story.document_now();
    assert!(document.graph().contains(&id));
    assert_eq!(document.above(), Some(Level(3)));
    story.namespace("bob", None, "dev");
    assert_eq!(story.tenant_now().namespaces.len(), 1, "what builds on it is judged as ever");
}

#[test]
fn an_outsiders_statement_above_our_level_is_stored_and_stops_nothing() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let id = story.add(unknown(&identity("eve"), story.document(), story.heads(), 9));
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.add(unknown(&identity("bob"), story.document(), vec![story.genesis()], 9));
    let document = story.document_now();
    assert!(document.graph().contains(&id));
    assert_eq!(document.above(), None);
}
