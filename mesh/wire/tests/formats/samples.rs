//! One value of every kind, by fixed keys, with every optional field present.

use keymesh_wire::audit::{AuditKind, AuditRecord, Outcome};
use keymesh_wire::body::*;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::*;
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, PartialBinding, PartialPurpose, VersionLabel};
use keymesh_wire::request::{EnrolmentRequest, QuorumRequest, Receipt, SessionProof};
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::suite::Suite;
use keymesh_wire::ticket::Ticket;
use keymesh_wire::time::{Millis, Wall};
use sha2::{Digest, Sha256};

/// The moment at which everything was made.
pub const TIME: Wall = Wall(1_700_000_000_000);

/// A fixed key.
pub fn identity(seed: u8) -> Identity {
    Identity::from_seed(Secret32::build(|bytes| bytes.fill(seed)))
}

/// A fixed principal.
pub fn who(seed: u8) -> PrincipalId {
    identity(seed).principal()
}

fn person(seed: u8, name: &str) -> Person {
    Person { principal: who(seed), name: name.into() }
}

fn placement(seed: u8) -> Placement {
    Placement {
        node: who(seed),
        sealing: [seed; 32],
        zone: "aws/eu-west-1a".into(),
        provider: "aws".into(),
        lessee: true,
    }
}

fn statement_id(byte: u8) -> StatementId {
    StatementId::from_bytes([byte; 32])
}

fn keyring() -> KeyringId {
    KeyringId::from_bytes([0x31; 32])
}

fn key() -> KeyId {
    KeyId::from_bytes([0x32; 32])
}

fn version() -> WrappedVersion {
    let (version, ciphertext) = (VersionId::from_bytes([0x33; 16]), BlobHash::from_bytes([0x34; 32]));
    WrappedVersion { version, generation: 1, ciphertext, opened: None }
}

/// A node's card.
pub fn card(seed: u8) -> NodeCard {
    NodeCard {
        node: who(seed),
        sealing: [seed; 32],
        name: format!("node-{seed}"),
        zone: "aws/eu-west-1a".into(),
        provider: "aws".into(),
        mesh: vec!["127.0.0.1:7100".into()],
        door: vec!["127.0.0.1:7200".into(), "127.0.0.2:7200".into()],
    }
}

fn facts() -> InstanceFacts {
    InstanceFacts {
        instance: "aws:123456789012:i-0abc".into(),
        provider: "aws".into(),
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        zone: "aws/eu-west-1a".into(),
        image: "ami-0123".into(),
        pending: TIME,
        launched_by: "deploy".into(),
    }
}

