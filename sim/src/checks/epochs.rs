//! I8, I2, I10: what an honest custodian may say in the making of an epoch, judged from its own disk; and that no epoch is
//! agreed upon twice.
//!
//! A vote, once said, binds: one per ballot and kind, none in a ballot below one already voted in, none against a lock.
//! A commit needs the preparation and the readiness that it claims; a share is said to be held when it is on the disk, and
//! erased when enough others hold theirs. Whoever came back from an older disk may have forgotten what it said and counts
//! among those that a committee tolerates.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_custody::Ristretto;
use keymesh_custody::epochs::Deal;
use keymesh_mesh::custody::slot::Slot;
use keymesh_wire::body::{Body, CommitteeSpec, SharingAct, SharingRef, SharingWord};
use keymesh_wire::ids::{BlobHash, DocumentId, KeyringId, NodeId, StatementId};
use keymesh_wire::statement::Checked;

use super::{Look, place_of};
use crate::model::Model;
use crate::model::story::Story;
use crate::seen::Seen;

/// From when on somebody who takes a share is late, after the first to say that it holds one, in milliseconds.
const LATE: u64 = 5_000;
/// How long a decision waits for its audit record at most, in milliseconds.
const RECORDED: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct Epochs {
    prepares: BTreeMap<(NodeId, SharingRef), BTreeMap<u32, BlobHash>>,
    commits: BTreeMap<(NodeId, SharingRef), BTreeMap<u32, BlobHash>>,
    /// Which slots were written, by node.
    shares: BTreeSet<(usize, String)>,
    /// When the first member said to hold its share.
    held: BTreeMap<SharingRef, u64>,
    /// When a node came to know that a sharing is closed.
    closed: BTreeMap<(usize, SharingRef), u64>,
    /// Epochs that were agreed upon.
    made: BTreeSet<SharingRef>,
    /// What deals are bound to, with the keys that they were made for.
    sessions: BTreeMap<[u8; 32], BTreeSet<Vec<u8>>>,
    /// Proposals that came to somebody who was bound to something else.
    rivals: BTreeSet<StatementId>,
    /// Epochs that somebody voted on in a later ballot than the first.
    retried: BTreeSet<SharingRef>,
    /// Who came back from an older disk, or is two machines.
    older: BTreeSet<usize>,
    copies: BTreeMap<usize, usize>,
}

/// What the disk of whoever says something shows of an epoch.
struct Shown<'m> {
    model: &'m Model,
    node: usize,
    document: DocumentId,
    story: &'m Story,
    sharing: SharingRef,
    before: CommitteeSpec,
}

impl<'m> Shown<'m> {
    fn words(&self, kind: &str) -> Vec<(NodeId, &'m SharingWord)> {
        let Some(disk) = self.model.disk(self.node, &self.document) else { return Vec::new() };
        let places: Vec<usize> = self.story.of_kind(kind).filter(|place| disk.has(*place)).collect();
        let words = places.into_iter().filter_map(|place| match self.story.body(place) {
            Some(Body::Sharing(word)) if word.sharing == self.sharing => Some((self.story.author(place), word)),
            _ => None,
        });
        words.collect()
    }

    fn is_prepared(&self, ballot: u32, value: BlobHash) -> bool {
        let votes = self.words("prepare-epoch").into_iter();
        let votes = votes.filter(|(_, word)| word.act == SharingAct::Prepare { ballot, transcript: value });
        let who: BTreeSet<NodeId> = votes.map(|(who, _)| who).collect();
        let votes = self.before.members.iter().filter(|member| who.contains(*member)).count();
        let spec = &self.before;
        2 * votes > spec.members.len() + usize::from(spec.faults) && votes >= usize::from(spec.threshold)
    }

    /// Whether t + f of the recipients, or all, said that they can take their shares.
    fn is_ready(&self, value: BlobHash) -> bool {
        let ready = self.words("ready-for-epoch").into_iter();
        let ready = ready.filter(|(_, word)| word.act == SharingAct::Ready { transcript: value });
        let who: BTreeSet<NodeId> = ready.map(|(who, _)| who).collect();
        let Some(spec) = self.recipients(value) else { return false };
        let needed = usize::from(spec.threshold + spec.faults).min(spec.members.len());
        spec.members.iter().filter(|member| who.contains(*member)).count() >= needed
    }

