//! The people of a benchmark and what they say: the same statements for a mesh of processes and for one in memory.
//!
//! One founder, two admins (she is one of them) and a launcher. Anything but a root needs one of them.

use keymesh_agent::system::{random_bytes, randomness, wall};
use keymesh_custody::{Ristretto, RootPublic};
use keymesh_wire::body::{
    Body, CommitteeSpec, CustodyClass, EvidenceKind, EvidenceRoot, Generation, MeshGenesis, NewKey, NewKeyring,
    NewNamespace, NewPolicy, NodeCard, Person, Placement, Role, RoleGrant, RootSpec, Scope, TenantGenesis,
    WrappedVersion, key_id, keyring_id,
};
use keymesh_wire::ids::{KeyId, KeyringId, MeshId, NamespaceId, Nonce, RootId, StatementId, TenantId, VersionId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, VersionLabel};
use keymesh_wire::sealing::{SealingSecret, seal_to};
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::suite::Suite;
use keymesh_wire::ticket::Ticket;
use keymesh_wire::time::{Millis, Wall};

use crate::draft::Draft;
use crate::error::BenchError;

/// As in the demo: short enough that a run of a minute renews.
const LEASE: Millis = Millis::seconds(60);
/// How long a launch ticket is good for.
const TICKET: Millis = Millis::seconds(600);
const POLICY: &str = "permit(principal is Instance, action == Action::\"release\", resource) \
                      when { context.zone == \"aws/eu-west-1a\" && context.launched_by == \"deploy\" };";

/// Those who may speak.
#[derive(Debug)]
pub struct People {
    /// Founded the mesh and is an admin of every tenant.
    pub ann: Identity,
    /// The other admin.
    pub bob: Identity,
    /// Launches instances.
    pub deploy: Identity,
    /// How long leases last that they agree upon from now on.
    pub lease: Millis,
}

/// A tenant: two admins, any one of whom signs for what is not about roots.
#[derive(Debug)]
pub struct Tenant {
    /// Its mesh.
    pub mesh: MeshId,
    /// Its id.
    pub id: TenantId,
    /// Its document as it is being written here.
    pub draft: Draft,
}

/// The custodians of a root: the first `members` nodes, of whom `threshold` are needed and `faults` may lie.
#[derive(Debug, Clone, Copy)]
pub struct Committee {
    /// How many nodes.
    pub members: usize,
    /// How many open.
    pub threshold: u8,
    /// How many may lie.
    pub faults: u8,
}

impl Committee {
    /// All of five nodes.
    pub const FIVE: Self = Self { members: 5, threshold: 3, faults: 1 };

    /// As people agree upon it.
    pub fn spec(&self, cards: &[NodeCard]) -> CommitteeSpec {
        let members = cards.iter().take(self.members).map(|card| card.node).collect();
        CommitteeSpec { members, threshold: self.threshold, faults: self.faults }
    }

    /// How many of them have to vote for what comes after them.
    pub fn quorum(&self) -> usize {
        ((self.members + usize::from(self.faults)) / 2 + 1).max(usize::from(self.threshold))
    }
}

/// Keys that an agent may have.
#[derive(Debug)]
pub struct Keys {
    /// Of the leased keyring.
    pub leased: KeyId,
    /// Of the quorum keyring.
    pub quorum: KeyId,
    /// The leased keyring.
    pub leased_ring: KeyringId,
    /// What a lessee opens: the secret half of the leased keyring's first generation.
    pub generation: SealingSecret,
}

impl People {
    /// Strangers to everybody.
    pub fn new() -> Self {
        let [ann, bob, deploy] = [(); 3].map(|()| Identity::generate(&mut randomness()));
        Self { ann, bob, deploy, lease: LEASE }
    }

