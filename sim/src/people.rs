//! People: they sign with their own keys outside of any node, as the command line does, after reading a node's replica.

use keymesh_custody::{Ristretto, RootPublic, seal};
use keymesh_mesh::state::tenant::GenerationState;
use keymesh_mesh::view::View;
use keymesh_wire::body::{
    Body, CustodyClass, Generation, NewGeneration, NewKey, NewKeyring, NewVersion, Person, WrappedVersion, key_id,
    keyring_id,
};
use keymesh_wire::ids::{
    BlobHash, DocumentId, KeyId, KeyringId, MeshId, NamespaceId, NodeId, Nonce, RootId, StatementId, TenantId,
    VersionId,
};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, VersionLabel};
use keymesh_wire::sealing::{self, SealingPublic, SealingSecret};
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::Checked;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Millis, Wall};
use rand_core::{CryptoRng, Rng};
use sha2::{Digest, Sha256};

use crate::draw;
use crate::node::EPOCH;
use crate::world::World;

/// Somebody with a key.
#[derive(Debug)]
pub struct Signer {
    /// How people call them.
    pub name: &'static str,
    /// Their key.
    pub identity: Identity,
}

impl Signer {
    /// Somebody with a new key.
    pub fn new(name: &'static str, rng: &mut impl CryptoRng) -> Self {
        Self { name, identity: Identity::from_seed(Secret32::random(rng)) }
    }

    /// As statements name them.
    pub fn person(&self) -> Person {
        Person { principal: self.identity.principal(), name: self.name.to_owned() }
    }

    /// A signed statement after `parents`.
    pub fn sign(&self, document: Option<DocumentId>, parents: Vec<StatementId>, at: u64, body: &Body) -> Checked {
        self.sign_at(document, parents, Wall(EPOCH + at), body)
    }

    /// As [`Signer::sign`], at a time that the signer's clock shows.
    fn sign_at(&self, document: Option<DocumentId>, parents: Vec<StatementId>, time: Wall, body: &Body) -> Checked {
        Checked::sign(body, document, parents, time, &self.identity).expect("a body within its limits")
    }
}

impl World {
    /// What somebody who reads a document at a node has seen.
    pub fn heads(&self, node: usize, document: DocumentId) -> Vec<StatementId> {
        let held = self.node(node).replica().and_then(|replica| replica.document(&document));
        held.map(|document| document.graph().parents_for_new()).unwrap_or_default()
    }

    /// Statements by which `signers` together say `body`: the first proposes, the others endorse.
    pub fn together(&self, node: usize, document: DocumentId, signers: &[&Signer], body: &Body) -> Vec<Checked> {
        self.together_at(node, document, signers, Wall(EPOCH + self.at()), body)
    }

    /// As [`World::together`], at a time that the signers' clocks show.
    pub fn together_at(
        &self,
        node: usize,
        document: DocumentId,
        signers: &[&Signer],
        time: Wall,
        body: &Body,
    ) -> Vec<Checked> {
        let Some((first, others)) = signers.split_first() else { return Vec::new() };
        let proposal = first.sign_at(Some(document), self.heads(node, document), time, body);
        let endorsement = Body::Endorse(proposal.id());
        let parents = vec![proposal.id()];
        let mut statements = vec![proposal];
        for other in others {
            statements.push(other.sign_at(Some(document), parents.clone(), time, &endorsement));
        }
        statements
    }

    /// As [`World::together`], handed in at `node` and acknowledged. Returns the proposal's id.
    ///
    /// # Panics
    /// When the node does not acknowledge: the caller's scenario is wrong then.
    pub fn say(&mut self, node: usize, document: DocumentId, signers: &[&Signer], body: &Body) -> StatementId {
        self.say_with(node, document, signers, body, Vec::new())
    }

    /// As [`World::say`], with ciphertexts.
    ///
    /// # Panics
    /// As [`World::say`].
    pub fn say_with(
        &mut self,
        node: usize,
        document: DocumentId,
        signers: &[&Signer],
        body: &Body,
        blobs: Vec<Vec<u8>>,
    ) -> StatementId {
        let statements = self.together(node, document, signers, body);
        let id = statements[0].id();
        match self.submit_now(node, &statements, blobs) {
            Some(Ok(_)) => id,
            Some(Err(error)) => panic!("n{} does not take {}: {error:?}", node + 1, body.kind()),
            None => panic!("n{} does not answer to {}", node + 1, body.kind()),
        }
    }

    /// Somebody carries a whole document from one node to another.
    pub fn hand_over(&mut self, document: DocumentId, from: usize, to: usize) {
        let envelopes = self.node(from).replica().and_then(|replica| replica.statements(&document)).unwrap_or_default();
        let statements: Vec<Checked> = envelopes.iter().filter_map(|bytes| Checked::from_bytes(bytes).ok()).collect();
        let done = self.submit_now(to, &statements, Vec::new());
        if !matches!(done, Some(Ok(_))) {
            self.trace.note(self.at(), format!("n{} does not take {document}: {done:?}", to + 1));
        }
    }
}

/// Random bytes for a nonce.
pub fn nonce(rng: &mut impl Rng) -> Nonce {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    Nonce::from_bytes(bytes)
}

fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(Sha256::digest(bytes).into())
}

/// Something to create: what is said, the ciphertext that goes along, and the id it will have.
#[derive(Debug)]
pub struct Creation<I> {
    /// What is said.
    pub body: Body,
    /// What goes along.
    pub blobs: Vec<Vec<u8>>,
    /// The id.
    pub id: I,
    /// What must be seen nowhere: the secret half of a keyring's generation.
    pub secret: Option<SealingSecret>,
}

/// Where something is created, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Maker<'a> {
    /// Who.
    pub signer: &'a Signer,
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// The root.
    pub root: RootId,
}