    /// The proposal that a transcript carries out.
    fn change(&self, value: BlobHash) -> Option<StatementId> {
        let call = self.words("propose-transcript").into_iter().find_map(|(_, word)| match &word.act {
            SharingAct::Propose { transcript, .. } if transcript.id() == value => Some(transcript.call),
            _ => None,
        })?;
        let Body::Sharing(word) = self.model.statement(&call)?.body()? else { return None };
        let SharingAct::CallDeals { change, .. } = &word.act else { return None };
        Some(*change)
    }

    fn recipients(&self, value: BlobHash) -> Option<CommitteeSpec> {
        match self.model.statement(&self.change(value)?)?.body()? {
            Body::ReshareRoot(change) => Some(change.spec.clone()),
            Body::RefreshShares(_) => Some(self.before.clone()),
            _ => None,
        }
    }
}

impl Epochs {
    pub(super) fn see(&mut self, look: &mut Look<'_>, seen: &Seen<'_>) {
        match seen {
            Seen::RolledBack { node } => drop(self.older.insert(*node)),
            Seen::Cloned { node, twin } => {
                self.older.insert(*node);
                self.copies.insert(*twin, *node);
            }
            Seen::Shared { node, slot } => {
                let identity = self.copies.get(node).unwrap_or(node);
                self.shares.insert((*identity, (*slot).to_owned()));
            }
            Seen::Contributed { node, tenant, key, shares, .. } if look.is_honest(*node) => {
                let document = DocumentId::from(*tenant);
                let facts = look.model.facts(*node, &document);
                if let Some(keyring) = facts.and_then(|facts| facts.keys.get(key).map(|key| key.keyring)) {
                    self.contributed(look, *node, document, keyring, shares);
                }
            }
            Seen::Leased { node, tenant, keyring, shares, .. } if look.is_honest(*node) => {
                self.contributed(look, *node, DocumentId::from(*tenant), *keyring, shares);
            }
            _ => {}
        }
    }

    pub(super) fn stored(&mut self, look: &mut Look<'_>, node: usize, statement: &Checked, new: bool) {
        let Some(Body::Sharing(word)) = statement.body() else { return };
        let (author, sharing) = (statement.author(), word.sharing);
        let Some(place) = place_of(look.model, &author) else { return };
        let minded = look.is_honest(place) && !self.older.contains(&place);
        if !look.model.holds(place, &statement.id()) && minded {
            look.wrong.push(format!(
                "I8: n{} has a word on an epoch by n{}, on whose disk it is not",
                node + 1,
                place + 1
            ));
        }
        if matches!(word.act, SharingAct::Erase) {
            self.closing(look, node, statement.document(), sharing);
        }
        self.rivals(look, node, statement, word);
        if !new {
            return;
        }
        self.count(look, sharing, &word.act);
        if let SharingAct::Commit { transcript, .. } = word.act {
            self.certified(look, node, statement.document(), sharing, transcript);
        }
        if minded && node == place {
            self.judge(look, node, statement, word);
        }
    }

    /// Counts proposals of another transcript than one to which somebody who hears of it is bound.
    fn rivals(&mut self, look: &mut Look<'_>, node: usize, statement: &Checked, word: &SharingWord) {
        let SharingAct::Propose { ballot, transcript, .. } = &word.act else { return };
        let lock = look.model.id(node).and_then(|me| self.commits.get(&(me, word.sharing))?.last_key_value());
        if lock.is_some_and(|(locked, value)| locked < ballot && *value != transcript.id())
            && self.rivals.insert(statement.id())
        {
            look.coverage.count("proposals against a lock");
        }
    }

    fn count(&mut self, look: &mut Look<'_>, sharing: SharingRef, act: &SharingAct) {
        match act {
            SharingAct::Prepare { ballot, .. } if *ballot > 0 && self.retried.insert(sharing) => {
                look.coverage.count("epochs with a later ballot");
            }
            SharingAct::Hold => {
                let first = *self.held.entry(sharing).or_insert(look.at);
                if look.at > first + LATE {
                    look.coverage.count("shares taken late");
                }
            }
            _ => {}
        }
    }