    /// A mesh that ann founds.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn mesh(&self) -> Result<Draft, BenchError> {
        let genesis = MeshGenesis {
            name: "benches".to_owned(),
            founders: vec![person(&self.ann, "ann")],
            endorsements: 1,
            salt: nonce(),
        };
        Draft::begin(&Body::MeshGenesis(genesis), &self.ann, wall())
    }

    /// A tenant on all of these nodes.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn tenant(&self, mesh: MeshId, name: &str, cards: &[NodeCard]) -> Result<Tenant, BenchError> {
        let placement = |card: &NodeCard| Placement {
            node: card.node,
            sealing: card.sealing,
            zone: card.zone.clone(),
            provider: card.provider.clone(),
            lessee: true,
        };
        let genesis = TenantGenesis {
            mesh,
            name: name.to_owned(),
            admins: vec![person(&self.ann, "ann"), person(&self.bob, "bob")],
            endorsements: 1,
            nodes: cards.iter().map(placement).collect(),
            salt: nonce(),
        };
        let draft = Draft::begin(&Body::TenantGenesis(genesis), &self.ann, wall())?;
        Ok(Tenant { mesh, id: TenantId::from(draft.id()), draft })
    }

    /// Something that ann says as an admin.
    ///
    /// # Errors
    /// [`BenchError::Statement`].
    pub fn say(&self, tenant: &mut Tenant, body: &Body) -> Result<StatementId, BenchError> {
        tenant.draft.say(body, &self.ann, wall())
    }

    /// Proposes a root of one committee.
    ///
    /// # Errors
    /// [`BenchError::Statement`].
    pub fn propose_root(
        &self,
        tenant: &mut Tenant,
        cards: &[NodeCard],
        committee: Committee,
    ) -> Result<RootId, BenchError> {
        let committees = vec![committee.spec(cards)];
        Ok(RootId::from(self.say(tenant, &Body::ProposeRoot(RootSpec { committees }))?))
    }

    /// The second endorsement, with which a change of custody is in effect.
    ///
    /// # Errors
    /// [`BenchError::Statement`].
    pub fn endorse(&self, tenant: &mut Tenant, proposal: StatementId) -> Result<StatementId, BenchError> {
        tenant.draft.say(&Body::Endorse(proposal), &self.bob, wall())
    }

    /// Makes a leased and a quorum keyring with a key in each, and a policy under which an instance that `deploy`
    /// launched in `aws/eu-west-1a` may have them. The tenant has a root; `certificate` (DER) signs evidence. `attested`
    /// waits until a lessee opened the leased keyring, before which nodes take no keys in it.
    ///
    /// # Errors
    /// [`BenchError`].
    pub fn keys(
        &self,
        tenant: &mut Tenant,
        certificate: Vec<u8>,
        attested: impl FnOnce(&mut Tenant, KeyringId) -> Result<(), BenchError>,
    ) -> Result<Keys, BenchError> {
        let trusted = EvidenceRoot { kind: EvidenceKind::AwsInstanceIdentity, certificate };
        self.say(tenant, &Body::TrustEvidence(trusted))?;
        let (principal, name) = (self.deploy.principal(), "deploy".to_owned());
        self.say(tenant, &Body::Grant(RoleGrant { principal, name, role: Role::Launcher, scope: Scope::Tenant }))?;
        let namespace = NewNamespace { parent: None, name: "payments".to_owned() };
        let namespace = NamespaceId::from(self.say(tenant, &Body::CreateNamespace(namespace))?);
        let scope = Scope::Namespace(namespace);
        self.say(tenant, &Body::SetPolicy(NewPolicy { scope, text: POLICY.to_owned() }))?;
        let (leased_ring, leased, generation) = self.leased_key(tenant, namespace, attested)?;
        let quorum = self.quorum_key(tenant, namespace)?;
        tenant.draft.fold();
        Ok(Keys { leased, quorum, leased_ring, generation })
    }

    fn leased_key(
        &self,
        tenant: &mut Tenant,
        namespace: NamespaceId,
        attested: impl FnOnce(&mut Tenant, KeyringId) -> Result<(), BenchError>,
    ) -> Result<(KeyringId, KeyId, SealingSecret), BenchError> {
        let nonce = nonce();
        let keyring = keyring_id(&tenant.draft.id(), &self.ann.principal(), &nonce);
        let pair = SealingSecret::random(&mut randomness());
        let public = *pair.public().as_bytes();
        let purpose = CapsulePurpose::Generation { number: 1, public };
        let (root, capsule) = capsule(tenant, keyring, purpose, pair.expose_secret().expose_secret())?;
        let generation = Generation { number: 1, public, capsule: tenant.draft.attach(capsule) };
        let class = CustodyClass::Leased { generation, lease: self.lease };
        let name = "volumes".to_owned();
        self.say(tenant, &Body::CreateKeyring(NewKeyring { nonce, namespace, name, root, class }))?;
        attested(tenant, keyring)?;
        let key = self.key(tenant, keyring, 1, |tenant, key, version, secret| {
            let (mesh, tenant) = (tenant.mesh, tenant.id);
            let label = VersionLabel { suite: Suite::V1, mesh, tenant, keyring, generation: 1, key, version };
            Ok(seal_to(&pair.public(), &label.bytes(), &[], secret.expose_secret(), &mut randomness()))
        })?;
        Ok((keyring, key, pair))
    }

    fn quorum_key(&self, tenant: &mut Tenant, namespace: NamespaceId) -> Result<KeyId, BenchError> {
        let nonce = nonce();
        let keyring = keyring_id(&tenant.draft.id(), &self.ann.principal(), &nonce);
        let root = live_root(tenant)?.0;
        let (name, class) = ("vault".to_owned(), CustodyClass::Quorum);
        self.say(tenant, &Body::CreateKeyring(NewKeyring { nonce, namespace, name, root, class }))?;
        self.key(tenant, keyring, 0, |tenant, key, version, secret| {
            let purpose = CapsulePurpose::Version { key, version };
            Ok(capsule(tenant, keyring, purpose, secret.expose_secret())?.1)
        })
    }

    fn key(
        &self,
        tenant: &mut Tenant,
        keyring: KeyringId,
        generation: u32,
        seal: impl FnOnce(&Tenant, KeyId, VersionId, &Secret32) -> Result<Vec<u8>, BenchError>,
    ) -> Result<KeyId, BenchError> {
        let nonce = nonce();
        let key = key_id(&tenant.draft.id(), &self.ann.principal(), &nonce);
        let version = VersionId::from_bytes(random_bytes());
        let sealed = seal(tenant, key, version, &Secret32::random(&mut randomness()))?;
        let version = WrappedVersion { version, generation, ciphertext: tenant.draft.attach(sealed), opened: None };
        self.say(tenant, &Body::CreateKey(NewKey { nonce, keyring, name: "web-1".to_owned(), version }))?;
        Ok(key)
    }

    /// What `deploy` signs about an instance that it launches now.
    pub fn ticket(&self, tenant: &Tenant, instance: &str, agent: &Identity) -> Ticket {
        let issued = wall();
        Ticket {
            suite: Suite::V1,
            tenant: tenant.id,
            launcher: self.deploy.principal(),
            nonce: nonce(),
            instance: Some(instance.to_owned()),
            agent: Some(agent.principal()),
            issued,
            expires: Wall(issued.0 + TICKET.0),
        }
    }
}

