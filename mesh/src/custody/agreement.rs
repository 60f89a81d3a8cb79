//! Agreement on one value by the members of one committee: what votes add up to, and what an honest member may vote.
//!
//! The protocol is the single-decree core of Tendermint (Buchman, Kwon and Milosevic, "The latest gossip on BFT
//! consensus", 2018) over statements that everybody gets, with q = ⌊(n+f)/2⌋ + 1, or more
//! ([`Agreement::of_at_least`]), in place of 2f + 1. In each numbered
//! *ballot* its leader proposes a value and each member votes at most twice:
//!
//! ```text
//! leader proposes v ─▶ Prepare(b, v) by q members: v is prepared in b ─▶ Commit(b, v) by q members: the certificate
//! ```
//!
//! A member that commits is *locked* on that value: in later ballots it prepares another one only if that was prepared in
//! a ballot no earlier than its lock.
//!
//! **Safety.** Any two sets of q members share one that is honest, as long as at most f lie (2q − n > f). So in one ballot
//! at most one value is prepared. If (b, v) has a certificate, q − f honest members are locked on v from b on; the first
//! later ballot in which another value were prepared would need one of them to have prepared it, thus a preparation of that
//! value at b or later before it: there is none. So at most one value ever gets a certificate, without any assumption on
//! time. A member needs its own earlier votes for this and nothing else: they are durable before anybody hears of them.
//!
//! **Progress** needs q members that are up and hear each other while a ballot lasts, an honest leader among them, and
//! ballots that last longer and longer (see [`super::change`]): a leader proposes the value that was prepared last of those
//! that may be committed to, which every honest member may prepare: whoever is locked is so on a value that may be, prepared
//! no later than that one. What may be committed to (enough recipients are ready) may be so for ever. With more than n − q
//! members away an epoch stalls; nothing else does.
//!
//! Votes are sets that only grow: repeated, late and reordered ones change nothing (I3), and a member that votes for two
//! values is counted for both, which the bound on f accounts for. More than f liars can make two certificates; then nobody
//! picks, and custody is frozen for people to look at.

use std::collections::{BTreeMap, BTreeSet};

use crate::mutant::{self, Mutant};

/// The number of an attempt at agreeing, from 0.
pub type Ballot = u32;

/// What one leader proposes in one ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal<V> {
    /// What is proposed.
    pub value: V,
    /// The earlier ballot in which this value was prepared, by the leader's word: votes show whether it is true.
    pub prepared: Option<Ballot>,
}

/// Everything that was said about one decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Agreement<M, V> {
    members: Vec<M>,
    faults: usize,
    least: usize,
    proposals: BTreeMap<Ballot, BTreeSet<Proposal<V>>>,
    prepares: BTreeMap<(Ballot, V), BTreeSet<M>>,
    commits: BTreeMap<(Ballot, V), BTreeSet<M>>,
}

impl<M: Copy + Ord, V: Copy + Ord> Agreement<M, V> {
    /// Nothing said yet, among `members` in order, of whom up to `faults` may lie.
    pub fn new(members: Vec<M>, faults: usize) -> Self {
        let (proposals, prepares, commits) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { members, faults, least: 0, proposals, prepares, commits }
    }

    /// Needs at least so many votes, where what is decided has to be known to others than voters: with t of them every
    /// n − t + 1 + f members, who can keep the root shut (I6), have an honest one among those that agreed.
    pub fn of_at_least(self, votes: usize) -> Self {
        Self { least: votes, ..self }
    }

    /// How many votes count: any two such sets share an honest member.
    pub fn quorum(&self) -> usize {
        let enough = ((self.members.len() + self.faults) / 2 + 1).max(self.least);
        if mutant::is(Mutant::TooFewPrepared) { enough - 1 } else { enough }
    }

    /// Who proposes in a ballot: the members in turn.
    pub fn leader(&self, ballot: Ballot) -> Option<M> {
        let place = usize::try_from(ballot).ok()?.checked_rem(self.members.len())?;
        self.members.get(place).copied()
    }

    /// A proposal was made. What is not the leader's of its ballot is not heard.
    pub fn propose(&mut self, member: M, ballot: Ballot, proposal: Proposal<V>) {
        if self.leader(ballot) == Some(member) {
            self.proposals.entry(ballot).or_default().insert(proposal);
        }
    }

    /// A first vote was cast.
    pub fn prepare(&mut self, member: M, ballot: Ballot, value: V) {
        if self.members.contains(&member) {
            self.prepares.entry((ballot, value)).or_default().insert(member);
        }
    }

    /// A second vote was cast.
    pub fn commit(&mut self, member: M, ballot: Ballot, value: V) {
        if self.members.contains(&member) {
            self.commits.entry((ballot, value)).or_default().insert(member);
        }
    }

    /// What the leader of a ballot proposed: nothing if it proposed two things, which is no honest leader's act.
    pub fn proposal(&self, ballot: Ballot) -> Option<Proposal<V>> {
        let proposals = self.proposals.get(&ballot)?;
        proposals.first().copied().filter(|_| proposals.len() == 1)
    }

