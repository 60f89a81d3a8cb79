//! Lies in answers to custody requests.
//!
//! A liar needs its genuine share and what it was asked to make partials that come as far as somebody's combining.
//! Whoever combines must come to the right result without them, and name whose partial did not hold.

use keymesh_custody::{KeyShare, Ristretto, VerifiedCapsule, open_partial};
use keymesh_mesh::custody::message::{Answer, LeaseRequest, Refusal, RefusalCode, SealedPart, Verdict};
use keymesh_mesh::custody::partial::{generation_purpose, verified_capsule};
use keymesh_mesh::view::{TenantView, View};
use keymesh_wire::body::{Contribution, GenerationRef};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{BlobHash, KeyId};
use keymesh_wire::label::{CapsulePurpose, PartialBinding, PartialPurpose};
use keymesh_wire::request::QuorumRequest;
use keymesh_wire::sealing::{self, SealingPublic};
use keymesh_wire::suite::Suite;
use minicbor::bytes::ByteVec;

use super::*;

/// Lies about partials.
const PARTIALS: [Lie; 6] = [
    Lie::FalsePartials,
    Lie::ForeignPartials,
    Lie::OtherEpochs,
    Lie::BorrowsIndexes,
    Lie::GarbledPartials,
    Lie::OldPartials,
];

/// What a liar was asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    tenant: TenantId,
    recipient: [u8; 32],
    what: What,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Lease(GenerationRef),
    Release(KeyId),
}

/// A capsule with what it is for.
struct Target {
    root: RootId,
    hash: BlobHash,
    capsule: VerifiedCapsule<Ristretto>,
}

impl Liar {
    /// Takes note of what is asked, and says whether the core hears of it.
    pub(super) fn hears_custody(&mut self, message: &CustodyMessage) -> bool {
        let asked = match message {
            CustodyMessage::LeaseAsk(envelope) => Verified::<LeaseRequest>::from_bytes(envelope).ok().map(|asked| {
                let what = What::Lease(asked.wanted());
                (asked.request, Asked { tenant: asked.tenant, recipient: asked.recipient, what })
            }),
            CustodyMessage::QuorumAsk(envelope) => Verified::<QuorumRequest>::from_bytes(envelope).ok().map(|asked| {
                let what = What::Release(asked.key);
                (asked.request, Asked { tenant: asked.tenant, recipient: asked.recipient, what })
            }),
            CustodyMessage::EnrolAsk(_) => None,
            CustodyMessage::Hello(_)
            | CustodyMessage::Ceremony(_)
            | CustodyMessage::Answer(_)
            | CustodyMessage::TipsAsk(..)
            | CustodyMessage::Tips(..)
            | CustodyMessage::Repair(_) => return true,
        };
        if let Some((request, asked)) = asked.filter(|_| PARTIALS.iter().any(|lie| self.does(*lie))) {
            self.asked.insert(request, asked);
        }
        !self.does(Lie::IsMute)
    }

    /// The answer that is given instead; none if there is none.
    pub(super) fn bend_answer(&mut self, around: &Around<'_>, mut answer: Answer) -> Option<Answer> {
        if self.does(Lie::IsMute) {
            return None;
        }
        if self.does(Lie::RefusesAll) {
            let refusal = Refusal { code: RefusalCode::NotReady, reason: "not today".to_owned() };
            return Some(Answer { verdict: Verdict::No(refusal), ..answer });
        }
        let lies: Vec<Lie> = PARTIALS.into_iter().filter(|lie| self.does(*lie)).collect();
        if let Verdict::Partial(part) = &answer.verdict
            && !lies.is_empty()
        {
            let lie = lies[draw::place(&mut self.rng, lies.len())];
            let bent = self.forge(around, lie, &answer.request, part);
            if lie == Lie::OldPartials {
                self.given.push(part.clone());
            }
            if let Some(bent) = bent {
                answer.verdict = Verdict::Partial(bent);
            }
        }
        Some(answer)
    }

