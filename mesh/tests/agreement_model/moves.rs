//! What a member may do, asked of the real rules: one member's own votes and as much as it could have heard for one value.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use keymesh_mesh::custody::agreement::{Agreement, Ballot, Proposal};

/// The two values that compete: 1 and 2. 0 is no vote.
pub type Value = u8;

/// Both of them.
pub const VALUES: [Value; 2] = [1, 2];

/// As many ballots as a member's votes have room for here.
pub const BALLOTS: usize = 5;

/// One member's votes, four bits for each ballot: two for what it prepared, two for what it committed to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Votes(u32);

impl Votes {
    /// What was prepared in a ballot.
    pub fn prepared(self, ballot: usize) -> Value {
        (self.0 >> (4 * ballot)) as u8 & 3
    }

    /// What was committed to in a ballot.
    pub fn committed(self, ballot: usize) -> Value {
        (self.0 >> (4 * ballot + 2)) as u8 & 3
    }

    /// With a first vote more.
    pub fn prepare(self, ballot: usize, value: Value) -> Self {
        Self(self.0 | u32::from(value) << (4 * ballot))
    }

    /// With a second vote more.
    pub fn commit(self, ballot: usize, value: Value) -> Self {
        Self(self.0 | u32::from(value) << (4 * ballot + 2))
    }

    /// The same with the two values in each other's place.
    pub fn swapped(self) -> Self {
        Self((self.0 & 0x5555_5555) << 1 | (self.0 & 0xAAAA_AAAA) >> 1)
    }

    /// Whether there is a vote in this ballot or a later one.
    pub fn reaches(self, ballot: usize) -> bool {
        ballot < BALLOTS && self.0 >> (4 * ballot) != 0
    }

    /// The latest ballot with a second vote, and the value.
    pub fn lock(self) -> Option<(usize, Value)> {
        (0..BALLOTS).rev().map(|ballot| (ballot, self.committed(ballot))).find(|(_, value)| *value != 0)
    }
}

/// How many members there are, how many liars they reckon with, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// n.
    pub members: usize,
    /// f.
    pub reckoned: usize,
    /// Liars that there really are.
    pub liars: usize,
    /// Ballots that are tried.
    pub ballots: usize,
}

impl Case {
    /// As many liars as are reckoned with.
    pub fn new(members: usize, faults: usize, ballots: usize) -> Self {
        Self { members, reckoned: faults, liars: faults, ballots }
    }

    /// Members that keep the rules: the first ones.
    pub fn honest(&self) -> usize {
        self.members - self.liars
    }

    /// The members that do not: the last ones.
    pub fn liars(&self) -> impl Iterator<Item = u8> + use<> {
        (self.honest()..self.members).map(number)
    }

    /// Nothing said yet.
    pub fn agreement(&self) -> Agreement<u8, Value> {
        Agreement::new((0..self.members).map(number).collect(), self.reckoned)
    }

    /// A quorum by the book, whatever the code says.
    pub fn quorum(&self) -> usize {
        (self.members + self.reckoned) / 2 + 1
    }
}

/// A small number.
pub fn number(of: usize) -> u8 {
    u8::try_from(of).expect("a small number")
}

/// The ballot with a number.
pub fn at(ballot: usize) -> Ballot {
    Ballot::from(number(ballot))
}

/// The earlier ballot that a proposal names, from its place among all that may be named: 0 is none.
pub fn claim(place: usize) -> Option<Ballot> {
    place.checked_sub(1).map(at)
}

/// A rule that the code let a member break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// It voted twice in a ballot, or in an earlier one than it had voted in.
    WentBack,
    /// It prepared another value than its lock, and that was not prepared since.
    LockForgotten,
    /// It committed to what was not prepared.
    NotPrepared,
}

/// What a member may do for one value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moves {
    /// For each ballot the claims of a proposal with which it may prepare the value, by the place of [`claim`].
    pub prepare: [u8; BALLOTS],
    /// The ballots in which it may commit to it.
    pub commit: u8,
    /// The claims with which it may propose it.
    pub propose: u8,
}

/// The rules of a case, each question asked once.
pub struct Rules {
    case: Case,
    moves: HashMap<(Votes, u32), Moves>,
    certified: BTreeMap<[u8; 2 * BALLOTS], usize>,
    /// Rules that the code let somebody break, judged by this file.
    pub broken: BTreeSet<Broken>,
}

