//! Blind release: custodians' partials come sealed to a key that only this process has, and are combined here.
//!
//! Guarantees: no node sees the data key. What each partial must be bound to, and what the capsule must be for, is
//! computed here from the request and never taken from the answer, so a partial or capsule made for another request,
//! recipient, key or version does not open. A custodian whose partial is wrong is named while the others open the
//! capsule. Implements the recipient's side of DESIGN section 3 over [`keymesh_custody`].
//!
//! What an agent cannot judge by itself is which root its tenant has: the node that answers shows it. So the root is
//! pinned ([`RootPin`]) by whoever formats a volume, and a change is refused from then on; who knows the pin beforehand
//! (`--root-public`) gives it at the first use as well.
//!
//! The serving node names the custodian of each partial, and sealing authenticates nobody: a culprit is whose name the
//! partial carries.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use keymesh_custody::{Capsule, CapsuleError, CombineError, DecodeError, Offer, Partial, PartialError, Ristretto};
use keymesh_custody::{RootPublic, VerifiedCapsule};
use keymesh_wire::api::{Accuse, Accused, AuditRef, QuorumRelease, QuorumReleased, SealedPartial};
use keymesh_wire::body::{Contribution, CustodianAccusation};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{BlobHash, KeyId, MeshId, NodeId, RequestId, TenantId, VersionId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, PartialBinding, PartialPurpose};
use keymesh_wire::limits;
use keymesh_wire::request::{QuorumRequest, Receipt};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::secret::SecretBytes;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::Wall;
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};

use crate::client::{Client, Session};
use crate::data_key::DataKey;
use crate::error::ClientError;

/// What is remembered of a root: SHA-256 over the group keys of its committees, in order.
///
/// Refresh and reshare leave group keys as they are, so a pin lasts as long as the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootPin([u8; 32]);

impl RootPin {
    /// The pin of the root with these committees.
    pub fn of(committees: &[RootPublic<Ristretto>]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"keymesh root pin v1");
        for committee in committees {
            hash.update((committee.group_key().len() as u64).to_be_bytes());
            hash.update(committee.group_key());
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for RootPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Text that is not a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a root's public hash is 64 lower-case hex digits")]
pub struct RootPinError;

impl FromStr for RootPin {
    type Err = RootPinError;

    fn from_str(text: &str) -> Result<Self, RootPinError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| RootPinError)?;
        bytes.try_into().map(Self).map_err(|_| RootPinError)
    }
}

impl serde::Serialize for RootPin {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RootPin {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Why an answer does not give the key.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// The node's answer did not come or is an error.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// For another key or version than was asked for.
    #[error("the answer is for {key} {version}, which was not asked for")]
    Other {
        /// The key answered.
        key: KeyId,
        /// The version answered.
        version: VersionId,
    },
    /// A part of the answer does not decode or is over its limit.
    #[error("the answer's {part} does not hold: {what}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The root is not the pinned one.
    #[error(
        "the root is {found}, pinned is {expected}. A root's public key never changes by refresh or reshare: \
         either the answering node lies or the keyring was moved to another root. Ask an admin of the tenant"
    )]
    RootChanged {
        /// What was pinned.
        expected: RootPin,
        /// What was shown.
        found: RootPin,
    },
    /// The capsule is not for this key, version, keyring, tenant, mesh and root.
    #[error("the capsule is not the one of this key version: {0}")]
    Capsule(#[from] CapsuleError),
    /// Too few partials, or a capsule that nobody can open.
    #[error("{source}{}", Warnings(.warnings))]
    Combine {
        /// Why not.
        source: CombineError,
        /// Which partials were of no use, and why.
        warnings: Vec<Warning>,
    },
    /// Some partials were of no use, and without their custodians the node had no answer.
    #[error("{error}{}", Warnings(.warnings))]
    Useless {
        /// What the node said.
        error: Box<ClientError>,
        /// Which partials were of no use before, and why.
        warnings: Vec<Warning>,
    },
    /// The capsule holds something else than a data key.
    #[error("the capsule holds {got} bytes, where keys have 32 or 64")]
    NotAKey {
        /// How many bytes.
        got: usize,
    },
}

