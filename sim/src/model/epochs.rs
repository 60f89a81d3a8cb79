//! Which sharing of each part of a root is in use, by what custodians said: a plain reading of what a certificate is.
//!
//! A sharing follows another one when ⌊(n + f) / 2⌋ + 1 of its members, and at least t, committed to one transcript in one
//! ballot. Nobody's authority is asked: the words alone count. Two such transcripts freeze what there is.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CommitteeSpec, SharingAct, SharingRef, Transcript};
use keymesh_wire::ids::{BlobHash, NodeId, RootId, StatementId};

use super::facts::Committee;
use super::rights::Rights;
use super::story::Story;

/// What was said about sharings, of what a certificate depends on.
#[derive(Debug, Default)]
pub(super) struct Words<'s> {
    commits: BTreeMap<SharingRef, BTreeMap<(u32, BlobHash), BTreeSet<NodeId>>>,
    transcripts: BTreeMap<(SharingRef, BlobHash), &'s Transcript>,
    calls: BTreeMap<StatementId, (SharingRef, StatementId)>,
    erased: BTreeMap<SharingRef, BTreeSet<NodeId>>,
    /// For each proposal what it is about, and with which members if with others.
    changes: BTreeMap<StatementId, (SharingRef, Option<&'s CommitteeSpec>)>,
}

impl<'s> Words<'s> {
    /// All that is known, whoever said it.
    pub(super) fn of(story: &'s Story, rights: &Rights<'s>) -> Self {
        let mut words = Self::default();
        let kinds =
            ["refresh-shares", "reshare-root", "commit-epoch", "propose-transcript", "call-deals", "erase-share"];
        for place in kinds.into_iter().flat_map(|kind| rights.known_of(kind)) {
            let (id, author) = (story.id(place), story.author(place));
            match story.body(place) {
                Some(Body::RefreshShares(sharing)) => drop(words.changes.insert(id, (*sharing, None))),
                Some(Body::ReshareRoot(change)) => {
                    words.changes.insert(id, (change.sharing, Some(&change.spec)));
                }
                Some(Body::Sharing(word)) => match &word.act {
                    SharingAct::Commit { ballot, transcript } => {
                        let commits = words.commits.entry(word.sharing).or_default();
                        commits.entry((*ballot, *transcript)).or_default().insert(author);
                    }
                    SharingAct::Propose { transcript, .. } => {
                        words.transcripts.insert((word.sharing, transcript.id()), transcript);
                    }
                    SharingAct::CallDeals { change, .. } => drop(words.calls.insert(id, (word.sharing, *change))),
                    SharingAct::Erase => drop(words.erased.entry(word.sharing).or_default().insert(author)),
                    _ => {}
                },
                _ => {}
            }
        }
        words
    }

    /// The transcripts with a certificate by the members of the sharing before.
    fn certified(&self, sharing: &SharingRef, before: &CommitteeSpec) -> BTreeSet<BlobHash> {
        let enough = |who: &BTreeSet<NodeId>| {
            let votes = before.members.iter().filter(|member| who.contains(*member)).count();
            2 * votes > before.members.len() + usize::from(before.faults) && votes >= usize::from(before.threshold)
        };
        let votes = self.commits.get(sharing).into_iter().flatten();
        votes.filter(|(_, who)| enough(who)).map(|((_, transcript), _)| *transcript).collect()
    }

    /// Who the members are by a transcript.
    fn members(&self, sharing: SharingRef, id: BlobHash, before: &CommitteeSpec) -> Option<CommitteeSpec> {
        let transcript = self.transcripts.get(&(sharing, id))?;
        let (_, change) = self.calls.get(&transcript.call).filter(|(of, _)| *of == sharing)?;
        let (_, spec) = self.changes.get(change).filter(|(of, _)| *of == sharing)?;
        Some(spec.unwrap_or(before).clone())
    }
}

/// What became of one part of a root that began with `first`. Nothing follows a key generation that did not end.
pub(super) fn follow(words: &Words<'_>, root: RootId, number: u8, first: &CommitteeSpec, is_made: bool) -> Committee {
    let mut sharings = vec![first.clone()];
    let (mut epoch, mut frozen) = (0, false);
    while is_made && !frozen {
        let next = SharingRef { root, committee: number, epoch: epoch + 1 };
        let before = &sharings[epoch as usize];
        let certified = words.certified(&next, before);
        frozen = certified.len() > 1;
        let members = certified.first().filter(|_| !frozen).and_then(|id| words.members(next, *id, before));
        let Some(members) = members else { break };
        sharings.push(members);
        epoch += 1;
    }
    // Of fewer than t shares that may be left, f kept by liars, nobody opens anything.
    let is_closed = |epoch: &u32| {
        let spec = &sharings[*epoch as usize];
        let erased = words.erased.get(&SharingRef { root, committee: number, epoch: *epoch });
        let erased = spec.members.iter().filter(|member| erased.is_some_and(|erased| erased.contains(*member))).count();
        spec.members.len() + usize::from(spec.faults) - erased < usize::from(spec.threshold)
    };
    let unclosed = (0..epoch).filter(|epoch| !is_closed(epoch)).collect();
    Committee { epoch, sharings, unclosed, frozen }
}
