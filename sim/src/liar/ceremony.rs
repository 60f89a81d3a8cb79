//! Lies in key generations.
//!
//! Each of them ends an attempt without a root: a first key generation needs every member. What they must not do is leave
//! members with different roots, or keep the others from making another root without the liar.

use keymesh_custody::{Broadcast, Committee, Dkg, Output, Ristretto, Suite as _};
use keymesh_mesh::custody::message::{CeremonyContent, CeremonyMessage};
use keymesh_wire::body::CommitteeSpec;
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::BlobHash;
use keymesh_wire::sealing::{self, SealingPublic};
use minicbor::bytes::ByteVec;

use super::*;

impl Liar {
    /// The envelope that a member gets instead; none if it gets nothing.
    pub(super) fn bend_ceremony(&mut self, around: &Around<'_>, to: &NodeId, envelope: Vec<u8>) -> Option<Vec<u8>> {
        if self.does(Lie::SilentInKeyGeneration) {
            return None;
        }
        let Ok(message) = Verified::<CeremonyMessage>::from_bytes(&envelope) else { return Some(envelope) };
        let mut message = message.into_payload();
        if message.member != around.identity.principal() {
            return Some(envelope);
        }
        if self.does(Lie::RushesAttempts) && draw::chance(&mut self.rng, 250) {
            message.attempt = message.attempt.saturating_add(draw::between(&mut self.rng, 1, 3) as u32);
        }
        let place = (message.root, message.committee, message.attempt);
        message.content = match message.content {
            CeremonyContent::Broadcast(bytes) => CeremonyContent::Broadcast(match Broadcast::from_bytes(&bytes) {
                Ok(Broadcast::<Ristretto>::Round1(_)) => self.bend_round1(around, to, &message.tenant, place, bytes),
                Ok(Broadcast::Echo(_)) if self.does(Lie::FalseEchoes) => with_flipped(bytes, 1),
                Ok(Broadcast::Echo(_)) | Err(_) => bytes,
            }),
            CeremonyContent::SubShare { to: member, sealed } => {
                let sealed = match self.does(Lie::FalseSubShares) {
                    true => self.false_sub_share(around, &message.tenant, place, &member).unwrap_or(sealed),
                    false => sealed,
                };
                CeremonyContent::SubShare { to: member, sealed }
            }
            CeremonyContent::Finished(_) if self.does(Lie::FalseTranscripts) && self.half(to) => {
                CeremonyContent::Finished(BlobHash::from_bytes(self.random_id()))
            }
            CeremonyContent::Finished(transcript) => CeremonyContent::Finished(transcript),
        };
        Some(Verified::sign(message, around.identity).bytes().to_vec())
    }

    fn bend_round1(
        &mut self,
        around: &Around<'_>,
        to: &NodeId,
        tenant: &TenantId,
        place: (RootId, u8, u32),
        bytes: Vec<u8>,
    ) -> Vec<u8> {
        if let Ok(broadcast) = Broadcast::<Ristretto>::from_bytes(&bytes) {
            self.sessions.insert(place, *broadcast.session());
        }
        if self.does(Lie::FalseProofs) {
            // The last 32 bytes are the proof's scalar, least significant byte first.
            return with_flipped(bytes, 32);
        }
        if self.does(Lie::TwoFacedInKeyGeneration) && self.half(to) {
            return self.decoy(around, tenant, place).unwrap_or(bytes);
        }
        bytes
    }

    /// A sound round-1 message with another polynomial, the same to all who get it.
    fn decoy(&mut self, around: &Around<'_>, tenant: &TenantId, place: (RootId, u8, u32)) -> Option<Vec<u8>> {
        if let Some(decoy) = self.decoys.get(&place) {
            return Some(decoy.clone());
        }
        let spec = spec(around, tenant, place.0, place.1)?;
        let members = spec.members.iter().map(|member| *member.as_bytes()).collect();
        let committee = Committee::new(members, spec.threshold).ok()?;
        let me = committee.index_of(around.identity.principal().as_bytes())?;
        let (_, outputs) =
            Dkg::<Ristretto>::start(committee, me, &context(around, tenant, place), &mut self.rng).ok()?;
        let decoy = outputs.into_iter().find_map(|output| match output {
            Output::ToAll(broadcast) => Some(broadcast.to_bytes()),
            Output::ToOne { .. } | Output::Done(_) | Output::Aborted(_) => None,
        })?;
        self.decoys.insert(place, decoy.clone());
        Some(decoy)
    }

    fn false_sub_share(
        &mut self,
        around: &Around<'_>,
        tenant: &TenantId,
        place: (RootId, u8, u32),
        to: &NodeId,
    ) -> Option<Vec<u8>> {
        let session = self.sessions.get(&place)?;
        let state = around.replica.document(&(*tenant).into())?.tenant()?;
        let key = SealingPublic::from_bytes(state.nodes.get(to)?.sealing).ok()?;
        let mut value = vec![0; Ristretto::SCALAR_LEN];
        value[0] = 1 + draw::between(&mut self.rng, 0, 200) as u8;
        let raw = codec::encode(&(Ristretto::SUITE_ID, ByteVec::from(session.to_vec()), ByteVec::from(value)));
        let parties = codec::encode(&(around.identity.principal(), *to));
        let info = [b"keymesh sub-share v1".to_vec(), context(around, tenant, place), parties].concat();
        Some(sealing::seal_to(&key, &info, &[], &raw, &mut self.rng))
    }
}

/// What a run of a key generation is bound to, as the core has it.
fn context(around: &Around<'_>, tenant: &TenantId, (root, committee, attempt): (RootId, u8, u32)) -> Vec<u8> {
    codec::encode(&("keymesh root v1", around.replica.view().mesh, *tenant, root, committee, attempt))
}

fn spec(around: &Around<'_>, tenant: &TenantId, root: RootId, committee: u8) -> Option<CommitteeSpec> {
    let state = around.replica.document(&(*tenant).into())?.tenant()?;
    Some(state.roots.get(&root)?.committees.get(usize::from(committee))?.spec.clone())
}

/// With the lowest bit of the byte that is `back` bytes from the end flipped.
fn with_flipped(mut bytes: Vec<u8>, back: usize) -> Vec<u8> {
    if let Some(place) = bytes.len().checked_sub(back) {
        bytes[place] ^= 1;
    }
    bytes
}