    fn forge(&mut self, around: &Around<'_>, lie: Lie, request: &RequestId, part: &SealedPart) -> Option<SealedPart> {
        if lie == Lie::OldPartials {
            return self.given.last().cloned();
        }
        let asked = self.asked.get(request)?.clone();
        let view = around.replica.view().clone();
        let tenant = view.tenant(&asked.tenant)?;
        let target = target(&view, tenant, asked.what)?;
        let recipient = SealingPublic::from_bytes(asked.recipient).ok()?;
        let purpose = match asked.what {
            What::Lease(_) => PartialPurpose::Lease,
            What::Release(_) => PartialPurpose::Release,
        };
        let epoch = if lie == Lie::OtherEpochs { part.epoch + 1 } else { part.epoch };
        let binding = PartialBinding {
            suite: Suite::V1,
            purpose,
            tenant: asked.tenant,
            request: *request,
            capsule: target.hash,
            recipient: asked.recipient,
            root: target.root,
            committee: part.committee,
            epoch,
            custodian: around.identity.principal(),
            expires: part.expires,
        };
        let bound = binding.bytes();
        let held = view.held(&asked.tenant, target.root, part.committee);
        let share = &held.iter().find(|held| held.epoch == part.epoch)?.share;
        let garbled = lie == Lie::GarbledPartials;
        if garbled && draw::chance(&mut self.rng, 500) {
            return Some(SealedPart { sealed: self.random(part.sealed.len() as u64), ..part.clone() });
        }
        let partial = match lie {
            Lie::FalsePartials => open_partial(&bent(share, None)?, &target.capsule, &bound, &mut self.rng),
            Lie::BorrowsIndexes => {
                let members = tenant.tenant().roots.get(&target.root)?.committees.first()?.spec.members.len() as u64;
                let index = draw::between(&mut self.rng, 1, members) as u8;
                open_partial(&bent(share, Some(index))?, &target.capsule, &bound, &mut self.rng)
            }
            Lie::ForeignPartials => {
                let other = another(&view, tenant, &target)?;
                open_partial(share, &other.capsule, &bound, &mut self.rng)
            }
            _ => open_partial(share, &target.capsule, &bound, &mut self.rng),
        };
        let bytes = if garbled { self.random(40) } else { partial.ok()?.to_bytes().to_vec() };
        // What it signs can be held against it, by whoever it was for; what it does not, by nobody.
        let sealed = match draw::chance(&mut self.rng, 700) {
            true => {
                let head = target.capsule.head().to_bytes();
                Contribution::seal(&recipient, &binding, &head, &bytes, around.identity, &mut self.rng)
            }
            false => {
                let unsigned = [self.random(64), bytes].concat();
                sealing::seal_to(&recipient, &bound, &[], &unsigned, &mut self.rng)
            }
        };
        Some(SealedPart { epoch, sealed, ..part.clone() })
    }
}

/// A share with another secret, at another place if one is given.
fn bent(share: &KeyShare<Ristretto>, index: Option<u8>) -> Option<KeyShare<Ristretto>> {
    let exposed = share.expose();
    let (suite, own, group, mut secret): (u16, u8, ByteVec, ByteVec) = codec::decode(&exposed, exposed.len()).ok()?;
    secret[0] ^= 1;
    KeyShare::from_exposed(&codec::encode(&(suite, index.unwrap_or(own), group, secret))).ok()
}

fn target(view: &View, tenant: &TenantView, what: What) -> Option<Target> {
    let state = tenant.tenant();
    let (keyring, hash, purpose) = match what {
        What::Lease(wanted) => {
            let generation = &state.keyrings.get(&wanted.keyring)?.generation(&wanted)?.generation;
            (wanted.keyring, generation.capsule, generation_purpose(generation))
        }
        What::Release(key) => {
            let known = state.keys.get(&key)?;
            let version = &known.versions.last()?.wrapped;
            (known.keyring, version.ciphertext, CapsulePurpose::Version { key, version: version.version })
        }
    };
    let root = state.keyrings.get(&keyring)?.root;
    let capsule = verified_capsule(view, tenant, keyring, root, &hash, purpose).ok()?;
    Some(Target { root, hash, capsule })
}

/// Another capsule to the same root.
fn another(view: &View, tenant: &TenantView, than: &Target) -> Option<Target> {
    let state = tenant.tenant();
    let generations = state.keyrings.values().flat_map(|keyring| &keyring.generations);
    let leases = generations.map(|generation| What::Lease(generation.id));
    let versions = state.keys.keys().map(|key| What::Release(*key));
    let mut all = leases.chain(versions).filter_map(|what| target(view, tenant, what));
    all.find(|other| other.root == than.root && other.hash != than.hash)
}
