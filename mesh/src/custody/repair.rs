//! Giving one custodian its lost share of the current sharing back: the custody crate's repair, driven between nodes.
//!
//! ```text
//! member  Ask ─▶ all others            Willing ─▶ member
//! member  Choose(helpers) ─▶ helpers   Commitment, a Delta sealed to each helper ─▶ member
//! member  Gather, all Commitments, the Deltas to it ─▶ each helper     Sigma sealed to the member ─▶ member
//! ```
//!
//! The member drives it and nobody has to command it; a helper keeps nothing between its steps, since its own summand
//! comes back to it sealed to itself. Everything is signed by whoever says it and bound to mesh, tenant, root, committee,
//! epoch, member, attempt and helpers, so nothing of one repair is worth anything in another. Deltas and sigmas are
//! sealed to the keys that the tenant signed for: by whichever way they go, they are read by one node.
//!
//! Guarantees: the member keeps a share only if it is the one behind its place in the sharing's public half. What a helper
//! gives that can be seen to be false names it, and it is left out while there are t others; of a delta only its
//! recipient can see it, so there it is one's word against another's, and both are asked last from then on. A member that
//! asks several times in one attempt, or passes on different answers to different helpers, learns differences of fresh
//! random numbers and no more.
//!
//! Left to others: who may be helped (`crate::replica`), and how often.

mod helper;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use keymesh_custody::epochs::repair::{Commitment, Kind, Repair, RepairError, Sigma};
use keymesh_custody::{KeyShare, MemberIndex, Ristretto, RootPublic};
use keymesh_wire::body::SharingRef;
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{MeshId, NodeId, RequestId, TenantId};
use keymesh_wire::sealing;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Boot, Millis};
use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::message::{RepairContent, RepairMessage};

/// How long a first attempt lasts, as far as helpers are silent; each further one twice as long, up to [`LONGEST`].
const FIRST: Millis = Millis(500);
/// See [`FIRST`].
const LONGEST: Millis = Millis::seconds(30);
/// How long the member waits at least for everybody's answer before it goes on with enough of them: a quarter of an
/// attempt when that is longer, so that helpers who are quick and of no use do not keep the slow ones out for ever.
const CHOOSE: Millis = Millis(150);

/// The sharing that a repair is about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// The sharing.
    pub sharing: SharingRef,
    /// Its custodians, in the order of their shares.
    pub members: Vec<NodeId>,
    /// Its public half.
    pub public: RootPublic<Ristretto>,
}

impl Subject {
    fn index_of(&self, node: &NodeId) -> Option<MemberIndex> {
        let place = self.members.iter().position(|member| member == node)?;
        MemberIndex::new(u8::try_from(place + 1).ok()?)
    }

    fn node_of(&self, index: MemberIndex) -> Option<NodeId> {
        self.members.get(usize::from(index.get()) - 1).copied()
    }

    fn threshold(&self) -> usize {
        self.public.threshold().t().into()
    }

    /// One attempt with these helpers; nothing if they cannot be the helpers of this member.
    fn repair(&self, member: &NodeId, attempt: RequestId, helpers: &[NodeId]) -> Option<Repair<Ristretto>> {
        let SharingRef { root, committee, epoch } = self.sharing;
        let context =
            codec::encode(&("keymesh repair v1", self.mesh, self.tenant, root, committee, epoch, *member, attempt));
        let indexes: Vec<MemberIndex> = helpers.iter().map(|helper| self.index_of(helper)).collect::<Option<_>>()?;
        Repair::new(&self.public, self.index_of(member)?, &indexes, &context).ok()
    }

    fn envelope(
        &self,
        member: NodeId,
        attempt: RequestId,
        content: RepairContent,
        identity: &Identity,
    ) -> Verified<RepairMessage> {
        let author = identity.principal();
        let (tenant, sharing) = (self.tenant, self.sharing);
        Verified::sign(RepairMessage { suite: Suite::V1, tenant, sharing, member, attempt, author, content }, identity)
    }
}

/// What a secret of a repair is sealed with: read in another place it does not open.
fn info(what: &str, session: &[u8; 32], from: &NodeId, to: &NodeId) -> Vec<u8> {
    codec::encode(&(what, minicbor::bytes::ByteArray::from(*session), *from, *to))
}

fn sigma_info(session: &[u8; 32], from: &NodeId, to: &NodeId) -> Vec<u8> {
    info("keymesh repair sigma v1", session, from, to)
}

fn delta_info(session: &[u8; 32], from: &NodeId, to: &NodeId) -> Vec<u8> {
    info("keymesh repair delta v1", session, from, to)
}

