//! Epochs: which certificates count, when an earlier sharing is over, and what stays as it was.

use std::collections::BTreeSet;

use keymesh_wire::body::{Body, CommitteeSpec, Reshare, SharingAct, SharingRef, SharingWord, Transcript};
use keymesh_wire::ids::{NodeId, RootId, StatementId};
use keymesh_wire::time::Wall;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::story::*;
use crate::state::sharing::{Chain, Words, closing_quorum, ready_quorum};
use crate::state::tenant::RootCommittee;

/// A tenant with a root, 3 of 5 with one liar: 4 votes are a quorum.
struct Epochs {
    story: Story,
    root: RootId,
}

fn nodes(names: &[&str]) -> BTreeSet<NodeId> {
    names.iter().map(|name| who(name)).collect()
}

fn spec(members: &[&str], threshold: u8, faults: u8) -> CommitteeSpec {
    CommitteeSpec { members: members.iter().map(|name| who(name)).collect(), threshold, faults }
}

impl Epochs {
    fn begin() -> Self {
        let mut story = Story::tenant(&["ann", "bob", "cem"], 1);
        // Somewhere that none of the others is.
        let mut elsewhere = placement("n6");
        elsewhere.provider = "ovh".into();
        elsewhere.zone = "ovh/z".into();
        story.say("ann", &Body::PlaceNode(elsewhere));
        let root = story.root(&["ann", "bob"], 3, 1);
        Self { story, root }
    }

    fn sharing(&self, epoch: u32) -> SharingRef {
        SharingRef { root: self.root, committee: 0, epoch }
    }

    fn say(&mut self, author: &str, epoch: u32, act: SharingAct) -> StatementId {
        let sharing = self.sharing(epoch);
        self.story.say(author, &Body::Sharing(SharingWord { sharing, act }))
    }

    fn refresh(&mut self, author: &str, epoch: u32) -> StatementId {
        let sharing = self.sharing(epoch);
        self.story.say(author, &Body::RefreshShares(sharing))
    }

    fn reshare(&mut self, admins: &[&str], epoch: u32, spec: CommitteeSpec) -> StatementId {
        let sharing = self.sharing(epoch);
        self.story.together(admins, &Body::ReshareRoot(Reshare { sharing, spec })).0
    }

    /// A call for a change, and a transcript of it that somebody proposed.
    fn transcript(&mut self, author: &str, epoch: u32, change: StatementId, word: &str) -> Transcript {
        let offer = self.say(author, epoch, SharingAct::OfferKey { change, key: word.into() });
        let call = self.say(author, epoch, SharingAct::CallDeals { change, offers: vec![offer] });
        let deal = self.say(author, epoch, SharingAct::Deal { call, deal: word.into() });
        let transcript = Transcript { call, deals: vec![deal], public: word.into(), hash: blob(word) };
        let proposed = SharingAct::Propose { ballot: 0, transcript: transcript.clone(), prepared: None };
        self.say(author, epoch, proposed);
        transcript
    }

    fn commit(&mut self, voters: &[&str], epoch: u32, ballot: u32, transcript: &Transcript) {
        for voter in voters {
            self.say(voter, epoch, SharingAct::Commit { ballot, transcript: transcript.id() });
        }
    }

    /// A refresh that the first four agree upon.
    fn refreshed(&mut self, epoch: u32, word: &str) {
        let change = self.refresh("ann", epoch);
        let transcript = self.transcript("n1", epoch, change, word);
        self.commit(&NODES[..4], epoch, 0, &transcript);
    }

    /// A reshare to n1, n5 and n6, 2 of 3, that the first four agree upon.
    fn moved(&mut self) -> Transcript {
        let change = self.reshare(&["ann", "bob"], 1, spec(&["n1", "n5", "n6"], 2, 0));
        let transcript = self.transcript("n1", 1, change, "moved");
        self.commit(&NODES[..4], 1, 0, &transcript);
        transcript
    }

    fn committee(&self) -> RootCommittee {
        self.story.tenant_now().roots[&self.root].committees[0].clone()
    }

    fn is_invalid(&self, statement: StatementId) -> bool {
        self.story.document_now().is_invalid(&statement)
    }

    fn is_effective(&self, denial: StatementId) -> bool {
        self.story.tenant_now().denials[&denial].effective
    }
}

