//! Making the next epoch of a root: one node's part in it, as holder of the old sharing, as recipient of the new one, or
//! both.
//!
//! ```text
//! recipients  OfferKey ─▶ leader  CallDeals ─▶ holders  Deal ─▶ leader  Propose ─▶ holders     Prepare ─▶ holders  Commit
//!                                                                               ─▶ recipients  Ready   ─▶
//! ```
//!
//! What a node says follows from what was said, its own secrets and time; everything is a statement, so it is on the disk
//! before anybody hears of it, and a node that starts again goes on from what it finds. Votes follow
//! [`super::agreement`]; what they are about is checked here:
//!
//! - a holder deals only for a proposal that is in effect (I2), to keys with proofs, of enough recipients;
//! - it prepares a transcript only if the change is in effect, every deal of it holds, none was rightly complained about,
//!   and what the deals come to is what the transcript says;
//! - it commits only when t + f recipients are ready: they have their keys on disk and every deal fits, so t honest ones
//!   will have shares. From then on the epoch can be finished without any of the old holders;
//! - a recipient takes its share once there is a certificate, and only then; a holder erases its old one only when t + f
//!   recipients have theirs on disk. So at any moment t members hold shares of one epoch.
//!
//! A ballot that comes to nothing is followed by the next one with another leader, which leaves out whoever was rightly
//! complained about and whoever does not answer. Complaints are judged by everybody alike.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keymesh_custody::epochs::{
    Change, CheckError, Complaint, Deal, EpochKey, EpochSecret, Fault, Redistributed, VerifiedDeal, deal, redistribute,
};
use keymesh_custody::{KeyShare, MemberIndex, Ristretto, RootPublic, Threshold};
use keymesh_wire::body::{CommitteeSpec, SharingAct, SharingRef, Transcript};
use keymesh_wire::codec;
use keymesh_wire::ids::{BlobHash, MeshId, NodeId, StatementId, TenantId};
use keymesh_wire::time::{Boot, Millis};
use rand_core::CryptoRng;

use super::agreement::{Agreement, Ballot};
use crate::mutant::{self, Mutant};
use crate::state::sharing::{Words, ready_quorum};

/// How long the first ballot lasts; each later one twice as long, up to 2^[`DOUBLINGS`] times.
const BALLOT: Millis = Millis(3_000);
/// See [`BALLOT`].
const DOUBLINGS: u32 = 6;
/// How long a leader waits for the offers of all recipients before it goes on with enough of them.
const OFFERS: Millis = Millis(1_000);
/// How long after it entered its ballot a leader waits for the deals of all holders.
const DEALS: Millis = Millis(1_500);
/// For how many calls of one leader a holder deals: each costs it a curve multiplication for every recipient.
const CALLS: usize = 4;
/// To how many proposals for one epoch a recipient offers keys.
const CHANGES: usize = 4;

/// What a node sees of an epoch that is being made, or that was made and whose share it has not taken yet.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// This node.
    pub me: NodeId,
    /// The epoch.
    pub sharing: SharingRef,
    /// The committee of the epoch before.
    pub before: &'a CommitteeSpec,
    /// What was said about the epoch.
    pub words: &'a Words<'a>,
    /// The proposals that are in effect.
    pub open: &'a BTreeSet<StatementId>,
    /// This node's share of the epoch before.
    pub share: Option<&'a KeyShare<Ristretto>>,
    /// Its one-time keys that are on disk, by proposal.
    pub secrets: &'a BTreeMap<StatementId, Arc<EpochSecret<Ristretto>>>,
}

/// What a node does in the making of an epoch.
#[derive(Debug)]
pub enum Act {
    /// Says this.
    Say(SharingAct),
    /// Keeps a one-time key for a proposal, before it says anything else.
    KeepKey(StatementId, EpochSecret<Ristretto>),
    /// Tells operators.
    Warn(String),
}

/// One node's part in making one epoch: what it need not work out twice, and its clock.
pub struct Changing {
    old: RootPublic<Ristretto>,
    ballot: Ballot,
    begun: Boot,
    /// When this node entered the ballot, which others may have begun long before: a leader's patience starts here.
    entered: Boot,
    wake: Option<Boot>,
    is_leader: bool,
    called: bool,
    calls: BTreeMap<StatementId, Option<Arc<Change<Ristretto>>>>,
    deals: BTreeMap<StatementId, Option<VerifiedDeal<Ristretto>>>,
    fitting: BTreeMap<StatementId, bool>,
    complaints: BTreeSet<StatementId>,
    blamed: BTreeSet<StatementId>,
    sound: BTreeMap<BlobHash, Arc<Redistributed<Ristretto>>>,
}