/// What there is to do for a repair.
#[derive(Debug)]
pub enum Outcome {
    /// Send these envelopes to a node.
    Send(NodeId, Vec<ByteVec>),
    /// This is the share: keep it. The repair is over.
    Keep(KeyShare<Ristretto>),
    /// Tell operators about a node.
    Warn(NodeId, String),
}

/// How far an attempt is.
enum Phase {
    /// Who answered that it would help.
    Asking(BTreeSet<NodeId>),
    /// What helpers gave: envelopes of the commitment and of the deltas.
    Chosen { repair: Repair<Ristretto>, helpers: Vec<NodeId>, helps: BTreeMap<NodeId, Help> },
    /// The summands that came back.
    Gathering {
        repair: Repair<Ristretto>,
        helpers: Vec<NodeId>,
        commitments: Vec<Commitment<Ristretto>>,
        sigmas: BTreeMap<NodeId, Sigma<Ristretto>>,
    },
    /// It came to nothing; the next begins when its time is over.
    Resting,
}

struct Help {
    commitment: Commitment<Ristretto>,
    envelope: ByteVec,
    deltas: BTreeMap<NodeId, ByteVec>,
}

/// A member's side of the repair of its share.
pub struct Repairing {
    subject: Subject,
    me: NodeId,
    attempt: RequestId,
    phase: Phase,
    pause: Millis,
    choose_at: Boot,
    ends: Boot,
    /// Who was seen to lie.
    liars: BTreeSet<NodeId>,
    /// In how many attempts somebody was silent, or one of two of whom one lies.
    vain: BTreeMap<NodeId, u32>,
}

impl std::fmt::Debug for Repairing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { subject, pause, liars, .. } = self;
        write!(f, "Repairing({:?}, pause {pause}, {} liars)", subject.sharing, liars.len())
    }
}

impl Repairing {
    /// Begins to ask for the share of the node with this identity.
    pub fn begin(subject: Subject, identity: &Identity, now: Boot, rng: &mut impl CryptoRng) -> (Self, Vec<Outcome>) {
        let mut repairing = Self {
            subject,
            me: identity.principal(),
            attempt: RequestId::from_bytes([0; 16]),
            phase: Phase::Resting,
            pause: FIRST,
            choose_at: now,
            ends: now,
            liars: BTreeSet::new(),
            vain: BTreeMap::new(),
        };
        let outcomes = repairing.ask(identity, now, rng);
        (repairing, outcomes)
    }

    /// Whether a message is of the attempt that is under way, by one of those asked.
    pub fn is_about(&self, message: &RepairMessage) -> bool {
        (message.attempt, message.member) == (self.attempt, self.me)
            && (message.tenant, message.sharing) == (self.subject.tenant, self.subject.sharing)
            && message.author != self.me
            && self.subject.members.contains(&message.author)
    }

    /// When [`Repairing::tick`] has something to do.
    pub fn next_wake(&self) -> Boot {
        match &self.phase {
            Phase::Asking(willing) if self.candidates(willing).count() >= self.subject.threshold() => {
                self.choose_at.min(self.ends)
            }
            Phase::Asking(_) | Phase::Chosen { .. } | Phase::Gathering { .. } | Phase::Resting => self.ends,
        }
    }

    /// Goes on without those who are silent.
    pub fn tick(&mut self, identity: &Identity, now: Boot, rng: &mut impl CryptoRng) -> Vec<Outcome> {
        if now >= self.ends {
            let silent: Vec<NodeId> = match &self.phase {
                Phase::Asking(_) | Phase::Resting => Vec::new(),
                Phase::Chosen { helpers, helps, .. } => {
                    helpers.iter().filter(|helper| !helps.contains_key(helper)).copied().collect()
                }
                Phase::Gathering { helpers, sigmas, .. } => {
                    helpers.iter().filter(|helper| !sigmas.contains_key(helper)).copied().collect()
                }
            };
            silent.into_iter().for_each(|helper| self.in_vain(helper));
            self.pause = Millis(2 * self.pause.0).min(LONGEST);
            return self.ask(identity, now, rng);
        }
        self.choose(identity, now, rng)
    }

