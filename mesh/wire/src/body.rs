//! What statements say.
//!
//! Each kind has a number that is never reused. Kinds below 16 speak about the mesh or about any document, the others
//! about one tenant. Who may say what, and what wins over what, is the fold's business (`keymesh_mesh::state`).

mod accusation;
mod check;
mod sharing;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{
    BlobHash, DocumentId, KeyId, KeyringId, MeshId, NamespaceId, NodeId, Nonce, PrincipalId, RootId, StatementId,
    VersionId,
};
use crate::suite::{LEVEL, Level};
use crate::time::{Millis, Wall};

pub use accusation::{AccusationError, Contribution, CustodianAccusation, PartialClaim};
pub use check::BodyError;
pub use sharing::{Reshare, SharingAct, SharingRef, SharingWord, Transcript};

/// A kind of statement with its content.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// Begins a mesh.
    #[n(0)]
    MeshGenesis(#[n(0)] MeshGenesis),
    /// Proposes that a node belongs to the mesh. Takes effect by endorsements.
    #[n(1)]
    AdmitNode(#[n(0)] NodeCard),
    /// Proposes that a node no longer belongs to the mesh. Takes effect by endorsements; wins over a concurrent admission.
    #[n(2)]
    RemoveNode(#[n(0)] NodeId),
    /// Approves a proposal. Judged at its own place in the causal order.
    #[n(3)]
    Endorse(#[n(0)] StatementId),
    /// Proposes an admin. Takes effect when more than half of the admins endorsed it.
    #[n(4)]
    AddAdmin(#[n(0)] Person),
    /// Proposes that an admin goes. Takes effect when more than half of the admins endorsed it, and stands then.
    #[n(5)]
    RemoveAdmin(#[n(0)] PrincipalId),
    /// Suspends an admin at once, by one other admin.
    #[n(6)]
    SuspendAdmin(#[n(0)] PrincipalId),
    /// Proposes to lift suspensions of an admin that it has seen. Takes effect when more than half endorsed it.
    #[n(7)]
    LiftSuspension(#[n(0)] PrincipalId),
    /// Changes the descriptive fields that people edit.
    #[n(8)]
    Edit(#[n(0)] Vec<EditOp>),

    /// Begins a tenant.
    #[n(16)]
    TenantGenesis(#[n(0)] TenantGenesis),
    /// Proposes where the tenant's bytes may lie and what a node does for it. Takes effect by endorsements.
    #[n(17)]
    PlaceNode(#[n(0)] Placement),
    /// Proposes that a node no longer serves this tenant. Takes effect by endorsements; wins over a concurrent placement.
    #[n(18)]
    DisplaceNode(#[n(0)] NodeId),
    /// Proposes a root. Takes effect when more than half of the admins endorsed it.
    #[n(19)]
    ProposeRoot(#[n(0)] RootSpec),
    /// A custodian's word that its share of a root is on its disk, and the public outcome it saw.
    #[n(20)]
    AttestRoot(#[n(0)] RootAttestation),
    /// Creates a namespace.
    #[n(21)]
    CreateNamespace(#[n(0)] NewNamespace),
    /// Proposes a role for a principal. Takes effect by endorsements.
    #[n(22)]
    Grant(#[n(0)] RoleGrant),
    /// Takes a role away, by one admin; wins over a concurrent grant.
    #[n(23)]
    RevokeGrant(#[n(0)] RoleRevocation),
    /// Creates a keyring.
    #[n(24)]
    CreateKeyring(#[n(0)] NewKeyring),
    /// A lessee's word that it opened a generation, so that it is on record as able to read it, and that its public half is true.
    #[n(26)]
    AttestGeneration(#[n(0)] GenerationRef),
    /// A lessee's accusation: the secret it opened does not belong to the published public half.
    #[n(27)]
    AccuseGeneration(#[n(0)] GenerationRef),
    /// Creates a key with its first version.
    #[n(28)]
    CreateKey(#[n(0)] NewKey),
    /// Adds a version to a key.
    #[n(29)]
    AddVersion(#[n(0)] NewVersion),
    /// Moves a key's state, which only ever moves towards destruction. Destruction takes effect by endorsements.
    #[n(30)]
    SetKeyState(#[n(0)] KeyStateChange),
    /// Proposes the policy of a scope. Takes effect by endorsements.
    #[n(31)]
    SetPolicy(#[n(0)] NewPolicy),
    /// Proposes to trust a certificate that signs instance identity documents. Takes effect by endorsements.
    #[n(32)]
    TrustEvidence(#[n(0)] EvidenceRoot),
    /// Stops trusting a certificate, by one admin; wins over a concurrent trust. Names the certificate's SHA-256.
    #[n(33)]
    DistrustEvidence(#[n(0)] BlobHash),
    /// A custodian's vote that an instance is bound to an agent's key.
    #[n(34)]
    VoteEnrolment(#[n(0)] EnrolmentVote),
    /// Refuses an instance or an agent from now on, by one admin.
    #[n(35)]
    Revoke(#[n(0)] Revocation),
    /// A custodian's word that it holds these denials durably.
    #[n(36)]
    Witness(#[n(0)] Vec<StatementId>),
    /// Gives a keyring, key or namespace another name, which also resolves an ambiguous one.
    #[n(37)]
    Rename(#[n(0)] Renaming),
    /// Proposes new shares among the same custodians. Acts at once: whoever has a part in the root may ask for it.
    #[n(38)]
    RefreshShares(#[n(0)] SharingRef),
    /// Proposes new shares among other custodians. Takes effect when more than half of the admins endorsed it.
    #[n(39)]
    ReshareRoot(#[n(0)] Reshare),
    /// A custodian's word in the making of an epoch.
    #[n(40)]
    Sharing(#[n(0)] SharingWord),
    /// Adds a generation to a leased keyring.
    #[n(50)]
    OpenGeneration(#[n(0)] NewGeneration),
    /// A proof that a custodian gave a partial that does not hold. It acts by its evidence, whoever says it.
    #[n(51)]
    AccuseCustodian(#[n(0)] CustodianAccusation),
}

/// A person who acts by signing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Person {
    /// The person's key.
    #[n(0)]
    pub principal: PrincipalId,
    /// How people call them.
    #[n(1)]
    pub name: String,
}

/// The beginning of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct MeshGenesis {
    /// How people call it.
    #[n(0)]
    pub name: String,
    /// Its first operators. The author is one of them.
    #[n(1)]
    pub founders: Vec<Person>,
    /// How many distinct operators, the proposer included, a guarded change needs.
    #[n(2)]
    pub endorsements: u8,
    /// Makes two meshes with the same founders differ.
    #[n(3)]
    pub salt: Nonce,
}

/// A node as it introduces itself and as the mesh admits it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct NodeCard {
    /// Its Ed25519 key, which is also its transport identity and the key of its TLS certificate.
    #[n(0)]
    pub node: NodeId,
    /// Its X25519 key, to which shares and partials are sealed.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub sealing: [u8; 32],
    /// How people call it.
    #[n(2)]
    pub name: String,
    /// Where it runs, as `provider/zone`.
    #[n(3)]
    pub zone: String,
    /// Who owns the hardware there.
    #[n(4)]
    pub provider: String,
    /// Where other nodes reach it, as `ip:port`.
    #[n(5)]
    pub mesh: Vec<String>,
    /// Where agents and people reach it, as `ip:port`.
    #[n(6)]
    pub door: Vec<String>,
}

/// One change to the descriptive fields of a document.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum EditOp {
    /// Sets the text at a path.
    #[n(0)]
    Put {
        /// Field names from the outside in.
        #[n(0)]
        path: Vec<String>,
        /// The text.
        #[n(1)]
        value: String,
    },
    /// Removes what is at a path.
    #[n(1)]
    Delete {
        /// Field names from the outside in.
        #[n(0)]
        path: Vec<String>,
    },
}

/// The beginning of a tenant. Its trust counts only as signed here and in what follows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct TenantGenesis {
    /// The mesh it lives in.
    #[n(0)]
    pub mesh: MeshId,
    /// Its alias; two tenants with one alias are both refused by alias.
    #[n(1)]
    pub name: String,
    /// Its first admins. The author is one of them.
    #[n(2)]
    pub admins: Vec<Person>,
    /// How many distinct admins, the proposer included, a guarded change needs.
    #[n(3)]
    pub endorsements: u8,
    /// The nodes that hold its bytes, with the facts about them that this tenant believes.
    #[n(4)]
    pub nodes: Vec<Placement>,
    /// Makes two tenants with the same content differ.
    #[n(5)]
    pub salt: Nonce,
}

/// What a node does for a tenant, and the facts about it the tenant signed for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Placement {
    /// The node.
    #[n(0)]
    pub node: NodeId,
    /// Its X25519 key, as the tenant's admins saw it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub sealing: [u8; 32],
    /// Its zone, as the tenant believes.
    #[n(2)]
    pub zone: String,
    /// Its provider, as the tenant believes.
    #[n(3)]
    pub provider: String,
    /// Whether it may lease keyrings and release their keys.
    #[n(4)]
    pub lessee: bool,
}

/// A committee of custodians as proposed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct CommitteeSpec {
    /// The custodians in order; a custodian's share index is its place here, from 1.
    #[n(0)]
    pub members: Vec<NodeId>,
    /// How many must act.
    #[n(1)]
    pub threshold: u8,
    /// Byzantine members tolerated.
    #[n(2)]
    pub faults: u8,
}

/// A root as proposed. All its committees are needed to open anything.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct RootSpec {
    /// The committees, all required.
    #[n(0)]
    pub committees: Vec<CommitteeSpec>,
}

/// What one custodian saw as the outcome of a key generation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct RootAttestation {
    /// The root.
    #[n(0)]
    pub root: RootId,
    /// Which of the root's committees.
    #[n(1)]
    pub committee: u8,
    /// Which attempt at the key generation came to this outcome.
    #[n(2)]
    pub attempt: u32,
    /// The version of the sharing; the first is 0.
    #[n(3)]
    pub epoch: u32,
    /// Hash of the whole transcript.
    #[n(4)]
    pub transcript: BlobHash,
    /// The public key package, as the custody crate encodes it.
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::codec::base64")]
    pub public: Vec<u8>,
}

/// A namespace to create.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct NewNamespace {
    /// The namespace it lies in; absent at the top.
    #[n(0)]
    pub parent: Option<NamespaceId>,
    /// Its name within the parent.
    #[n(1)]
    pub name: String,
}

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum Role {
    /// Creates keyrings and keys in the scope and moves their states.
    #[n(0)]
    NamespaceAdmin,
    /// Signs launch tickets.
    #[n(1)]
    Launcher,
    /// Reads audit records.
    #[n(2)]
    Auditor,
}

/// Where a role holds or a policy applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The whole tenant.
    #[n(0)]
    Tenant,
    /// A namespace and everything in it.
    #[n(1)]
    Namespace(#[n(0)] NamespaceId),
    /// One keyring.
    #[n(2)]
    Keyring(#[n(0)] KeyringId),
}

/// A role to give.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct RoleGrant {
    /// To whom.
    #[n(0)]
    pub principal: PrincipalId,
    /// How people call them; policies see a launcher by this name.
    #[n(1)]
    pub name: String,
    /// Which role.
    #[n(2)]
    pub role: Role,
    /// Where it holds.
    #[n(3)]
    pub scope: Scope,
}

/// A role to take away.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct RoleRevocation {
    /// From whom.
    #[n(0)]
    pub principal: PrincipalId,
    /// Which role.
    #[n(1)]
    pub role: Role,
    /// Where it held.
    #[n(2)]
    pub scope: Scope,
}

/// How a keyring's keys are kept, fixed when it is created.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CustodyClass {
    /// Versions are sealed to a generation's public key; a lessee opens the generation by quorum and releases alone.
    #[n(0)]
    Leased {
        /// The first generation.
        #[n(0)]
        generation: Generation,
        /// How long a lease lasts.
        #[n(1)]
        lease: Millis,
    },
    /// Each version is a capsule of its own, opened by quorum straight to an agent.
    #[n(1)]
    Quorum,
}

/// One version of a leased keyring's wrapping key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1.
    #[n(0)]
    pub number: u32,
    /// The X25519 public half.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub public: [u8; 32],
    /// The capsule that holds the secret half.
    #[n(2)]
    pub capsule: BlobHash,
}

/// A keyring to create.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct NewKeyring {
    /// Random; with the document and the author it makes the keyring's id ([`keyring_id`]), so that the capsule can be
    /// bound to the id before the statement exists and nobody else can claim it.
    #[n(0)]
    pub nonce: Nonce,
    /// The namespace it stays in forever.
    #[n(1)]
    pub namespace: NamespaceId,
    /// Its name in there.
    #[n(2)]
    pub name: String,
    /// The root that guards it.
    #[n(3)]
    pub root: RootId,
    /// How its keys are kept.
    #[n(4)]
    pub class: CustodyClass,
}

/// A generation to add to a leased keyring. Its id is that of the statement; its number is for people, and two sides of a
/// cut may give the same one to theirs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct NewGeneration {
    /// The keyring.
    #[n(0)]
    pub keyring: KeyringId,
    /// The generation; its number is above 1.
    #[n(1)]
    pub generation: Generation,
}

/// Which generation of which keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct GenerationRef {
    /// The keyring.
    #[n(0)]
    pub keyring: KeyringId,
    /// The generation's number.
    #[n(1)]
    pub number: u32,
    /// The statement that opened it; absent for the first, which the keyring was created with.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<StatementId>,
}

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct NewKey {
    /// Random; with the document and the author it makes the key's id ([`key_id`]).
    #[n(0)]
    pub nonce: Nonce,
    /// Its keyring.
    #[n(1)]
    pub keyring: KeyringId,
    /// Its name in there.
    #[n(2)]
    pub name: String,
    /// Its first version.
    #[n(3)]
    pub version: WrappedVersion,
}

/// A version to add to a key.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct NewVersion {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The keyring it lies in, by which the author's right is judged.
    #[n(1)]
    pub keyring: KeyringId,
    /// The version.
    #[n(2)]
    pub version: WrappedVersion,
}

/// A version of a key: where its ciphertext is and what it is sealed to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct WrappedVersion {
    /// Random.
    #[n(0)]
    pub version: VersionId,
    /// The generation it is sealed to; 0 in a quorum keyring.
    #[n(1)]
    pub generation: u32,
    /// The ciphertext or capsule, which lies in the erasable store.
    #[n(2)]
    pub ciphertext: BlobHash,
    /// The statement that opened the generation; absent for the first one and in a quorum keyring.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<StatementId>,
}

impl WrappedVersion {
    /// The generation it is sealed to, if it lies in a leased keyring.
    pub fn sealed_to(&self, keyring: KeyringId) -> GenerationRef {
        GenerationRef { keyring, number: self.generation, opened: self.opened }
    }
}

/// States of a key (NIST SP 800-57 part 1, section 7), in the order in which they may only be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum KeyState {
    /// Released to whom policy permits.
    #[n(0)]
    Active,
    /// Not released for now.
    #[n(1)]
    Suspended,
    /// Not released any more, except that its ciphertext stays.
    #[n(2)]
    Deactivated,
    /// Known or suspected to be known by others.
    #[n(3)]
    Compromised,
    /// Its ciphertexts are erased everywhere and never admitted again.
    #[n(4)]
    Destroyed,
}

/// A move of a key's state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct KeyStateChange {
    /// The key.
    #[n(0)]
    pub key: KeyId,
    /// The keyring it lies in, by which the author's right is judged.
    #[n(1)]
    pub keyring: KeyringId,
    /// Where to.
    #[n(2)]
    pub state: KeyState,
}

/// A policy to set.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct NewPolicy {
    /// Where it applies.
    #[n(0)]
    pub scope: Scope,
    /// Cedar policies.
    #[n(1)]
    pub text: String,
}

/// A certificate whose key signs instance identity documents.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct EvidenceRoot {
    /// What it signs.
    #[n(0)]
    pub kind: EvidenceKind,
    /// The X.509 certificate, DER.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "crate::codec::base64")]
    pub certificate: Vec<u8>,
}

/// A kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cbor(index_only)]
pub enum EvidenceKind {
    /// AWS EC2 instance identity documents.
    #[n(0)]
    AwsInstanceIdentity,
}

/// An instance's identity as evidence shows it, e.g. `aws:123456789012:i-0abc`.
pub type InstanceName = String;

/// Facts about an instance that somebody with authority signed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct InstanceFacts {
    /// Its identity.
    #[n(0)]
    pub instance: InstanceName,
    /// Its provider.
    #[n(1)]
    pub provider: String,
    /// Its account there.
    #[n(2)]
    pub account: String,
    /// Its region.
    #[n(3)]
    pub region: String,
    /// Its zone, as `provider/zone`.
    #[n(4)]
    pub zone: String,
    /// The image it was started from.
    #[n(5)]
    pub image: String,
    /// When it was started, by its provider's word.
    #[n(6)]
    pub pending: Wall,
    /// Who launched it, by the ticket's word.
    #[n(7)]
    pub launched_by: String,
}

/// A custodian's vote on an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct EnrolmentVote {
    /// The agent's key.
    #[n(0)]
    pub agent: PrincipalId,
    /// What the custodian verified.
    #[n(1)]
    pub facts: InstanceFacts,
    /// SHA-256 of the evidence.
    #[n(2)]
    pub evidence: BlobHash,
    /// The ticket's nonce, used up by this.
    #[n(3)]
    pub ticket: Nonce,
    /// The launcher who signed the ticket.
    #[n(4)]
    pub launcher: PrincipalId,
}

/// Whom a revocation refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// An instance, whichever key it shows.
    #[n(0)]
    Instance(#[n(0)] InstanceName),
    /// An agent's key, whichever instance it shows.
    #[n(1)]
    Agent(#[n(0)] PrincipalId),
}

/// A refusal for good.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Revocation {
    /// Whom.
    #[n(0)]
    pub subject: Subject,
    /// Why, for operators.
    #[n(1)]
    pub reason: String,
}

/// What a renaming is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Named {
    /// A namespace.
    #[n(0)]
    Namespace(#[n(0)] NamespaceId),
    /// A keyring.
    #[n(1)]
    Keyring(#[n(0)] KeyringId),
    /// A key.
    #[n(2)]
    Key(#[n(0)] KeyId),
}

/// A new name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Renaming {
    /// For what.
    #[n(0)]
    pub object: Named,
    /// The name.
    #[n(1)]
    pub name: String,
}

/// The id of the keyring that `author` creates with `nonce` in `document`.
pub fn keyring_id(document: &DocumentId, author: &PrincipalId, nonce: &Nonce) -> KeyringId {
    KeyringId::from_bytes(claimed_id("keymesh keyring id v1", document, author, nonce))
}

/// The id of the key that `author` creates with `nonce` in `document`.
pub fn key_id(document: &DocumentId, author: &PrincipalId, nonce: &Nonce) -> KeyId {
    KeyId::from_bytes(claimed_id("keymesh key id v1", document, author, nonce))
}

fn claimed_id(domain: &str, document: &DocumentId, author: &PrincipalId, nonce: &Nonce) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(domain.as_bytes());
    hash.update(document.as_bytes());
    hash.update(author.as_bytes());
    hash.update(nonce.as_bytes());
    hash.finalize().into()
}

impl Body {
    /// The lowest level of software that understands this kind.
    pub fn level(&self) -> Level {
        LEVEL
    }

    /// Whether a statement of this kind begins a document.
    pub fn begins_document(&self) -> bool {
        matches!(self, Self::MeshGenesis(_) | Self::TenantGenesis(_))
    }

    /// The kind's name, for people and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MeshGenesis(_) => "mesh-genesis",
            Self::AdmitNode(_) => "admit-node",
            Self::RemoveNode(_) => "remove-node",
            Self::Endorse(_) => "endorse",
            Self::AddAdmin(_) => "add-admin",
            Self::RemoveAdmin(_) => "remove-admin",
            Self::SuspendAdmin(_) => "suspend-admin",
            Self::LiftSuspension(_) => "lift-suspension",
            Self::Edit(_) => "edit",
            Self::TenantGenesis(_) => "tenant-genesis",
            Self::PlaceNode(_) => "place-node",
            Self::DisplaceNode(_) => "displace-node",
            Self::ProposeRoot(_) => "propose-root",
            Self::AttestRoot(_) => "attest-root",
            Self::CreateNamespace(_) => "create-namespace",
            Self::Grant(_) => "grant",
            Self::RevokeGrant(_) => "revoke-grant",
            Self::CreateKeyring(_) => "create-keyring",
            Self::AttestGeneration(_) => "attest-generation",
            Self::AccuseGeneration(_) => "accuse-generation",
            Self::CreateKey(_) => "create-key",
            Self::AddVersion(_) => "add-version",
            Self::SetKeyState(_) => "set-key-state",
            Self::SetPolicy(_) => "set-policy",
            Self::TrustEvidence(_) => "trust-evidence",
            Self::DistrustEvidence(_) => "distrust-evidence",
            Self::VoteEnrolment(_) => "vote-enrolment",
            Self::Revoke(_) => "revoke",
            Self::Witness(_) => "witness",
            Self::Rename(_) => "rename",
            Self::RefreshShares(_) => "refresh-shares",
            Self::ReshareRoot(_) => "reshare-root",
            Self::Sharing(word) => word.act.kind(),
            Self::OpenGeneration(_) => "open-generation",
            Self::AccuseCustodian(_) => "accuse-custodian",
        }
    }
}
