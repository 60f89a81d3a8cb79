//! Rules of votes, one at a time. All interleavings of small cases are tried in `tests/agreement_model`.

use super::*;

const F: usize = 1;

fn five() -> Agreement<u8, char> {
    Agreement::new((0..5).collect(), F)
}

fn prepared(agreement: &mut Agreement<u8, char>, ballot: Ballot, value: char, by: &[u8]) {
    by.iter().for_each(|member| agreement.prepare(*member, ballot, value));
}

#[test]
fn a_quorum_is_more_than_half_of_members_and_liars() {
    for (n, f, q) in [(3, 0, 2), (3, 1, 3), (4, 1, 3), (5, 1, 4), (5, 2, 4), (7, 2, 5), (15, 4, 10)] {
        let quorum = Agreement::<usize, char>::new((0..n).collect(), f).quorum();
        assert_eq!(quorum, q, "{n} members, {f} liars");
        assert!(2 * quorum > n + f, "two quorums share an honest member");
    }
}

#[test]
fn only_the_leader_of_a_ballot_is_heard_and_only_if_it_proposes_one_thing() {
    let mut said = five();
    said.propose(1, 0, Proposal { value: 'a', prepared: None });
    assert_eq!(said.proposal(0), None, "member 0 leads ballot 0");
    said.propose(0, 5, Proposal { value: 'a', prepared: None });
    assert_eq!(said.may_prepare(2, 5), Some('a'));
    said.propose(0, 5, Proposal { value: 'b', prepared: None });
    assert_eq!(said.may_prepare(2, 5), None, "two values of one leader are none");
}

#[test]
fn a_member_votes_once_in_a_ballot_and_never_in_an_earlier_one() {
    let mut said = five();
    said.propose(0, 0, Proposal { value: 'a', prepared: None });
    said.propose(1, 1, Proposal { value: 'b', prepared: None });
    said.prepare(3, 1, 'b');
    assert_eq!((said.may_prepare(3, 0), said.may_prepare(3, 1)), (None, None));
    prepared(&mut said, 0, 'a', &[0, 1, 2, 4]);
    assert_eq!(said.may_commit(3, 0), None, "it is in ballot 1 already");
    assert_eq!(said.may_commit(4, 0), Some('a'));
    said.commit(4, 0, 'a');
    assert_eq!(said.may_commit(4, 0), None);
}

#[test]
fn votes_of_strangers_and_repeated_votes_count_for_nothing() {
    let mut said = five();
    prepared(&mut said, 0, 'a', &[0, 1, 2, 2, 2, 9, 8]);
    assert!(!said.is_prepared(0, 'a'));
    prepared(&mut said, 0, 'a', &[4]);
    assert!(said.is_prepared(0, 'a'));
    assert!(said.certified().is_empty());
    (0..4).for_each(|member| said.commit(member, 0, 'a'));
    assert_eq!(said.certified(), BTreeSet::from(['a']));
    assert_eq!(said.support('a'), (4, 4));
}

#[test]
fn a_lock_yields_only_to_a_preparation_no_earlier_than_itself() {
    let mut said = five();
    prepared(&mut said, 1, 'a', &[0, 1, 2, 3]);
    said.commit(2, 1, 'a');
    said.propose(2, 2, Proposal { value: 'b', prepared: None });
    assert_eq!(said.may_prepare(2, 2), None);
    assert_eq!(said.may_prepare(4, 2), Some('b'), "who is not locked may");
    said.propose(3, 3, Proposal { value: 'b', prepared: Some(0) });
    prepared(&mut said, 0, 'b', &[0, 1, 3, 4]);
    assert_eq!(said.may_prepare(2, 3), None, "b was prepared before the lock");
    prepared(&mut said, 2, 'b', &[0, 1, 3]);
    said.propose(4, 4, Proposal { value: 'b', prepared: Some(2) });
    assert_eq!(said.may_prepare(2, 4), None, "three are too few for a preparation");
    prepared(&mut said, 2, 'b', &[4]);
    assert_eq!(said.may_prepare(2, 4), Some('b'));
    said.propose(0, 5, Proposal { value: 'b', prepared: Some(5) });
    assert_eq!(said.may_prepare(2, 5), None, "a ballot does not prepare its own proposal");
    said.propose(1, 6, Proposal { value: 'a', prepared: None });
    assert_eq!(said.may_prepare(2, 6), Some('a'), "it may stay with its lock");
}

#[test]
fn a_leader_takes_up_the_highest_prepared_value() {
    let mut said = five();
    assert_eq!(said.to_propose(Some('x'), |_| true), Some(Proposal { value: 'x', prepared: None }));
    assert_eq!(said.to_propose(None, |_| true), None);
    prepared(&mut said, 0, 'a', &[0, 1, 2, 3]);
    prepared(&mut said, 3, 'b', &[0, 1, 2, 4]);
    assert_eq!(said.to_propose(Some('x'), |_| true), Some(Proposal { value: 'b', prepared: Some(3) }));
}

#[test]
fn a_prepared_value_that_nobody_may_commit_to_does_not_stand_in_the_way_of_others() {
    let mut said = five();
    prepared(&mut said, 0, 'a', &[0, 1, 2, 3]);
    prepared(&mut said, 3, 'b', &[0, 1, 2, 4]);
    let may_be_committed = |value| value != 'b';
    assert_eq!(said.to_propose(Some('x'), may_be_committed), Some(Proposal { value: 'a', prepared: Some(0) }));
    assert_eq!(said.to_propose(Some('x'), |_| false), Some(Proposal { value: 'x', prepared: None }));
    said.propose(4, 4, Proposal { value: 'x', prepared: None });
    assert_eq!(said.may_prepare(2, 4), Some('x'), "having prepared it binds nobody");
}

#[test]
fn whoever_is_behind_follows_more_than_f_others_and_not_one_liar() {
    let mut said = five();
    assert_eq!(said.reached(), None);
    said.prepare(0, 900, 'z');
    assert_eq!(said.reached(), None);
    said.prepare(1, 3, 'a');
    said.commit(1, 4, 'a');
    assert_eq!((said.latest_ballot(1), said.reached()), (Some(4), Some(4)));
}