#[test]
fn a_certificate_moves_the_epoch_and_nothing_less_does() {
    let mut epochs = Epochs::begin();
    let change = epochs.refresh("ann", 1);
    let transcript = epochs.transcript("n2", 1, change, "fresh");
    for voter in NODES {
        epochs.say(voter, 1, SharingAct::Prepare { ballot: 0, transcript: transcript.id() });
        epochs.say(voter, 1, SharingAct::Ready { transcript: transcript.id() });
    }
    epochs.commit(&["n1", "n3", "n5"], 1, 0, &transcript);
    let before = epochs.committee();
    assert_eq!((before.epoch, before.public.as_deref()), (0, Some(&b"transcript"[..])));
    assert_eq!((before.holders, before.past.len()), (nodes(&NODES), 0));
    epochs.commit(&["n4"], 1, 0, &transcript);
    let time = epochs.story.statements().last().map(|statement| statement.time());
    let after = epochs.committee();
    assert_eq!((after.epoch, after.public.as_deref(), after.since), (1, Some(&b"fresh"[..]), time));
    assert_eq!(after.past.iter().map(|past| past.epoch).collect::<Vec<_>>(), [0]);
    assert!(after.holders.is_empty(), "nobody says yet that it holds a share of it");
    for holder in ["n2", "n5", "ann", "n6"] {
        epochs.say(holder, 1, SharingAct::Hold);
    }
    assert_eq!(epochs.committee().holders, nodes(&["n2", "n5"]));
}

#[test]
fn votes_of_others_about_others_or_in_several_ballots_do_not_add_up() {
    let mut epochs = Epochs::begin();
    let change = epochs.refresh("ann", 1);
    let transcript = epochs.transcript("n2", 1, change, "fresh");
    let other = epochs.transcript("n2", 1, change, "other");
    epochs.commit(&["n1", "n2", "n3", "n3", "n6", "ann", "eve"], 1, 0, &transcript);
    epochs.commit(&["n4"], 1, 1, &transcript);
    epochs.commit(&["n4"], 2, 0, &transcript);
    epochs.commit(&["n4"], 1, 0, &other);
    let elsewhere = SharingRef { committee: 1, ..epochs.sharing(1) };
    let act = SharingAct::Commit { ballot: 0, transcript: transcript.id() };
    epochs.story.say("n5", &Body::Sharing(SharingWord { sharing: elsewhere, act }));
    assert_eq!(epochs.committee().epoch, 0);
    epochs.commit(&["n5"], 1, 0, &transcript);
    assert_eq!(epochs.committee().epoch, 1);
}

#[test]
fn an_epoch_is_judged_by_the_custodians_of_the_one_before_it() {
    let mut epochs = Epochs::begin();
    epochs.moved();
    let committee = epochs.committee();
    assert_eq!((committee.epoch, committee.spec.clone()), (1, spec(&["n1", "n5", "n6"], 2, 0)));
    assert_eq!(committee.specs, [spec(&NODES, 3, 1), committee.spec.clone()]);
    let change = epochs.refresh("n6", 2);
    let transcript = epochs.transcript("n6", 2, change, "again");
    epochs.commit(&["n1", "n2", "n3", "n4"], 2, 0, &transcript);
    assert_eq!(epochs.committee().epoch, 1, "three of them are custodians no more");
    epochs.commit(&["n6"], 2, 0, &transcript);
    let committee = epochs.committee();
    assert_eq!((committee.epoch, committee.specs.len()), (2, 2), "a refresh leaves the custodians");
}

#[test]
fn a_certificate_whose_transcript_is_not_there_waits_for_it() {
    let mut epochs = Epochs::begin();
    let change = epochs.refresh("ann", 1);
    let call = epochs.say("n1", 1, SharingAct::CallDeals { change, offers: vec![change] });
    let transcript = Transcript { call, deals: vec![change], public: b"late".to_vec(), hash: blob("late") };
    epochs.commit(&NODES, 1, 0, &transcript);
    assert_eq!(epochs.committee().epoch, 0);
    epochs.say("n5", 1, SharingAct::Propose { ballot: 7, transcript, prepared: None });
    assert_eq!(epochs.committee().public.as_deref(), Some(&b"late"[..]), "whoever brings it: its hash was voted for");
}

