//! Any number of ballots: what a finished ballot leaves for later ones is little, and only the order of ballots matters.
//!
//! **Ballot by ballot is enough.** A vote in ballot b asks for the voter's own votes in b and later (there are none), its
//! lock, and prepares in ballots up to b. Take any run, and in it a vote in b that comes right after a vote by somebody in
//! a later ballot. That one was not by the same member, which does not go back, and it is no vote that the former asks for;
//! nor does the latter ask for there being *no* vote in b by another. So the two can change places. Repeating this sorts
//! the run by ballots, and in a ballot by first and second votes, with the same votes in the end.
//!
//! **What is left of a ballot.** Of all earlier votes, a later one depends on the voter's lock and on whether its value was
//! prepared in a ballot no earlier than that: the latest one in which it was is as good as any. Of the numbers of ballots
//! only their order matters. This leaves finitely many [`Remains`], and so the search over them ends.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::custody::agreement::Proposal;

use super::moves::{Case, VALUES, Value, Votes, at, number};

/// A ballot with a second vote in it, and the value.
type Lock = Option<(u8, Value)>;

/// What finished ballots leave for later ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remains {
    /// Of each honest member the ballot and value it is locked on, in order: it does not matter who is who.
    locks: Vec<Lock>,
    /// The latest ballot in which each value was prepared.
    prepared: [Option<u8>; 2],
    /// Which values have a certificate.
    certified: [bool; 2],
}

impl Remains {
    fn of_nothing(case: &Case) -> Self {
        Self { locks: vec![None; case.honest()], prepared: [None; 2], certified: [false; 2] }
    }

    /// What is left of these votes and of liars who vote for everything.
    pub fn of(case: &Case, votes: &[Votes]) -> Self {
        let enough = |count: usize| count + case.liars >= case.quorum();
        let prepared = |value, ballot| enough(votes.iter().filter(|by| by.prepared(ballot) == value).count());
        let committed = |value, ballot| enough(votes.iter().filter(|by| by.committed(ballot) == value).count());
        let latest = |value| (0..case.ballots).rev().find(|ballot| prepared(value, *ballot)).map(number);
        let is_certified = |value| (0..case.ballots).any(|ballot| committed(value, ballot));
        Self {
            locks: votes.iter().map(|votes| votes.lock().map(|(ballot, value)| (number(ballot), value))).collect(),
            prepared: VALUES.map(latest),
            certified: VALUES.map(is_certified),
        }
        .canonical()
    }

    /// With ballots numbered from 0 without gaps, and of the two ways to name the values the lesser.
    fn canonical(mut self) -> Self {
        let locked = self.locks.iter().flatten().map(|(ballot, _)| *ballot);
        let ballots: BTreeSet<u8> = locked.chain(self.prepared.into_iter().flatten()).collect();
        let rank = |ballot: u8| number(ballots.range(..ballot).count());
        self.locks.iter_mut().flatten().for_each(|(ballot, _)| *ballot = rank(*ballot));
        self.prepared = self.prepared.map(|ballot| ballot.map(rank));
        let mut swapped = self.clone();
        swapped.locks.iter_mut().flatten().for_each(|(_, value)| *value = 3 - *value);
        swapped.prepared.reverse();
        swapped.certified.reverse();
        self.locks.sort_unstable();
        swapped.locks.sort_unstable();
        self.min(swapped)
    }

    /// A ballot later than all of these.
    fn next_ballot(&self) -> u8 {
        let locked = self.locks.iter().flatten().map(|(ballot, _)| *ballot);
        locked.chain(self.prepared.into_iter().flatten()).max().map_or(0, |latest| latest + 1)
    }

    /// Whether two values have certificates.
    pub fn is_split(&self) -> bool {
        self.certified == [true; 2]
    }
}

/// The real rules, asked about one ballot after others.
struct Round<'a> {
    case: &'a Case,
    allowed: BTreeMap<(Lock, Option<u8>, u8, Value), bool>,
}