impl Default for People {
    fn default() -> Self {
        Self::new()
    }
}

fn person(who: &Identity, name: &str) -> Person {
    Person { principal: who.principal(), name: name.to_owned() }
}

fn nonce() -> Nonce {
    Nonce::from_bytes(random_bytes())
}

fn capsule(
    tenant: &Tenant,
    keyring: KeyringId,
    purpose: CapsulePurpose,
    payload: &[u8],
) -> Result<(RootId, Vec<u8>), BenchError> {
    let (root, publics) = live_root(tenant)?;
    let label = CapsuleLabel { suite: Suite::V1, mesh: tenant.mesh, tenant: tenant.id, root, keyring, purpose };
    Ok((root, keymesh_custody::seal(&label.bytes(), &publics, payload, &mut randomness())?.to_bytes()))
}

fn live_root(tenant: &Tenant) -> Result<(RootId, Vec<RootPublic<Ristretto>>), BenchError> {
    let none = BenchError::Unexpected("the tenant has no live root");
    let root = tenant.draft.tenant()?.live_root().ok_or(none)?;
    let publics = root.committees.iter().filter_map(|committee| committee.public.as_deref());
    let publics = publics.map(RootPublic::from_bytes).collect::<Result<_, _>>()?;
    Ok((root.id, publics))
}
