//! Epochs of a root: what was said about each, and which of them came about.
//!
//! Epoch 0 is what key generation made. Each later one needs a certificate by the custodians of the one before it
//! (see [`crate::custody::agreement`]). A certificate counts whatever becomes of the authority behind the proposal or of
//! the places of its voters: the shares have moved, and taking that back would leave neither sharing working. That the
//! proposal had authority is what honest custodians look at before they vote (I2), and they are enough of any quorum.
//!
//! Everything is folded from the set of statements (I3). Curve arithmetic is left to whoever votes: this module counts.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::{Body, CommitteeSpec, SharingAct, SharingRef, Transcript};
use keymesh_wire::ids::{BlobHash, NodeId, RootId, StatementId};
use keymesh_wire::time::Wall;
use serde::Serialize;

use super::graph::Graph;
use crate::custody::agreement::{Agreement, Ballot, Proposal};

/// A sharing that another one has taken the place of, as long as shares of it may be in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastSharing {
    /// Its number.
    pub epoch: u32,
    /// Who held it.
    pub spec: CommitteeSpec,
    /// Its public key package.
    pub public: Vec<u8>,
    /// Who erased its share. At n − t + 1 + f of them the epoch is closed, and no longer listed.
    pub erased: BTreeSet<NodeId>,
}

/// How many custodians must have erased their shares so that fewer than t honest or dishonest ones can have one left.
pub fn closing_quorum(spec: &CommitteeSpec) -> usize {
    spec.members.len() + 1 + usize::from(spec.faults) - usize::from(spec.threshold)
}

/// How many recipients must be ready before anybody commits: t and f more, so that t honest ones can take their shares.
pub fn ready_quorum(spec: &CommitteeSpec) -> usize {
    (usize::from(spec.threshold) + usize::from(spec.faults)).min(spec.members.len())
}

/// A statement's author, what it refers to, and its bytes.
pub type Said<'g> = (NodeId, StatementId, &'g [u8]);

/// Everything that was said about one epoch.
#[derive(Debug, Clone, Default)]
pub struct Words<'g> {
    /// Proposals: other custodians, or nothing for a refresh among the same.
    pub changes: BTreeMap<StatementId, Option<&'g CommitteeSpec>>,
    /// When proposals and offers were made, by their authors' clocks.
    pub times: BTreeMap<StatementId, Wall>,
    /// Recipients' one-time keys, each for a change.
    pub offers: BTreeMap<StatementId, Said<'g>>,
    /// Calls for deals, each for a change, with the offers to deal to.
    pub calls: BTreeMap<StatementId, (NodeId, StatementId, &'g [StatementId])>,
    /// Deals, each for a call.
    pub deals: BTreeMap<StatementId, Said<'g>>,
    /// Complaints, each about a deal.
    pub complaints: BTreeMap<StatementId, Said<'g>>,
    /// What leaders proposed, by id.
    pub transcripts: BTreeMap<BlobHash, &'g Transcript>,
    /// Recipients who can take their shares, by transcript.
    pub ready: BTreeMap<BlobHash, BTreeSet<NodeId>>,
    /// Who says that it holds its share of this epoch.
    pub held: BTreeSet<NodeId>,
    /// Who says that it erased it.
    pub erased: BTreeSet<NodeId>,
    /// The latest time by which somebody signed a commit.
    pub committed: Option<Wall>,
    proposals: Vec<(NodeId, Ballot, Proposal<BlobHash>)>,
    prepares: Vec<(NodeId, Ballot, BlobHash)>,
    commits: Vec<(NodeId, Ballot, BlobHash)>,
}

impl<'g> Words<'g> {
    /// Everything said about every epoch of every root.
    pub fn of(graph: &'g Graph) -> BTreeMap<SharingRef, Self> {
        let mut all: BTreeMap<SharingRef, Self> = BTreeMap::new();
        for entry in graph.entries() {
            let (id, author) = (entry.statement.id(), entry.statement.author());
            match entry.statement.body() {
                Some(Body::RefreshShares(sharing)) => {
                    let words = all.entry(*sharing).or_default();
                    words.changes.insert(id, None);
                    words.times.insert(id, entry.statement.time());
                }
                Some(Body::ReshareRoot(change)) => {
                    let words = all.entry(change.sharing).or_default();
                    words.changes.insert(id, Some(&change.spec));
                    words.times.insert(id, entry.statement.time());
                }
                Some(Body::Sharing(word)) => {
                    let words = all.entry(word.sharing).or_default();
                    words.hear(id, author, &word.act, entry.statement.time());
                }
                _ => {}
            }
        }
        all
    }

    fn hear(&mut self, id: StatementId, author: NodeId, act: &'g SharingAct, time: Wall) {
        match act {
            SharingAct::OfferKey { change, key } => {
                self.offers.insert(id, (author, *change, key));
                self.times.insert(id, time);
            }
            SharingAct::CallDeals { change, offers } => {
                self.calls.insert(id, (author, *change, offers));
            }
            SharingAct::Deal { call, deal } => {
                self.deals.insert(id, (author, *call, deal));
            }
            SharingAct::Complain { deal, complaint } => {
                self.complaints.insert(id, (author, *deal, complaint));
            }
            SharingAct::Propose { ballot, transcript, prepared } => {
                let value = transcript.id();
                self.transcripts.insert(value, transcript);
                self.proposals.push((author, *ballot, Proposal { value, prepared: *prepared }));
            }
            SharingAct::Prepare { ballot, transcript } => self.prepares.push((author, *ballot, *transcript)),
            SharingAct::Ready { transcript } => {
                self.ready.entry(*transcript).or_default().insert(author);
            }
            SharingAct::Commit { ballot, transcript } => {
                self.commits.push((author, *ballot, *transcript));
                self.committed = self.committed.max(Some(time));
            }
            SharingAct::Hold => {
                self.held.insert(author);
            }
            SharingAct::Erase => {
                self.erased.insert(author);
            }
        }
    }

