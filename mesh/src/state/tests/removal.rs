//! Removal of admins and nodes: what stands, what becomes void, and what nobody can do alone.

use keymesh_wire::body::{Body, EditOp, NewNamespace, NodeCard, Role, Scope};
use keymesh_wire::ids::StatementId;

use super::story::*;
use crate::state::TenantState;

fn is_quarantined(state: &TenantState, statement: StatementId) -> bool {
    state.quarantined.iter().any(|entry| entry.statement == statement)
}

#[test]
fn mutual_removals_both_stand() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    story.together_after(&["ann", "cem"], &genesis, &Body::RemoveAdmin(who("bob")));
    story.together_after(&["bob", "cem"], &genesis, &Body::RemoveAdmin(who("ann")));
    assert_eq!(active(&story.tenant_now().admins), names(&["cem"]));
}

#[test]
fn a_removal_stands_although_an_endorser_was_removed_concurrently() {
    let mut story = Story::mesh(&["ann", "bob", "cem", "dan", "eve"], 1);
    let genesis = [story.genesis()];
    story.together_after(&["ann", "bob", "cem"], &genesis, &Body::RemoveAdmin(who("dan")));
    story.together_after(&["cem", "dan", "eve"], &genesis, &Body::RemoveAdmin(who("bob")));
    assert_eq!(active(&story.mesh_now().admins), names(&["ann", "cem", "eve"]));
}

#[test]
fn a_removal_stands_although_what_made_its_author_an_admin_became_void() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    let (_, added) = story.together_after(&["ann", "bob"], &genesis, &Body::AddAdmin(person("dan")));
    story.together_after(&["dan", "bob", "cem"], &[added], &Body::RemoveAdmin(who("ann")));
    assert_eq!(active(&story.tenant_now().admins), names(&["bob", "cem", "dan"]));
    story.together_after(&["ann", "cem"], &genesis, &Body::RemoveAdmin(who("bob")));
    assert_eq!(active(&story.tenant_now().admins), names(&["cem"]));
}

#[test]
fn half_of_the_admins_are_not_enough_for_a_removal() {
    let mut story = Story::mesh(&["ann", "bob", "cem", "dan"], 1);
    let (removal, _) = story.together(&["ann", "bob"], &Body::RemoveAdmin(who("dan")));
    assert!(story.mesh_now().admins.contains_key(&who("dan")));
    story.endorse("cem", removal);
    assert!(!story.mesh_now().admins.contains_key(&who("dan")));
}

#[test]
fn one_admin_alone_can_only_suspend() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let removal = story.say("ann", &Body::RemoveAdmin(who("bob")));
    story.endorse("ann", removal);
    let state = story.tenant_now();
    assert_eq!(active(&state.admins), names(&["ann", "bob", "cem"]));
    assert!(state.pending.iter().any(|pending| pending.statement == removal && pending.required == 2));
    story.say("ann", &Body::SuspendAdmin(who("bob")));
    let state = story.tenant_now();
    assert_eq!(active(&state.admins), names(&["ann", "cem"]));
    assert!(state.admins[&who("bob")].suspended);
}

#[test]
fn a_suspended_admin_may_endorse_removals_and_nothing_else() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 2);
    let grant = story.say("cem", &grant("eve", Role::Auditor, Scope::Tenant));
    story.say("ann", &Body::SuspendAdmin(who("bob")));
    story.endorse("bob", grant);
    let lift = story.say("bob", &Body::LiftSuspension(who("bob")));
    story.endorse("cem", lift);
    story.say("bob", &Body::SuspendAdmin(who("ann")));
    story.say("bob", &revoke("i-1"));
    story.say("bob", &Body::Edit(vec![EditOp::Put { path: vec!["note".into()], value: "x".into() }]));
    let state = story.tenant_now();
    assert!(state.grants.is_empty());
    assert!(state.denials.is_empty());
    assert_eq!(active(&state.admins), names(&["ann", "cem"]));
    let removal = story.say("cem", &Body::RemoveAdmin(who("ann")));
    story.endorse("bob", removal);
    assert!(!story.tenant_now().admins.contains_key(&who("ann")));
}