/// A partial that was of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The custodian it names.
    pub custodian: NodeId,
    /// The audit record it names.
    pub audit: AuditRef,
    /// What is wrong with it.
    pub fault: Fault,
    /// What convinces everybody of it; nothing where the custodian did not sign, or did nothing wrong.
    pub proof: Option<Box<CustodianAccusation>>,
}

/// What can be wrong with a partial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It does not open with this request's key under its own binding.
    #[error("it is not sealed for this request")]
    NotForUs,
    /// It is no longer to be used.
    #[error("it expired before it came")]
    Expired,
    /// Not a partial.
    #[error("it does not decode: {0}")]
    Malformed(DecodeError),
    /// Sealed for one committee, made for another.
    #[error("it is for another committee than it says")]
    OtherCommittee,
    /// Its proof does not hold.
    #[error("{0}")]
    Proof(PartialError),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the partial in the name of custodian {} is of no use: {}", self.custodian, self.fault)
    }
}

struct Warnings<'a>(&'a [Warning]);

impl fmt::Display for Warnings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|warning| write!(f, "\n  {warning}"))
    }
}

/// A key that custodians opened straight to this process.
#[derive(Debug)]
pub struct QuorumKey {
    /// The data key.
    pub key: DataKey,
    /// Its version.
    pub version: VersionId,
    /// The root that guards it.
    pub root: RootPin,
    /// The custodians' audit records, of those whose partials opened for us.
    pub audits: Vec<AuditRef>,
    /// Partials that were of no use.
    pub warnings: Vec<Warning>,
}

/// A signed request with the one-time key that opens its answer. Serves any number of nodes while it is fresh.
#[derive(Debug)]
pub struct Question {
    mesh: MeshId,
    signed: Verified<QuorumRequest>,
    recipient: SealingSecret,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// The version; absent for the newest.
    pub version: Option<VersionId>,
    /// The root, if it is known.
    pub root: Option<RootPin>,
    /// Where this request stands among the agent's.
    pub receipt: Receipt,
}

impl Question {
    /// Signs a request with a fresh one-time key and a fresh id. `now` goes into it: it is taken for
    /// [`limits::REQUEST_LIFE_MS`].
    pub fn new(wanted: &Wanted, identity: &Identity, now: Wall, rng: &mut impl CryptoRng) -> Self {
        let recipient = SealingSecret::random(rng);
        let mut request = [0; 16];
        rng.fill_bytes(&mut request);
        let request = QuorumRequest {
            suite: Suite::V1,
            tenant: wanted.tenant,
            request: RequestId::from_bytes(request),
            agent: identity.principal(),
            issued: now,
            key: wanted.key,
            version: wanted.version,
            recipient: *recipient.public().as_bytes(),
            receipt: wanted.receipt.clone(),
        };
        Self { mesh: wanted.mesh, signed: Verified::sign(request, identity), recipient }
    }

    /// The signed request.
    pub fn request(&self) -> &QuorumRequest {
        &self.signed
    }

