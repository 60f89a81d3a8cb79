//! Making a root: the custody crate's key generation, driven between nodes.
//!
//! Every member of the committee takes part (a first key generation needs all). Messages are signed by their member, and
//! sub-shares sealed to the recipient's key as the tenant signed for it. A member that lost its place (a restart, a stall)
//! begins a higher attempt, to which the others move; the attempt is bound into the run, so nothing of one attempt is worth
//! anything in another.
//!
//! A member attests the outcome of one attempt and of no other, ever, so that no two attempts can both become the root.
//! It does so when every member said that its share is on its disk (`Finished`), or when another member's attestation fits
//! the share it holds: from the first honest attestation on, every honest member can follow. Until the root is live, the
//! shares of all attempts are kept.

use std::collections::BTreeMap;

use keymesh_custody::{Broadcast, Committee, Dkg, DkgMessage, Output, Ristretto, SubShare};
use keymesh_wire::body::{CommitteeSpec, RootAttestation};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{BlobHash, MeshId, NodeId, RootId, TenantId};
use keymesh_wire::sealing::{self, SealingPublic, SealingSecret};
use keymesh_wire::secret::SecretBytes;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Boot, Millis};
use rand_core::CryptoRng;

use super::message::{CeremonyContent, CeremonyMessage};
use super::slot::Slot;
use crate::mutant::{self, Mutant};

/// How often a member repeats its messages while the ceremony is not over. The first time it is much sooner: whoever has
/// not heard of the last endorsement yet when the first messages come drops them.
const REPEAT: Millis = Millis(500);
/// After how long the messages are repeated first; each further pause is twice as long, up to [`REPEAT`].
const FIRST_REPEAT: Millis = Millis(30);
/// After how long without completion a member begins a new attempt; doubled with each.
const STALL: Millis = Millis(5_000);
/// How far ahead another member's attempt is followed: enough for years of stalls, too little to run out in one step.
const ATTEMPTS: u32 = 10_000;

/// What a ceremony is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CeremonyPlan {
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// The root.
    pub root: RootId,
    /// Which of its committees.
    pub committee: u8,
    /// Members and threshold.
    pub spec: CommitteeSpec,
    /// Each member's sealing key, in order, as the tenant signed for it.
    pub sealing: Vec<SealingPublic>,
}

/// One member's side of making one committee's share of a root.
pub struct Ceremony {
    plan: CeremonyPlan,
    me: NodeId,
    attempt: u32,
    run: Dkg<Ristretto>,
    sent: Vec<(Option<NodeId>, Vec<u8>)>,
    repeat_at: Boot,
    pause: Millis,
    stall_at: Boot,
    outcome: Option<RootAttestation>,
    finished: BTreeMap<NodeId, BlobHash>,
    settled: bool,
}

impl std::fmt::Debug for Ceremony {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { plan, attempt, settled, .. } = self;
        write!(f, "Ceremony({:?}, committee {}, attempt {attempt}, settled {settled})", plan.root, plan.committee)
    }
}

/// What a ceremony's step leads to.
#[derive(Debug)]
pub enum Outcome {
    /// Send the envelope of a [`CeremonyMessage`] to a member.
    Send(NodeId, Vec<u8>),
    /// Keep this share in this slot before anything else of the list is done.
    Keep {
        /// Which.
        slot: Slot,
        /// The share's exposed bytes.
        share: SecretBytes,
    },
    /// Every member has its share on its disk: attest this, unless this member attested another attempt.
    Attest(RootAttestation),
    /// Something for operators.
    Warn(String),
}