    /// Whether the leader of a ballot proposed anything yet.
    pub fn has_proposed(&self, ballot: Ballot) -> bool {
        self.proposals.contains_key(&ballot)
    }

    /// Whether the leader of any ballot proposed a value.
    pub fn is_proposed(&self, value: V) -> bool {
        self.proposals.values().flatten().any(|proposal| proposal.value == value)
    }

    /// Whether q members prepared a value in a ballot.
    pub fn is_prepared(&self, ballot: Ballot, value: V) -> bool {
        self.prepares.get(&(ballot, value)).is_some_and(|voters| voters.len() >= self.quorum())
    }

    /// The latest ballot in which one of `these` values was prepared, and the value.
    pub fn highest_prepared(&self, these: impl Fn(V) -> bool) -> Option<(Ballot, V)> {
        let mut latest_first = self.prepares.keys().rev();
        latest_first.find(|(ballot, value)| these(*value) && self.is_prepared(*ballot, *value)).copied()
    }

    /// The values for which there is a certificate: q commits in one ballot. More than one only with more than f liars.
    pub fn certified(&self) -> BTreeSet<V> {
        let votes = if mutant::is(Mutant::PreparedIsEnough) { &self.prepares } else { &self.commits };
        let enough = votes.iter().filter(|(_, voters)| voters.len() >= self.quorum());
        enough.map(|((_, value), _)| *value).collect()
    }

    /// Who stands behind a value in the ballot where most do, for showing how far an epoch is.
    pub fn support(&self, value: V) -> (usize, usize) {
        let most = |votes: &BTreeMap<(Ballot, V), BTreeSet<M>>| {
            votes.iter().filter(|((_, of), _)| *of == value).map(|(_, voters)| voters.len()).max().unwrap_or_default()
        };
        (most(&self.prepares), most(&self.commits))
    }

    /// The latest ballot that `member` took part in.
    pub fn latest_ballot(&self, member: M) -> Option<Ballot> {
        let of = |votes: &BTreeMap<(Ballot, V), BTreeSet<M>>| {
            votes.iter().rev().find(|(_, voters)| voters.contains(&member)).map(|((ballot, _), _)| *ballot)
        };
        of(&self.prepares).max(of(&self.commits))
    }

    /// The latest ballot that more than f members took part in, so that an honest one did: whoever is behind may go there.
    pub fn reached(&self) -> Option<Ballot> {
        let mut latest: Vec<Ballot> = self.members.iter().filter_map(|member| self.latest_ballot(*member)).collect();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        latest.get(self.faults).copied()
    }

    /// What `member` is bound to: the value of its latest commit, and the ballot.
    pub fn lock(&self, member: M) -> Option<(Ballot, V)> {
        if mutant::is(Mutant::BallotForgetsItsLock) {
            return None;
        }
        let mine = self.commits.iter().rev().find(|(_, voters)| voters.contains(&member));
        mine.map(|(vote, _)| *vote)
    }

    /// Whether an honest `member` may prepare what the leader of `ballot` proposed.
    pub fn may_prepare(&self, member: M, ballot: Ballot) -> Option<V> {
        let Proposal { value, prepared } = self.proposal(ballot)?;
        let voted = |votes: &BTreeMap<(Ballot, V), BTreeSet<M>>| {
            votes.iter().any(|((at, _), voters)| *at >= ballot && voters.contains(&member))
        };
        if voted(&self.prepares) || voted(&self.commits) {
            return None;
        }
        let Some((locked_at, locked)) = self.lock(member) else { return Some(value) };
        let since = prepared.filter(|at| *at < ballot && *at >= locked_at && self.is_prepared(*at, value));
        (locked == value || since.is_some()).then_some(value)
    }

    /// Whether an honest `member` may commit to a value in `ballot`: it was prepared there, and the member voted in no later
    /// ballot and for nothing else in this one.
    pub fn may_commit(&self, member: M, ballot: Ballot) -> Option<V> {
        let later = self.latest_ballot(member).is_some_and(|latest| latest > ballot);
        let voted = self.commits.iter().any(|((at, _), voters)| *at == ballot && voters.contains(&member));
        let in_ballot = self.prepares.keys().filter(|(at, _)| *at == ballot);
        let prepared = in_ballot.map(|(_, value)| *value).find(|value| self.is_prepared(ballot, *value));
        prepared.filter(|_| !later && !voted)
    }

    /// What an honest leader of a ballot proposes: of the prepared values that may be committed to the one prepared last, or
    /// its `own`. To any other value no honest member is bound, and taking it up could be for nothing for ever.
    pub fn to_propose(&self, own: Option<V>, may_be_committed: impl Fn(V) -> bool) -> Option<Proposal<V>> {
        match self.highest_prepared(may_be_committed) {
            Some((at, value)) => Some(Proposal { value, prepared: Some(at) }),
            None => own.map(|value| Proposal { value, prepared: None }),
        }
    }
}

#[cfg(test)]
mod tests;
