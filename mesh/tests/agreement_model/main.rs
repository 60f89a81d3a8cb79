//! Model check of the agreement on epochs (`keymesh_mesh::custody::agreement`; Buchman, Kwon and Milosevic, 2018), with the
//! real rules in place of a model of them: honest members act by `may_prepare`, `may_commit` and `to_propose` alone, and
//! certificates are what `certified` finds in the union of all votes (the part of I1 that one epoch has one sharing).
//!
//! # Why no interleaving is left out
//!
//! A state of [`search`] is what honest members have said, and nothing else. Neither messages on their way nor what
//! somebody has heard is in it, because both are chosen when somebody acts, by the strongest adversary:
//!
//! 1. *Delivery.* What a member has heard at some moment of a real run (lost, late, repeated, reordered, relayed) is a
//!    subset of what had been said, with its own votes, which are durable before anybody hears of them. The search lets a
//!    member act in every state in which *some* such subset allows it. So every act of a real run is an act here, and by
//!    induction every set of votes of a real run is reached. Not asking that the subset grow only adds runs: among them
//!    those in which members crash, forget what they heard and start with their own votes; a member that stops is one that
//!    does not act again, and the property is checked in every state on the way.
//! 2. *Liars* vote for both values in all ballots of both kinds, and each recipient has heard of it or not: they can do no
//!    more, in any order, than to have said everything from the start to whomever it serves at the time. Nobody else's
//!    votes are forged: statements are signed.
//! 3. *Leaders.* With [`Leaders::SayAnything`] every proposal there may be in a ballot is on offer to each member, as if
//!    all leaders were liars: safety does not rest on them. With [`Leaders::InTurn`] honest ones propose once, by
//!    `to_propose` of what they may have heard, which is how a violation that counts has to come about.
//! 4. *Not every subset has to be tried.* Whether a member may prepare, commit to or propose v depends on its own votes, the
//!    proposal, and prepares of v, of which more never forbid it. So the view with all prepares of v, and no vote of
//!    others for the other value, allows whatever any view allows. `no_view_allows_more_than_the_ones_that_are_tried`
//!    holds the rules to this with random views.
//! 5. *Names.* States that differ only by the names of values, or of members where it does not matter who leads, are one.
//!
//! [`endless`] goes on from there: it searches any number of ballots, in their order, to the end, and is held against the
//! search with all interleavings where that can be done. [`random`] tries larger committees, with what each has heard kept.
//!
//! # What is bounded
//!
//! All interleavings: 4 and 5 members, one liar, two values, three ballots; with leaders in turn two (three for 4). Ballot
//! by ballot: any number of ballots, for 4, 5, 7 (two liars) members. More of both are behind `just model`. Two values are
//! enough: a run in which two of many are certified is still a run when all of them but the first are called the second.

mod endless;
mod live;
mod moves;
mod random;
mod search;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use keymesh_mesh::custody::agreement::Proposal;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use endless::{Remains, ballot_by_ballot};
use live::{Heard, settles};
use moves::{BALLOTS, Case, Rules, VALUES, at, claim, number};
use random::Run;
use search::{Found, Leaders, search};

fn four() -> Case {
    Case::new(4, 1, 3)
}

fn five() -> Case {
    Case::new(5, 1, 3)
}

static FOUR: LazyLock<Found> = LazyLock::new(|| search(four(), Leaders::SayAnything));
static FIVE: LazyLock<Found> = LazyLock::new(|| search(five(), Leaders::SayAnything));

fn is_safe(found: &Found, at_least: usize) {
    assert!(found.split.is_none() && found.broken.is_empty(), "{found}");
    assert!(found.states.len() >= at_least, "only {} states", found.states.len());
}

#[test]
fn four_members_with_a_liar_never_certify_two_values() {
    is_safe(&FOUR, 45_000);
}

#[test]
fn five_members_with_a_liar_never_certify_two_values() {
    is_safe(&FIVE, 250_000);
}

#[test]
fn nor_do_they_wherever_the_liar_comes_in_the_order_of_leaders() {
    for members in [4, 5] {
        for first in 0..members {
            is_safe(&search(Case::new(members, 1, 2), Leaders::InTurn { first }), 2_500);
        }
    }
    is_safe(&search(four(), Leaders::InTurn { first: 1 }), 150_000);
}