impl Ceremony {
    /// Begins an attempt. Nothing if `identity` is no member or the committee is not sound.
    pub fn start(
        plan: CeremonyPlan,
        attempt: u32,
        identity: &Identity,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Option<(Self, Vec<Outcome>)> {
        let me = identity.principal();
        let members = plan.spec.members.iter().map(|member| *member.as_bytes()).collect();
        let committee = Committee::new(members, plan.spec.threshold).ok()?;
        let index = committee.index_of(me.as_bytes())?;
        let (run, outputs) = Dkg::<Ristretto>::start(committee, index, &plan.context(attempt), rng).ok()?;
        let stall = Millis(STALL.0 << attempt.min(6));
        let mut ceremony = Self {
            plan,
            me,
            attempt,
            run,
            sent: Vec::new(),
            repeat_at: now.plus(FIRST_REPEAT),
            pause: FIRST_REPEAT,
            stall_at: now.plus(stall),
            outcome: None,
            finished: BTreeMap::new(),
            settled: false,
        };
        let outcomes = ceremony.carry_out(outputs, identity, rng);
        Some((ceremony, outcomes))
    }

    /// Takes a message whose signature holds.
    pub fn receive(
        &mut self,
        message: &Verified<CeremonyMessage>,
        identity: &Identity,
        now: Boot,
        rng: &mut impl CryptoRng,
    ) -> Vec<Outcome> {
        // Not even a restart for whoever is no member, or speaks of another tenant: that would stall the others for ever.
        let Some(index) = self.run.committee().index_of(message.member.as_bytes()) else { return Vec::new() };
        if message.tenant != self.plan.tenant || message.attempt > self.attempt.saturating_add(ATTEMPTS) {
            return Vec::new();
        }
        if self.settled && message.attempt != self.attempt {
            return Vec::new();
        }
        if message.attempt > self.attempt {
            let mut outcomes = self.restart(message.attempt, identity, now, rng);
            outcomes.extend(self.receive(message, identity, now, rng));
            return outcomes;
        }
        if message.attempt < self.attempt {
            // The sender is behind: our messages of this attempt bring it along.
            return self.repeat_to(message.member);
        }
        let parsed = match &message.content {
            CeremonyContent::Broadcast(bytes) => {
                Broadcast::<Ristretto>::from_bytes(bytes).map(DkgMessage::Broadcast).ok()
            }
            CeremonyContent::SubShare { to, sealed } if *to == self.me => {
                let info = self.plan.sub_share_info(self.attempt, &message.member, &self.me);
                let secret: SealingSecret = identity.sealing();
                sealing::open_with(&secret, &info, &[], sealed)
                    .ok()
                    .and_then(|opened| SubShare::<Ristretto>::from_exposed(opened.expose_secret()).ok())
                    .map(DkgMessage::SubShare)
            }
            CeremonyContent::SubShare { .. } => return Vec::new(),
            CeremonyContent::Finished(transcript) => {
                self.finished.insert(message.member, *transcript);
                return self.try_settle();
            }
        };
        let Some(parsed) = parsed else {
            return vec![Outcome::Warn(format!(
                "key generation of {}: {} sent an unreadable step",
                self.plan.root, message.member
            ))];
        };
        match self.run.handle(index, parsed) {
            Ok(outputs) => self.carry_out(outputs, identity, rng),
            Err(error) => vec![Outcome::Warn(format!("key generation of {}: {error}", self.plan.root))],
        }
    }

    /// Repeats messages that may have been lost, and begins a new attempt when the ceremony stalls.
    pub fn tick(&mut self, identity: &Identity, now: Boot, rng: &mut impl CryptoRng) -> Vec<Outcome> {
        if now >= self.stall_at && !self.settled {
            return self.restart(self.attempt.saturating_add(1), identity, now, rng);
        }
        if now < self.repeat_at {
            return Vec::new();
        }
        self.pause = Millis(2 * self.pause.0).min(REPEAT);
        self.repeat_at = now.plus(self.pause);
        self.others().flat_map(|member| self.repeat_to(member)).collect()
    }

    /// The tenant whose root is made.
    pub fn tenant(&self) -> TenantId {
        self.plan.tenant
    }

    /// When [`Ceremony::tick`] has something to do.
    pub fn next_wake(&self) -> Boot {
        if self.settled { self.repeat_at } else { self.repeat_at.min(self.stall_at) }
    }

    fn restart(&mut self, attempt: u32, identity: &Identity, now: Boot, rng: &mut impl CryptoRng) -> Vec<Outcome> {
        match Self::start(self.plan.clone(), attempt, identity, now, rng) {
            Some((next, outcomes)) => {
                *self = next;
                outcomes
            }
            None => Vec::new(),
        }
    }

    fn slot(&self) -> Slot {
        Slot::Made { root: self.plan.root, committee: self.plan.committee, attempt: self.attempt }
    }

    fn others(&self) -> impl Iterator<Item = NodeId> {
        self.plan.spec.members.clone().into_iter().filter({
            let me = self.me;
            move |member| *member != me
        })
    }

    fn repeat_to(&self, member: NodeId) -> Vec<Outcome> {
        let for_member = self.sent.iter().filter(|(to, _)| to.is_none_or(|to| to == member));
        for_member.map(|(_, envelope)| Outcome::Send(member, envelope.clone())).collect()
    }

    fn carry_out(
        &mut self,
        outputs: Vec<Output<Ristretto>>,
        identity: &Identity,
        rng: &mut impl CryptoRng,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for output in outputs {
            match output {
                Output::ToAll(broadcast) => {
                    let envelope = self.envelope(CeremonyContent::Broadcast(broadcast.to_bytes()), identity);
                    outcomes.extend(self.others().map(|member| Outcome::Send(member, envelope.clone())));
                    self.sent.push((None, envelope));
                }
                Output::ToOne { to, sub_share } => {
                    let place = usize::from(to.get()) - 1;
                    let (Some(member), Some(key)) =
                        (self.plan.spec.members.get(place).copied(), self.plan.sealing.get(place))
                    else {
                        continue;
                    };
                    let info = self.plan.sub_share_info(self.attempt, &self.me, &member);
                    let sealed = sealing::seal_to(key, &info, &[], &sub_share.expose(), rng);
                    let envelope = self.envelope(CeremonyContent::SubShare { to: member, sealed }, identity);
                    outcomes.push(Outcome::Send(member, envelope.clone()));
                    self.sent.push((Some(member), envelope));
                }
                Output::Done(done) => {
                    let mut exposed = done.share.expose();
                    outcomes.push(Outcome::Keep { slot: self.slot(), share: SecretBytes::from_slice(&mut exposed) });
                    let transcript = BlobHash::from_bytes(done.transcript_hash);
                    self.outcome = Some(RootAttestation {
                        root: self.plan.root,
                        committee: self.plan.committee,
                        attempt: self.attempt,
                        epoch: 0,
                        transcript,
                        public: done.public.to_bytes(),
                    });
                    let envelope = self.envelope(CeremonyContent::Finished(transcript), identity);
                    outcomes.extend(self.others().map(|member| Outcome::Send(member, envelope.clone())));
                    self.sent.push((None, envelope));
                    outcomes.extend(self.try_settle());
                }
                Output::Aborted(abort) => {
                    outcomes.push(Outcome::Warn(format!(
                        "key generation of {} (attempt {}) ended without a root: {abort}",
                        self.plan.root, self.attempt
                    )));
                }
            }
        }
        outcomes
    }

    /// Attests once every member has its share on its disk.
    fn try_settle(&mut self) -> Vec<Outcome> {
        let Some(outcome) = self.outcome.as_ref().filter(|_| !self.settled) else { return Vec::new() };
        let liars = self.finished.iter().filter(|(_, transcript)| **transcript != outcome.transcript);
        let warnings: Vec<_> = liars
            .map(|(member, _)| {
                Outcome::Warn(format!("key generation of {}: {member} saw another transcript", self.plan.root))
            })
            .collect();
        let all = self.others().all(|member| self.finished.get(&member) == Some(&outcome.transcript));
        let some = self.finished.len() + 1 >= usize::from(self.plan.spec.threshold);
        let enough = all || (some && mutant::is(Mutant::RootAttestedEarly));
        if !enough {
            return warnings;
        }
        self.settled = true;
        vec![Outcome::Attest(outcome.clone())]
    }

    fn envelope(&self, content: CeremonyContent, identity: &Identity) -> Vec<u8> {
        let message = CeremonyMessage {
            suite: Suite::V1,
            tenant: self.plan.tenant,
            root: self.plan.root,
            committee: self.plan.committee,
            attempt: self.attempt,
            member: self.me,
            content,
        };
        Verified::sign(message, identity).bytes().to_vec()
    }
}

impl CeremonyPlan {
    fn context(&self, attempt: u32) -> Vec<u8> {
        codec::encode(&("keymesh root v1", self.mesh, self.tenant, self.root, self.committee, attempt))
    }