impl Rules {
    /// Nothing asked yet.
    pub fn new(case: Case) -> Self {
        Self { case, moves: HashMap::new(), certified: BTreeMap::new(), broken: BTreeSet::new() }
    }

    /// What a member with these votes may do for `value` if as many others as `others` says prepared it in each ballot,
    /// and every liar in all of them. Votes are counted, so it does not matter who the others are.
    pub fn moves(&mut self, own: Votes, others: [u8; BALLOTS], value: Value) -> Moves {
        let packed = others.iter().fold(u32::from(value), |packed, count| packed << 4 | u32::from(*count));
        if let Some(known) = self.moves.get(&(own, packed)) {
            return *known;
        }
        let moves = self.ask(own, others, value);
        self.moves.insert((own, packed), moves);
        moves
    }

    /// What a member heard that knows its own votes, and prepares of one value in some ballots.
    fn view(
        &self,
        own: Votes,
        others: [u8; BALLOTS],
        value: Value,
        ballots: impl Iterator<Item = usize>,
    ) -> Agreement<u8, Value> {
        let mut view = self.case.agreement();
        for ballot in 0..self.case.ballots {
            match own.prepared(ballot) {
                0 => {}
                prepared => view.prepare(0, at(ballot), prepared),
            }
            match own.committed(ballot) {
                0 => {}
                committed => view.commit(0, at(ballot), committed),
            }
        }
        for ballot in ballots {
            let honest = (1..=others[ballot]).chain(self.case.liars());
            honest.for_each(|member| view.prepare(member, at(ballot), value));
        }
        view
    }

    fn ask(&mut self, own: Votes, others: [u8; BALLOTS], value: Value) -> Moves {
        let ballots = self.case.ballots;
        let view = self.view(own, others, value, 0..ballots);
        let prepared = |ballot: usize| {
            let mine = usize::from(own.prepared(ballot) == value);
            usize::from(others[ballot]) + mine + self.case.liars >= self.case.quorum()
        };
        let (mut moves, mut broken) = (Moves::default(), Vec::new());
        for ballot in 0..ballots {
            for place in 0..=ballots {
                let mut heard = view.clone();
                let leader = heard.leader(at(ballot)).expect("somebody leads");
                heard.propose(leader, at(ballot), Proposal { value, prepared: claim(place) });
                if heard.may_prepare(0, at(ballot)) == Some(value) {
                    moves.prepare[ballot] |= 1 << place;
                }
            }
            if moves.prepare[ballot] != 0 {
                let unlocked = |(since, to): (usize, Value)| to == value || (since..ballot).any(prepared);
                broken.extend(own.reaches(ballot).then_some(Broken::WentBack));
                broken.extend((!own.lock().is_none_or(unlocked)).then_some(Broken::LockForgotten));
            }
            if view.may_commit(0, at(ballot)) == Some(value) {
                moves.commit |= 1 << ballot;
                let went_back = own.reaches(ballot + 1) || own.committed(ballot) != 0;
                broken.extend(went_back.then_some(Broken::WentBack));
                broken.extend((!prepared(ballot)).then_some(Broken::NotPrepared));
            }
            let of_ballot = self.view(own, others, value, ballot..ballot + 1);
            let takes_up = Proposal { value, prepared: Some(at(ballot)) };
            moves.propose |= u8::from(of_ballot.to_propose(None, |_| true) == Some(takes_up)) << (ballot + 1);
        }
        let alone = self.view(own, others, value, 0..0);
        let of_its_own = Proposal { value, prepared: None };
        moves.propose |= u8::from(alone.to_propose(Some(value), |_| true) == Some(of_its_own));
        self.broken.extend(broken);
        moves
    }

    /// How many values have a certificate, if every liar commits to everything.
    pub fn certified(&mut self, votes: &[Votes]) -> usize {
        let mut counts = [0; 2 * BALLOTS];
        for ballot in 0..self.case.ballots {
            for value in VALUES {
                let of = votes.iter().filter(|votes| votes.committed(ballot) == value);
                counts[2 * ballot + usize::from(value) - 1] = number(of.count());
            }
        }
        let case = self.case;
        *self.certified.entry(counts).or_insert_with(|| {
            let mut union = case.agreement();
            for (place, count) in counts.iter().enumerate().take(2 * case.ballots) {
                let voters = (0..*count).chain(case.liars());
                voters.for_each(|member| union.commit(member, at(place / 2), VALUES[place % 2]));
            }
            union.certified().len()
        })
    }
}