impl Round<'_> {
    /// Whether a member with this lock may prepare a value that was `prepared` last in that ballot.
    fn may_prepare(&mut self, lock: Lock, prepared: Option<u8>, ballot: u8, value: Value) -> bool {
        let case = self.case;
        *self.allowed.entry((lock, prepared, ballot, value)).or_insert_with(|| {
            let (mut view, now) = (case.agreement(), u32::from(ballot));
            if let Some((since, to)) = lock {
                view.commit(0, u32::from(since), to);
            }
            if let Some(earlier) = prepared {
                (0..case.members).for_each(|member| view.prepare(number(member), u32::from(earlier), value));
            }
            let leader = view.leader(now).expect("somebody leads");
            [None, prepared.map(u32::from)].into_iter().any(|prepared| {
                let mut heard = view.clone();
                heard.propose(leader, now, Proposal { value, prepared });
                heard.may_prepare(0, now) == Some(value)
            })
        })
    }

    /// Whether so many honest members and all liars prepare a value, and can certify it.
    fn is_enough(&self, honest: usize) -> (bool, bool) {
        let mut view = self.case.agreement();
        for member in (0..number(honest)).chain(self.case.liars()) {
            view.prepare(member, at(0), 1);
            view.commit(member, at(0), 1);
        }
        (view.is_prepared(at(0), 1), !view.certified().is_empty())
    }

    /// Everything that one ballot more can leave.
    fn after(&mut self, before: &Remains) -> BTreeSet<Remains> {
        let ballot = before.next_ballot();
        // How many honest members can have prepared each value.
        let mut counts = BTreeSet::from([[0, 0]]);
        for lock in &before.locks {
            for (counted, value) in counts.clone().into_iter().flat_map(|counted| VALUES.map(|value| (counted, value)))
            {
                let place = usize::from(value) - 1;
                if self.may_prepare(*lock, before.prepared[place], ballot, value) {
                    let mut more = counted;
                    more[place] += 1;
                    counts.insert(more);
                }
            }
        }
        let prepared: BTreeSet<[bool; 2]> = counts.iter().map(|c| c.map(|count| self.is_enough(count).0)).collect();
        prepared.into_iter().flat_map(|prepared| self.commits(before, ballot, prepared)).collect()
    }

    /// Everything that members can leave by committing to what was prepared, or not.
    fn commits(&self, before: &Remains, ballot: u8, prepared: [bool; 2]) -> BTreeSet<Remains> {
        let mut all = BTreeSet::from([(before.locks.clone(), [0, 0])]);
        for member in 0..before.locks.len() {
            for value in VALUES.into_iter().filter(|value| prepared[usize::from(*value) - 1]) {
                for (mut locks, mut counts) in all.clone() {
                    if locks[member] == before.locks[member] {
                        locks[member] = Some((ballot, value));
                        counts[usize::from(value) - 1] += 1;
                        all.insert((locks, counts));
                    }
                }
            }
        }
        let remains = all.into_iter().map(|(locks, counts)| {
            let now = |place: usize| prepared[place].then_some(ballot).or(before.prepared[place]);
            let certified = |place: usize| before.certified[place] || self.is_enough(counts[place]).1;
            Remains { locks, prepared: [now(0), now(1)], certified: [certified(0), certified(1)] }.canonical()
        });
        remains.collect()
    }
}

/// Everything that up to `ballots` ballots can leave, or any number of them, up to the first split.
pub fn ballot_by_ballot(case: &Case, ballots: Option<usize>) -> BTreeSet<Remains> {
    let mut round = Round { case, allowed: BTreeMap::new() };
    let start = Remains::of_nothing(case);
    let mut all = BTreeSet::from([start.clone()]);
    let (mut newest, mut done) = (vec![start], 0);
    while !newest.is_empty() && ballots.is_none_or(|ballots| done < ballots) && !all.iter().any(Remains::is_split) {
        let found: BTreeSet<Remains> = newest.iter().flat_map(|before| round.after(before)).collect();
        newest = found.into_iter().filter(|remains| all.insert(remains.clone())).collect();
        done += 1;
    }
    all
}