    /// I8: one epoch is agreed upon once, as long as no more lie or forgot than the committee tolerates.
    fn certified(
        &mut self,
        look: &mut Look<'_>,
        node: usize,
        document: DocumentId,
        sharing: SharingRef,
        value: BlobHash,
    ) {
        let Some(facts) = look.model.all_facts(&document) else { return };
        let Some(root) = facts.roots.get(&sharing.root) else { return };
        let Some(part) = root.committees.get(usize::from(sharing.committee)) else { return };
        if part.epoch >= sharing.epoch && self.made.insert(sharing) {
            let around = sharing.epoch as usize - 1..=sharing.epoch as usize;
            let same = part.sharings.get(around).is_some_and(|two| two[0] == two[1]);
            look.coverage.count(if same { "epochs by refresh" } else { "epochs by reshare" });
            if root.committees.len() > 1 {
                look.coverage.count("epochs of one of several committees");
            }
            let change = shown(look, node, document, sharing).and_then(|shown| shown.change(value));
            if change.is_some_and(|change| !facts.changes.contains(&change)) {
                look.coverage.count("epochs whose proposal lost its authority");
            }
        }
        if !part.frozen {
            return;
        }
        let bad = |member: &&NodeId| {
            place_of(look.model, member).is_none_or(|at| !look.is_honest(at) || self.older.contains(&at))
        };
        if part.spec().members.iter().filter(bad).count() <= usize::from(part.spec().faults) {
            look.wrong.push(format!("I8: epoch {} of {} has two certificates", part.epoch + 1, sharing.root));
        }
    }

    /// Remembers from when on a node knows that a sharing is closed.
    fn closing(&mut self, look: &Look<'_>, node: usize, document: DocumentId, sharing: SharingRef) {
        let Some(facts) = look.model.facts(node, &document) else { return };
        let part = facts.roots.get(&sharing.root).and_then(|r| r.committees.get(usize::from(sharing.committee)));
        if part.is_some_and(|part| !part.in_use().any(|epoch| epoch == sharing.epoch)) {
            self.closed.entry((node, sharing)).or_insert(look.at);
        }
    }

    /// I8: partials are made with shares of sharings that are in use by what the custodian itself knows, or were when it
    /// decided.
    fn contributed(
        &self,
        look: &mut Look<'_>,
        node: usize,
        document: DocumentId,
        keyring: KeyringId,
        shares: &[(u8, u32)],
    ) {
        let Some(facts) = look.model.facts(node, &document) else { return };
        let Some(id) = facts.keyrings.get(&keyring).map(|keyring| keyring.root) else { return };
        let Some(root) = facts.roots.get(&id) else { return };
        for (number, epoch) in shares {
            let part = root.committees.get(usize::from(*number));
            if part.is_some_and(|part| part.in_use().any(|in_use| in_use == *epoch)) {
                continue;
            }
            let sharing = SharingRef { root: id, committee: *number, epoch: *epoch };
            let closed = self.closed.get(&(node, sharing));
            if closed.is_none_or(|closed| look.at > closed + RECORDED) {
                let n = node + 1;
                look.wrong.push(format!("I8: n{n} contributes with a share of epoch {epoch}, which is not in use"));
            }
        }
    }

    fn judge(&mut self, look: &mut Look<'_>, node: usize, statement: &Checked, word: &SharingWord) {
        let (document, sharing) = (statement.document(), word.sharing);
        let key = (statement.author(), sharing);
        let n = node + 1;
        match word.act {
            SharingAct::Prepare { ballot, transcript } => {
                let latest = self.latest(&key);
                if latest.is_some_and(|(latest, both)| latest > ballot || (latest == ballot && both)) {
                    look.wrong.push(format!("I8: n{n} prepares in ballot {ballot} after it went on to a later vote"));
                }
                if let Some(shown) = shown(look, node, document, sharing)
                    && let Some(change) = shown.change(transcript)
                    && !look.model.facts(node, &document).is_some_and(|facts| facts.changes.contains(&change))
                    && !(0..ballot).any(|since| shown.is_prepared(since, transcript))
                {
                    look.wrong.push(format!("I2: n{n} prepares a change of custody that is not in effect"));
                }
                if self.prepares.entry(key).or_default().insert(ballot, transcript).is_some() {
                    look.wrong.push(format!("I8: n{n} prepares twice in ballot {ballot} of {sharing:?}"));
                }
                let lock = self.commits.get(&key).and_then(|commits| commits.last_key_value());
                if let Some((locked, value)) = lock.filter(|(_, value)| **value != transcript)
                    && let Some(shown) = shown(look, node, document, sharing)
                    && !(*locked..ballot).any(|since| shown.is_prepared(since, transcript))
                {
                    look.wrong.push(format!("I8: n{n} prepares another transcript than {value}, to which it is bound"));
                }
            }
            SharingAct::Commit { ballot, transcript } => {
                let latest = self.latest(&key);
                if latest.is_some_and(|(latest, _)| latest > ballot) {
                    look.wrong.push(format!("I8: n{n} commits in ballot {ballot} after it went on to a later one"));
                }
                if self.commits.entry(key).or_default().insert(ballot, transcript).is_some() {
                    look.wrong.push(format!("I8: n{n} commits twice in ballot {ballot} of {sharing:?}"));
                }
                if let Some(shown) = shown(look, node, document, sharing) {
                    if !shown.is_prepared(ballot, transcript) {
                        look.wrong.push(format!("I8: n{n} commits to what no quorum prepared in ballot {ballot}"));
                    }
                    if !shown.is_ready(transcript) {
                        look.wrong.push(format!("I8: n{n} commits to an epoch whose recipients are not ready"));
                    }
                }
            }
            SharingAct::Hold => {
                let SharingRef { root, committee, epoch } = sharing;
                let slot = Slot::Epoch { root, committee, epoch }.to_string();
                if !self.shares.contains(&(node, slot)) {
                    look.wrong.push(format!("I8: n{n} says to hold a share of epoch {epoch} that it never wrote"));
                }
            }
            SharingAct::Erase => self.erased(look, node, document, sharing),
            SharingAct::Deal { call, ref deal } => self.dealt(look, node, &call, deal),
            _ => {}
        }
    }