#[test]
#[ignore = "minutes: `just model`"]
fn four_members_never_certify_two_values_in_more_ballots() {
    for first in [0, 2, 3] {
        is_safe(&search(four(), Leaders::InTurn { first }), 250_000);
    }
    is_safe(&search(Case::new(4, 1, 4), Leaders::SayAnything), 1_000_000);
}

fn is_safe_for_ever(members: usize, faults: usize) {
    let all = ballot_by_ballot(&Case::new(members, faults, 0), None);
    assert!(!all.iter().any(Remains::is_split), "{members} members, {faults} liars");
    assert!(all.len() > 50, "only {} kinds of remains", all.len());
}

#[test]
fn no_number_of_ballots_certifies_two_values() {
    for (members, faults) in [(4, 1), (5, 1), (5, 2), (7, 2)] {
        is_safe_for_ever(members, faults);
    }
}

#[test]
#[ignore = "minutes: `just model`"]
fn no_number_of_ballots_certifies_two_values_in_larger_committees() {
    for (members, faults) in [(6, 1), (7, 1), (8, 2), (9, 2), (10, 3)] {
        is_safe_for_ever(members, faults);
    }
}

#[test]
fn going_ballot_by_ballot_leaves_just_what_all_interleavings_leave() {
    let remains: BTreeSet<Remains> = FOUR.votes(&four()).map(|votes| Remains::of(&four(), votes)).collect();
    assert_eq!(remains, ballot_by_ballot(&four(), Some(four().ballots)));
    assert!(remains.is_subset(&ballot_by_ballot(&four(), None)));
}

#[test]
fn no_view_allows_more_than_the_ones_that_are_tried() {
    let case = four();
    let (mut rng, mut rules) = (ChaCha8Rng::seed_from_u64(4), Rules::new(case));
    let states: Vec<_> = FOUR.votes(&case).collect();
    let (mut draw, mut acts) = (move |below: usize| rng.next_u32() as usize % below, 0);
    for _ in 0..20_000 {
        let votes = states[draw(states.len())];
        let member = draw(case.honest());
        let me = number(member);
        let mut view = case.agreement();
        for (ballot, value) in (0..case.ballots).flat_map(|ballot| VALUES.map(|value| (ballot, value))) {
            for (other, by) in votes.iter().enumerate() {
                let is_heard = other == member || draw(4) > 0;
                if is_heard && by.prepared(ballot) == value {
                    view.prepare(number(other), at(ballot), value);
                }
                if is_heard && by.committed(ballot) == value {
                    view.commit(number(other), at(ballot), value);
                }
            }
            for liar in case.liars().filter(|_| draw(4) > 0) {
                view.prepare(liar, at(ballot), value);
                view.commit(liar, at(ballot), value);
            }
        }
        let proposals: Vec<_> = (0..case.ballots).map(|_| (VALUES[draw(2)], draw(case.ballots + 1))).collect();
        for (ballot, (value, place)) in proposals.iter().enumerate() {
            let leader = view.leader(at(ballot)).expect("somebody leads");
            view.propose(leader, at(ballot), Proposal { value: *value, prepared: claim(*place) });
        }
        let moves = VALUES.map(|value| {
            let mut others = [0; BALLOTS];
            for (ballot, count) in others.iter_mut().enumerate().take(case.ballots) {
                let of = |other: &usize| *other != member && votes[*other].prepared(ballot) == value;
                *count = number((0..votes.len()).filter(of).count());
            }
            rules.moves(votes[member], others, value)
        });
        for (ballot, (_, place)) in proposals.iter().enumerate() {
            if let Some(value) = view.may_prepare(me, at(ballot)) {
                assert!(moves[usize::from(value) - 1].prepare[ballot] >> place & 1 != 0, "{view:?}");
                acts += 1;
            }
            if let Some(value) = view.may_commit(me, at(ballot)) {
                assert!(moves[usize::from(value) - 1].commit >> ballot & 1 != 0, "{view:?}");
                acts += 1;
            }
        }
        for own in VALUES {
            let proposal = view.to_propose(Some(own), |_| true).expect("it has a value of its own");
            let place =
                (0..=case.ballots).find(|place| claim(*place) == proposal.prepared).expect("one of the ballots");
            assert!(moves[usize::from(proposal.value) - 1].propose >> place & 1 != 0, "{view:?}");
        }
    }
    assert!(acts > 1_000, "only {acts} acts");
}

