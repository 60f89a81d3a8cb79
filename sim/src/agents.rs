//! Agents: instances that show evidence, enrol, and ask for keys.
//!
//! Their evidence is real: identity documents signed as AWS signs them, made once with a throwaway key and kept as test
//! vectors under `vectors/`, because RSA keys cannot be drawn from the run's generator. The tenant pins the certificate
//! beside them, and custodians run the real verifier.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::BASE64;
use keymesh_custody::{Capsule, CombineError, Offer, Partial, Ristretto, RootPublic, combine};
use keymesh_mesh::custody::message::{CustodyMessage, SealedPart, Verdict};
use keymesh_mesh::evidence::Evidence;
use keymesh_mesh::release::ReleaseRequest;
use keymesh_mesh::view::{Sharing, newest_sufficient};
use keymesh_wire::body::{Contribution, CustodianAccusation, EvidenceKind, EvidenceRoot};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{BlobHash, KeyId, KeyringId, NodeId, PrincipalId, RequestId, RootId, TenantId, VersionId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, PartialBinding, PartialPurpose};
use keymesh_wire::request::{EnrolmentRequest, QuorumRequest, Receipt};
use keymesh_wire::sealing::SealingSecret;
use keymesh_wire::secret::{Secret32, SecretBytes};
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::ticket::{Ticket, Voucher};
use keymesh_wire::time::{Millis, Wall};
use rand_core::{CryptoRng, Rng};
use sha2::{Digest, Sha256};

use crate::node::EPOCH;
use crate::people::{Signer, nonce};
use crate::world::{Denied, Handle, Outcome, World};

/// The certificate that the vectors are signed with.
const CERTIFICATE: &[u8] = include_bytes!("../vectors/certificate.der");

/// The instances there are vectors for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Instance {
    /// In zone `aws/eu-west-1a`.
    A1,
    /// Another one there.
    A2,
    /// A third one there.
    A3,
    /// In zone `aws/eu-west-1b`.
    B1,
}

impl Instance {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::A1, Self::A2, Self::A3, Self::B1];

    /// What the metadata service gives it.
    pub fn document(self) -> &'static [u8] {
        match self {
            Self::A1 => include_bytes!("../vectors/a1.pkcs7"),
            Self::A2 => include_bytes!("../vectors/a2.pkcs7"),
            Self::A3 => include_bytes!("../vectors/a3.pkcs7"),
            Self::B1 => include_bytes!("../vectors/b1.pkcs7"),
        }
    }

    /// Its document with another zone in it, which its signature does not cover.
    ///
    /// # Panics
    /// If the vector holds no zone.
    pub fn forged(self) -> Vec<u8> {
        let lines: Vec<u8> = self.document().iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let mut bytes = BASE64.decode(&lines).expect("vectors are base64");
        let zone = b"\"eu-west-1";
        let place = bytes.windows(zone.len()).position(|window| window == zone).expect("a zone") + zone.len();
        bytes[place] = if bytes[place] == b'a' { b'b' } else { b'a' };
        BASE64.encode(&bytes).into_bytes()
    }

    /// The zone it was launched in, as votes name it.
    pub fn zone(self) -> &'static str {
        match self {
            Self::A1 | Self::A2 | Self::A3 => "aws/eu-west-1a",
            Self::B1 => "aws/eu-west-1b",
        }
    }

    /// Its identity, as evidence shows it.
    pub fn name(self) -> String {
        let number = match self {
            Self::A1 => 1,
            Self::A2 => 2,
            Self::A3 => 3,
            Self::B1 => 4,
        };
        format!("aws:111122223333:i-{number:017}")
    }
}

/// Hashes of all evidence there is that a provider really signed.
pub fn genuine() -> impl Iterator<Item = BlobHash> {
    let evidence = Instance::ALL.into_iter().map(|instance| Evidence::AwsIid { pkcs7: instance.document().to_vec() });
    evidence.map(|evidence| BlobHash::from_bytes(Sha256::digest(codec::encode(&evidence)).into()))
}

/// What a tenant pins to believe the vectors.
pub fn evidence_root() -> EvidenceRoot {
    EvidenceRoot { kind: EvidenceKind::AwsInstanceIdentity, certificate: CERTIFICATE.to_vec() }
}

/// An agent on an instance.
#[derive(Debug)]
pub struct Agent {
    /// Its key.
    pub identity: Identity,
    /// Where it runs.
    pub instance: Instance,
}

/// A blind release under way at the agent.
#[derive(Debug)]
pub struct Question {
    pub(crate) tenant: TenantId,
    pub(crate) key: KeyId,
    pub(crate) request: RequestId,
    recipient: SealingSecret,
    /// What the node carries.
    pub signed: Verified<QuorumRequest>,
}

