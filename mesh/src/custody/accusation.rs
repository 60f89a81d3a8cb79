//! Whether a custodian that is accused gave a partial that does not hold.
//!
//! Guarantees: the judgement is a function of the accusation and of the sharing that it names, both of which everybody
//! has who has the tenant's document; so all judge alike (I3) and nobody is believed (I2). It stands only against a
//! custodian that signed the partial and the head of the capsule it is of: an honest one never signs a partial that its
//! verifying share does not bear out for that head, so no honest custodian can be accused, whoever says it. One that signs
//! another head than its recipient's capsule has is as one that does not sign.
//!
//! The capsule itself is no part of it: an accusation is never forgotten, and ciphertexts of destroyed keys must be (I10).
//!
//! What an accusation shows to others is the false partial itself. It is worth what its custodian could tell anybody: of
//! one capsule, at most the part that one liar has.
//!
//! Left to others: when the custodian's word was carried to somebody else than its recipient, or not signed at all, there
//! is nothing to judge (see `keymesh_wire::body::Contribution`).

use std::collections::BTreeMap;

use keymesh_custody::{CapsuleHead, Partial, Ristretto, RootPublic};
use keymesh_wire::body::{AccusationError, CustodianAccusation};
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{NodeId, StatementId, TenantId};
use keymesh_wire::label::PartialBinding;
use keymesh_wire::time::Wall;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// What is wrong with a partial that its custodian signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The bytes are no partial.
    #[error("what it signed is not a partial")]
    NotAPartial,
    /// It claims to be of another committee than it was given for.
    #[error("it signed a partial of another committee")]
    OtherCommittee,
    /// It claims to come from another member's share.
    #[error("it signed a partial in another member's place")]
    OtherPlace,
    /// Its proof does not hold against the custodian's verifying share.
    #[error("the proof of the partial it signed does not hold")]
    Proof,
}

/// Why an accusation does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It does not carry the custodian's word.
    #[error(transparent)]
    Evidence(#[from] AccusationError),
    /// It is about another tenant's root.
    #[error("the partial was given for another tenant")]
    OtherTenant,
    /// No such sharing is known here; it may be one that has not arrived, or one that is over.
    #[error("no sharing with epoch {epoch} of committee {committee} is in use here")]
    NoSuchSharing {
        /// The committee's place in the root, from 0.
        committee: u8,
        /// The epoch.
        epoch: u32,
    },
    /// The accused was none of that sharing's custodians, and whatever it gave was of no use to anybody.
    #[error("{0} holds no share of that sharing")]
    NoCustodian(NodeId),
    /// What the custodian signed is of no capsule, or the root's public halves cannot be read.
    #[error("the capsule's head or the root: {0}")]
    Unreadable(String),
    /// The partial is what it should be.
    #[error("the partial holds: the custodian gave what it should")]
    Holds,
}

impl Doubt {
    /// The code by which clients are told: where the sharing is not known another node may know it.
    pub fn code(&self) -> Code {
        match self {
            Self::NoSuchSharing { .. } => Code::NotServedHere,
            Self::Evidence(_) | Self::OtherTenant | Self::NoCustodian(_) | Self::Unreadable(_) | Self::Holds => {
                Code::StatementInvalid
            }
        }
    }
}

impl From<Doubt> for WireError {
    fn from(doubt: Doubt) -> Self {
        Self::new(doubt.code(), format!("the accusation does not hold: {doubt}"))
    }
}

/// What a judgement is about: the document and the sharing that the accusation names.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The custodians of the sharing, in order.
    pub members: &'a [NodeId],
    /// The public key packages of the root's committees, in order; of the accused committee that of the sharing.
    pub publics: &'a [&'a [u8]],
}

impl Ground<'_> {
    /// SHA-256 over all of it.
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"keymesh accusation ground v1");
        hash.update(self.tenant.as_bytes());
        hash.update((self.members.len() as u64).to_be_bytes());
        self.members.iter().for_each(|member| hash.update(member.as_bytes()));
        for public in self.publics {
            hash.update((public.len() as u64).to_be_bytes());
            hash.update(public);
        }
        hash.finalize().into()
    }
}

