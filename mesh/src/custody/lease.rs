//! Asking for leases: the lessee's side.
//!
//! A lease runs from the moment of the request on the boot clock, so that time spent asking shortens it, and no longer
//! than that on the wall clock, which goes on when the machine is frozen and its boot clock is not. It is kept alive
//! while it is used: past half of its time a used lease is asked for again; an unused one ends and its secret with it
//! (I10). The lessee checks that the secret it opened belongs to the published public half; if not, it says so publicly,
//! and likewise of a custodian whose partial does not hold, with the proof ([`super::accusation`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use keymesh_custody::{CombineError, Offer, Partial, Ristretto, RootPublic, VerifiedCapsule, combine};
use keymesh_wire::body::{Contribution, CustodianAccusation, CustodyClass, Generation, GenerationRef};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{BlobHash, NodeId, RequestId, RootId, TenantId};
use keymesh_wire::label::{PartialBinding, PartialPurpose};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Boot, Millis, Now};
use rand_core::CryptoRng;

use super::message::{LeaseRequest, SealedPart};
use super::partial::{generation_purpose, verified_capsule};
use crate::mutant::{self, Mutant};
use crate::view::{Lease, Sharing, View, newest_sufficient};

/// How long answers are waited for before the request is given up and made anew.
pub const ASK_TIMEOUT: Millis = Millis(800);

/// Whose part of what: committee, epoch, custodian.
type Place = (u8, u32, NodeId);

/// What one custodian gave.
#[derive(Debug)]
struct Part {
    partial: Partial<Ristretto>,
    given: Contribution,
    binding: PartialBinding,
    bound: Vec<u8>,
}

/// A custodian whose partial does not hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The custodian.
    pub custodian: NodeId,
    /// What convinces everybody else; nothing if it did not sign.
    pub proof: Option<Box<CustodianAccusation>>,
}

/// A request under way.
#[derive(Debug)]
pub struct Asking {
    tenant: TenantId,
    wanted: GenerationRef,
    root: RootId,
    generation: Generation,
    lease: Millis,
    request: RequestId,
    secret: SealingSecret,
    asked: Now,
    capsule: VerifiedCapsule<Ristretto>,
    capsule_hash: BlobHash,
    sharings: Vec<Vec<Sharing>>,
    parts: BTreeMap<Place, Part>,
    refused: BTreeSet<NodeId>,
    culprits: BTreeSet<(u8, NodeId)>,
}

/// What an answer led to.
#[derive(Debug)]
pub enum Progress {
    /// More answers are needed. Custodians listed gave partials that do not hold, and are not heard again.
    Waiting(Vec<Culprit>),
    /// The lease is open. Custodians listed last gave partials that do not hold.
    Opened(Lease, Vec<Culprit>),
    /// So many custodians said no that a committee cannot reach its threshold.
    Refused,
    /// The secret does not belong to the published public half.
    FalseGeneration,
    /// The capsule can never be opened.
    Unsound,
}