/// What an agent found of those that answered it.
#[derive(Debug, Default)]
pub struct Found {
    /// Whose partials do not hold.
    pub culprits: Vec<NodeId>,
    /// What proves it to everybody, of those that signed.
    pub proofs: Vec<CustodianAccusation>,
    /// What it could say of the others, and prove nothing with.
    pub others: Vec<(NodeId, CustodianAccusation)>,
}

/// What the serving node shows beside the partials: public facts from its view.
#[derive(Debug, Clone)]
struct Shown {
    root: RootId,
    keyring: KeyringId,
    version: VersionId,
    hash: BlobHash,
    capsule: Vec<u8>,
    sharings: Vec<Vec<Sharing>>,
}

impl Agent {
    /// An agent with a new key.
    pub fn new(instance: Instance, rng: &mut impl CryptoRng) -> Self {
        Self { identity: Identity::from_seed(Secret32::random(rng)), instance }
    }

    /// Who it is.
    pub fn id(&self) -> PrincipalId {
        self.identity.principal()
    }

    /// A request for a key of a leased keyring.
    pub fn wants(&self, tenant: TenantId, key: KeyId, rng: &mut impl Rng) -> ReleaseRequest {
        ReleaseRequest { agent: self.id(), tenant, key, version: None, request: request_id(rng), trace: None }
    }

    /// A request to open a key of a quorum keyring to a fresh one-time key.
    pub fn asks(&self, tenant: TenantId, key: KeyId, at: u64, rng: &mut impl CryptoRng) -> Question {
        let recipient = SealingSecret::random(rng);
        let request = request_id(rng);
        let signed = Verified::sign(
            QuorumRequest {
                suite: Suite::V1,
                tenant,
                request,
                agent: self.id(),
                issued: Wall(EPOCH + at),
                key,
                version: None,
                recipient: *recipient.public().as_bytes(),
                receipt: Receipt::default(),
            },
            &self.identity,
        );
        Question { tenant, key, request, recipient, signed }
    }
}

fn request_id(rng: &mut impl Rng) -> RequestId {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    RequestId::from_bytes(bytes)
}

impl World {
    fn custodians(&self, node: usize, tenant: TenantId) -> Vec<NodeId> {
        let root = self.tenant(node, tenant).and_then(|state| state.live_root());
        root.into_iter().flat_map(|root| &root.committees).flat_map(|c| c.spec.members.clone()).collect()
    }

    /// Who may have shares of the root that guards a key, by what a node shows: of every sharing in use.
    pub(crate) fn guardians(&self, node: usize, tenant: TenantId, key: &KeyId) -> Vec<NodeId> {
        let state = self.tenant(node, tenant);
        let keyring = state.and_then(|state| state.keyrings.get(&state.keys.get(key)?.keyring));
        let root = state.zip(keyring).and_then(|(state, keyring)| state.roots.get(&keyring.root));
        let parts = root.into_iter().flat_map(|root| &root.committees);
        let members = parts.flat_map(|part| part.sharings()).flat_map(|(_, spec, _)| &spec.members);
        members.copied().collect::<BTreeSet<NodeId>>().into_iter().collect()
    }

    /// A ticket of `launcher`, for an agent's key or, without one, for whoever holds the one-time key it names.
    pub fn ticket(
        &mut self,
        tenant: TenantId,
        agent: PrincipalId,
        instance: Instance,
        launcher: &Signer,
    ) -> Verified<Ticket> {
        self.plant_identity("a launcher's", &launcher.identity);
        // The vectors' instances were all launched then; a launcher writes the ticket with the launch.
        let issued = Wall(EPOCH);
        let ticket = Ticket {
            suite: Suite::V1,
            tenant,
            launcher: launcher.identity.principal(),
            nonce: nonce(&mut self.rng),
            instance: Some(instance.name()),
            agent: Some(agent),
            issued,
            expires: issued.plus(Millis::seconds(86_400)),
        };
        Verified::sign(ticket, &launcher.identity)
    }

    /// An agent enrols through a node with a ticket of `launcher`. What custodians say gathers under the handle.
    pub fn enrol(&mut self, node: usize, tenant: TenantId, agent: &Agent, launcher: &Signer) -> Handle {
        let ticket = self.ticket(tenant, agent.id(), agent.instance, launcher);
        self.enrol_with(node, tenant, agent, &ticket, None)
    }

    /// An agent enrols through a node with a ticket. If the ticket names a one-time key, that key vouches for the agent's.
    pub fn enrol_with(
        &mut self,
        node: usize,
        tenant: TenantId,
        agent: &Agent,
        ticket: &Verified<Ticket>,
        bearer: Option<&Identity>,
    ) -> Handle {
        self.enrol_showing(node, tenant, agent, ticket, bearer, agent.instance.document().to_vec())
    }

