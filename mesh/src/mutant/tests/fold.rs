//! Mutants of the fold.

use keymesh_wire::body::{
    Body, Generation, GenerationRef, KeyState, KeyStateChange, NewGeneration, Role, Scope, key_id,
};

use super::super::Mutant;
use super::both;
use crate::custody::accusation::tests::accuse;
use crate::custody::stage::Stage;
use crate::state::graph::Insertion;
use crate::state::tests::generations::{leased, make_key};
use crate::state::tests::story::*;

fn launch() -> Body {
    grant("eve", Role::Launcher, Scope::Tenant)
}

#[test]
fn a_concurrent_grant_stands_beside_its_revocation() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let genesis = [story.genesis()];
    story.say_after("ann", &genesis, &launch());
    story.say_after("bob", &genesis, &revoke_grant("eve", Role::Launcher, Scope::Tenant));
    assert_eq!(both(Mutant::GrantBeatsRevoke, || story.tenant_now().grants.len()), (0, 1));
}

#[test]
fn a_destroyed_key_comes_back_as_a_suspended_one() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let keyring = story.keyring("ann", namespace, "volumes");
    let key = story.key("ann", keyring, "disk");
    let change = |state| Body::SetKeyState(KeyStateChange { key, keyring, state });
    let before = story.heads();
    let destroyed = story.say_after("ann", &before, &change(KeyState::Destroyed));
    // A suspension that is folded later: one with a higher id.
    while story.say_after("bob", &before, &change(KeyState::Suspended)) < destroyed {}
    let state = || story.tenant_now().keys[&key].state;
    assert_eq!(both(Mutant::DeleteLosesToPut, state), (KeyState::Destroyed, KeyState::Suspended));
}

#[test]
fn a_generation_that_an_expelled_lessee_could_read_counts_as_good() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let first = leased(&mut story, "ann", namespace);
    story.say("n1", &Body::AttestGeneration(first));
    story.say("ann", &make_key(first, "disk"));
    story.say("ann", &Body::DisplaceNode(who("n1")));
    let key = key_id(&story.document(), &who("ann"), &nonce("disk"));
    assert_eq!(both(Mutant::ExpelledNotDue, || story.tenant_now().due(&key, |_| true).is_some()), (true, false));
}

#[test]
fn a_custodian_is_held_for_a_liar_for_a_partial_that_holds() {
    let mut stage = Stage::new();
    let honest = accuse(&stage, "n3", &stage.shares[1]);
    stage.tenant.say("n1", &Body::AccuseCustodian(honest));
    let accused = || stage.tenant.tenant_now().is_accused(&who("n3"));
    assert_eq!(both(Mutant::AccusationUnchecked, accused), (false, true));
}

#[test]
fn a_version_is_sealed_to_a_generation_that_nobody_attested() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let namespace = story.namespace("ann", None, "dev");
    let first = leased(&mut story, "ann", namespace);
    story.say("n1", &Body::AttestGeneration(first));
    let generation = Generation { number: 2, public: [2; 32], capsule: blob("second") };
    let opened = story.say("ann", &Body::OpenGeneration(NewGeneration { keyring: first.keyring, generation }));
    let document = story.document_now();
    story.say("ann", &make_key(GenerationRef { number: 2, opened: Some(opened), ..first }, "disk"));
    let key = story.statements().last().expect("said").clone();
    assert_eq!(both(Mutant::SealedToUnattested, || document.unfit_seal(&[&key]).is_some()), (true, false));
}

#[test]
fn a_statement_is_in_the_graph_without_its_parent() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let document = story.document_now();
    let parent = story.namespace("ann", None, "dev").into();
    story.say_after("ann", &[parent], &launch());
    let child = story.statements().last().expect("said").clone();
    let inserted = || matches!(document.clone().insert(child.clone()), Insertion::New(_));
    assert_eq!(both(Mutant::ParentsUnchecked, inserted), (false, true));
}

#[test]
fn one_person_alone_endorses_twice() {
    let mut story = Story::tenant(&["ann", "bob"], 2);
    let proposal = story.say("ann", &launch());
    story.endorse("ann", proposal);
    assert_eq!(both(Mutant::EndorsementCountedTwice, || story.tenant_now().grants.len()), (0, 1));
}

#[test]
fn somebody_removed_since_endorses() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 2);
    let proposal = story.say("ann", &launch());
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.endorse("bob", proposal);
    assert_eq!(both(Mutant::EndorsementAtTarget, || story.tenant_now().grants.len()), (0, 1));
}

#[test]
fn a_removed_admin_dates_a_grant_back() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.together(&["ann", "cem"], &Body::RemoveAdmin(who("bob")));
    story.say_after("bob", &[story.genesis()], &launch());
    assert_eq!(both(Mutant::BackdatedActCounted, || story.tenant_now().grants.len()), (0, 1));
}

#[test]
fn a_suspended_admin_still_grants() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    story.say("ann", &Body::SuspendAdmin(who("bob")));
    story.say("bob", &launch());
    assert_eq!(both(Mutant::SuspendedAdminGoesOn, || story.tenant_now().grants.len()), (0, 1));
}

#[test]
fn three_of_four_witnesses_are_called_enough() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    story.root(&["ann", "bob"], 3, 1);
    let denial = story.say("ann", &revoke("i-1"));
    for node in &NODES[..3] {
        story.say(node, &Body::Witness(vec![denial]));
    }
    let effective = || story.tenant_now().denials[&denial].effective;
    assert_eq!(both(Mutant::RevocationOneWitnessEarly, effective), (false, true));
}

#[test]
fn two_orders_of_arrival_give_two_digests() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let genesis = [story.genesis()];
    story.say_after("ann", &genesis, &policy("permit(principal, action, resource);"));
    story.say_after("bob", &genesis, &policy("forbid(principal, action, resource);"));
    let said = story.statements();
    let other_way = [said[0].clone(), said[2].clone(), said[1].clone()];
    let same = || deliver(said).digest() == deliver(&other_way).digest();
    assert_eq!(both(Mutant::FoldedInArrivalOrder, same), (true, false));
}