/// One body of every kind, the document's beginnings first.
pub fn bodies() -> Vec<Body> {
    let people = vec![person(1, "ann"), person(2, "bob"), person(3, "cem")];
    let generation = Generation { number: 1, public: [0x35; 32], capsule: BlobHash::from_bytes([0x36; 32]) };
    let reference = GenerationRef { keyring: keyring(), number: 1, opened: None };
    let mut bodies = vec![
        Body::MeshGenesis(MeshGenesis {
            name: "mesh".into(),
            founders: people.clone(),
            endorsements: 2,
            salt: Nonce::from_bytes([0x21; 16]),
        }),
        Body::TenantGenesis(TenantGenesis {
            mesh: MeshId::from_bytes([0x22; 32]),
            name: "acme".into(),
            admins: people,
            endorsements: 2,
            nodes: vec![placement(11), placement(12)],
            salt: Nonce::from_bytes([0x23; 16]),
        }),
        Body::AdmitNode(card(11)),
        Body::RemoveNode(who(11)),
        Body::Endorse(statement_id(0x24)),
        Body::AddAdmin(person(4, "dan")),
        Body::RemoveAdmin(who(2)),
        Body::SuspendAdmin(who(2)),
        Body::LiftSuspension(who(2)),
        Body::Edit(vec![
            EditOp::Put { path: vec!["contact".into(), "mail".into()], value: "ops@example.org".into() },
            EditOp::Delete { path: vec!["note".into()] },
        ]),
        Body::PlaceNode(placement(13)),
        Body::DisplaceNode(who(13)),
        Body::ProposeRoot(RootSpec {
            committees: vec![CommitteeSpec { members: vec![who(11), who(12), who(13)], threshold: 2, faults: 1 }],
        }),
        Body::AttestRoot(RootAttestation {
            root: RootId::from_bytes([0x25; 32]),
            committee: 0,
            attempt: 2,
            epoch: 0,
            transcript: BlobHash::from_bytes([0x26; 32]),
            public: vec![0x27; 40],
        }),
        Body::CreateNamespace(NewNamespace { parent: Some(NamespaceId::from_bytes([0x28; 32])), name: "dev".into() }),
        Body::Grant(RoleGrant {
            principal: who(5),
            name: "deploy".into(),
            role: Role::Launcher,
            scope: Scope::Namespace(NamespaceId::from_bytes([0x28; 32])),
        }),
        Body::RevokeGrant(RoleRevocation { principal: who(5), role: Role::NamespaceAdmin, scope: Scope::Tenant }),
        Body::CreateKeyring(NewKeyring {
            nonce: Nonce::from_bytes([0x29; 16]),
            namespace: NamespaceId::from_bytes([0x28; 32]),
            name: "volumes".into(),
            root: RootId::from_bytes([0x25; 32]),
            class: CustodyClass::Leased { generation, lease: Millis::seconds(60) },
        }),
        Body::AttestGeneration(reference),
        Body::AccuseGeneration(reference),
        Body::CreateKey(NewKey {
            nonce: Nonce::from_bytes([0x2a; 16]),
            keyring: keyring(),
            name: "boot".into(),
            version: version(),
        }),
        Body::AddVersion(NewVersion { key: key(), keyring: keyring(), version: version() }),
        Body::SetKeyState(KeyStateChange { key: key(), keyring: keyring(), state: KeyState::Destroyed }),
        Body::SetPolicy(NewPolicy {
            scope: Scope::Keyring(keyring()),
            text: "permit(principal, action, resource);".into(),
        }),
        Body::TrustEvidence(EvidenceRoot {
            kind: EvidenceKind::AwsInstanceIdentity,
            certificate: b"certificate".to_vec(),
        }),
        Body::DistrustEvidence(BlobHash::from_bytes([0x2b; 32])),
        Body::VoteEnrolment(EnrolmentVote {
            agent: who(6),
            facts: facts(),
            evidence: BlobHash::from_bytes([0x2c; 32]),
            ticket: Nonce::from_bytes([0x2d; 16]),
            launcher: who(5),
        }),
        Body::Revoke(Revocation {
            subject: Subject::Instance("aws:123456789012:i-0abc".into()),
            reason: "stolen".into(),
        }),
        Body::Witness(vec![statement_id(0x2e), statement_id(0x2f)]),
        Body::Rename(Renaming { object: Named::Key(key()), name: "root-volume".into() }),
    ];
    bodies.extend(sharing_bodies());
    let generation = Generation { number: 2, public: [0x30; 32], capsule: BlobHash::from_bytes([0x31; 32]) };
    bodies.push(Body::OpenGeneration(NewGeneration { keyring: keyring(), generation }));
    bodies.push(Body::AccuseCustodian(accusation()));
    bodies
}

/// Fails to compile when a kind is added, as a reminder to add it to [`bodies`] and a golden file.
pub fn is_sampled(body: &Body) -> bool {
    match body {
        Body::MeshGenesis(_)
        | Body::AdmitNode(_)
        | Body::RemoveNode(_)
        | Body::Endorse(_)
        | Body::AddAdmin(_)
        | Body::RemoveAdmin(_)
        | Body::SuspendAdmin(_)
        | Body::LiftSuspension(_)
        | Body::Edit(_)
        | Body::TenantGenesis(_)
        | Body::PlaceNode(_)
        | Body::DisplaceNode(_)
        | Body::ProposeRoot(_)
        | Body::AttestRoot(_)
        | Body::CreateNamespace(_)
        | Body::Grant(_)
        | Body::RevokeGrant(_)
        | Body::CreateKeyring(_)
        | Body::AttestGeneration(_)
        | Body::AccuseGeneration(_)
        | Body::CreateKey(_)
        | Body::AddVersion(_)
        | Body::SetKeyState(_)
        | Body::SetPolicy(_)
        | Body::TrustEvidence(_)
        | Body::DistrustEvidence(_)
        | Body::VoteEnrolment(_)
        | Body::Revoke(_)
        | Body::Witness(_)
        | Body::Rename(_)
        | Body::RefreshShares(_)
        | Body::ReshareRoot(_)
        | Body::OpenGeneration(_)
        | Body::AccuseCustodian(_) => true,
        Body::Sharing(word) => match word.act {
            SharingAct::OfferKey { .. }
            | SharingAct::CallDeals { .. }
            | SharingAct::Deal { .. }
            | SharingAct::Complain { .. }
            | SharingAct::Propose { .. }
            | SharingAct::Prepare { .. }
            | SharingAct::Ready { .. }
            | SharingAct::Commit { .. }
            | SharingAct::Hold
            | SharingAct::Erase => true,
        },
    }
}

