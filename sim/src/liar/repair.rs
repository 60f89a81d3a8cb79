//! Lies of a helper in the repair of somebody's share.
//!
//! The member must not keep a wrong share, must name the liar where it can be seen who it is, and must get its share from
//! the others.

use keymesh_custody::epochs::repair::Commitment;
use keymesh_custody::{Ristretto, Suite as _};
use keymesh_mesh::custody::message::{RepairContent, RepairMessage};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::sealing::{self, SealingPublic};
use minicbor::bytes::ByteArray;

use super::*;

/// The custody crate's numbers of the two secret messages of a repair.
const DELTA: u8 = 37;
/// See [`DELTA`].
const SIGMA: u8 = 38;
/// How many repairs a liar remembers.
const REPAIRS: usize = 64;

/// What a liar knows of a repair that it helps in.
#[derive(Debug, Clone)]
pub(super) struct Helped {
    session: [u8; 32],
    place: u8,
    helpers: Vec<NodeId>,
}

impl Liar {
    /// The envelopes that are sent instead; none if it says nothing.
    pub(super) fn bend_repair(&mut self, around: &Around<'_>, envelopes: Vec<ByteVec>) -> Option<Vec<ByteVec>> {
        let messages: Option<Vec<RepairMessage>> = envelopes
            .iter()
            .map(|envelope| Verified::<RepairMessage>::from_bytes(envelope).ok().map(Verified::into_payload))
            .collect();
        let me = around.identity.principal();
        let Some(messages) = messages.filter(|all| all.iter().all(|one| one.author == me && one.member != me)) else {
            return Some(envelopes);
        };
        let is_help = messages.len() > 1 || matches!(messages[0].content, RepairContent::Sigma(_));
        let lie = self.lie_in(&messages[0].attempt);
        if is_help && lie == Some(Lie::SilentInRepair) {
            return None;
        }
        self.note(&messages);
        let bent = messages.into_iter().map(|message| {
            let bent = self.bend_step(around, message, lie);
            ByteVec::from(Verified::sign(bent, around.identity).bytes().to_vec())
        });
        Some(bent.collect())
    }

    /// Which of its lies it tells in an attempt.
    fn lie_in(&self, attempt: &RequestId) -> Option<Lie> {
        let mine: Vec<Lie> = Lie::IN_REPAIRS.into_iter().filter(|lie| self.does(*lie)).collect();
        mine.get(usize::from(attempt.as_bytes()[0]) % mine.len().max(1)).copied()
    }

    fn note(&mut self, messages: &[RepairMessage]) {
        let RepairContent::Commitment(bytes) = &messages[0].content else { return };
        let Ok(commitment) = Commitment::<Ristretto>::from_bytes(bytes) else { return };
        let helpers = messages.iter().filter_map(|message| match &message.content {
            RepairContent::Delta { to, .. } => Some(*to),
            _ => None,
        });
        let (session, place) = (*commitment.session(), commitment.from().get());
        if self.repairs.len() >= REPAIRS {
            self.repairs.clear();
        }
        self.repairs.insert(messages[0].attempt, Helped { session, place, helpers: helpers.collect() });
    }

    fn bend_step(&mut self, around: &Around<'_>, mut message: RepairMessage, lie: Option<Lie>) -> RepairMessage {
        let Some(helped) = self.repairs.get(&message.attempt).cloned() else { return message };
        message.content = match message.content.clone() {
            // The last point is replaced by the one before it: of the group, and not what it should be.
            RepairContent::Commitment(mut bytes) if lie == Some(Lie::FalseRepairCommitments) => {
                let len = Ristretto::POINT_LEN;
                let last = bytes.len().saturating_sub(len);
                bytes.copy_within(last.saturating_sub(len)..last, last);
                RepairContent::Commitment(bytes)
            }
            RepairContent::Delta { to, sealed } if lie == Some(Lie::FalseDeltas) && to != message.author => {
                let member = |node: &NodeId| helped.helpers.iter().position(|helper| helper == node);
                let place = member(&to).and_then(|_| self.index(around, &message, &to));
                let body = place.map(|place| {
                    let (session, value) = (ByteVec::from(helped.session.to_vec()), ByteVec::from(self.scalar()));
                    codec::encode(&(Ristretto::SUITE_ID, DELTA, helped.place, place, session, value))
                });
                let info = ("keymesh repair delta v1", ByteArray::from(helped.session), message.author, to);
                let false_one =
                    body.and_then(|body| self.seal(around, &message.tenant, &to, &codec::encode(&info), &body));
                RepairContent::Delta { to, sealed: false_one.unwrap_or(sealed) }
            }
            RepairContent::Sigma(_) if lie == Some(Lie::FalseBlame) => {
                let honest = helped.helpers.iter().find(|helper| **helper != message.author);
                RepairContent::Blame(honest.copied().unwrap_or(message.author))
            }
            RepairContent::Sigma(sealed) if lie == Some(Lie::FalseSigmas) => {
                let (session, value) = (ByteVec::from(helped.session.to_vec()), ByteVec::from(self.scalar()));
                let body = codec::encode(&(Ristretto::SUITE_ID, SIGMA, helped.place, session, value));
                let to = message.member;
                let info = ("keymesh repair sigma v1", ByteArray::from(helped.session), message.author, to);
                let false_one = self.seal(around, &message.tenant, &to, &codec::encode(&info), &body);
                RepairContent::Sigma(false_one.unwrap_or(sealed))
            }
            content => content,
        };
        message
    }

    fn scalar(&mut self) -> Vec<u8> {
        let mut value = vec![0; Ristretto::SCALAR_LEN];
        value[0] = 1 + draw::between(&mut self.rng, 0, 200) as u8;
        value
    }

    fn index(&self, around: &Around<'_>, message: &RepairMessage, node: &NodeId) -> Option<u8> {
        let state = around.replica.document(&message.tenant.into())?.tenant()?;
        let committee =
            state.roots.get(&message.sharing.root)?.committees.get(usize::from(message.sharing.committee))?;
        let place = committee.spec.members.iter().position(|member| member == node)?;
        u8::try_from(place + 1).ok()
    }

    fn seal(
        &mut self,
        around: &Around<'_>,
        tenant: &TenantId,
        to: &NodeId,
        info: &[u8],
        body: &[u8],
    ) -> Option<Vec<u8>> {
        let state = around.replica.document(&(*tenant).into())?.tenant()?;
        let key = SealingPublic::from_bytes(state.nodes.get(to)?.sealing).ok()?;
        Some(sealing::seal_to(&key, info, &[], body, &mut self.rng))
    }
}