    fn sub_share_info(&self, attempt: u32, from: &NodeId, to: &NodeId) -> Vec<u8> {
        [b"keymesh sub-share v1".to_vec(), self.context(attempt), codec::encode(&(*from, *to))].concat()
    }
}

/// Ceremonies under way, by root and committee.
pub type Ceremonies = BTreeMap<(RootId, u8), Ceremony>;

#[cfg(test)]
mod tests {
    use keymesh_wire::secret::Secret32;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn identity(number: u8) -> Identity {
        Identity::from_seed(Secret32::build(|out| out.fill(number)))
    }

    fn ceremony(rng: &mut ChaCha20Rng) -> Ceremony {
        let members: Vec<Identity> = (1..=3).map(identity).collect();
        let plan = CeremonyPlan {
            mesh: MeshId::from_bytes([1; 32]),
            tenant: TenantId::from_bytes([2; 32]),
            root: RootId::from_bytes([3; 32]),
            committee: 0,
            spec: CommitteeSpec { members: members.iter().map(Identity::principal).collect(), threshold: 2, faults: 1 },
            sealing: members.iter().map(|member| member.sealing().public()).collect(),
        };
        Ceremony::start(plan, 0, &members[0], Boot(0), rng).expect("a member").0
    }

    fn message(from: u8, tenant: u8, attempt: u32) -> Verified<CeremonyMessage> {
        let signer = identity(from);
        let message = CeremonyMessage {
            suite: Suite::V1,
            tenant: TenantId::from_bytes([tenant; 32]),
            root: RootId::from_bytes([3; 32]),
            committee: 0,
            attempt,
            member: signer.principal(),
            content: CeremonyContent::Finished(BlobHash::from_bytes([0; 32])),
        };
        Verified::sign(message, &signer)
    }

    #[test]
    fn only_members_of_this_very_committee_can_move_an_attempt_and_not_without_end() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut ceremony = ceremony(&mut rng);
        for (from, tenant, attempt) in [(9, 2, 1), (2, 7, 1), (2, 2, ATTEMPTS + 1), (2, 2, u32::MAX)] {
            let outcomes = ceremony.receive(&message(from, tenant, attempt), &identity(1), Boot(1), &mut rng);
            assert!(outcomes.is_empty() && ceremony.attempt == 0, "{from} {tenant} {attempt}");
        }
        let outcomes = ceremony.receive(&message(2, 2, 1), &identity(1), Boot(1), &mut rng);
        assert!(!outcomes.is_empty() && ceremony.attempt == 1);
        // One who is behind is brought along; a stranger is told nothing.
        assert!(!ceremony.receive(&message(2, 2, 0), &identity(1), Boot(1), &mut rng).is_empty());
        assert!(ceremony.receive(&message(9, 2, 0), &identity(1), Boot(1), &mut rng).is_empty());
    }
}
