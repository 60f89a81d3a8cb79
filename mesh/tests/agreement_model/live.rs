//! Progress: from any state, once everything said is heard by everybody and ballots run in step.

use keymesh_mesh::custody::agreement::Proposal;

use super::moves::{Case, VALUES, Value, Votes, at, number};

/// What everybody has heard of the liars by the time ballots run in step.
#[derive(Debug, Clone, Copy)]
pub enum Heard {
    /// That each of them voted for everything.
    Everything,
    /// No more than what honest members relied on.
    WhatWasReliedOn,
}

/// How many ballots in step it takes to a certificate, and for what. Nothing if the first honest leader's does not bring
/// one. Liars lead in their turn and waste it in one of several ways. Honest members commit to nothing but `committed`, and
/// know that nothing else is going to be.
pub fn settles(
    case: &Case,
    votes: &[Votes],
    heard: Heard,
    trick: usize,
    committed: &[Value],
) -> Option<(usize, Value)> {
    let mut said = case.agreement();
    for (member, votes) in votes.iter().enumerate() {
        for (ballot, value) in (0..case.ballots).flat_map(|ballot| VALUES.map(|value| (ballot, value))) {
            if votes.prepared(ballot) == value {
                said.prepare(number(member), at(ballot), value);
            }
            if votes.committed(ballot) == value {
                said.commit(number(member), at(ballot), value);
                case.liars().for_each(|liar| said.prepare(liar, at(ballot), value));
            }
        }
    }
    if let Heard::Everything = heard {
        for (ballot, value) in (0..case.ballots).flat_map(|ballot| VALUES.map(|value| (ballot, value))) {
            case.liars().for_each(|liar| said.prepare(liar, at(ballot), value));
            case.liars().for_each(|liar| said.commit(liar, at(ballot), value));
        }
    }
    for turn in 0..case.members {
        let ballot = at(case.ballots + turn);
        let leader = said.leader(ballot).expect("somebody leads");
        let is_honest = usize::from(leader) < case.honest();
        // Who hears the leader in this ballot.
        let mut hearing: Vec<u8> = (0..case.honest()).map(number).collect();
        let one = VALUES[trick >> 2 & 1];
        if is_honest {
            let own = committed[usize::from(leader) % committed.len()];
            let proposal = said.to_propose(Some(own), |value| committed.contains(&value)).expect("a value of its own");
            said.propose(leader, ballot, proposal);
        } else {
            hearing.retain(|member| trick >> (3 + member) & 1 != 0);
            let false_claim = Some(at((trick >> 8) % case.ballots));
            match trick & 3 {
                0 => {}
                1 => VALUES.iter().for_each(|value| {
                    said.propose(leader, ballot, Proposal { value: *value, prepared: None });
                }),
                2 => said.propose(leader, ballot, Proposal { value: one, prepared: None }),
                _ => said.propose(leader, ballot, Proposal { value: one, prepared: false_claim }),
            }
        }
        for (liar, value) in case.liars().flat_map(|liar| VALUES.map(|value| (liar, value))) {
            said.prepare(liar, ballot, value);
        }
        for member in &hearing {
            if let Some(value) = said.may_prepare(*member, ballot) {
                said.prepare(*member, ballot, value);
            }
        }
        for member in &hearing {
            if let Some(value) = said.may_commit(*member, ballot).filter(|value| committed.contains(value)) {
                said.commit(*member, ballot, value);
            }
        }
        let certified = said.certified();
        assert!(certified.len() <= 1, "two certificates: {said:?}");
        if is_honest {
            return certified.first().map(|value| (turn + 1, *value));
        }
    }
    None
}