#[test]
fn two_admins_who_suspend_each_other_are_both_suspended() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    story.say_after("ann", &genesis, &Body::SuspendAdmin(who("bob")));
    story.say_after("bob", &genesis, &Body::SuspendAdmin(who("ann")));
    assert_eq!(active(&story.tenant_now().admins), names(&["cem"]));
}

#[test]
fn what_a_removed_admin_did_concurrently_is_void_and_quarantined() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    let act = story.say_after("bob", &genesis, &grant("eve", Role::Launcher, Scope::Tenant));
    assert_eq!(story.tenant_now().grants.len(), 1);
    story.together_after(&["ann", "cem"], &genesis, &Body::RemoveAdmin(who("bob")));
    let state = story.tenant_now();
    assert!(state.grants.is_empty());
    assert!(is_quarantined(&state, act));
}

#[test]
fn what_rested_on_a_void_act_is_quarantined_too() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 2);
    let genesis = story.genesis();
    let endorsed = story.say_after("ann", &[genesis], &grant("eve", Role::Launcher, Scope::Tenant));
    let endorsement = story.say_after("bob", &[endorsed], &Body::Endorse(endorsed));
    let namespace = story.say_after("bob", &[genesis], &namespace_body("dev"));
    let keyring = story.say_after("ann", &[namespace], &new_keyring(namespace.into(), "ring", "ring"));
    let untouched = story.say_after("ann", &[genesis], &namespace_body("prod"));
    let before = story.tenant_now();
    assert_eq!((before.grants.len(), before.keyrings.len(), before.namespaces.len()), (1, 1, 2));
    story.together_after(&["ann", "cem"], &[genesis], &Body::RemoveAdmin(who("bob")));
    let state = story.tenant_now();
    assert_eq!((state.grants.len(), state.keyrings.len(), state.namespaces.len()), (0, 0, 1));
    for lost in [endorsed, endorsement, namespace, keyring] {
        assert!(is_quarantined(&state, lost));
    }
    assert!(!is_quarantined(&state, untouched));
    assert!(state.pending.iter().any(|pending| pending.statement == endorsed && pending.persons == [who("ann")]));
}

fn namespace_body(name: &str) -> Body {
    Body::CreateNamespace(NewNamespace { parent: None, name: name.into() })
}

#[test]
fn what_the_removal_had_seen_keeps_its_authority() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let namespace = story.namespace("bob", None, "dev");
    story.say("bob", &grant("eve", Role::Launcher, Scope::Tenant));
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    let state = story.tenant_now();
    assert!(state.namespaces.contains_key(&namespace));
    assert_eq!(state.grants.len(), 1);
    assert!(state.quarantined.is_empty());
}

#[test]
fn an_act_dated_back_before_the_removal_is_void() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.namespace("ann", None, "dev");
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    let late = story.say_after("bob", &[story.genesis()], &policy("permit(principal, action, resource);"));
    let state = story.tenant_now();
    assert!(state.policies.is_empty());
    assert!(is_quarantined(&state, late));
}

#[test]
fn an_act_dated_back_to_the_bare_proposal_of_the_removal_is_void() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let (proposal, _) = story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.say_after("bob", &[proposal], &policy("permit(principal, action, resource);"));
    assert!(story.tenant_now().policies.is_empty());
}

#[test]
fn an_act_after_the_removal_took_effect_has_no_authority() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    let late = story.say("bob", &policy("permit(principal, action, resource);"));
    let state = story.tenant_now();
    assert!(state.policies.is_empty());
    assert!(!is_quarantined(&state, late), "it never had any authority to lose");
}

#[test]
fn a_removed_admin_suspends_nobody_by_dating_back() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let (proposal, _) = story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.say_after("bob", &[story.genesis()], &Body::SuspendAdmin(who("ann")));
    story.say_after("bob", &[proposal], &Body::SuspendAdmin(who("cem")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "cem"]));
}

