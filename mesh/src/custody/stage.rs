//! A mesh with a tenant on five nodes whose root three of them guard, as those nodes hold it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use keymesh_custody::{Capsule, Committee, Dkg, DkgMessage, KeyShare, Output, Ristretto, RootPublic, seal};
use keymesh_wire::body::*;
use keymesh_wire::ids::{BlobHash, DocumentId, KeyId, KeyringId, MeshId, RootId, TenantId};
use keymesh_wire::label::{CapsuleLabel, CapsulePurpose, VersionLabel};
use keymesh_wire::sealing::{self, SealingSecret};
use keymesh_wire::secret::SecretBytes;
use keymesh_wire::suite::Suite;
use keymesh_wire::time::{Boot, Millis, Now, Wall};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use crate::custody::message::CustodyMessage;
use crate::custody::slot::Slot;
use crate::replica::{Channel, Effect, Input, Replica, ReplicaConfig, Stored};
use crate::state::tests::story::*;
use crate::view::{ByTenant, TenantView, View};

/// The members of the root's committee. Two of them are enough.
pub(crate) const CUSTODIANS: [&str; 3] = ["n1", "n3", "n5"];
/// How long a lease lasts.
pub(crate) const LEASE: Millis = Millis::seconds(60);
/// The data key.
pub(crate) const DATA: [u8; 32] = [42; 32];
/// A little after everything was said.
pub(crate) const NOW: Now = Now { wall: Wall(10_000), boot: Boot(10_000) };

/// Everything there is.
pub(crate) struct Stage {
    pub(crate) mesh: Story,
    pub(crate) tenant: Story,
    pub(crate) root: RootId,
    pub(crate) public: RootPublic<Ristretto>,
    pub(crate) shares: Vec<KeyShare<Ristretto>>,
    pub(crate) keyring: KeyringId,
    pub(crate) key: KeyId,
    /// The generation's capsule first.
    pub(crate) blobs: Vec<(BlobHash, Vec<u8>)>,
}

/// How a node introduces itself.
pub(crate) fn card(node: &str) -> NodeCard {
    NodeCard {
        node: who(node),
        sealing: *who(node).as_bytes(),
        name: node.to_owned(),
        zone: "aws/a".into(),
        provider: "aws".into(),
        mesh: vec!["10.0.0.1:1".into()],
        door: vec!["10.0.0.1:2".into()],
    }
}

/// A ciphertext's name.
pub(crate) fn hash(bytes: &[u8]) -> BlobHash {
    BlobHash::from_bytes(Sha256::digest(bytes).into())
}

/// The same view, for a test to change a part of.
pub(crate) fn copy(view: &View) -> View {
    View {
        me: view.me,
        mesh: view.mesh,
        members: view.members.clone(),
        tenants: view.tenants.clone(),
        leases: view.leases.clone(),
        shares: view.shares.clone(),
        fenced: view.fenced.clone(),
        clock_tolerance: view.clock_tolerance,
    }
}

/// A key generation without a network.
pub(crate) fn deal(rng: &mut ChaCha20Rng) -> (RootPublic<Ristretto>, Vec<KeyShare<Ristretto>>) {
    let members: Vec<[u8; 32]> = CUSTODIANS.iter().map(|node| *who(node).as_bytes()).collect();
    let committee = Committee::new(members.clone(), 2).expect("sound");
    let indexes: Vec<_> = members.iter().filter_map(|member| committee.index_of(member)).collect();
    let (mut runs, mut queue) = (Vec::new(), Vec::new());
    for index in &indexes {
        let (run, outputs) = Dkg::<Ristretto>::start(committee.clone(), *index, b"test", rng).expect("a member");
        runs.push(run);
        queue.extend(outputs.into_iter().map(|output| (*index, output)));
    }
    let (mut public, mut shares) = (None, Vec::new());
    while !queue.is_empty() {
        let (from, output) = queue.remove(0);
        let mut deliver = |to: usize, message: DkgMessage<Ristretto>| {
            let outputs = runs[to].handle(from, message).expect("of this run");
            queue.extend(outputs.into_iter().map(|output| (indexes[to], output)));
        };
        match output {
            Output::ToAll(broadcast) => {
                let others = (0..indexes.len()).filter(|to| indexes[*to] != from);
                others.for_each(|to| deliver(to, DkgMessage::Broadcast(broadcast.clone())));
            }
            Output::ToOne { to, sub_share } => deliver(usize::from(to.get()) - 1, DkgMessage::SubShare(sub_share)),
            Output::Done(done) => {
                public = Some(done.public);
                shares.push((from, done.share));
            }
            Output::Aborted(abort) => panic!("{abort}"),
        }
    }
    shares.sort_by_key(|(index, _)| index.get());
    (public.expect("done"), shares.into_iter().map(|(_, share)| share).collect())
}

