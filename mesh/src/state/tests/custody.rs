//! Roots, enrolments, revocations: what custodians say.

use std::collections::BTreeSet;

use keymesh_wire::body::Body;
use keymesh_wire::ids::{NodeId, StatementId};

use super::story::*;
use crate::state::tenant::Denial;

fn nodes(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| who(name)).collect()
}

fn with_root() -> Story {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    story.root(&["ann", "bob"], 3, 1);
    story
}

#[test]
fn a_root_is_live_once_every_custodian_attested_the_same() {
    let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
    let spec = keymesh_wire::body::RootSpec {
        committees: vec![keymesh_wire::body::CommitteeSpec {
            members: NODES.iter().map(|node| who(node)).collect(),
            threshold: 3,
            faults: 1,
        }],
    };
    let proposal = story.say("ann", &Body::ProposeRoot(spec));
    story.say("n1", &attest_root(proposal.into(), "t"));
    assert!(story.tenant_now().roots.is_empty(), "it takes more than half of the admins");
    story.endorse("bob", proposal);
    for node in &NODES[..4] {
        story.say(node, &attest_root(proposal.into(), "t"));
    }
    story.say("ann", &attest_root(proposal.into(), "t"));
    assert!(story.tenant_now().live_root().is_none());
    story.say("n5", &attest_root(proposal.into(), "other"));
    let root = &story.tenant_now().roots[&proposal.into()];
    assert!(!root.live && root.committees[0].conflict);
    story.say("n5", &attest_root(proposal.into(), "t"));
    let state = story.tenant_now();
    assert_eq!(state.live_root().and_then(|root| root.committees[0].public.clone()), Some(b"t".to_vec()));
}

#[test]
fn a_custodian_who_attests_a_second_outcome_is_shown_and_does_not_take_the_root_out_of_use() {
    let mut story = with_root();
    let root = story.tenant_now().live_root().expect("live").id;
    story.say("n3", &attest_root(root, "a lie"));
    let state = story.tenant_now();
    let root = state.live_root().expect("still live");
    assert!(root.committees[0].conflict);
    assert_eq!(root.committees[0].public.as_deref(), Some(&b"transcript"[..]));
}

#[test]
fn a_root_with_a_member_the_tenant_did_not_place_is_not_one() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    let spec = keymesh_wire::body::RootSpec {
        committees: vec![keymesh_wire::body::CommitteeSpec {
            members: ["n1", "n2", "n9"].iter().map(|node| who(node)).collect(),
            threshold: 2,
            faults: 0,
        }],
    };
    story.together(&["ann", "bob"], &Body::ProposeRoot(spec));
    assert!(story.tenant_now().roots.is_empty());
}

#[test]
fn a_root_that_one_provider_could_open_alone_is_not_one() {
    // n1 and n2 are at one provider, n3 and n4 at another.
    let committee = |members: &[&str], threshold| keymesh_wire::body::CommitteeSpec {
        members: members.iter().map(|node| who(node)).collect(),
        threshold,
        faults: 0,
    };
    let proposed = |committees: Vec<keymesh_wire::body::CommitteeSpec>| {
        let mut story = Story::tenant(&["ann", "bob"], 1);
        story.together(&["ann", "bob"], &Body::ProposeRoot(keymesh_wire::body::RootSpec { committees }));
        !story.tenant_now().roots.is_empty()
    };
    assert!(!proposed(vec![committee(&["n1", "n2", "n3"], 2)]));
    assert!(proposed(vec![committee(&["n1", "n3", "n5"], 2)]));
    // Another required committee that the provider cannot satisfy makes up for it.
    assert!(proposed(vec![committee(&["n1", "n2"], 2), committee(&["n3", "n4"], 2)]));
}

#[test]
fn an_enrolment_is_fixed_by_more_than_half_of_members_and_faults_together() {
    // n = 5, f = 1: more than 3, so 4.
    let mut story = with_root();
    for node in ["n1", "n2", "n3"] {
        story.say(node, &vote("agent", "i-1"));
        story.say(node, &vote("agent", "i-1"));
    }
    for outsider in ["ann", "eve", "n9"] {
        story.say(outsider, &vote("agent", "i-1"));
    }
    assert!(story.tenant_now().enrolments["i-1"].holder().is_none());
    story.say("n4", &vote("agent", "i-1"));
    let state = story.tenant_now();
    assert_eq!(state.enrolments["i-1"].holder().map(|claim| claim.agent), Some(who("agent")));
    assert!(state.claim_of(&who("agent")).is_some());
    assert!(state.tickets[&nonce("agent")].contains_key("i-1"));
}

#[test]
fn one_liar_cannot_use_up_a_ticket_that_it_saw() {
    let mut story = with_root();
    let used =
        |story: &Story, custodian| story.tenant_now().ticket_used_by_another(&nonce("agent"), "i-1", &who(custodian));
    story.say("n1", &vote("agent", "i-9"));
    assert!(used(&story, "n1"), "whoever voted by a ticket does not again");
    assert!(!used(&story, "n2"), "and cannot speak for the others");
    story.say("n2", &vote("agent", "i-9"));
    assert!(used(&story, "n3"), "one of two is honest, and so nobody else will be bound");
    assert!(!story.tenant_now().ticket_used_by_another(&nonce("agent"), "i-9", &who("n3")));
}