    /// Asks one node.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send(&self, client: &mut Client) -> Result<QuorumReleased, ClientError> {
        self.send_without(client, &[])
    }

    /// Asks one node for partials of others than some custodians.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn send_without(&self, client: &mut Client, without: &[NodeId]) -> Result<QuorumReleased, ClientError> {
        let (request, without) = (self.signed.bytes().to_vec(), without.to_vec());
        client.post_json("/v1/quorum-release", &QuorumRelease { request, without })
    }

    /// Asks one node and opens its answer. A node answers with the first partials that are enough; where some of those do
    /// not hold, it is asked again without their custodians, and they are named in the end.
    ///
    /// # Errors
    /// [`QuorumError`]; another node's answer may open.
    pub fn ask(
        &self,
        client: &mut Client,
        root: Option<RootPin>,
        clock: impl Fn() -> Wall,
    ) -> Result<QuorumKey, QuorumError> {
        let (mut without, mut known) = (Vec::new(), Vec::new());
        loop {
            let answer = match self.send_without(client, &without) {
                Ok(answer) => answer,
                Err(error) if known.is_empty() => return Err(error.into()),
                Err(error) => return Err(QuorumError::Useless { error: Box::new(error), warnings: known }),
            };
            let (source, warnings) = match self.open(&answer, root, clock()) {
                Ok(mut got) => {
                    got.warnings.splice(..0, known);
                    return Ok(got);
                }
                Err(QuorumError::Combine { source, warnings }) => (source, warnings),
                Err(error) => return Err(error),
            };
            let culprits = warnings.iter().map(|warning| warning.custodian).filter(|who| !without.contains(who));
            let fresh: BTreeSet<NodeId> = culprits.collect();
            without.extend(&fresh);
            known.extend(warnings);
            // Whoever carries the request cannot make this go on for longer than a root has custodians.
            if fresh.is_empty() || without.len() > limits::COMMITTEE {
                return Err(QuorumError::Combine { source, warnings: known });
            }
        }
    }

    /// Opens an answer at the moment `now`. `root` is the pin, where there is one.
    ///
    /// # Errors
    /// [`QuorumError`]; another node's answer may open.
    pub fn open(&self, answer: &QuorumReleased, root: Option<RootPin>, now: Wall) -> Result<QuorumKey, QuorumError> {
        let asked = &self.signed;
        if answer.key != asked.key || asked.version.is_some_and(|version| version != answer.version) {
            return Err(QuorumError::Other { key: answer.key, version: answer.version });
        }
        let committees = decode_committees(&answer.committees)?;
        let found = RootPin::of(&committees);
        if let Some(expected) = root.filter(|expected| *expected != found) {
            return Err(QuorumError::RootChanged { expected, found });
        }
        let capsule = verified_capsule(self.mesh, self.signed.tenant, answer, &committees)?;
        let head = capsule.head().to_bytes();
        let opened = self.open_partials(answer, &head, now)?;
        let (partials, mut warnings) = (opened.partials, opened.warnings);
        let offers: Vec<_> =
            partials.iter().map(|part| Offer { partial: &part.partial, binding: &part.bound }).collect();
        let combined = keymesh_custody::combine(&capsule, &committees, &offers);
        let culprits = match &combined {
            Ok(opened) => &opened.culprits,
            Err(CombineError::NotEnough { culprits, .. } | CombineError::CapsuleUnsound { culprits }) => culprits,
            Err(CombineError::OtherRoots) => &Vec::new(),
        };
        warnings.extend(culprits.iter().filter_map(|culprit| {
            let part = partials.get(culprit.offer)?;
            let proof = part.given.accuse(&part.binding, &head).map(Box::new);
            Some(Warning {
                custodian: part.from.custodian,
                audit: part.from.audit,
                fault: Fault::Proof(culprit.reason.clone()),
                proof,
            })
        }));
        let mut payload = match combined {
            Ok(opened) => opened.payload,
            Err(source) => return Err(QuorumError::Combine { source, warnings }),
        };
        let payload = SecretBytes::from_vec(std::mem::take(&mut *payload));
        let key = DataKey::new(&payload).ok_or(QuorumError::NotAKey { got: payload.len() })?;
        let audits = partials.iter().map(|part| part.from.audit).collect();
        Ok(QuorumKey { key, version: answer.version, root: found, audits, warnings })
    }

    fn open_partials<'a>(
        &self,
        answer: &'a QuorumReleased,
        head: &[u8],
        now: Wall,
    ) -> Result<Partials<'a>, QuorumError> {
        let most = limits::COMMITTEE * limits::COMMITTEES;
        if answer.partials.len() > most {
            let what = format!("{} of them, where at most {most} are possible", answer.partials.len());
            return Err(QuorumError::Malformed { part: "partials", what });
        }
        let capsule = blob_hash(&answer.capsule);
        let mut opened = Partials { partials: Vec::new(), warnings: Vec::new() };
        for from in &answer.partials {
            let binding = PartialBinding {
                suite: Suite::V1,
                purpose: PartialPurpose::Release,
                tenant: self.signed.tenant,
                request: self.signed.request,
                capsule,
                recipient: self.signed.recipient,
                root: answer.root,
                committee: from.committee,
                epoch: from.epoch,
                custodian: from.custodian,
                expires: from.expires,
            };
            let (custodian, audit) = (from.custodian, from.audit);
            let useless = |fault, proof| Warning { custodian, audit, fault, proof };
            if from.expires < now {
                opened.warnings.push(useless(Fault::Expired, None));
                continue;
            }
            let Ok(given) = Contribution::open(&self.recipient, &binding, &from.sealed) else {
                opened.warnings.push(useless(Fault::NotForUs, None));
                continue;
            };
            match parse(&given, from) {
                Ok(partial) => {
                    let bound = binding.bytes();
                    opened.partials.push(OpenedPartial { from, partial, given, binding, bound });
                }
                Err(fault) => opened.warnings.push(useless(fault, given.accuse(&binding, head).map(Box::new))),
            }
        }
        Ok(opened)
    }
}