impl std::fmt::Debug for Changing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Changing(ballot {}, {} calls, {} deals)", self.ballot, self.calls.len(), self.deals.len())
    }
}

impl Changing {
    /// Begins in the ballot that others are in who know of the change since it was proposed, `age` ago, and were never
    /// away: nodes that start minutes apart would else be in different ballots for ever. `old` is the public side of the
    /// epoch before.
    pub fn begin(old: RootPublic<Ristretto>, age: Millis, now: Boot) -> Self {
        let (mut ballot, mut left) = (0, age.0);
        while ballot < DOUBLINGS && left >= span(ballot) {
            left -= span(ballot);
            ballot += 1;
        }
        let last = span(DOUBLINGS);
        if ballot == DOUBLINGS {
            ballot = ballot.saturating_add(Ballot::try_from(left / last).unwrap_or(Ballot::MAX));
            left %= last;
        }
        Self {
            old,
            ballot,
            begun: Boot(now.0.saturating_sub(left)),
            entered: now,
            wake: Some(now),
            is_leader: false,
            called: false,
            calls: BTreeMap::new(),
            deals: BTreeMap::new(),
            fitting: BTreeMap::new(),
            complaints: BTreeSet::new(),
            blamed: BTreeSet::new(),
            sound: BTreeMap::new(),
        }
    }

    /// When [`Changing::act`] has something to do if nothing is said meanwhile; nothing once the epoch was made.
    pub fn next_wake(&self) -> Option<Boot> {
        self.wake
    }

    /// Waits for no time any more, until [`Changing::act`] says for which.
    pub fn rest(&mut self) {
        self.wake = None;
    }

    /// Whether that is now.
    pub fn is_due(&self, now: Boot) -> bool {
        self.wake.is_some_and(|wake| now >= wake)
    }

    fn wake_after(&self, now: Boot) -> Boot {
        let ends = self.ends();
        if !self.is_leader {
            return ends;
        }
        let patience = [self.entered.plus(OFFERS), self.entered.plus(DEALS)];
        patience.into_iter().find(|at| *at > now).unwrap_or(ends).min(ends)
    }