#[test]
fn a_removed_admin_displaces_no_node_by_dating_back() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.say_after("bob", &[story.genesis()], &Body::DisplaceNode(who("n1")));
    assert_eq!(story.tenant_now().nodes.len(), 5);
}

#[test]
fn removing_whoever_suspended_everybody_gives_the_others_back() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.say("ann", &Body::SuspendAdmin(who("bob")));
    story.say("ann", &Body::SuspendAdmin(who("cem")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann"]));
    story.together(&["bob", "cem"], &Body::RemoveAdmin(who("ann")));
    let namespace = story.namespace("bob", None, "dev");
    let state = story.tenant_now();
    assert_eq!(active(&state.admins), names(&["bob", "cem"]));
    assert!(state.namespaces.contains_key(&namespace));
}

#[test]
fn an_admin_made_anew_after_the_removal_acts_again() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.together(&["ann", "cem"], &Body::AddAdmin(person("bob")));
    let namespace = story.namespace("bob", None, "dev");
    let state = story.tenant_now();
    assert_eq!(active(&state.admins), names(&["ann", "bob", "cem"]));
    assert!(state.namespaces.contains_key(&namespace));
}

#[test]
fn a_founder_added_concurrently_with_the_removal_stays_removed() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    story.together_after(&["ann", "cem"], &genesis, &Body::RemoveAdmin(who("bob")));
    story.together_after(&["ann", "cem"], &genesis, &Body::AddAdmin(person("bob")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "cem"]));
}

#[test]
fn a_suspension_voids_what_it_had_not_seen_until_it_is_lifted() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = story.genesis();
    let act = story.say_after("bob", &[genesis], &namespace_body("dev"));
    story.say_after("ann", &[genesis], &Body::SuspendAdmin(who("bob")));
    let state = story.tenant_now();
    assert!(state.namespaces.is_empty());
    assert!(is_quarantined(&state, act));
    story.together(&["ann", "cem"], &Body::LiftSuspension(who("bob")));
    let state = story.tenant_now();
    assert_eq!(state.namespaces.len(), 1);
    assert!(state.quarantined.is_empty());
}

#[test]
fn a_suspension_is_not_lifted_by_a_bare_proposal_to_remove_who_ordered_it_nor_by_other_removals() {
    let mut story = Story::tenant(&["ann", "bob", "cem", "dan", "eve"], 1);
    story.say("ann", &Body::SuspendAdmin(who("bob")));
    story.say("cem", &Body::RemoveAdmin(who("ann")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "cem", "dan", "eve"]));
    story.together(&["ann", "cem", "dan"], &Body::RemoveAdmin(who("eve")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "cem", "dan"]));
}

#[test]
fn a_suspension_that_stood_is_not_lifted_by_what_later_suspensions_give_its_majority() {
    // Six admins need four voices to lift; cem's suspension undoes the sixth, and then three would do.
    let mut story = Story::tenant(&["ann", "bob", "cem", "dan", "eve"], 1);
    let before = story.heads();
    let (_, added) = story.together(&["cem", "ann", "dan"], &Body::AddAdmin(person("fay")));
    let suspension = story.say_after("ann", &[added], &Body::SuspendAdmin(who("bob")));
    story.together_after(&["ann", "dan", "eve"], &[suspension], &Body::LiftSuspension(who("bob")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "cem", "dan", "eve", "fay"]));
    story.say_after("ann", &before, &Body::SuspendAdmin(who("cem")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "dan", "eve"]));
}

#[test]
fn a_suspension_is_not_lifted_by_what_had_not_seen_it() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let genesis = [story.genesis()];
    story.say_after("ann", &genesis, &Body::SuspendAdmin(who("bob")));
    story.together_after(&["ann", "cem"], &genesis, &Body::LiftSuspension(who("bob")));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "cem"]));
}