/// How many kinds [`is_sampled`] lists.
pub const KINDS: usize = 44;

/// How many of [`bodies`] were there when the file of their ids was first written.
pub const FIRST_KINDS: usize = 30;

/// A body of every kind that is about a change of sharing.
fn sharing_bodies() -> Vec<Body> {
    let sharing = SharingRef { root: RootId::from_bytes([0x25; 32]), committee: 0, epoch: 3 };
    let transcript = Transcript {
        call: statement_id(0x62),
        deals: vec![statement_id(0x63), statement_id(0x64)],
        public: vec![0x65; 40],
        hash: BlobHash::from_bytes([0x66; 32]),
    };
    let id = transcript.id();
    let acts = vec![
        SharingAct::OfferKey { change: statement_id(0x60), key: vec![0x61; 70] },
        SharingAct::CallDeals { change: statement_id(0x60), offers: vec![statement_id(0x67), statement_id(0x68)] },
        SharingAct::Deal { call: statement_id(0x62), deal: vec![0x69; 90] },
        SharingAct::Complain { deal: statement_id(0x63), complaint: vec![0x6a; 60] },
        SharingAct::Propose { ballot: 2, transcript, prepared: Some(1) },
        SharingAct::Prepare { ballot: 2, transcript: id },
        SharingAct::Ready { transcript: id },
        SharingAct::Commit { ballot: 2, transcript: id },
        SharingAct::Hold,
        SharingAct::Erase,
    ];
    let spec = CommitteeSpec { members: vec![who(12), who(13), who(14)], threshold: 2, faults: 1 };
    let proposals = [Body::RefreshShares(sharing), Body::ReshareRoot(Reshare { sharing, spec })];
    proposals.into_iter().chain(acts.into_iter().map(|act| Body::Sharing(SharingWord { sharing, act }))).collect()
}

/// What a custodian signs of a partial that is not one.
pub fn partial_claim() -> PartialClaim {
    let [binding, _] = partial_bindings();
    let capsule = BlobHash::from_bytes(Sha256::digest(CAPSULE).into());
    PartialClaim::new(PartialBinding { capsule, ..binding }, HEAD, PARTIAL)
}

/// An accusation by what the custodian signed.
pub fn accusation() -> CustodianAccusation {
    CustodianAccusation {
        claim: Verified::sign(partial_claim(), &identity(11)).bytes().to_vec(),
        partial: PARTIAL.to_vec(),
    }
}

const PARTIAL: &[u8] = b"a partial";
const CAPSULE: &[u8] = b"a capsule";
/// As good as a capsule's head, for whoever does not look into it.
pub const HEAD: &[u8] = b"a head";

/// A statement that says `body`.
pub fn statement(body: &Body) -> Checked {
    let (document, parents) = if body.begins_document() {
        (None, Vec::new())
    } else {
        (Some(DocumentId::from_bytes([0x41; 32])), vec![statement_id(0x42), statement_id(0x43)])
    };
    Checked::sign(body, document, parents, TIME, &identity(1)).expect("within the limits")
}

/// A launch ticket.
pub fn ticket() -> Ticket {
    Ticket {
        suite: Suite::V1,
        tenant: TenantId::from_bytes([0x51; 32]),
        launcher: who(5),
        nonce: Nonce::from_bytes([0x52; 16]),
        instance: Some("aws:123456789012:i-0abc".into()),
        agent: Some(who(6)),
        issued: TIME,
        expires: TIME.plus(Millis::seconds(600)),
    }
}

