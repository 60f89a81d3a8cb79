//! Accusations of custodians that did nothing wrong.
//!
//! Nobody can sign in another's name, so a liar that wants to accuse somebody needs what that one really signed: it asks
//! for leases itself, to one-time keys of its own, and keeps what comes. All of it holds, and so proves nothing.

use keymesh_mesh::custody::message::{Answer, LeaseRequest, Verdict};
use keymesh_mesh::custody::partial::{generation_purpose, verified_capsule};
use keymesh_mesh::state::TenantState;
use keymesh_wire::body::{Contribution, CustodyClass};
use keymesh_wire::label::{PartialBinding, PartialPurpose};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::suite::Suite;

use super::*;
use keymesh_wire::envelope::Verified;

/// The most signed partials that a liar keeps.
const COLLECTED: usize = 8;

/// A lease it asked for without its core.
#[derive(Debug)]
pub(super) struct Solicited {
    secret: SealingSecret,
    tenant: TenantId,
    root: RootId,
    hash: BlobHash,
    head: Vec<u8>,
}

impl Liar {
    /// Asks everybody for a lease of its own.
    pub(super) fn solicit(&mut self, around: &Around<'_>, tenant: &TenantState, frames: &mut Vec<Frame>) {
        if self.collected.len() >= COLLECTED || self.solicited.len() >= COLLECTED {
            return;
        }
        let Some(held) = around.replica.view().tenant(&tenant.tenant) else { return };
        let leased = tenant.keyrings.iter().filter(|(_, keyring)| matches!(keyring.class, CustodyClass::Leased { .. }));
        let leased: Vec<_> = leased.collect();
        if leased.is_empty() {
            return;
        }
        let (id, keyring) = leased[draw::place(&mut self.rng, leased.len())];
        let Some(known) = keyring.generations.first() else { return };
        let (view, purpose) = (around.replica.view(), generation_purpose(&known.generation));
        let capsule = verified_capsule(view, held, *id, keyring.root, &known.generation.capsule, purpose);
        let Ok(capsule) = capsule else { return };
        let secret = SealingSecret::random(&mut self.rng);
        let mut request = [0; 16];
        rand_core::Rng::fill_bytes(&mut self.rng, &mut request);
        let request = LeaseRequest {
            suite: Suite::V1,
            tenant: tenant.tenant,
            request: RequestId::from_bytes(request),
            lessee: around.identity.principal(),
            issued: around.now.wall,
            keyring: *id,
            generation: known.id.number,
            recipient: *secret.public().as_bytes(),
            denials: held.denials,
            opened: known.id.opened,
        };
        let solicited = Solicited {
            secret,
            tenant: tenant.tenant,
            root: keyring.root,
            hash: known.generation.capsule,
            head: capsule.head().to_bytes(),
        };
        self.solicited.insert(request.request, solicited);
        let envelope = Verified::sign(request, around.identity).bytes().to_vec();
        let frame = CustodyMessage::LeaseAsk(envelope).to_frame();
        frames.extend(around.linked.iter().map(|peer| (*peer, Channel::Custody, frame.clone())));
    }

    /// Keeps what a custodian signed for it.
    pub(super) fn collect(&mut self, from: &NodeId, answer: &Answer) {
        let (Verdict::Partial(part), Some(asked)) = (&answer.verdict, self.solicited.get(&answer.request)) else {
            return;
        };
        let binding = PartialBinding {
            suite: Suite::V1,
            purpose: PartialPurpose::Lease,
            tenant: asked.tenant,
            request: answer.request,
            capsule: asked.hash,
            recipient: *asked.secret.public().as_bytes(),
            root: asked.root,
            committee: part.committee,
            epoch: part.epoch,
            custodian: *from,
            expires: part.expires,
        };
        let given = Contribution::open(&asked.secret, &binding, &part.sealed).ok();
        let accusation = given.and_then(|given| given.accuse(&binding, &asked.head));
        if self.collected.len() < COLLECTED {
            self.collected.extend(accusation);
        }
    }
}