    /// What the votes of the custodians of the epoch before add up to.
    pub fn agreement(&self, before: &CommitteeSpec) -> Agreement<NodeId, BlobHash> {
        let agreement = Agreement::new(before.members.clone(), usize::from(before.faults));
        let mut agreement = agreement.of_at_least(usize::from(before.threshold));
        for (member, ballot, proposal) in &self.proposals {
            agreement.propose(*member, *ballot, *proposal);
        }
        for (member, ballot, value) in &self.prepares {
            agreement.prepare(*member, *ballot, *value);
        }
        for (member, ballot, value) in &self.commits {
            agreement.commit(*member, *ballot, *value);
        }
        agreement
    }

    /// Who the custodians of the epoch would be by a change; those of the one `before` for a refresh.
    pub fn recipients<'a>(&self, change: &StatementId, before: &'a CommitteeSpec) -> Option<&'a CommitteeSpec>
    where
        'g: 'a,
    {
        self.changes.get(change).map(|spec| spec.unwrap_or(before))
    }

    /// Who committed to a transcript with other custodians than those of the epoch `before`.
    fn moving(&self, before: &CommitteeSpec) -> BTreeSet<NodeId> {
        let moves = |value: &BlobHash| {
            let change = self.transcripts.get(value).and_then(|transcript| self.change_of(transcript));
            change.and_then(|change| self.recipients(&change, before)).is_none_or(|spec| spec != before)
        };
        self.commits.iter().filter(|(.., value)| moves(value)).map(|(member, ..)| *member).collect()
    }

    /// The change that a transcript carries out.
    pub fn change_of(&self, transcript: &Transcript) -> Option<StatementId> {
        self.calls.get(&transcript.call).map(|(_, change, _)| *change)
    }
}

/// Where the sharing of one committee stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The current epoch.
    pub epoch: u32,
    /// Its custodians.
    pub spec: CommitteeSpec,
    /// Its public key package.
    pub public: Vec<u8>,
    /// When it was agreed upon, by the latest clock of those who committed.
    pub since: Option<Wall>,
    /// Earlier epochs that are not closed.
    pub past: Vec<PastSharing>,
    /// The committee and the public key package of the epoch before, closed or not.
    pub before: Option<(CommitteeSpec, Vec<u8>)>,
    /// The committees of all epochs, each different one once.
    pub specs: Vec<CommitteeSpec>,
    /// Who committed to other custodians without a certificate yet.
    pub moving: BTreeSet<NodeId>,
    /// Whether two certificates for one epoch exist: more custodians lied than were to be reckoned with.
    pub frozen: bool,
}

impl Chain {
    /// Follows the certificates from the sharing that key generation made, and shows every epoch to `see`.
    pub fn follow(
        all: &BTreeMap<SharingRef, Words<'_>>,
        root: RootId,
        committee: u8,
        spec: &CommitteeSpec,
        public: &[u8],
        mut see: impl FnMut(u32, &CommitteeSpec, &[u8]),
    ) -> Self {
        see(0, spec, public);
        let at = |epoch: u32| all.get(&SharingRef { root, committee, epoch });
        let mut chain = Self {
            epoch: 0,
            spec: spec.clone(),
            public: public.to_vec(),
            since: None,
            past: Vec::new(),
            before: None,
            specs: vec![spec.clone()],
            moving: BTreeSet::new(),
            frozen: false,
        };
        while let Some(words) = chain.epoch.checked_add(1).and_then(at) {
            let certified = words.agreement(&chain.spec).certified();
            chain.frozen = certified.len() > 1;
            let Some(transcript) = certified.first().filter(|_| !chain.frozen).and_then(|id| words.transcripts.get(id))
            else {
                chain.moving = words.moving(&chain.spec);
                break;
            };
            let change = words.change_of(transcript);
            let Some(next) = change.and_then(|change| words.recipients(&change, &chain.spec)).cloned() else { break };
            let erased = at(chain.epoch).map(|words| words.erased.clone()).unwrap_or_default();
            let erased: BTreeSet<NodeId> =
                erased.into_iter().filter(|node| chain.spec.members.contains(node)).collect();
            let is_closed = erased.len() >= closing_quorum(&chain.spec);
            let spec = std::mem::replace(&mut chain.spec, next);
            let public = std::mem::replace(&mut chain.public, transcript.public.clone());
            chain.before = Some((spec.clone(), public.clone()));
            if !is_closed {
                chain.past.push(PastSharing { epoch: chain.epoch, spec, public, erased });
            }
            if !chain.specs.contains(&chain.spec) {
                chain.specs.push(chain.spec.clone());
            }
            chain.since = words.committed;
            chain.epoch += 1;
            see(chain.epoch, &chain.spec, &chain.public);
        }
        chain
    }
}
