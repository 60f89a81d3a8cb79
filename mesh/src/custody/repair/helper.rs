//! A helper's side of a repair: an answer to each message of the member, and nothing kept between them.

use keymesh_custody::epochs::repair::{Commitment, Delta, RepairError};
use keymesh_custody::{KeyShare, Ristretto};
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{NodeId, RequestId};
use keymesh_wire::sealing::{self, SealingPublic};
use keymesh_wire::sign::Identity;
use minicbor::bytes::ByteVec;
use rand_core::CryptoRng;

use super::{Subject, delta_info, sigma_info};
use crate::custody::message::{RepairContent, RepairMessage};

/// A custodian that may help a member.
#[derive(Debug)]
pub struct Helper<'a> {
    /// The sharing.
    pub subject: &'a Subject,
    /// Whose share is missing.
    pub member: NodeId,
    /// The member's attempt.
    pub attempt: RequestId,
    /// This custodian.
    pub identity: &'a Identity,
}

/// What a helper's last step comes to.
#[derive(Debug)]
pub enum Gathered {
    /// A summand of the member's share, sealed to it: to be sent when it is on record.
    Sigma(Vec<ByteVec>),
    /// What this helper gave does not hold.
    Blame(NodeId, Vec<ByteVec>),
}

impl Helper<'_> {
    /// It would help.
    pub fn willing(&self) -> Vec<ByteVec> {
        vec![self.envelope(RepairContent::Willing)]
    }

    /// The commitment to this helper's weighted share, and its summands, each sealed to one helper. Nothing if these
    /// cannot be the helpers.
    pub fn help(
        &self,
        helpers: &[NodeId],
        share: &KeyShare<Ristretto>,
        sealing: impl Fn(&NodeId) -> Option<SealingPublic>,
        rng: &mut impl CryptoRng,
    ) -> Option<Vec<ByteVec>> {
        if helpers.len() != self.subject.threshold() {
            return None;
        }
        let repair = self.subject.repair(&self.member, self.attempt, helpers)?;
        let help = repair.help(share, rng).ok()?;
        let mut envelopes = vec![self.envelope(RepairContent::Commitment(help.commitment.to_bytes()))];
        for delta in &help.deltas {
            let to = self.subject.node_of(delta.to())?;
            let info = delta_info(repair.session(), &self.identity.principal(), &to);
            let sealed = sealing::seal_to(&sealing(&to)?, &info, &[], &delta.expose(), rng);
            envelopes.push(self.envelope(RepairContent::Delta { to, sealed }));
        }
        Some(envelopes)
    }

    /// The sum of what all helpers gave this one. `given` are the envelopes that the member passed on; nothing when they
    /// are not what helpers of this attempt sign, which is the member's fault.
    pub fn gather(
        &self,
        helpers: &[NodeId],
        given: &[ByteVec],
        member: &SealingPublic,
        rng: &mut impl CryptoRng,
    ) -> Option<Gathered> {
        let me = self.identity.principal();
        if helpers.len() != self.subject.threshold() || given.len() != 2 * helpers.len() {
            return None;
        }
        let repair = self.subject.repair(&self.member, self.attempt, helpers)?;
        let (mut commitments, mut deltas) = (Vec::new(), Vec::new());
        for envelope in given {
            let message = Verified::<RepairMessage>::from_bytes(envelope).ok()?;
            let same = (message.tenant, message.sharing) == (self.subject.tenant, self.subject.sharing)
                && (message.member, message.attempt) == (self.member, self.attempt)
                && helpers.contains(&message.author);
            if !same {
                return None;
            }
            let index = self.subject.index_of(&message.author);
            match &message.content {
                RepairContent::Commitment(bytes) => {
                    let found = Commitment::<Ristretto>::from_bytes(bytes).ok();
                    commitments.push(found.filter(|found| Some(found.from()) == index)?);
                }
                RepairContent::Delta { to, sealed } if *to == me => {
                    let info = delta_info(repair.session(), &message.author, &me);
                    let opened = sealing::open_with(&self.identity.sealing(), &info, &[], sealed).ok();
                    let found = opened.and_then(|opened| Delta::<Ristretto>::from_exposed(opened.expose_secret()).ok());
                    let ours = |found: &Delta<Ristretto>| {
                        (Some(found.from()), Some(found.to())) == (index, self.subject.index_of(&me))
                            && found.session() == repair.session()
                    };
                    match found.filter(ours) {
                        Some(found) => deltas.push(found),
                        None => return Some(self.blame(message.author)),
                    }
                }
                _ => return None,
            }
        }
        match repair.gather(self.subject.index_of(&me)?, &commitments, &deltas) {
            Ok(sigma) => {
                let info = sigma_info(repair.session(), &me, &self.member);
                let sealed = sealing::seal_to(member, &info, &[], &sigma.expose(), rng);
                Some(Gathered::Sigma(vec![self.envelope(RepairContent::Sigma(sealed))]))
            }
            Err(RepairError::Wrong { culprit, .. }) => Some(self.blame(self.subject.node_of(culprit)?)),
            Err(_) => None,
        }
    }

    fn blame(&self, whom: NodeId) -> Gathered {
        Gathered::Blame(whom, vec![self.envelope(RepairContent::Blame(whom))])
    }

    fn envelope(&self, content: RepairContent) -> ByteVec {
        let envelope = self.subject.envelope(self.member, self.attempt, content, self.identity);
        ByteVec::from(envelope.bytes().to_vec())
    }
}