    /// As [`World::enrol_with`], showing any document.
    pub fn enrol_showing(
        &mut self,
        node: usize,
        tenant: TenantId,
        agent: &Agent,
        ticket: &Verified<Ticket>,
        bearer: Option<&Identity>,
        pkcs7: Vec<u8>,
    ) -> Handle {
        self.plant_identity("an agent's", &agent.identity);
        let issued = Wall(EPOCH + self.at());
        let request = request_id(&mut self.rng);
        let evidence = Evidence::AwsIid { pkcs7 };
        let voucher = bearer.map(|bearer| {
            let (ticket, agent) = (ticket.nonce, agent.id());
            let voucher = Voucher { suite: Suite::V1, bearer: bearer.principal(), tenant, ticket, agent };
            Verified::sign(voucher, bearer).bytes().to_vec()
        });
        let asked = EnrolmentRequest {
            suite: Suite::V1,
            tenant,
            request,
            agent: agent.id(),
            issued,
            evidence: codec::encode(&evidence),
            ticket: ticket.bytes().to_vec(),
            voucher,
        };
        let envelope = Verified::sign(asked, &agent.identity).bytes().to_vec();
        let custodians = self.custodians(node, tenant);
        self.carry(node, request, &custodians, &CustodyMessage::EnrolAsk(envelope))
    }

    /// As [`World::enrol`], asking again until every honest node knows that the agent is bound. Returns whether that came about
    /// within 20 seconds.
    pub fn enrol_now(&mut self, node: usize, tenant: TenantId, agent: &Agent, launcher: &Signer) -> bool {
        for _ in 0..20 {
            self.enrol(node, tenant, agent, launcher);
            let bound = |world: &Self| {
                world.honest().all(|node| {
                    world.node(node).running.is_none()
                        || world
                            .node(node)
                            .view()
                            .and_then(|view| view.tenant(&tenant))
                            .is_some_and(|tenant| tenant.agents.contains_key(&agent.id()))
                })
            };
            if self.run_until(1_000, bound) {
                return true;
            }
        }
        false
    }

    /// An agent asks a node for a key of a leased keyring and waits for the answer.
    pub fn release_now(
        &mut self,
        node: usize,
        tenant: TenantId,
        agent: &Agent,
        key: KeyId,
    ) -> Result<SecretBytes, Denied> {
        let request = agent.wants(tenant, key, &mut self.rng);
        let handle = self.release(node, request);
        self.run_until(5_000, |world| world.outcome(handle).is_some());
        match self.outcomes.remove(&handle) {
            Some(Outcome::Released(result)) => result,
            Some(Outcome::Submitted(_) | Outcome::Gathered(_)) | None => Err(Denied::Down),
        }
    }

    /// An agent has a node carry its question to all custodians.
    pub fn ask(&mut self, node: usize, question: &Question) -> Handle {
        self.plant_as("a one-time secret", question.recipient.expose_secret().expose_secret());
        let custodians = self.guardians(node, question.tenant, &question.key);
        let message = CustodyMessage::QuorumAsk(question.signed.bytes().to_vec());
        self.carry(node, question.request, &custodians, &message)
    }

    fn shown(&self, node: usize, question: &Question) -> Option<Shown> {
        let view = self.node(node).view()?;
        let tenant = view.tenant(&question.tenant)?;
        let key = tenant.tenant().keys.get(&question.key)?;
        let version = &key.versions.last()?.wrapped;
        let root = tenant.tenant().keyrings.get(&key.keyring)?.root;
        Some(Shown {
            root,
            keyring: key.keyring,
            version: version.version,
            hash: version.ciphertext,
            capsule: tenant.blobs.get(&version.ciphertext)?.to_vec(),
            sharings: tenant.sharings.get(&root)?.clone(),
        })
    }

    /// As [`World::opened`], without the culprits.
    ///
    /// # Errors
    /// Why the capsule does not open.
    pub fn open(
        &self,
        node: usize,
        question: &Question,
        recipient: Option<&SealingSecret>,
        handle: Handle,
        most: usize,
    ) -> Result<Vec<u8>, String> {
        self.opened(node, question, recipient, handle, most).0
    }

    /// Opens what the custodians answered with the one-time key in `question`: the agent's own, unless somebody else
    /// tries. At most `most` partials are used. Beside the outcome come the custodians whose partials were found not to
    /// hold; while those that were tried first suffice, no others are looked at.
    pub fn opened(
        &self,
        node: usize,
        question: &Question,
        recipient: Option<&SealingSecret>,
        handle: Handle,
        most: usize,
    ) -> (Result<Vec<u8>, String>, Vec<NodeId>) {
        let mut found = Found::default();
        let opened = self.combined(node, question, recipient, handle, most, &mut found);
        (opened, found.culprits)
    }

