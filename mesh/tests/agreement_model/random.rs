//! Larger cases at random: members with what each has really heard, liars who say something else to each.

use std::collections::BTreeMap;

use keymesh_mesh::custody::agreement::{Agreement, Ballot, Proposal};

use super::moves::{Case, VALUES, Value, number};

type View = Agreement<u8, Value>;

/// Something that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Propose(u8, Ballot, Proposal<Value>),
    Prepare(u8, Ballot, Value),
    Commit(u8, Ballot, Value),
}

impl Said {
    fn author(self) -> u8 {
        match self {
            Self::Propose(author, ..) | Self::Prepare(author, ..) | Self::Commit(author, ..) => author,
        }
    }

    fn reach(self, view: &mut View) {
        match self {
            Self::Propose(author, ballot, proposal) => view.propose(author, ballot, proposal),
            Self::Prepare(author, ballot, value) => view.prepare(author, ballot, value),
            Self::Commit(author, ballot, value) => view.commit(author, ballot, value),
        }
    }
}

/// A run.
pub struct Run {
    case: Case,
    /// Everything said by anybody to anybody.
    log: Vec<Said>,
    views: Vec<View>,
    /// Everything.
    pub union: View,
    /// Votes of honest members: how many in each ballot of each kind.
    votes: BTreeMap<(u8, Ballot, bool), usize>,
    latest: Vec<Ballot>,
    /// Liars who say something.
    talking: usize,
}

/// Numbers drawn from one.
struct Dice(u64);

impl Dice {
    fn draw(&mut self, below: usize) -> usize {
        let below = below as u64;
        let drawn = self.0 % below;
        self.0 /= below;
        usize::try_from(drawn).expect("small")
    }
}

impl Run {
    /// Nothing said yet; `stopped` of the liars say nothing ever.
    pub fn new(case: Case, stopped: usize) -> Self {
        let views = vec![case.agreement(); case.honest()];
        let latest = vec![0; case.honest()];
        Self {
            case,
            log: Vec::new(),
            views,
            union: case.agreement(),
            votes: BTreeMap::new(),
            latest,
            talking: case.liars - stopped,
        }
    }

    /// One thing happens, by a random number.
    pub fn step(&mut self, random: u64) -> Result<(), String> {
        let mut dice = Dice(random);
        let (act, member, ballot) = (dice.draw(16), dice.draw(self.case.honest()), dice.draw(self.case.ballots));
        let (author, ballot) = (number(member), Ballot::from(number(ballot)));
        match act {
            0..=2 => {
                // Proposals and votes also reach some members at once, or most runs would decide nothing.
                let leader = self.union.leader(ballot).unwrap_or_default();
                let Some(view) = self.views.get(usize::from(leader)) else { return self.lie(dice) };
                let proposed = |said: &Said| matches!(said, Said::Propose(by, at, _) if (*by, *at) == (leader, ballot));
                if !self.log.iter().any(proposed) {
                    let proposal = view.to_propose(Some(VALUES[dice.draw(2)]), |_| true).ok_or("nothing to propose")?;
                    self.say(Said::Propose(leader, ballot, proposal), dice);
                }
                Ok(())
            }
            3..=6 => match self.views[member].may_prepare(author, ballot) {
                Some(value) => self.vote(Said::Prepare(author, ballot, value), ballot, dice),
                None => Ok(()),
            },
            7..=10 => match self.views[member].may_commit(author, ballot) {
                Some(value) => self.vote(Said::Commit(author, ballot, value), ballot, dice),
                None => Ok(()),
            },
            11 | 12 => self.lie(dice),
            13 | 14 => {
                for said in &self.log {
                    if !dice.0.is_multiple_of(3) {
                        said.reach(&mut self.views[member]);
                    }
                    dice.0 = dice.0.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                }
                Ok(())
            }
            _ => {
                // A crash: what it said is on its disk, what it heard may be gone.
                let mut view = self.case.agreement();
                self.log.iter().filter(|said| said.author() == author).for_each(|said| said.reach(&mut view));
                self.views[member] = view;
                Ok(())
            }
        }
    }

    /// Honest members' words: heard by whoever said them, and by some others.
    fn say(&mut self, said: Said, mut dice: Dice) {
        self.log.push(said);
        said.reach(&mut self.union);
        let hears = |member: usize, dice: &mut Dice| member == usize::from(said.author()) || dice.draw(4) > 0;
        for (member, view) in self.views.iter_mut().enumerate() {
            if hears(member, &mut dice) {
                said.reach(view);
            }
        }
    }

    fn vote(&mut self, said: Said, ballot: Ballot, dice: Dice) -> Result<(), String> {
        let (author, is_commit) = (said.author(), matches!(said, Said::Commit(..)));
        let latest = &mut self.latest[usize::from(author)];
        if ballot < *latest {
            return Err(format!("{said:?} after a vote in ballot {latest}"));
        }
        *latest = ballot;
        let votes = self.votes.entry((author, ballot, is_commit)).or_default();
        *votes += 1;
        if *votes > 1 {
            return Err(format!("{said:?} is a second vote"));
        }
        self.say(said, dice);
        Ok(())
    }

    /// A liar says anything to anybody; it may come to everybody later.
    fn lie(&mut self, mut dice: Dice) -> Result<(), String> {
        if self.talking == 0 {
            return Ok(());
        }
        let liar = number(self.case.honest() + dice.draw(self.talking));
        let (ballot, value) = (Ballot::from(number(dice.draw(self.case.ballots))), VALUES[dice.draw(2)]);
        let prepared = [None, Some(Ballot::from(number(dice.draw(self.case.ballots))))][dice.draw(2)];
        let said = match dice.draw(3) {
            0 => Said::Propose(liar, ballot, Proposal { value, prepared }),
            1 => Said::Prepare(liar, ballot, value),
            _ => Said::Commit(liar, ballot, value),
        };
        self.log.push(said);
        said.reach(&mut self.union);
        for view in &mut self.views {
            if dice.draw(2) == 0 {
                said.reach(view);
            }
        }
        Ok(())
    }
}
