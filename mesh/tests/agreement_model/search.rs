//! The search: every set of votes that honest members can come to have cast, one vote at a time.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use super::moves::{BALLOTS, Broken, Case, Rules, VALUES, Value, Votes, number};

/// As many honest members as a state has room for.
pub const HONEST: usize = 4;

/// What the honest members have said. What liars say needs no place here: they may have said anything at any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    votes: [Votes; HONEST],
    /// What honest leaders proposed: nothing, or the value and the claim.
    proposals: [Option<(Value, u8)>; BALLOTS],
}

/// Who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaders {
    /// Anybody's proposal may say anything, and something else to each member: more than liars can do.
    SayAnything,
    /// Members lead in turn, liars among them; `first` is how many turns the first ballot is past member 0.
    InTurn { first: usize },
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// Every state reached, and from which one.
    pub states: Vec<(State, usize)>,
    /// The first state in which two values have certificates.
    pub split: Option<usize>,
    /// Rules that the code let members break.
    pub broken: BTreeSet<Broken>,
}

impl Found {
    /// The votes of a state's honest members.
    pub fn votes<'a>(&'a self, case: &Case) -> impl Iterator<Item = &'a [Votes]> + use<'a> {
        let honest = case.honest();
        self.states.iter().map(move |(state, _)| &state.votes[..honest])
    }
}

impl fmt::Display for Found {
    /// The way to two certificates, up to the names of members and values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut way = Vec::new();
        let mut next = self.split;
        while let Some(place) = next {
            way.push(place);
            next = (place > 0).then(|| self.states[place].1);
        }
        for place in way.into_iter().rev() {
            writeln!(f, "{:x?}", self.states[place].0)?;
        }
        write!(f, "broken: {:?}", self.broken)
    }
}

struct Search {
    case: Case,
    leaders: Leaders,
    rules: Rules,
    seen: HashSet<State>,
    states: Vec<(State, usize)>,
}

/// Searches a case to the end, or to the first state with two certificates.
pub fn search(case: Case, leaders: Leaders) -> Found {
    assert!(case.honest() <= HONEST && case.ballots <= BALLOTS);
    let mut search =
        Search { case, leaders, rules: Rules::new(case), seen: HashSet::new(), states: vec![(State::default(), 0)] };
    search.seen.insert(State::default());
    let mut split = None;
    let mut next = 0;
    while let Some((state, _)) = search.states.get(next).copied().filter(|_| split.is_none()) {
        if search.rules.certified(&state.votes[..case.honest()]) > 1 {
            split = Some(next);
        }
        search.expand(state, next);
        next += 1;
    }
    Found { states: search.states, split, broken: search.rules.broken }
}

impl Search {
    /// Which honest member leads a ballot; nobody if whoever does may say anything.
    fn leader(&self, ballot: usize) -> Option<usize> {
        match self.leaders {
            Leaders::SayAnything => None,
            Leaders::InTurn { first } => {
                Some((ballot + first) % self.case.members).filter(|member| *member < self.case.honest())
            }
        }
    }

    fn expand(&mut self, state: State, from: usize) {
        let honest = self.case.honest();
        for member in 0..honest {
            let own = state.votes[member];
            let same_as_before = member > 0 && state.votes[member - 1] == own;
            if self.leaders == Leaders::SayAnything && same_as_before {
                continue;
            }
            for value in VALUES {
                let mut others = [0; BALLOTS];
                for (ballot, count) in others.iter_mut().enumerate().take(self.case.ballots) {
                    let of = |other: &usize| *other != member && state.votes[*other].prepared(ballot) == value;
                    *count = number((0..honest).filter(of).count());
                }
                let moves = self.rules.moves(own, others, value);
                for ballot in 0..self.case.ballots {
                    let heard = match (self.leader(ballot), state.proposals[ballot]) {
                        (None, _) => moves.prepare[ballot] != 0,
                        (Some(_), Some((of, claim))) => of == value && moves.prepare[ballot] >> claim & 1 != 0,
                        (Some(_), None) => false,
                    };
                    if heard && own.prepared(ballot) == 0 {
                        let mut next = state;
                        next.votes[member] = own.prepare(ballot, value);
                        self.reach(next, from);
                    }
                    if moves.commit >> ballot & 1 != 0 && own.committed(ballot) == 0 {
                        let mut next = state;
                        next.votes[member] = own.commit(ballot, value);
                        self.reach(next, from);
                    }
                    if self.leader(ballot) == Some(member) && state.proposals[ballot].is_none() {
                        for claim in (0..=number(self.case.ballots)).filter(|claim| moves.propose >> claim & 1 != 0) {
                            let mut next = state;
                            next.proposals[ballot] = Some((value, claim));
                            self.reach(next, from);
                        }
                    }
                }
            }
        }
    }

    fn reach(&mut self, state: State, from: usize) {
        let state = self.canonical(state);
        if self.seen.insert(state) {
            self.states.push((state, from));
        }
    }

    /// Of all states that differ by the names of values, and of members where it does not matter who leads, one.
    fn canonical(&self, state: State) -> State {
        let mut swapped = State {
            votes: state.votes.map(Votes::swapped),
            proposals: state.proposals.map(|said| said.map(|(value, claim)| (3 - value, claim))),
        };
        let mut state = state;
        if self.leaders == Leaders::SayAnything {
            let honest = self.case.honest();
            state.votes[..honest].sort_unstable();
            swapped.votes[..honest].sort_unstable();
        }
        state.min(swapped)
    }
}