/// A session proof.
pub fn session_proof() -> SessionProof {
    SessionProof {
        suite: Suite::V1,
        mesh: MeshId::from_bytes([0x53; 32]),
        node: who(11),
        tenant: TenantId::from_bytes([0x51; 32]),
        agent: who(6),
        exporter: [0x54; 32],
        recipient: [0x55; 32],
    }
}

/// An enrolment request.
pub fn enrolment_request() -> EnrolmentRequest {
    EnrolmentRequest {
        suite: Suite::V1,
        tenant: TenantId::from_bytes([0x51; 32]),
        request: RequestId::from_bytes([0x56; 16]),
        agent: who(6),
        issued: TIME,
        evidence: b"evidence".to_vec(),
        ticket: b"ticket".to_vec(),
        voucher: None,
    }
}

/// A quorum request.
pub fn quorum_request() -> QuorumRequest {
    QuorumRequest {
        suite: Suite::V1,
        tenant: TenantId::from_bytes([0x51; 32]),
        request: RequestId::from_bytes([0x56; 16]),
        agent: who(6),
        issued: TIME,
        key: key(),
        version: Some(VersionId::from_bytes([0x33; 16])),
        recipient: [0x55; 32],
        receipt: Receipt { boot: Some("boot-id".into()), counter: Some(7), previous: Some("00ff".into()) },
    }
}

/// A capsule's label for each purpose.
pub fn capsule_labels() -> [CapsuleLabel; 2] {
    let label = |purpose| CapsuleLabel {
        suite: Suite::V1,
        mesh: MeshId::from_bytes([0x53; 32]),
        tenant: TenantId::from_bytes([0x51; 32]),
        root: RootId::from_bytes([0x25; 32]),
        keyring: keyring(),
        purpose,
    };
    [
        label(CapsulePurpose::Generation { number: 1, public: [0x35; 32] }),
        label(CapsulePurpose::Version { key: key(), version: VersionId::from_bytes([0x33; 16]) }),
    ]
}

/// A version's label.
pub fn version_label() -> VersionLabel {
    VersionLabel {
        suite: Suite::V1,
        mesh: MeshId::from_bytes([0x53; 32]),
        tenant: TenantId::from_bytes([0x51; 32]),
        keyring: keyring(),
        generation: 1,
        key: key(),
        version: VersionId::from_bytes([0x33; 16]),
    }
}

/// A partial's binding for each purpose.
pub fn partial_bindings() -> [PartialBinding; 2] {
    [PartialPurpose::Lease, PartialPurpose::Release].map(|purpose| PartialBinding {
        suite: Suite::V1,
        purpose,
        tenant: TenantId::from_bytes([0x51; 32]),
        request: RequestId::from_bytes([0x56; 16]),
        capsule: BlobHash::from_bytes([0x36; 32]),
        recipient: [0x55; 32],
        root: RootId::from_bytes([0x25; 32]),
        committee: 1,
        epoch: 3,
        custodian: who(11),
        expires: TIME,
    })
}

/// An audit record with every field, and one with only what each has.
pub fn audit_records() -> [AuditRecord; 2] {
    let request = RequestId::from_bytes([0x56; 16]);
    let whole = AuditRecord {
        reason: Some("policy".into()),
        tenant: Some(TenantId::from_bytes([0x51; 32])),
        asker: Some(who(6)),
        instance: Some("aws:123456789012:i-0abc".into()),
        zone: Some("aws/eu-west-1a".into()),
        image: Some("ami-0123".into()),
        launched_by: Some("deploy".into()),
        keyring: Some(keyring()),
        class: Some("leased".into()),
        key: Some(key()),
        version: Some(VersionId::from_bytes([0x33; 16])),
        policies: vec![statement_id(0x61)],
        approvers: vec![who(1)],
        custodians: vec![who(11), who(12)],
        trace: Some("trace-1".into()),
        ..AuditRecord::new(AuditKind::Release, Outcome::Refused, TIME, who(11), request)
    };
    [whole, AuditRecord::new(AuditKind::Start, Outcome::Allowed, TIME, who(11), request)]
}