impl Stage {
    /// The usual one: a leased keyring with a key, a policy that permits everything, an agent bound to `i-1`.
    pub(crate) fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut mesh = Story::mesh(&["op"], 1);
        for node in NODES {
            mesh.say("op", &Body::AdmitNode(card(node)));
        }
        let mut tenant = Story::begin(tenant_genesis_in(mesh.document().into(), &["ann", "bob"], 1));
        let (public, shares) = deal(&mut rng);
        let members = CUSTODIANS.iter().map(|node| who(node)).collect();
        let spec = RootSpec { committees: vec![CommitteeSpec { members, threshold: 2, faults: 1 }] };
        let (root, _) = tenant.together(&["ann", "bob"], &Body::ProposeRoot(spec));
        for node in CUSTODIANS {
            let attestation = RootAttestation {
                root: root.into(),
                committee: 0,
                attempt: 0,
                epoch: 0,
                transcript: blob("transcript"),
                public: public.to_bytes(),
            };
            tenant.say(node, &Body::AttestRoot(attestation));
            tenant.say(node, &vote("agent", "i-1"));
        }
        tenant.say("ann", &policy("permit(principal, action, resource);"));
        let namespace = tenant.namespace("ann", None, "dev");

        let (mesh_id, tenant_id) = (MeshId::from(mesh.document()), TenantId::from(tenant.document()));
        let keyring = keyring_id(&tenant.document(), &who("ann"), &nonce("volumes"));
        let secret = SealingSecret::random(&mut rng);
        let generation = *secret.public().as_bytes();
        let label = CapsuleLabel {
            suite: Suite::V1,
            mesh: mesh_id,
            tenant: tenant_id,
            root: root.into(),
            keyring,
            purpose: CapsulePurpose::Generation { number: 1, public: generation },
        };
        let publics = [public.clone()];
        let exposed = *secret.expose_secret().expose_secret();
        let capsule: Capsule<Ristretto> = seal(&label.bytes(), &publics, &exposed, &mut rng).expect("within limits");
        let capsule = capsule.to_bytes();
        tenant.say(
            "ann",
            &Body::CreateKeyring(NewKeyring {
                nonce: nonce("volumes"),
                namespace,
                name: "volumes".into(),
                root: root.into(),
                class: CustodyClass::Leased {
                    generation: Generation { number: 1, public: generation, capsule: hash(&capsule) },
                    lease: LEASE,
                },
            }),
        );
        let key = key_id(&tenant.document(), &who("ann"), &nonce("disk"));
        let id = version("disk").version;
        let label = VersionLabel {
            suite: Suite::V1,
            mesh: mesh_id,
            tenant: tenant_id,
            keyring,
            generation: 1,
            key,
            version: id,
        };
        let sealed = sealing::seal_to(&secret.public(), &label.bytes(), &[], &DATA, &mut rng);
        tenant.say(
            "ann",
            &Body::CreateKey(NewKey {
                nonce: nonce("disk"),
                keyring,
                name: "disk".into(),
                version: WrappedVersion { version: id, generation: 1, ciphertext: hash(&sealed), opened: None },
            }),
        );
        let blobs = vec![(hash(&capsule), capsule), (hash(&sealed), sealed)];
        Self { mesh, tenant, root: root.into(), public, shares, keyring, key, blobs }
    }

    /// The tenant.
    pub(crate) fn tenant_id(&self) -> TenantId {
        self.tenant.document().into()
    }

    /// The keyring's generation.
    pub(crate) fn generation(&self) -> GenerationRef {
        GenerationRef { keyring: self.keyring, number: 1, opened: None }
    }

    /// The mesh.
    pub(crate) fn mesh_id(&self) -> MeshId {
        self.mesh.document().into()
    }

    /// The tenants of a node that has the statements and lacks the ciphertexts.
    pub(crate) fn without_blobs(&self, name: &str) -> ByTenant<TenantView> {
        let node = self.node(name);
        let held = node.view().tenant(&self.tenant_id()).expect("held").clone();
        let bare = TenantView::build(&held.state, None, Arc::default(), &mut BTreeMap::new()).expect("a tenant's");
        [(self.tenant_id(), Arc::new(bare))].into_iter().collect()
    }

    /// A node that starts with everything on its disk.
    pub(crate) fn node(&self, name: &str) -> Replica {
        let document: DocumentId = self.tenant.document();
        let said = self.mesh.statements().iter().chain(self.tenant.statements());
        let place = CUSTODIANS.iter().position(|custodian| *custodian == name);
        let share = place.map(|place| {
            let slot = Slot::Made { root: self.root, committee: 0, attempt: 0 }.to_string();
            (slot, SecretBytes::from_vec(self.shares[place].expose().to_vec()))
        });
        let stored = Stored {
            statements: said.map(|statement| statement.bytes().to_vec()).collect(),
            blobs: self.blobs.iter().map(|(hash, bytes)| (document, *hash, bytes.clone())).collect(),
            shares: share.into_iter().collect(),
        };
        let config = ReplicaConfig {
            identity: Arc::new(identity(name)),
            mesh: self.mesh_id(),
            clock_tolerance: Millis::seconds(30),
            refresh_after: None,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut replica = Replica::restore(config, stored, NOW, &mut rng).expect("all is there").0;
        // The other custodians know of no words of its own that it lacks: it need not keep silent.
        let asked = replica.step(NOW, &mut rng, Input::Tick);
        let asked = asked.batch.persist(|_| Ok::<_, Infallible>(())).map(|durable| asked.effects.release(&durable));
        for effect in asked.into_iter().flatten() {
            if let Effect::Send { to, channel: Channel::Custody, frame } = effect
                && let Ok(CustodyMessage::TipsAsk(tenant, nonce)) = CustodyMessage::from_frame(&frame)
            {
                let message = CustodyMessage::Tips(tenant, nonce, Vec::new());
                replica.step(NOW, &mut rng, Input::Custody { from: to, message });
            }
        }
        replica
    }
}