fn parse(given: &Contribution, from: &SealedPartial) -> Result<Partial<Ristretto>, Fault> {
    let partial = Partial::<Ristretto>::from_bytes(given.partial()).map_err(Fault::Malformed)?;
    if partial.committee() != usize::from(from.committee) {
        return Err(Fault::OtherCommittee);
    }
    Ok(partial)
}

struct Partials<'a> {
    partials: Vec<OpenedPartial<'a>>,
    warnings: Vec<Warning>,
}

struct OpenedPartial<'a> {
    from: &'a SealedPartial,
    partial: Partial<Ristretto>,
    given: Contribution,
    binding: PartialBinding,
    bound: Vec<u8>,
}

/// Hands a node the proof that a custodian gave a false partial, so that everybody gets to know.
///
/// # Errors
/// [`ClientError`]; [`keymesh_wire::error::Code::StatementInvalid`] if it does not hold.
pub fn accuse(session: &mut Session, accusation: &CustodianAccusation) -> Result<Accused, ClientError> {
    let asked = Accuse { tenant: session.tenant(), accusation: codec::encode(accusation) };
    session.post_json("/v1/accusations", &asked)
}

/// The capsule of an answer, which is for exactly the key and version that the answer names.
///
/// # Errors
/// [`QuorumError::Malformed`], [`QuorumError::Capsule`].
pub fn verified_capsule(
    mesh: MeshId,
    tenant: TenantId,
    answer: &QuorumReleased,
    committees: &[RootPublic<Ristretto>],
) -> Result<VerifiedCapsule<Ristretto>, QuorumError> {
    let label = CapsuleLabel {
        suite: Suite::V1,
        mesh,
        tenant,
        root: answer.root,
        keyring: answer.keyring,
        purpose: CapsulePurpose::Version { key: answer.key, version: answer.version },
    };
    let capsule = Capsule::<Ristretto>::from_bytes(&answer.capsule)
        .map_err(|error| QuorumError::Malformed { part: "capsule", what: error.to_string() })?;
    Ok(capsule.verify(&label.bytes(), committees)?)
}

/// The public sides of a root's committees, from the encoding in which nodes send them.
///
/// # Errors
/// [`QuorumError::Malformed`] if one is not a consistent sharing, or there are none or too many.
pub fn decode_committees(committees: &[Vec<u8>]) -> Result<Vec<RootPublic<Ristretto>>, QuorumError> {
    if committees.is_empty() || committees.len() > limits::COMMITTEES {
        let what = format!("{} of them, where 1 to {} are possible", committees.len(), limits::COMMITTEES);
        return Err(QuorumError::Malformed { part: "committees", what });
    }
    let decode = |bytes: &Vec<u8>| {
        RootPublic::from_bytes(bytes)
            .map_err(|error| QuorumError::Malformed { part: "committees", what: error.to_string() })
    };
    committees.iter().map(decode).collect()
}

/// Seals a version of a quorum key where it was made, so that no node ever sees it. Returns the capsule's bytes and
/// their hash, by which a statement names them. The caller has authenticated `committees` as the root's.
///
/// # Errors
/// [`CapsuleError`] for committees no capsule can be sealed to.
pub fn seal_version(
    label: &CapsuleLabel,
    committees: &[RootPublic<Ristretto>],
    key: &DataKey,
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, BlobHash), CapsuleError> {
    let capsule = keymesh_custody::seal(&label.bytes(), committees, key.expose_secret(), rng)?.to_bytes();
    let hash = blob_hash(&capsule);
    Ok((capsule, hash))
}

/// The name of a ciphertext in the erasable store.
pub fn blob_hash(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(Sha256::digest(bytes).into())
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