    /// Takes what a node answers, the first message its own.
    pub fn receive(
        &mut self,
        messages: &[Verified<RepairMessage>],
        identity: &Identity,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Outcome> {
        let Some(first) = messages.first() else { return Vec::new() };
        let from = first.author;
        if !messages.iter().all(|message| message.author == from && self.is_about(message)) {
            return Vec::new();
        }
        match &first.content {
            RepairContent::Willing => {
                let Phase::Asking(willing) = &mut self.phase else { return Vec::new() };
                willing.insert(from);
                self.choose(identity, now, rng)
            }
            RepairContent::Commitment(bytes) => self.take_help(from, bytes, messages, identity, now, rng),
            RepairContent::Sigma(sealed) => self.take_sigma(from, sealed, identity, now, rng),
            RepairContent::Blame(whom) => self.take_blame(from, *whom),
            RepairContent::Ask | RepairContent::Choose(_) | RepairContent::Delta { .. } | RepairContent::Gather(_) => {
                Vec::new()
            }
        }
    }

    /// Begins an attempt.
    fn ask(&mut self, identity: &Identity, now: Boot, rng: &mut impl CryptoRng) -> Vec<Outcome> {
        if !self.has_enough_without_liars() {
            self.liars.clear();
        }
        let mut attempt = [0; 16];
        rng.fill_bytes(&mut attempt);
        self.attempt = RequestId::from_bytes(attempt);
        self.phase = Phase::Asking(BTreeSet::new());
        self.ends = now.plus(self.pause);
        self.choose_at = now.plus(CHOOSE.max(Millis(self.pause.0 / 4)));
        let envelope = self.envelope(RepairContent::Ask, identity);
        self.others().map(|to| Outcome::Send(to, vec![envelope.clone()])).collect()
    }

    /// Chooses helpers, once everybody answered or enough did and some time is over.
    fn choose(&mut self, identity: &Identity, now: Boot, rng: &mut impl CryptoRng) -> Vec<Outcome> {
        let Phase::Asking(willing) = &self.phase else { return Vec::new() };
        let is_patient = now < self.choose_at && self.others().any(|other| !willing.contains(&other));
        let mut candidates: Vec<_> = self
            .candidates(willing)
            .map(|node| (self.vain.get(&node).copied().unwrap_or(0), rng.next_u64(), node))
            .collect();
        let need = self.subject.threshold();
        if is_patient || candidates.len() < need {
            return Vec::new();
        }
        candidates.sort_unstable();
        let mut helpers: Vec<NodeId> = candidates.into_iter().take(need).map(|(.., node)| node).collect();
        helpers.sort_unstable_by_key(|helper| self.subject.index_of(helper));
        let Some(repair) = self.subject.repair(&self.me, self.attempt, &helpers) else { return Vec::new() };
        let envelope = self.envelope(RepairContent::Choose(helpers.clone()), identity);
        let outcomes = helpers.iter().map(|to| Outcome::Send(*to, vec![envelope.clone()])).collect();
        self.ends = now.plus(self.pause);
        self.phase = Phase::Chosen { repair, helpers, helps: BTreeMap::new() };
        outcomes
    }

    fn take_help(
        &mut self,
        from: NodeId,
        bytes: &[u8],
        messages: &[Verified<RepairMessage>],
        identity: &Identity,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Outcome> {
        let Phase::Chosen { repair, helpers, helps } = &mut self.phase else { return Vec::new() };
        if !helpers.contains(&from) || helps.contains_key(&from) {
            return Vec::new();
        }
        let index = self.subject.index_of(&from);
        let commitment = Commitment::<Ristretto>::from_bytes(bytes).ok();
        // One for another set of helpers is late, and no lie.
        if commitment.as_ref().is_some_and(|commitment| commitment.session() != repair.session()) {
            return Vec::new();
        }
        let sound = commitment.filter(|found| Some(found.from()) == index && repair.check(found).is_ok());
        let deltas: BTreeMap<NodeId, ByteVec> = messages[1..]
            .iter()
            .filter_map(|message| match &message.content {
                RepairContent::Delta { to, .. } => Some((*to, ByteVec::from(message.bytes().to_vec()))),
                _ => None,
            })
            .collect();
        let whole = helpers.iter().all(|helper| deltas.contains_key(helper));
        let Some(commitment) = sound.filter(|_| whole) else {
            return self.lied(from, "a commitment to another share than its own", identity, now, rng);
        };
        let envelope = ByteVec::from(messages[0].bytes().to_vec());
        helps.insert(from, Help { commitment, envelope, deltas });
        if helps.len() < helpers.len() {
            return Vec::new();
        }
        self.gather(identity, now)
    }

    /// Passes each helper what all of them gave.
    fn gather(&mut self, identity: &Identity, now: Boot) -> Vec<Outcome> {
        let Phase::Chosen { repair, helpers, mut helps } = std::mem::replace(&mut self.phase, Phase::Resting) else {
            return Vec::new();
        };
        let first = self.envelope(RepairContent::Gather(helpers.clone()), identity);
        let envelopes: Vec<ByteVec> = helps.values().map(|help| help.envelope.clone()).collect();
        let outcomes = helpers.iter().map(|to| {
            let deltas = helps.values_mut().filter_map(|help| help.deltas.remove(to));
            let all = std::iter::once(first.clone()).chain(envelopes.iter().cloned()).chain(deltas);
            Outcome::Send(*to, all.collect())
        });
        let outcomes = outcomes.collect();
        let commitments = helps.into_values().map(|help| help.commitment).collect();
        self.ends = now.plus(self.pause);
        self.phase = Phase::Gathering { repair, helpers, commitments, sigmas: BTreeMap::new() };
        outcomes
    }

    fn take_sigma(
        &mut self,
        from: NodeId,
        sealed: &[u8],
        identity: &Identity,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Outcome> {
        let Phase::Gathering { repair, helpers, commitments, sigmas } = &mut self.phase else { return Vec::new() };
        if !helpers.contains(&from) || sigmas.contains_key(&from) {
            return Vec::new();
        }
        let info = sigma_info(repair.session(), &from, &self.me);
        let opened = sealing::open_with(&identity.sealing(), &info, &[], sealed).ok();
        let sigma = opened.and_then(|opened| Sigma::<Ristretto>::from_exposed(opened.expose_secret()).ok());
        let index = self.subject.index_of(&from);
        let sigma = sigma.filter(|sigma| Some(sigma.from()) == index && sigma.session() == repair.session());
        let Some(sigma) = sigma else {
            return self.lied(from, "bytes that are no part of a share", identity, now, rng);
        };
        sigmas.insert(from, sigma);
        if sigmas.len() < helpers.len() {
            return Vec::new();
        }
        let sigmas: Vec<_> = std::mem::take(sigmas).into_values().collect();
        match repair.finish(commitments, &sigmas) {
            Ok(share) => {
                self.phase = Phase::Resting;
                vec![Outcome::Keep(share)]
            }
            Err(RepairError::Wrong { culprit, kind: Kind::Sigma }) => {
                let culprit = self.subject.node_of(culprit).unwrap_or(from);
                self.lied(culprit, "a part that does not fit", identity, now, rng)
            }
            Err(error) => {
                self.phase = Phase::Resting;
                vec![Outcome::Warn(self.me, format!("{}: {error}", self.name()))]
            }
        }
    }

    /// A helper says of another one that it gave it something false: one of the two lies, and nobody else can see which.
    fn take_blame(&mut self, from: NodeId, whom: NodeId) -> Vec<Outcome> {
        let Phase::Gathering { helpers, .. } = &self.phase else { return Vec::new() };
        if !helpers.contains(&from) || !helpers.contains(&whom) {
            return Vec::new();
        }
        self.phase = Phase::Resting;
        self.in_vain(from);
        self.in_vain(whom);
        let what = format!("{from} says that what {whom} gave it does not fit, and one of them lies: {}", self.name());
        vec![Outcome::Warn(whom, what)]
    }

    /// Somebody was seen to lie. Where there are enough others, they are asked at once.
    fn lied(
        &mut self,
        culprit: NodeId,
        what: &str,
        identity: &Identity,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Outcome> {
        self.phase = Phase::Resting;
        self.liars.insert(culprit);
        let mut outcomes = vec![Outcome::Warn(culprit, format!("{culprit} gave {what}: {}", self.name()))];
        if self.has_enough_without_liars() {
            outcomes.extend(self.ask(identity, now, rng));
        }
        outcomes
    }

    fn in_vain(&mut self, helper: NodeId) {
        let count = self.vain.entry(helper).or_default();
        *count = count.saturating_add(1);
    }

    fn has_enough_without_liars(&self) -> bool {
        self.others().filter(|other| !self.liars.contains(other)).count() >= self.subject.threshold()
    }

    fn candidates<'a>(&'a self, willing: &'a BTreeSet<NodeId>) -> impl Iterator<Item = NodeId> + 'a {
        willing.iter().filter(|node| !self.liars.contains(node)).copied()
    }

    fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.subject.members.iter().filter(|member| **member != self.me).copied()
    }

    fn name(&self) -> String {
        let SharingRef { root, committee, epoch } = self.subject.sharing;
        format!("repair of a share of epoch {epoch} of {root}, committee {}", committee + 1)
    }

    fn envelope(&self, content: RepairContent, identity: &Identity) -> ByteVec {
        ByteVec::from(self.subject.envelope(self.me, self.attempt, content, identity).bytes().to_vec())
    }
}

pub use helper::{Gathered, Helper};