    /// What the agent itself finds when it opens all that came.
    pub fn found(&self, node: usize, question: &Question, handle: Handle) -> (Result<Vec<u8>, String>, Found) {
        let mut found = Found::default();
        let opened = self.combined(node, question, None, handle, usize::MAX, &mut found);
        (opened, found)
    }

    fn combined(
        &self,
        node: usize,
        question: &Question,
        recipient: Option<&SealingSecret>,
        handle: Handle,
        most: usize,
        found: &mut Found,
    ) -> Result<Vec<u8>, String> {
        let shown = self.shown(node, question).ok_or("the node does not show the key")?;
        let mesh = self.node(node).view().ok_or("down")?.mesh;
        let purpose = CapsulePurpose::Version { key: question.key, version: shown.version };
        let label = CapsuleLabel {
            suite: Suite::V1,
            mesh,
            tenant: question.tenant,
            root: shown.root,
            keyring: shown.keyring,
            purpose,
        };
        let capsule = Capsule::<Ristretto>::from_bytes(&shown.capsule).map_err(|error| error.to_string())?;
        let current = shown.sharings.iter().filter_map(|committee| committee.last());
        let current: Vec<RootPublic<Ristretto>> = current.map(|sharing| sharing.public.clone()).collect();
        let capsule = capsule.verify(&label.bytes(), &current).map_err(|error| error.to_string())?;
        let head = capsule.head().to_bytes();
        let mut parts: BTreeMap<(NodeId, u8, u32), _> = BTreeMap::new();
        for (custodian, verdict) in self.gathered(handle) {
            let Verdict::Partial(part) = verdict else { continue };
            let binding = binding(question, &shown, custodian, part);
            let given = Contribution::open(recipient.unwrap_or(&question.recipient), &binding, &part.sealed).ok();
            let accuse = |given: &Contribution| given.accuse(&binding, &head);
            let partial = given.as_ref().and_then(|given| Partial::from_bytes(given.partial()).ok());
            let (Some(given), Some(partial)) = (&given, partial) else {
                // Whoever tries with another key than the agent's learns nothing about anybody.
                if recipient.is_none() {
                    found.culprits.push(*custodian);
                    found.proofs.extend(given.as_ref().and_then(accuse));
                }
                continue;
            };
            if parts.len() < most {
                let place = (*custodian, part.committee, part.epoch);
                parts.insert(place, (partial, binding.bytes(), accuse(given)));
            }
        }
        // Parts of two epochs do not add up: of each committee those of the newest that suffice, or of the current one.
        let have =
            |committee: u8, epoch: u32| parts.keys().filter(|(_, of, at)| (*of, *at) == (committee, epoch)).count();
        let chosen = newest_sufficient(&shown.sharings, have);
        let chosen = chosen.unwrap_or_else(|| shown.sharings.iter().filter_map(|committee| committee.last()).collect());
        let publics: Vec<RootPublic<Ristretto>> = chosen.iter().map(|sharing| sharing.public.clone()).collect();
        parts.retain(|(_, committee, epoch), _| {
            chosen.get(usize::from(*committee)).is_some_and(|sharing| sharing.epoch == *epoch)
        });
        let offers: Vec<_> = parts.values().map(|(partial, binding, _)| Offer { partial, binding }).collect();
        let combined = combine(&capsule, &publics, &offers);
        let named = match &combined {
            Ok(opened) => opened.culprits.as_slice(),
            Err(CombineError::NotEnough { culprits, .. } | CombineError::CapsuleUnsound { culprits }) => culprits,
            Err(CombineError::OtherRoots) => &[],
        };
        let named: BTreeSet<usize> = named.iter().map(|culprit| culprit.offer).collect();
        for (offer, ((custodian, ..), (_, _, accusation))) in parts.into_iter().enumerate() {
            match named.contains(&offer) {
                true => {
                    found.culprits.push(custodian);
                    found.proofs.extend(accusation);
                }
                false => found.others.extend(accusation.map(|accusation| (custodian, accusation))),
            }
        }
        combined.map(|opened| opened.payload.to_vec()).map_err(|error| error.to_string())
    }
}

fn binding(question: &Question, shown: &Shown, custodian: &NodeId, part: &SealedPart) -> PartialBinding {
    PartialBinding {
        suite: Suite::V1,
        purpose: PartialPurpose::Release,
        tenant: question.tenant,
        request: question.request,
        capsule: shown.hash,
        recipient: *question.recipient.public().as_bytes(),
        root: shown.root,
        committee: part.committee,
        epoch: part.epoch,
        custodian: *custodian,
        expires: part.expires,
    }
}