#[test]
fn a_certificate_stands_whatever_becomes_of_its_proposal_and_its_voters() {
    let mut epochs = Epochs::begin();
    let seen_before = epochs.story.heads();
    let change = epochs.refresh("bob", 1);
    let transcript = epochs.transcript("n2", 1, change, "fresh");
    epochs.commit(&["n1", "n2", "n3", "n4"], 1, 0, &transcript);
    let (_, removed) = epochs.story.together_after(&["ann", "cem"], &seen_before, &Body::RemoveAdmin(who("bob")));
    assert!(epochs.is_invalid(change));
    assert_eq!(epochs.committee().epoch, 1);
    for node in ["n1", "n2"] {
        epochs.story.say_after("ann", &[removed], &Body::DisplaceNode(who(node)));
    }
    assert!(!epochs.story.tenant_now().nodes.contains_key(&who("n1")));
    let committee = epochs.committee();
    assert_eq!((committee.epoch, committee.public.as_deref()), (1, Some(&b"fresh"[..])));
}

#[test]
fn two_certificates_freeze_and_nobody_picks() {
    let mut epochs = Epochs::begin();
    epochs.refreshed(1, "fresh");
    assert_eq!((epochs.committee().epoch, epochs.committee().frozen), (1, false));
    let change = epochs.refresh("ann", 1);
    let other = epochs.transcript("n2", 1, change, "other");
    epochs.commit(&["n2", "n3", "n4"], 1, 3, &other);
    assert!(!epochs.committee().frozen);
    epochs.commit(&["n5"], 1, 3, &other);
    let frozen = epochs.committee();
    assert!(frozen.frozen);
    assert_eq!((frozen.epoch, frozen.public.as_deref()), (0, Some(&b"transcript"[..])));
}

#[test]
fn a_sharing_is_closed_once_fewer_than_a_threshold_can_have_shares_of_it() {
    // n = 5, t = 3, f = 1: 4 erased, one of them perhaps a liar, leave 2.
    let mut epochs = Epochs::begin();
    epochs.say("n5", 0, SharingAct::Erase);
    assert!(epochs.committee().past.is_empty(), "the current one is no past one");
    epochs.refreshed(1, "fresh");
    for eraser in ["n1", "n1", "n6", "ann", "n2"] {
        epochs.say(eraser, 0, SharingAct::Erase);
    }
    epochs.say("n3", 1, SharingAct::Erase);
    let open = epochs.committee();
    assert_eq!(open.past.len(), 1);
    assert_eq!(open.past[0].erased, nodes(&["n1", "n2", "n5"]));
    assert_eq!(open.sharings().map(|(epoch, ..)| epoch).collect::<Vec<_>>(), [0, 1]);
    epochs.say("n4", 0, SharingAct::Erase);
    let closed = epochs.committee();
    assert_eq!(closed.sharings().map(|(epoch, ..)| epoch).collect::<Vec<_>>(), [1]);
}

#[test]
fn quorums_of_closing_and_readiness_leave_room_for_liars() {
    for (n, t, f, closing, ready) in
        [(3, 2, 0, 2, 2), (4, 2, 1, 4, 3), (5, 3, 1, 4, 4), (7, 4, 2, 6, 6), (3, 3, 1, 2, 3)]
    {
        let names: Vec<String> = (0..n).map(|number| format!("m{number}")).collect();
        let spec = spec(&names.iter().map(String::as_str).collect::<Vec<_>>(), t, f);
        assert_eq!((closing_quorum(&spec), ready_quorum(&spec)), (closing, ready), "{t} of {n} with {f}");
        let (left, liars) = (n - closing, usize::from(f));
        assert!(left + liars < usize::from(t), "{left} who did not erase and {liars} who lied are fewer than {t}");
    }
}

#[test]
fn the_order_in_which_words_come_and_repeated_ones_change_nothing() {
    let mut epochs = Epochs::begin();
    let transcript = epochs.moved();
    let change = epochs.refresh("n5", 2);
    let again = epochs.transcript("n6", 2, change, "again");
    for _ in 0..2 {
        epochs.commit(&["n3", "n5"], 1, 0, &transcript);
        epochs.commit(&["n6", "n5"], 2, 1, &again);
        epochs.say("n5", 0, SharingAct::Erase);
    }
    let follow = |seed: Option<u64>| {
        let said = epochs.story.statements();
        let document = match seed {
            Some(seed) => deliver(&shuffle(said, &mut ChaCha8Rng::seed_from_u64(seed))),
            None => deliver(said),
        };
        Chain::follow(&Words::of(document.graph()), epochs.root, 0, &spec(&NODES, 3, 1), b"transcript", |_, _, _| {})
    };
    let told = follow(None);
    assert_eq!((told.epoch, told.public.as_slice(), told.past.len()), (2, &b"again"[..], 2));
    assert!(told.since > Some(Wall(1000)));
    for seed in 0..16 {
        assert_eq!(follow(Some(seed)), told);
    }
}