/// What the accusation proves its custodian to have done.
///
/// # Errors
/// [`Doubt`], with which it proves nothing.
pub fn judge(accusation: &CustodianAccusation, ground: Ground<'_>) -> Result<Fault, Doubt> {
    let claim = accusation.claim()?;
    let binding = &claim.binding;
    if binding.tenant != ground.tenant {
        return Err(Doubt::OtherTenant);
    }
    let place = ground.members.iter().position(|member| *member == binding.custodian);
    let place = place.ok_or(Doubt::NoCustodian(binding.custodian))?;
    let unread = |error: keymesh_custody::DecodeError| Doubt::Unreadable(error.to_string());
    let publics: Result<Vec<_>, _> = ground.publics.iter().map(|public| RootPublic::from_bytes(public)).collect();
    let publics: Vec<RootPublic<Ristretto>> = publics.map_err(unread)?;
    let group_keys: Vec<Vec<u8>> = publics.iter().map(|public| public.group_key().to_vec()).collect();
    let head = CapsuleHead::from_bytes(&claim.head).map_err(unread)?;
    let Ok(partial) = Partial::<Ristretto>::from_bytes(&accusation.partial) else { return Ok(Fault::NotAPartial) };
    if partial.committee() != usize::from(binding.committee) {
        return Ok(Fault::OtherCommittee);
    }
    if usize::from(partial.index().get()) != place + 1 {
        return Ok(Fault::OtherPlace);
    }
    let public = publics.get(partial.committee());
    let public = public.ok_or(Doubt::NoSuchSharing { committee: binding.committee, epoch: binding.epoch })?;
    match partial.verify_of(public, &head, &group_keys, &binding.bytes()) {
        Ok(()) => Err(Doubt::Holds),
        Err(_) => Ok(Fault::Proof),
    }
}

/// Judgements that were made, so that neither signatures nor proofs are looked at again with every fold.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    bindings: BTreeMap<StatementId, PartialBinding>,
    verdicts: BTreeMap<StatementId, ([u8; 32], Result<Fault, Doubt>)>,
}

impl Judged {
    /// What the custodian put its signature to by the accusation of a statement.
    pub fn binding(&mut self, statement: StatementId, accusation: &CustodianAccusation) -> Option<PartialBinding> {
        if let Some(known) = self.bindings.get(&statement) {
            return Some(known.clone());
        }
        let binding = accusation.claim().ok()?.into_payload().binding;
        self.bindings.insert(statement, binding.clone());
        Some(binding)
    }

    /// The judgement on a statement's accusation, made anew only when it was made on other grounds.
    pub fn judge(
        &mut self,
        statement: StatementId,
        accusation: &CustodianAccusation,
        ground: Ground<'_>,
    ) -> Result<Fault, Doubt> {
        let digest = ground.digest();
        match self.verdicts.get(&statement) {
            Some((known, verdict)) if *known == digest => verdict.clone(),
            _ => {
                let verdict = judge(accusation, ground);
                self.verdicts.insert(statement, (digest, verdict.clone()));
                verdict
            }
        }
    }
}

/// A custodian that was shown to have given a false partial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accused {
    /// The custodian.
    pub custodian: NodeId,
    /// The epoch of the share it should have used.
    pub epoch: u32,
    /// What it did.
    pub fault: Fault,
    /// The statement that shows it: of several the one with the earliest time.
    pub statement: StatementId,
    /// Who said it.
    pub by: NodeId,
    /// When, by the clock of whoever said it.
    pub time: Wall,
}

impl Accused {
    /// Whether this is what `binding` would show.
    pub fn is_of(&self, binding: &PartialBinding) -> bool {
        (self.custodian, self.epoch) == (binding.custodian, binding.epoch)
    }
}

#[cfg(test)]
pub(crate) mod tests;