impl Asking {
    /// Prepares a request for a generation. Nothing if this node cannot ask at the moment.
    pub fn start(
        view: &View,
        tenant: TenantId,
        wanted: GenerationRef,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Option<Self> {
        let held = view.tenant(&tenant)?;
        let state = held.tenant();
        let keyring = state.keyrings.get(&wanted.keyring)?;
        let CustodyClass::Leased { lease, .. } = &keyring.class else { return None };
        let generation = &keyring.generation(&wanted)?.generation;
        if !view.counts(state, &view.me) || !state.nodes.get(&view.me)?.lessee {
            return None;
        }
        let purpose = generation_purpose(generation);
        let capsule = verified_capsule(view, held, wanted.keyring, keyring.root, &generation.capsule, purpose).ok()?;
        let mut request = [0; 16];
        rng.fill_bytes(&mut request);
        Some(Self {
            tenant,
            wanted,
            root: keyring.root,
            generation: generation.clone(),
            lease: *lease,
            request: RequestId::from_bytes(request),
            secret: SealingSecret::random(rng),
            asked: now,
            capsule,
            capsule_hash: generation.capsule,
            sharings: held.sharings.get(&keyring.root)?.clone(),
            parts: BTreeMap::new(),
            refused: BTreeSet::new(),
            culprits: BTreeSet::new(),
        })
    }

    /// The signed request.
    pub fn request(&self, denials: [u8; 32], identity: &Identity) -> Verified<LeaseRequest> {
        let request = LeaseRequest {
            suite: Suite::V1,
            tenant: self.tenant,
            request: self.request,
            lessee: identity.principal(),
            issued: self.asked.wall,
            keyring: self.wanted.keyring,
            generation: self.wanted.number,
            recipient: *self.secret.public().as_bytes(),
            denials,
            opened: self.wanted.opened,
        };
        Verified::sign(request, identity)
    }

    /// The request's id.
    pub fn id(&self) -> RequestId {
        self.request
    }

    /// The generation asked for.
    pub fn place(&self) -> (TenantId, GenerationRef) {
        (self.tenant, self.wanted)
    }

    /// Everybody to ask.
    pub fn custodians(&self) -> Vec<NodeId> {
        let mut all: Vec<_> = self.sharings.iter().flatten().flat_map(|sharing| &sharing.members).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether the request has waited too long.
    pub fn is_overdue(&self, now: Boot) -> bool {
        now >= self.overdue_at()
    }

    /// When it will have waited too long.
    pub fn overdue_at(&self) -> Boot {
        self.asked.boot.plus(ASK_TIMEOUT)
    }

    /// Takes a custodian's contribution.
    pub fn take(&mut self, from: NodeId, part: &SealedPart) -> Progress {
        let sharings = self.sharings.get(usize::from(part.committee)).map(Vec::as_slice).unwrap_or_default();
        let member = sharings.iter().any(|sharing| sharing.epoch == part.epoch && sharing.members.contains(&from));
        let culprit = (part.committee, from);
        if !member || self.culprits.contains(&culprit) {
            return Progress::Waiting(Vec::new());
        }
        let binding = PartialBinding {
            suite: Suite::V1,
            purpose: PartialPurpose::Lease,
            tenant: self.tenant,
            request: self.request,
            capsule: self.capsule_hash,
            recipient: *self.secret.public().as_bytes(),
            root: self.root,
            committee: part.committee,
            epoch: part.epoch,
            custodian: from,
            expires: part.expires,
        };
        let Ok(given) = Contribution::open(&self.secret, &binding, &part.sealed) else {
            self.culprits.insert(culprit);
            return Progress::Waiting(vec![Culprit { custodian: from, proof: None }]);
        };
        let Ok(partial) = Partial::<Ristretto>::from_bytes(given.partial()) else {
            self.culprits.insert(culprit);
            return Progress::Waiting(vec![Culprit { custodian: from, proof: self.proof(&given, &binding) }]);
        };
        let bound = binding.bytes();
        // The mistake knows one part of each custodian, whatever epoch it is of.
        let epoch = if mutant::is(Mutant::EpochsMixed) { 0 } else { part.epoch };
        self.parts.insert((part.committee, epoch, from), Part { partial, given, binding, bound });
        self.try_open()
    }

    /// Takes a custodian's refusal.
    pub fn refuse(&mut self, from: NodeId) -> Progress {
        self.refused.insert(from);
        let is_short = |sharing: &Sharing| {
            let left = sharing.members.iter().filter(|member| !self.refused.contains(member)).count();
            left < usize::from(sharing.public.threshold().t())
        };
        let short = self.sharings.iter().any(|committee| committee.iter().all(is_short));
        if short { Progress::Refused } else { Progress::Waiting(Vec::new()) }
    }

    fn culprit(&self, place: &Place) -> Culprit {
        let part = self.parts.get(place);
        Culprit { custodian: place.2, proof: part.and_then(|part| self.proof(&part.given, &part.binding)) }
    }

    fn proof(&self, given: &Contribution, binding: &PartialBinding) -> Option<Box<CustodianAccusation>> {
        given.accuse(binding, &self.capsule.head().to_bytes()).map(Box::new)
    }

    fn try_open(&mut self) -> Progress {
        let have = |committee: u8, epoch: u32| {
            let mixed = mutant::is(Mutant::EpochsMixed);
            self.parts.keys().filter(|(of, at, _)| *of == committee && (*at == epoch || mixed)).count()
        };
        let Some(chosen) = newest_sufficient(&self.sharings, have) else { return Progress::Waiting(Vec::new()) };
        let publics: Vec<RootPublic<Ristretto>> = chosen.iter().map(|sharing| sharing.public.clone()).collect();
        let epochs: Vec<u32> = chosen.iter().map(|sharing| sharing.epoch).collect();
        let counts = |(committee, epoch, _): &(u8, u32, NodeId)| {
            epochs.get(usize::from(*committee)) == Some(epoch) || mutant::is(Mutant::EpochsMixed)
        };
        let used = || self.parts.iter().filter(|(place, _)| counts(place));
        let places: Vec<(u8, u32, NodeId)> = used().map(|(place, _)| *place).collect();
        let offers: Vec<_> =
            used().map(|(_, part)| Offer { partial: &part.partial, binding: part.bound.as_slice() }).collect();
        let opened = match combine(&self.capsule, &publics, &offers) {
            Ok(opened) => opened,
            // Named now: once there are enough others, those may suffice without another look at the false ones.
            Err(CombineError::NotEnough { culprits, .. }) => {
                let named: Vec<_> = culprits.iter().filter_map(|culprit| places.get(culprit.offer).copied()).collect();
                let culprits = named.iter().map(|place| self.culprit(place)).collect();
                self.parts.retain(|place, _| !named.contains(place));
                self.culprits.extend(named.iter().map(|(committee, _, node)| (*committee, *node)));
                return Progress::Waiting(culprits);
            }
            Err(CombineError::CapsuleUnsound { .. } | CombineError::OtherRoots) => return Progress::Unsound,
        };
        let named = opened.culprits.iter().filter_map(|culprit| places.get(culprit.offer));
        let culprits: Vec<Culprit> = named.map(|place| self.culprit(place)).collect();
        let Ok(bytes) = <&[u8; 32]>::try_from(opened.payload.as_slice()) else { return Progress::FalseGeneration };
        let secret = SealingSecret::from_secret(Secret32::build(|out| out.copy_from_slice(bytes)));
        if *secret.public().as_bytes() != self.generation.public {
            return Progress::FalseGeneration;
        }
        let lease = Lease {
            generation: self.generation.number,
            secret,
            expires: self.asked.boot.plus(self.lease),
            until: self.asked.wall.plus(self.lease),
            custodians: places
                .iter()
                .map(|(.., node)| *node)
                .filter(|node| !culprits.iter().any(|culprit| culprit.custodian == *node))
                .collect(),
            used: AtomicBool::new(true),
        };
        Progress::Opened(lease, culprits)
    }
}

#[cfg(test)]
pub(crate) mod tests;