    /// The ballot this node is in.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    fn ends(&self) -> Boot {
        self.begun.plus(Millis(span(self.ballot)))
    }

    /// What there is to do now.
    pub fn act(&mut self, scene: &Scene<'_>, now: Boot, rng: &mut impl CryptoRng) -> Vec<Act> {
        let agreement = scene.words.agreement(scene.before);
        self.follow(&agreement, scene, now);
        self.wake = Some(self.wake_after(now));
        let mut acts = Vec::new();
        self.judge_complaints(scene, &mut acts);
        self.offer(scene, rng, &mut acts);
        self.check_deals(scene, rng, &mut acts);
        self.say_ready(scene, &mut acts);
        if scene.before.members.contains(&scene.me) {
            self.deal(scene, rng, &mut acts);
            self.lead(&agreement, scene, now, &mut acts);
            self.vote(&agreement, scene, &mut acts);
        }
        acts
    }

    /// This node's share of an epoch for which there is a certificate.
    pub fn take(
        &mut self,
        scene: &Scene<'_>,
        transcript: &Transcript,
        rng: &mut impl CryptoRng,
    ) -> Result<KeyShare<Ristretto>, String> {
        self.wake = None;
        let change = scene.words.change_of(transcript).ok_or("the call for its deals is not here")?;
        let secret = scene.secrets.get(&change).ok_or("this node offered no key for it, or lost it")?;
        let change = self.change(scene, &transcript.call).ok_or("the call for its deals is malformed")?;
        let deals: Vec<_> = transcript.deals.iter().filter_map(|id| self.verified(scene, id)).collect();
        let outcome =
            self.outcome(scene, &transcript.id()).ok_or("what was agreed upon is not what its deals come to")?;
        outcome.take(&change, &deals, secret, rng).map_err(|error| error.to_string())
    }

    /// Enters the ballot that own votes, others' votes and time ask for.
    fn follow(&mut self, agreement: &Agreement<NodeId, BlobHash>, scene: &Scene<'_>, now: Boot) {
        let next = if now >= self.ends() { self.ballot.saturating_add(1) } else { self.ballot };
        let ballot = next.max(agreement.latest_ballot(scene.me).unwrap_or(0)).max(agreement.reached().unwrap_or(0));
        if ballot != self.ballot {
            (self.ballot, self.begun, self.entered, self.called) = (ballot, now, now, false);
        }
        self.is_leader = agreement.leader(self.ballot) == Some(scene.me);
    }

    /// The proposal to work on: other custodians before the same ones, and of several the one with the lowest id.
    fn preferred(scene: &Scene<'_>) -> Option<StatementId> {
        let open = || scene.words.changes.iter().filter(|(id, _)| scene.open.contains(id));
        open().find(|(_, spec)| spec.is_some()).or_else(|| open().next()).map(|(id, _)| *id)
    }

    fn offer(&self, scene: &Scene<'_>, rng: &mut impl CryptoRng, acts: &mut Vec<Act>) {
        let open = scene.words.changes.keys().filter(|id| scene.open.contains(id));
        for change in open.take(CHANGES) {
            let Some(spec) = scene.words.recipients(change, scene.before) else { continue };
            let Some(place) = index_of(spec, &scene.me) else { continue };
            let offered = |key: &[u8]| {
                let mut mine =
                    scene.words.offers.values().filter(|(author, of, _)| (author, of) == (&scene.me, change));
                mine.any(|(.., offer)| *offer == key)
            };
            match scene.secrets.get(change) {
                Some(secret) => {
                    let key = secret.public().to_bytes();
                    if !offered(&key) {
                        acts.push(Act::Say(SharingAct::OfferKey { change: *change, key }));
                    }
                }
                None => {
                    let secret = EpochSecret::generate(&scene.context(change), place, rng);
                    let key = secret.public().to_bytes();
                    acts.push(Act::KeepKey(*change, secret));
                    acts.push(Act::Say(SharingAct::OfferKey { change: *change, key }));
                }
            }
        }
    }

    /// What a call is about, if it is one that an honest leader could make.
    fn change(&mut self, scene: &Scene<'_>, call: &StatementId) -> Option<Arc<Change<Ristretto>>> {
        if let Some(known) = self.calls.get(call) {
            return known.clone();
        }
        let (_, _, offers) = scene.words.calls.get(call)?;
        if !offers.iter().all(|offer| scene.words.offers.contains_key(offer)) {
            return None;
        }
        let made = self.make_change(scene, call).map(Arc::new);
        self.calls.insert(*call, made.clone());
        made
    }

    fn make_change(&self, scene: &Scene<'_>, call: &StatementId) -> Option<Change<Ristretto>> {
        let (caller, change, offers) = scene.words.calls.get(call)?;
        let spec = scene.words.recipients(change, scene.before)?;
        if !scene.before.members.contains(caller) || offers.len() < ready_quorum(spec) {
            return None;
        }
        let keys = offers.iter().map(|offer| {
            let (author, of, key) = scene.words.offers.get(offer)?;
            let key = EpochKey::<Ristretto>::from_bytes(key).ok()?;
            (of == change && index_of(spec, author) == Some(key.member())).then_some(key)
        });
        let keys: Vec<_> = keys.collect::<Option<_>>()?;
        let threshold = Threshold::new(spec.threshold, spec.members.len()).ok()?;
        Change::new(&self.old, threshold, keys, &scene.context(change)).ok()
    }

    /// A deal that holds as far as everybody can see.
    fn verified(&mut self, scene: &Scene<'_>, id: &StatementId) -> Option<VerifiedDeal<Ristretto>> {
        if let Some(known) = self.deals.get(id) {
            return known.clone();
        }
        let (author, call, bytes) = scene.words.deals.get(id)?;
        let change = self.change(scene, call)?;
        let verified = Deal::<Ristretto>::from_bytes(bytes).ok().and_then(|deal| {
            let place = index_of(scene.before, author);
            (place == Some(deal.dealer())).then(|| deal.verify(&change).ok()).flatten()
        });
        self.deals.insert(*id, verified.clone());
        verified
    }

    /// Who is at fault in complaints not looked at before.
    fn judge_complaints(&mut self, scene: &Scene<'_>, acts: &mut Vec<Act>) {
        for (id, (author, about, bytes)) in &scene.words.complaints {
            if self.complaints.contains(id) || self.blamed.contains(about) {
                continue;
            }
            let Some((dealer, call, _)) = scene.words.deals.get(about) else { continue };
            let (Some(change), Some(deal)) = (self.change(scene, call), self.verified(scene, about)) else { continue };
            self.complaints.insert(*id);
            let spec = scene.words.calls.get(call).and_then(|(_, of, _)| scene.words.recipients(of, scene.before));
            let Ok(complaint) = Complaint::<Ristretto>::from_bytes(bytes) else { continue };
            if spec.and_then(|spec| index_of(spec, author)) != Some(complaint.complainer()) {
                continue;
            }
            match complaint.judge(&change, &deal) {
                Ok(Fault::Dealer(_)) => {
                    self.blamed.insert(*about);
                    acts.push(Act::Warn(format!(
                        "{dealer} dealt {author} a share that does not fit: {}",
                        scene.name()
                    )));
                }
                Ok(Fault::Complainer(_)) => {
                    acts.push(Act::Warn(format!("{author} complained falsely of {dealer}: {}", scene.name())));
                }
                Err(_) => {}
            }
        }
    }

    /// Looks at this node's part of deals, and complains of those that do not fit.
    fn check_deals(&mut self, scene: &Scene<'_>, rng: &mut impl CryptoRng, acts: &mut Vec<Act>) {
        for (id, (_, call, _)) in &scene.words.deals {
            if self.fitting.contains_key(id) {
                continue;
            }
            let Some((_, change, _)) = scene.words.calls.get(call) else { continue };
            let Some(secret) = scene.secrets.get(change) else { continue };
            let (Some(change), Some(deal)) = (self.change(scene, call), self.verified(scene, id)) else { continue };
            match deal.check(&change, secret, rng) {
                Ok(()) => {
                    self.fitting.insert(*id, true);
                }
                Err(CheckError::Wrong(complaint)) => {
                    self.fitting.insert(*id, false);
                    acts.push(Act::Say(SharingAct::Complain { deal: *id, complaint: complaint.to_bytes() }));
                }
                // The call did not name this node, or by another key.
                Err(CheckError::OtherSession | CheckError::ForeignSecret | CheckError::Degenerate) => {
                    self.fitting.insert(*id, false);
                }
            }
        }
    }

    /// Whether somebody rightly complained about a deal of a transcript.
    fn is_blamed(&self, scene: &Scene<'_>, id: &BlobHash) -> bool {
        let transcript = scene.words.transcripts.get(id);
        transcript.is_some_and(|transcript| transcript.deals.iter().any(|deal| self.blamed.contains(deal)))
    }

    /// Whether a transcript is what its deals come to.
    fn is_sound(&mut self, scene: &Scene<'_>, id: &BlobHash) -> bool {
        self.outcome(scene, id).is_some()
    }

    /// What the deals of a transcript come to, if it says the same.
    fn outcome(&mut self, scene: &Scene<'_>, id: &BlobHash) -> Option<Arc<Redistributed<Ristretto>>> {
        if let Some(known) = self.sound.get(id) {
            return Some(known.clone());
        }
        let transcript = scene.words.transcripts.get(id)?;
        let of_call =
            |deal: &StatementId| scene.words.deals.get(deal).is_some_and(|(_, call, _)| *call == transcript.call);
        let change = self.change(scene, &transcript.call).filter(|_| transcript.deals.iter().all(of_call))?;
        let deals: Vec<_> = transcript.deals.iter().filter_map(|deal| self.verified(scene, deal)).collect();
        if deals.len() != transcript.deals.len() || !deals.is_sorted_by_key(VerifiedDeal::dealer) {
            return None;
        }
        let outcome = redistribute(&change, &deals).ok()?;
        let says_so =
            outcome.public.to_bytes() == transcript.public && outcome.transcript_hash == *transcript.hash.as_bytes();
        let outcome = says_so.then(|| Arc::new(outcome))?;
        self.sound.insert(*id, outcome.clone());
        Some(outcome)
    }

    /// Says of proposed transcripts that this node could take its share.
    fn say_ready(&mut self, scene: &Scene<'_>, acts: &mut Vec<Act>) {
        for (id, transcript) in &scene.words.transcripts {
            if scene.words.ready.get(id).is_some_and(|ready| ready.contains(&scene.me)) {
                continue;
            }
            let Some(change) = scene.words.change_of(transcript).filter(|change| scene.secrets.contains_key(change))
            else {
                continue;
            };
            let is_recipient =
                scene.words.recipients(&change, scene.before).is_some_and(|spec| spec.members.contains(&scene.me));
            let fits = |deal: &StatementId| self.fitting.get(deal) == Some(&true);
            if is_recipient
                && transcript.deals.iter().all(fits)
                && !self.is_blamed(scene, id)
                && self.is_sound(scene, id)
            {
                acts.push(Act::Say(SharingAct::Ready { transcript: *id }));
            }
        }
    }

    /// Deals this node's share to the recipients of calls for a proposal in effect.
    fn deal(&mut self, scene: &Scene<'_>, rng: &mut impl CryptoRng, acts: &mut Vec<Act>) {
        let Some(share) = scene.share.filter(|share| share.matches(&self.old)) else { return };
        let mut dealt: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (id, (caller, change, _)) in &scene.words.calls {
            let done = scene.words.deals.values().any(|(dealer, call, _)| (dealer, call) == (&scene.me, id));
            let so_far = dealt.entry(*caller).or_default();
            *so_far += usize::from(done);
            if done || *so_far >= CALLS || !scene.open.contains(change) {
                continue;
            }
            let Some(change) = self.change(scene, id) else { continue };
            *so_far += 1;
            match deal(&change, share, rng) {
                Ok(deal) => acts.push(Act::Say(SharingAct::Deal { call: *id, deal: deal.to_bytes() })),
                Err(error) => acts.push(Act::Warn(format!("no deal for {}: {error}", scene.name()))),
            }
        }
    }

    /// The leader's part: a call for deals, then a proposal of what they come to.
    fn lead(&mut self, agreement: &Agreement<NodeId, BlobHash>, scene: &Scene<'_>, now: Boot, acts: &mut Vec<Act>) {
        if !self.is_leader || agreement.has_proposed(self.ballot) {
            return;
        }
        // What was prepared and lacks recipients binds nobody; it must not keep out what leaves a bad deal out.
        if let Some(proposal) = agreement.to_propose(None, |transcript| scene.is_ready(&transcript)) {
            if let Some(transcript) = scene.words.transcripts.get(&proposal.value) {
                let (ballot, transcript) = (self.ballot, (*transcript).clone());
                acts.push(Act::Say(SharingAct::Propose { ballot, transcript, prepared: proposal.prepared }));
            }
            return;
        }
        let Some(change) = Self::preferred(scene) else { return };
        let waited = now >= self.entered.plus(DEALS);
        if let Some(transcript) = self.best(agreement, scene, &change, waited) {
            acts.push(Act::Say(SharingAct::Propose { ballot: self.ballot, transcript, prepared: None }));
            return;
        }
        if self.called {
            return;
        }
        let Some(spec) = scene.words.recipients(&change, scene.before) else { return };
        let offers = Self::offers(scene, &change, spec);
        let patience = now < self.entered.plus(OFFERS);
        if offers.len() == spec.members.len() || (!patience && offers.len() >= ready_quorum(spec)) {
            self.called = true;
            acts.push(Act::Say(SharingAct::CallDeals { change, offers }));
        }
    }

    /// The newest offer of each recipient whose key is proved, in the order of the recipients: whoever lost a key offers
    /// another one.
    fn offers(scene: &Scene<'_>, change: &StatementId, spec: &CommitteeSpec) -> Vec<StatementId> {
        let context = scene.context(change);
        let proved = |member: &NodeId| {
            let theirs = scene.words.offers.iter().filter(|(_, (author, of, _))| (author, of) == (member, change));
            let sound = theirs.filter(|(_, (.., key))| {
                let key = EpochKey::<Ristretto>::from_bytes(key).ok();
                key.is_some_and(|key| index_of(spec, member) == Some(key.member()) && key.verify(&context))
            });
            sound.map(|(id, _)| *id).max_by_key(|id| (scene.words.times.get(id), *id))
        };
        spec.members.iter().filter_map(proved).collect()
    }

    /// The transcript of the call with the most good deals, if they are all there are or enough and time is up.
    fn best(
        &mut self,
        agreement: &Agreement<NodeId, BlobHash>,
        scene: &Scene<'_>,
        change: &StatementId,
        waited: bool,
    ) -> Option<Transcript> {
        // A call that led to a proposal and to no epoch lacks recipients, e.g. because one of them lost its key: another one
        // is made.
        let tried = |call: &StatementId| {
            let mut of_call = scene.words.transcripts.iter().filter(|(_, transcript)| transcript.call == *call);
            of_call.any(|(id, _)| agreement.is_proposed(*id))
        };
        let calls = scene.words.calls.iter().filter(|(id, (_, of, _))| of == change && !tried(id));
        let calls: Vec<StatementId> = calls.map(|(id, _)| *id).collect();
        let mut best: Option<(StatementId, BTreeMap<MemberIndex, StatementId>)> = None;
        for call in calls {
            let mut good: BTreeMap<MemberIndex, StatementId> = BTreeMap::new();
            for (id, (_, of, _)) in &scene.words.deals {
                if *of == call
                    && !self.blamed.contains(id)
                    && let Some(deal) = self.verified(scene, id)
                {
                    good.entry(deal.dealer()).or_insert(*id);
                }
            }
            if best.as_ref().is_none_or(|(_, most)| good.len() > most.len()) {
                best = Some((call, good));
            }
        }
        let (call, good) = best?;
        let all = good.len() == scene.before.members.len();
        let enough = waited && good.len() >= usize::from(scene.before.threshold);
        if !all && !enough {
            return None;
        }
        let change = self.change(scene, &call)?;
        let deals: Vec<VerifiedDeal<Ristretto>> = good.values().filter_map(|id| self.verified(scene, id)).collect();
        let outcome = redistribute(&change, &deals).ok()?;
        let transcript = Transcript {
            call,
            deals: good.into_values().collect(),
            public: outcome.public.to_bytes(),
            hash: BlobHash::from_bytes(outcome.transcript_hash),
        };
        self.sound.insert(transcript.id(), Arc::new(outcome));
        Some(transcript)
    }

    /// Votes as the agreement allows, for what is sound.
    fn vote(&mut self, agreement: &Agreement<NodeId, BlobHash>, scene: &Scene<'_>, acts: &mut Vec<Act>) {
        let ballot = self.ballot;
        if let Some(value) = agreement.may_prepare(scene.me, ballot) {
            let change = scene.words.transcripts.get(&value).and_then(|transcript| scene.words.change_of(transcript));
            // What was prepared before goes on even if its proposal lost its authority: enough honest custodians found it
            // in effect, and some may be bound to it.
            let earlier = agreement.proposal(ballot).and_then(|proposal| proposal.prepared);
            let goes_on = earlier.is_some_and(|at| at < ballot && agreement.is_prepared(at, value));
            let in_effect = change.is_some_and(|change| scene.open.contains(&change));
            // Nor does a complaint undo it that comes when enough recipients are ready: whoever is bound to it could go
            // nowhere else. Who complained gets a share by repair.
            let stands = !self.is_blamed(scene, &value) || (goes_on && scene.is_ready(&value));
            if (in_effect || goes_on) && stands && self.is_sound(scene, &value) {
                acts.push(Act::Say(SharingAct::Prepare { ballot, transcript: value }));
            }
        }
        if let Some(value) = agreement.may_commit(scene.me, ballot)
            && (scene.is_ready(&value) || mutant::is(Mutant::CommittedUnready))
        {
            acts.push(Act::Say(SharingAct::Commit { ballot, transcript: value }));
        }
    }
}