#[test]
fn a_lift_endorsed_by_somebody_suspended_concurrently_does_not_count() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let suspension = story.say("ann", &Body::SuspendAdmin(who("bob")));
    story.together_after(&["ann", "cem"], &[suspension], &Body::LiftSuspension(who("bob")));
    let act = story.say_after("bob", &[story.genesis()], &namespace_body("dev"));
    assert_eq!(active(&story.tenant_now().admins), names(&["ann", "bob", "cem"]));
    story.say_after("ann", &[suspension], &Body::SuspendAdmin(who("cem")));
    let state = story.tenant_now();
    assert_eq!(active(&state.admins), names(&["ann"]));
    assert!(is_quarantined(&state, act), "the suspension stands again and voids what it had not seen");
}

#[test]
fn a_displaced_nodes_concurrent_votes_are_void() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    story.root(&["ann", "bob"], 3, 1);
    let before = story.heads();
    for node in ["n1", "n2", "n3"] {
        story.say_after(node, &before, &vote("agent", "i-1"));
    }
    let fourth = story.say_after("n4", &before, &vote("agent", "i-1"));
    assert!(story.tenant_now().enrolments["i-1"].holder().is_some());
    let (proposal, _) = story.together_after(&["ann", "bob"], &before, &Body::DisplaceNode(who("n4")));
    let late = story.say_after("n4", &[proposal], &vote("agent", "i-1"));
    let state = story.tenant_now();
    assert!(state.enrolments["i-1"].holder().is_none());
    assert!(is_quarantined(&state, fourth) && is_quarantined(&state, late));
    assert!(!state.nodes.contains_key(&who("n4")));
    assert!(state.live_root().is_some(), "what the displacement had seen stays");
}

#[test]
fn a_displacement_voids_neither_what_was_attested_of_a_root_nor_what_an_admin_did() {
    let mut story = Story::tenant(&["ann", "bob", "n1"], 1);
    let before = story.heads();
    let root = story.root(&["ann", "bob"], 3, 1);
    let namespace = story.namespace("n1", None, "dev");
    story.say_after("ann", &before, &Body::DisplaceNode(who("n1")));
    let state = story.tenant_now();
    assert!(!state.nodes.contains_key(&who("n1")));
    assert_eq!(state.live_root().map(|live| live.id), Some(root), "ciphertexts are sealed to it");
    assert!(state.namespaces.contains_key(&namespace), "fewer than a majority cannot void an admin's acts");
}

#[test]
fn a_displacement_that_waits_for_endorsements_changes_nothing() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    story.say("ann", &Body::DisplaceNode(who("n4")));
    assert_eq!(story.tenant_now().nodes.len(), 5);
}

#[test]
fn one_admin_cannot_void_what_a_node_said_by_suspending_it() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.root(&["ann", "bob"], 3, 1);
    story.say_after("cem", &[story.genesis()], &Body::SuspendAdmin(who("n1")));
    assert!(story.tenant_now().live_root().is_some());
}

#[test]
fn a_removed_node_of_the_mesh_comes_back_only_by_an_admission_that_saw_the_removal() {
    let mut story = Story::mesh(&["ann", "bob"], 2);
    let (admission, admitted) = story.together(&["ann", "bob"], &Body::AdmitNode(card("n1")));
    story.together_after(&["bob", "ann"], &[admitted], &Body::RemoveNode(who("n1")));
    let before = story.heads();
    story.together_after(&["ann", "bob"], &[admitted], &Body::AdmitNode(card("n1")));
    assert!(story.mesh_now().nodes.is_empty());
    story.together_after(&["ann", "bob"], &before, &Body::AdmitNode(card("n1")));
    let state = story.mesh_now();
    assert_eq!(state.nodes.len(), 1);
    assert!(story.statements().iter().any(|statement| statement.id() == admission));
}

fn card(node: &str) -> NodeCard {
    NodeCard {
        node: who(node),
        sealing: *who(node).as_bytes(),
        name: node.into(),
        zone: "aws/a".into(),
        provider: "aws".into(),
        mesh: vec!["127.0.0.1:1".into()],
        door: vec!["127.0.0.1:2".into()],
    }
}