    /// I8: a deal is bound to the keys that it was called for, so that it cannot be taken for one of another call.
    fn dealt(&mut self, look: &mut Look<'_>, node: usize, call: &StatementId, deal: &[u8]) {
        let Ok(deal) = Deal::<Ristretto>::from_bytes(deal) else {
            look.wrong.push(format!("I8: n{} deals what is no deal", node + 1));
            return;
        };
        let word = |id: &StatementId| match look.model.statement(id)?.body()? {
            Body::Sharing(word) => Some(&word.act),
            _ => None,
        };
        let Some(SharingAct::CallDeals { offers, .. }) = word(call) else { return };
        let keys = offers.iter().filter_map(|offer| match word(offer)? {
            SharingAct::OfferKey { key, .. } => Some(key.clone()),
            _ => None,
        });
        let keys: BTreeSet<Vec<u8>> = keys.collect();
        if *self.sessions.entry(*deal.session()).or_insert_with(|| keys.clone()) != keys {
            look.wrong.push(format!("I8: a deal of n{} passes for one that other keys were dealt", node + 1));
        }
    }

    fn latest(&self, key: &(NodeId, SharingRef)) -> Option<(u32, bool)> {
        let last = |votes: &BTreeMap<(NodeId, SharingRef), BTreeMap<u32, BlobHash>>| {
            votes.get(key).and_then(|votes| votes.last_key_value()).map(|(ballot, _)| *ballot)
        };
        let (prepared, committed) = (last(&self.prepares), last(&self.commits));
        prepared.max(committed).map(|latest| (latest, committed == Some(latest)))
    }

    /// I8: shares are erased when t + f members of a later epoch said to have theirs.
    fn erased(&self, look: &mut Look<'_>, node: usize, document: DocumentId, sharing: SharingRef) {
        let Some(facts) = look.model.facts(node, &document) else { return };
        let part = facts.roots.get(&sharing.root).and_then(|r| r.committees.get(usize::from(sharing.committee)));
        let Some(part) = part else { return };
        let spec = part.spec();
        let current = SharingRef { epoch: part.epoch, ..sharing };
        let held = shown(look, node, document, current).map(|shown| shown.words("hold-share")).unwrap_or_default();
        let held: BTreeSet<NodeId> = held.into_iter().map(|(who, _)| who).collect();
        let held = spec.members.iter().filter(|member| held.contains(*member)).count();
        let needed = usize::from(spec.threshold + spec.faults).min(spec.members.len());
        if sharing.epoch >= part.epoch || held < needed {
            let what = format!("{held} members hold one of epoch {}", part.epoch);
            look.wrong.push(format!("I8: n{} erases its share of epoch {} when {what}", node + 1, sharing.epoch));
        }
    }
}

/// Of the epoch `sharing`, with the members of the one before it by the node's disk.
fn shown<'m>(look: &Look<'m>, node: usize, document: DocumentId, sharing: SharingRef) -> Option<Shown<'m>> {
    let model = look.model;
    let facts = model.facts(node, &document)?;
    let part = facts.roots.get(&sharing.root)?.committees.get(usize::from(sharing.committee))?;
    let before = part.sharings.get(sharing.epoch.checked_sub(1)? as usize)?.clone();
    Some(Shown { model, node, document, story: model.story(&document)?, sharing, before })
}