impl Scene<'_> {
    /// What keys and deals of a proposal are bound to.
    fn context(&self, change: &StatementId) -> Vec<u8> {
        let SharingRef { root, committee, epoch } = self.sharing;
        codec::encode(&("keymesh sharing v1", self.mesh, self.tenant, root, committee, epoch, *change))
    }

    /// Whether enough recipients said that they can take their shares of a transcript. Once they did it stays so.
    fn is_ready(&self, transcript: &BlobHash) -> bool {
        let spec = self.words.transcripts.get(transcript).and_then(|transcript| {
            let change = self.words.change_of(transcript)?;
            self.words.recipients(&change, self.before)
        });
        let ready = self.words.ready.get(transcript);
        spec.zip(ready).is_some_and(|(spec, ready)| {
            spec.members.iter().filter(|member| ready.contains(member)).count() >= ready_quorum(spec)
        })
    }

    fn name(&self) -> String {
        format!("epoch {} of {}", self.sharing.epoch, self.sharing.root)
    }
}

/// How long a ballot lasts, in milliseconds.
fn span(ballot: Ballot) -> u64 {
    BALLOT.0 << ballot.min(DOUBLINGS)
}

/// A node's place in a committee.
fn index_of(spec: &CommitteeSpec, node: &NodeId) -> Option<MemberIndex> {
    let place = spec.members.iter().position(|member| member == node)?;
    MemberIndex::new(u8::try_from(place + 1).ok()?)
}