#[test]
fn whatever_happened_the_first_honest_leader_that_all_hear_brings_a_certificate() {
    for (case, found, step) in [(four(), &FOUR, 20), (five(), &FIVE, 200)] {
        for (trick, votes) in found.votes(&case).step_by(step).enumerate() {
            for heard in [Heard::Everything, Heard::WhatWasReliedOn] {
                let settled = settles(&case, votes, heard, trick, &VALUES);
                assert!(settled.is_some_and(|(turns, _)| turns <= case.liars + 1), "{votes:x?} {heard:?} {trick}");
            }
        }
    }
}

#[test]
fn a_value_that_recipients_are_never_ready_for_does_not_stop_the_other_one() {
    for (case, found, step) in [(four(), &FOUR, 7), (five(), &FIVE, 70)] {
        let mut tried = 0;
        for (trick, votes) in found.votes(&case).step_by(step).enumerate() {
            // Nobody honest committed to 1, so that it may be the one.
            let committed = (0..case.ballots).flat_map(|ballot| votes.iter().map(move |by| by.committed(ballot)));
            if !committed.into_iter().any(|value| value == 1) {
                let settled = settles(&case, votes, Heard::WhatWasReliedOn, trick, &[2]);
                assert!(settled.is_some_and(|(_, value)| value == 2), "{votes:x?} {trick}");
                tried += 1;
            }
        }
        assert!(tried > 100, "only {tried}");
    }
}

#[test]
fn seven_members_with_two_liars_who_each_hear_something_else_never_certify_two_values() {
    let case = Case::new(7, 2, BALLOTS);
    let (runs, certified, both_prepared) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let tried = runner.run(&(0..=case.liars, prop::collection::vec(any::<u64>(), 300..900)), |(stopped, steps)| {
        // Liars who stopped for good are among the cases too: they say nothing.
        let mut run = Run::new(case, stopped);
        for step in steps {
            run.step(step).map_err(TestCaseError::fail)?;
            prop_assert!(run.union.certified().len() <= 1, "{:?}", run.union);
        }
        let prepared = |value| (0..case.ballots).any(|ballot| run.union.is_prepared(at(ballot), value));
        runs.set(runs.get() + 1);
        certified.set(certified.get() + run.union.certified().len());
        both_prepared.set(both_prepared.get() + usize::from(VALUES.into_iter().all(prepared)));
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
    let (runs, certified, both) = (runs.get(), certified.get(), both_prepared.get());
    assert!(4 * certified > runs && 20 * both > runs, "{runs} runs: {certified} certified, {both} with both prepared");
}

#[test]
fn more_liars_than_are_reckoned_with_certify_two_values_and_that_is_seen() {
    let cases = [Case { reckoned: 0, ..Case::new(5, 1, 2) }, Case { liars: 2, ..Case::new(4, 1, 2) }];
    for case in cases {
        assert!(search(case, Leaders::SayAnything).split.is_some(), "{case:?}");
        assert!(ballot_by_ballot(&case, None).iter().any(Remains::is_split), "{case:?}");
    }
}

#[cfg(feature = "mutants")]
mod mutants {
    use keymesh_mesh::mutant::{Mutant, with};

    use super::moves::Broken;
    use super::*;

    fn is_caught(mutant: Mutant, members: usize, breaks: Broken) {
        let case = Case::new(members, 1, 2);
        let found = with(Some(mutant), || search(case, Leaders::SayAnything));
        assert!(found.split.is_some() && found.broken.contains(&breaks), "{mutant} with {members} members");
        let in_turn = with(Some(mutant), || search(case, Leaders::InTurn { first: 1 }));
        assert!(in_turn.split.is_some(), "{mutant} with {members} members and honest leaders");
        let all = with(Some(mutant), || ballot_by_ballot(&case, None));
        assert!(all.iter().any(Remains::is_split), "{mutant} with {members} members, ballot by ballot");
    }

    #[test]
    fn a_quorum_one_vote_too_small_certifies_two_values() {
        is_caught(Mutant::TooFewPrepared, 4, Broken::NotPrepared);
        is_caught(Mutant::TooFewPrepared, 5, Broken::NotPrepared);
    }

    #[test]
    fn a_forgotten_lock_certifies_two_values() {
        is_caught(Mutant::BallotForgetsItsLock, 4, Broken::LockForgotten);
        is_caught(Mutant::BallotForgetsItsLock, 5, Broken::LockForgotten);
    }
}