#[test]
fn what_an_earlier_committee_bound_stays_bound() {
    let mut epochs = Epochs::begin();
    for node in &NODES[..4] {
        epochs.story.say(node, &vote("agent", "i-1"));
    }
    epochs.moved();
    let state = epochs.story.tenant_now();
    assert_eq!(state.enrolments["i-1"].holder().map(|claim| claim.agent), Some(who("agent")));
    // The new one binds others: two of its three.
    epochs.story.say("n5", &vote("second", "i-2"));
    assert!(epochs.story.tenant_now().enrolments["i-2"].holder().is_none());
    epochs.story.say("n6", &vote("second", "i-2"));
    assert!(epochs.story.tenant_now().enrolments["i-2"].holder().is_some());
}

#[test]
fn a_denial_has_to_be_held_in_every_sharing_that_is_not_closed() {
    let mut epochs = Epochs::begin();
    epochs.moved();
    let denial = epochs.story.say("ann", &revoke("i-1"));
    // 2 of 3 with no liar: 2 are enough for the new sharing, 4 for the old one.
    for node in ["n5", "n6"] {
        epochs.story.say(node, &Body::Witness(vec![denial]));
    }
    assert!(!epochs.is_effective(denial));
    let missing = epochs.story.tenant_now().denials[&denial].missing.clone();
    assert!(missing.is_superset(&nodes(&["n1", "n2", "n3", "n4"])), "the old ones' shares still open");
    for node in &NODES[..4] {
        epochs.say(node, 0, SharingAct::Erase);
    }
    assert!(epochs.is_effective(denial), "the old ones' shares are gone");
}

#[test]
fn a_denial_that_the_old_custodians_hold_waits_for_the_new_ones() {
    let mut epochs = Epochs::begin();
    let denial = epochs.story.say("ann", &revoke("i-1"));
    for node in &NODES[..4] {
        epochs.story.say(node, &Body::Witness(vec![denial]));
    }
    assert!(epochs.is_effective(denial));
    epochs.moved();
    assert!(!epochs.is_effective(denial), "n1 alone of the new ones");
    epochs.story.say("n6", &Body::Witness(vec![denial]));
    assert!(epochs.is_effective(denial));
}

#[test]
fn a_reshare_that_would_give_one_provider_a_threshold_has_no_authority() {
    let mut epochs = Epochs::begin();
    // n1 and n2 are at one provider.
    let unsound = epochs.reshare(&["ann", "bob"], 1, spec(&["n1", "n2", "n6"], 2, 0));
    assert!(epochs.is_invalid(unsound));
    let word = epochs.say("n6", 1, SharingAct::OfferKey { change: unsound, key: b"key".to_vec() });
    assert!(epochs.is_invalid(word), "nor has a word of those whom it would make custodians");
    let unplaced = epochs.reshare(&["ann", "bob"], 1, spec(&["n1", "n3", "n9"], 2, 0));
    assert!(epochs.is_invalid(unplaced));
    let sound = epochs.reshare(&["ann", "bob"], 1, spec(&["n1", "n3", "n6"], 2, 0));
    assert!(!epochs.is_invalid(sound));
    let word = epochs.say("n6", 1, SharingAct::OfferKey { change: sound, key: b"key".to_vec() });
    assert!(!epochs.is_invalid(word));
}

#[test]
fn custodians_and_admins_refresh_and_admins_alone_reshare() {
    let mut epochs = Epochs::begin();
    for (author, may) in [("ann", true), ("n3", true), ("n6", false), ("eve", false)] {
        let refresh = epochs.refresh(author, 1);
        assert_eq!(epochs.is_invalid(refresh), !may, "{author}");
    }
    for (author, may) in [("ann", true), ("n3", false), ("eve", false)] {
        let reshare = epochs.reshare(&[author], 1, spec(&["n1", "n3", "n6"], 2, 0));
        assert_eq!(epochs.is_invalid(reshare), !may, "{author}");
    }
    let other = SharingRef { root: RootId::from_bytes([9; 32]), committee: 0, epoch: 1 };
    let of_nothing = epochs.story.say("ann", &Body::RefreshShares(other));
    assert!(epochs.is_invalid(of_nothing), "there is no such root");
}