impl Maker<'_> {
    fn label(&self, keyring: KeyringId, purpose: CapsulePurpose) -> Vec<u8> {
        let Self { mesh, tenant, root, .. } = *self;
        CapsuleLabel { suite: Suite::V1, mesh, tenant, root, keyring, purpose }.bytes()
    }

    fn publics<'v>(&self, view: &'v View) -> &'v [RootPublic<Ristretto>] {
        view.tenant(&self.tenant).and_then(|tenant| tenant.roots.get(&self.root)).expect("the root is live there")
    }

    /// A leased keyring. `published` replaces the true public half, for creators that lie.
    pub fn leased(
        &self,
        view: &View,
        namespace: NamespaceId,
        name: &str,
        lease: Millis,
        published: Option<[u8; 32]>,
        rng: &mut impl CryptoRng,
    ) -> Creation<KeyringId> {
        let nonce = nonce(rng);
        let id = keyring_id(&self.tenant.into(), &self.signer.identity.principal(), &nonce);
        let secret = SealingSecret::random(rng);
        let public = published.unwrap_or(*secret.public().as_bytes());
        let label = self.label(id, CapsulePurpose::Generation { number: 1, public });
        let capsule = seal(&label, self.publics(view), secret.expose_secret().expose_secret(), rng)
            .expect("a small payload to a live root")
            .to_bytes();
        let generation = Generation { number: 1, public, capsule: hash(&capsule) };
        let class = CustodyClass::Leased { generation, lease };
        let body = Body::CreateKeyring(NewKeyring { nonce, namespace, name: name.to_owned(), root: self.root, class });
        Creation { body, blobs: vec![capsule], id, secret: Some(secret) }
    }

    /// A further generation of a leased keyring.
    pub fn generation(&self, view: &View, keyring: KeyringId, rng: &mut impl CryptoRng) -> Creation<KeyringId> {
        let known = &view.tenant(&self.tenant).expect("a tenant held there").tenant().keyrings[&keyring];
        let secret = SealingSecret::random(rng);
        let (number, public) = (known.next_number(), *secret.public().as_bytes());
        let label = self.label(keyring, CapsulePurpose::Generation { number, public });
        let capsule = seal(&label, self.publics(view), secret.expose_secret().expose_secret(), rng)
            .expect("a small payload to a live root")
            .to_bytes();
        let generation = Generation { number, public, capsule: hash(&capsule) };
        let body = Body::OpenGeneration(NewGeneration { keyring, generation });
        Creation { body, blobs: vec![capsule], id: keyring, secret: Some(secret) }
    }

    /// A quorum keyring.
    pub fn quorum(&self, namespace: NamespaceId, name: &str, rng: &mut impl Rng) -> Creation<KeyringId> {
        let nonce = nonce(rng);
        let id = keyring_id(&self.tenant.into(), &self.signer.identity.principal(), &nonce);
        let class = CustodyClass::Quorum;
        let body = Body::CreateKeyring(NewKeyring { nonce, namespace, name: name.to_owned(), root: self.root, class });
        Creation { body, blobs: Vec::new(), id, secret: None }
    }

    /// A key with `data` in a keyring, sealed as the keyring's class asks.
    pub fn key(
        &self,
        view: &View,
        keyring: KeyringId,
        name: &str,
        data: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> Creation<KeyId> {
        let nonce = nonce(rng);
        let id = key_id(&self.tenant.into(), &self.signer.identity.principal(), &nonce);
        let (version, ciphertext) = self.wrap(view, keyring, id, data, rng);
        let body = Body::CreateKey(NewKey { nonce, keyring, name: name.to_owned(), version });
        Creation { body, blobs: vec![ciphertext], id, secret: None }
    }

    /// A new version of a key, with its ciphertext.
    pub fn version(
        &self,
        view: &View,
        keyring: KeyringId,
        key: KeyId,
        data: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> (Body, Vec<u8>) {
        let (version, ciphertext) = self.wrap(view, keyring, key, data, rng);
        (Body::AddVersion(NewVersion { key, keyring, version }), ciphertext)
    }

    /// A version of a key, sealed as the keyring's class asks.
    fn wrap(
        &self,
        view: &View,
        keyring: KeyringId,
        key: KeyId,
        data: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> (WrappedVersion, Vec<u8>) {
        let mut version = [0; 16];
        rng.fill_bytes(&mut version);
        let version = VersionId::from_bytes(version);
        let known = &view.tenant(&self.tenant).expect("a tenant held there").tenant().keyrings[&keyring];
        let (generation, opened, ciphertext) = match known.class {
            CustodyClass::Leased { .. } => {
                let everybody = |_: &NodeId| true;
                // Some pay no heed to which one is current.
                let drawn = draw::place(rng, 8 * known.generations.len());
                let current = known.current(everybody).or_else(|| known.awaited(everybody));
                let chosen = known.generations.get(drawn).or(current).unwrap_or(&known.generations[0]);
                let GenerationState { id, generation, .. } = chosen;
                let public = SealingPublic::from_bytes(generation.public).expect("a key to seal to");
                let label = VersionLabel {
                    suite: Suite::V1,
                    mesh: self.mesh,
                    tenant: self.tenant,
                    keyring,
                    generation: generation.number,
                    key,
                    version,
                };
                (id.number, id.opened, sealing::seal_to(&public, &label.bytes(), &[], data, rng))
            }
            CustodyClass::Quorum => {
                let label = self.label(keyring, CapsulePurpose::Version { key, version });
                let capsule = seal(&label, self.publics(view), data, rng).expect("a small payload to a live root");
                (0, None, capsule.to_bytes())
            }
        };
        (WrappedVersion { version, generation, ciphertext: hash(&ciphertext), opened }, ciphertext)
    }
}