#[test]
fn a_second_key_does_not_disturb_the_first() {
    let mut story = with_root();
    for node in ["n1", "n2", "n3", "n4"] {
        story.say(node, &vote("agent", "i-1"));
    }
    for node in ["n5", "n4", "n3"] {
        story.say(node, &vote("intruder", "i-1"));
    }
    let state = story.tenant_now();
    let enrolment = &state.enrolments["i-1"];
    assert_eq!(enrolment.claims.len(), 2, "both are shown");
    assert_eq!(enrolment.holder().map(|claim| claim.agent), Some(who("agent")));
    assert!(state.claim_of(&who("intruder")).is_none());
}

#[test]
fn two_fixed_claims_leave_the_instance_to_nobody() {
    let mut story = with_root();
    for node in ["n1", "n2", "n3", "n4"] {
        story.say(node, &vote("agent", "i-1"));
    }
    for node in ["n5", "n2", "n3", "n4"] {
        story.say(node, &vote("intruder", "i-1"));
    }
    let state = story.tenant_now();
    assert!(state.enrolments["i-1"].holder().is_none());
    assert!(state.claim_of(&who("agent")).is_none() && state.claim_of(&who("intruder")).is_none());
}

#[test]
fn votes_split_over_different_facts_do_not_add_up() {
    let mut story = with_root();
    for node in ["n1", "n2", "n3"] {
        story.say(node, &vote("agent", "i-1"));
    }
    let Body::VoteEnrolment(mut other) = vote("agent", "i-1") else { unreachable!() };
    other.facts.zone = "aws/elsewhere".into();
    story.say("n4", &Body::VoteEnrolment(other));
    assert!(story.tenant_now().enrolments["i-1"].holder().is_none());
}

fn denial(story: &Story, id: StatementId) -> Denial {
    story.tenant_now().denials[&id].clone()
}

#[test]
fn a_revocation_is_effective_exactly_when_no_quorum_without_it_is_left_and_names_the_missing() {
    // n = 5, t = 3, f = 1: n - t + 1 + f = 4.
    let mut story = with_root();
    let revocation = story.say("ann", &revoke("i-1"));
    assert_eq!(denial(&story, revocation).missing, nodes(&NODES));
    for (held, node) in ["n2", "n4", "n5"].into_iter().enumerate() {
        story.say(node, &Body::Witness(vec![revocation]));
        let denial = denial(&story, revocation);
        assert!(!denial.effective);
        assert_eq!(denial.missing.len(), 4 - held);
    }
    assert_eq!(denial(&story, revocation).missing, nodes(&["n1", "n3"]));
    assert!(story.tenant_now().denial_of(&who("agent"), "i-1").is_some(), "a node refuses as soon as it knows");
    story.say("n1", &Body::Witness(vec![revocation]));
    let denial = denial(&story, revocation);
    assert!(denial.effective);
    assert_eq!(denial.missing, nodes(&["n3"]));
}

#[test]
fn a_witness_who_is_no_custodian_or_witnesses_twice_does_not_count() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    story.say("ann", &Body::PlaceNode(placement("n9")));
    story.root(&["ann", "bob"], 3, 1);
    let revocation = story.say("ann", &revoke("i-1"));
    for node in ["n1", "n2", "n3", "n3", "n9", "ann", "eve"] {
        story.say(node, &Body::Witness(vec![revocation]));
    }
    let denial = denial(&story, revocation);
    assert!(!denial.effective);
    assert_eq!(denial.witnesses, nodes(&["n1", "n2", "n3"]));
}

#[test]
fn a_revocation_has_to_be_held_at_every_live_root() {
    let mut story = Story::tenant(&["ann", "bob"], 1);
    story.root(&["ann", "bob"], 3, 1);
    let spec = keymesh_wire::body::RootSpec {
        committees: vec![keymesh_wire::body::CommitteeSpec {
            members: ["n1", "n2", "n3"].iter().map(|node| who(node)).collect(),
            threshold: 3,
            faults: 0,
        }],
    };
    let (small, _) = story.together(&["ann", "bob"], &Body::ProposeRoot(spec));
    for node in ["n1", "n2", "n3"] {
        story.say(node, &attest_root(small.into(), "small"));
    }
    let revocation = story.say("ann", &revoke("i-1"));
    story.say("n1", &Body::Witness(vec![revocation]));
    assert!(!denial(&story, revocation).effective, "one of the small committee is not enough for the large one");
    for node in ["n3", "n4", "n5"] {
        story.say(node, &Body::Witness(vec![revocation]));
    }
    assert!(denial(&story, revocation).effective);
}

#[test]
fn the_denial_digest_tells_replicas_with_different_denials_apart() {
    let mut story = with_root();
    let before = story.tenant_now().denial_digest();
    story.say("ann", &revoke("i-1"));
    let after = story.tenant_now().denial_digest();
    assert_ne!(before, after);
    story.namespace("ann", None, "dev");
    assert_eq!(story.tenant_now().denial_digest(), after);
}
