//! The ground on which scenarios stand: a mesh with its nodes, a tenant with two admins, a root, a policy and a launcher.

use keymesh_mesh::state::TenantState;
use keymesh_wire::body::{
    Body, CommitteeSpec, CustodyClass, MeshGenesis, NewNamespace, NewPolicy, Revocation, Role, RoleGrant, RootSpec,
    Scope, Subject, TenantGenesis,
};
use keymesh_wire::ids::{DocumentId, KeyId, KeyringId, MeshId, NamespaceId, RootId, StatementId, TenantId};
use keymesh_wire::time::Millis;
use rand_core::Rng;

use crate::agents::{Agent, evidence_root};
use crate::model::{Match, Rule};
use crate::people::{Creation, Maker, Signer, nonce};
use crate::world::{Plan, World};

/// Keys are released in one zone to what `deploy` launched, and nowhere else.
pub const POLICY: &str = r#"permit(principal, action, resource)
when { context.zone == "aws/eu-west-1a" && context.launched_by == "deploy" };"#;

/// A world with a mesh and a tenant in it.
#[derive(Debug)]
pub struct Ground {
    /// The world.
    pub world: World,
    /// The mesh.
    pub mesh: MeshId,
    /// The tenant.
    pub tenant: TenantId,
    /// Those who operate the mesh.
    pub founders: [Signer; 2],
    /// The tenant's admins.
    pub admins: [Signer; 2],
    /// The registered launcher.
    pub launcher: Signer,
    /// The tenant's namespace `payments`.
    pub namespace: Option<NamespaceId>,
    /// The tenant's root.
    pub root: Option<RootId>,
}

impl Ground {
    /// Founds a mesh, admits every node, and begins a tenant that lies on all of them. No root yet.
    ///
    /// # Panics
    /// When that does not come about: nothing else can be looked at then.
    pub fn new(seed: u64, plan: Plan) -> Self {
        Self::found(World::new(seed, plan))
    }

    /// As [`Ground::new`], in a world with places of its own.
    ///
    /// # Panics
    /// As [`Ground::new`].
    pub fn found(mut world: World) -> Self {
        let permitted = Match { zone: Some("aws/eu-west-1a".into()), launched_by: Some("deploy".into()) };
        world.watch.model.policy(POLICY, Rule { permits: vec![permitted], forbids: Vec::new() });
        let mut person = |name| Signer::new(name, &mut world.rng);
        let founders = [person("fay"), person("gus")];
        let admins = [person("ann"), person("bob")];
        let launcher = person("deploy");
        for person in founders.iter().chain(&admins).chain([&launcher]) {
            world.plant_identity(&format!("{}'s", person.name), &person.identity);
        }
        let genesis = Body::MeshGenesis(MeshGenesis {
            name: "mesh".into(),
            founders: founders.iter().map(Signer::person).collect(),
            endorsements: 2,
            salt: nonce(&mut world.rng),
        });
        let genesis = founders[0].sign(None, Vec::new(), 0, &genesis);
        let mesh = MeshId::from(genesis.id());
        world.start_all(&genesis);
        let together = [&founders[0], &founders[1]];
        for node in 0..world.size() {
            let card = world.node(node).card.clone();
            world.say(0, mesh.into(), &together, &Body::AdmitNode(card));
        }
        for node in 1..world.size() {
            world.hand_over(mesh.into(), 0, node);
        }
        world.trace.note(world.at(), format!("{} nodes admitted", world.size()));
        let tenant = Body::TenantGenesis(TenantGenesis {
            mesh,
            name: "acme".into(),
            admins: admins.iter().map(Signer::person).collect(),
            endorsements: 2,
            nodes: (0..world.size()).map(|node| world.node(node).placement()).collect(),
            salt: nonce(&mut world.rng),
        });
        let tenant = admins[0].sign(None, Vec::new(), world.at(), &tenant);
        let done = world.submit_now(0, std::slice::from_ref(&tenant), Vec::new());
        assert!(matches!(done, Some(Ok(_))), "the tenant is not taken: {done:?}");
        let tenant = TenantId::from(tenant.id());
        let mut ground = Self { world, mesh, tenant, founders, admins, launcher, namespace: None, root: None };
        let here = ground.world.run_until(60_000, |world| {
            (0..world.size()).all(|node| world.tenant(node, tenant).is_some()) && world.is_converged()
        });
        assert!(here, "mesh and tenant do not reach every node");
        ground.world.trace.note(ground.world.at(), "tenant acme is everywhere");
        ground
    }

    /// As [`Ground::new`], with a root of `threshold` of all nodes, a policy, evidence, a launcher and a namespace.
    ///
    /// # Panics
    /// When that does not come about.
    pub fn with_root(seed: u64, plan: Plan, threshold: u8, faults: u8) -> Self {
        let mut ground = Self::new(seed, plan);
        let members = (0..ground.world.size()).collect::<Vec<_>>();
        let root = ground.propose_root(&members, threshold, faults);
        ground.await_root(root);
        ground.furnish();
        ground
    }

    /// Waits until a root is live everywhere, and takes it for what is created from now on.
    ///
    /// # Panics
    /// When it is not live in two minutes.
    pub fn await_root(&mut self, root: RootId) {
        let tenant = self.tenant;
        assert!(self.world.run_until(120_000, |world| is_live(world, tenant, root)), "no root");
        self.world.trace.note(self.world.at(), "the root is live everywhere");
        self.root = Some(root);
    }

    /// The tenant's document.
    pub fn document(&self) -> DocumentId {
        self.tenant.into()
    }

    /// Both admins say something at a node.
    pub fn admins_say(&mut self, node: usize, body: &Body) -> StatementId {
        let document = self.document();
        self.world.say(node, document, &[&self.admins[0], &self.admins[1]], body)
    }

    /// One admin says something at a node.
    pub fn admin_says(&mut self, node: usize, body: &Body) -> StatementId {
        let document = self.document();
        self.world.say(node, document, &[&self.admins[0]], body)
    }

    /// Both admins propose a root of these nodes.
    pub fn propose_root(&mut self, members: &[usize], threshold: u8, faults: u8) -> RootId {
        self.propose_committees(&[(members, threshold, faults)])
    }

    /// Both admins propose a root that needs each of these committees: members, threshold, faults.
    pub fn propose_committees(&mut self, committees: &[(&[usize], u8, u8)]) -> RootId {
        let committee = |(members, threshold, faults): &(&[usize], u8, u8)| CommitteeSpec {
            members: members.iter().map(|node| self.world.node(*node).id()).collect(),
            threshold: *threshold,
            faults: *faults,
        };
        let spec = RootSpec { committees: committees.iter().map(committee).collect() };
        self.admins_say(0, &Body::ProposeRoot(spec)).into()
    }

    /// Policy, evidence, launcher and namespace, said at the first node and awaited everywhere.
    ///
    /// # Panics
    /// When they do not get everywhere.
    pub fn furnish(&mut self) {
        self.admins_say(0, &Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: POLICY.into() }));
        self.admins_say(0, &Body::TrustEvidence(evidence_root()));
        let launcher = self.launcher.identity.principal();
        let grant =
            RoleGrant { principal: launcher, name: "deploy".into(), role: Role::Launcher, scope: Scope::Tenant };
        self.admins_say(0, &Body::Grant(grant));
        let namespace = Body::CreateNamespace(NewNamespace { parent: None, name: "payments".into() });
        self.namespace = Some(self.admin_says(0, &namespace).into());
        assert!(self.settle(), "policy and people do not get everywhere");
    }

    /// Waits until all nodes have the same; at most a minute.
    pub fn settle(&mut self) -> bool {
        self.world.run_until(60_000, World::is_converged)
    }

    fn maker(&self) -> Maker<'_> {
        let root = self.root.expect("a root");
        Maker { signer: &self.admins[0], mesh: self.mesh, tenant: self.tenant, root }
    }

    fn create<I>(&mut self, node: usize, creation: Creation<I>) -> I {
        self.world.plant_creation(&creation);
        let document = self.document();
        self.world.say_with(node, document, &[&self.admins[0]], &creation.body, creation.blobs);
        creation.id
    }

    /// A leased keyring, created at a node. `published` replaces the true public half.
    ///
    /// # Panics
    /// When the node does not take it.
    pub fn leased_keyring(&mut self, node: usize, name: &str, lease: Millis, published: Option<[u8; 32]>) -> KeyringId {
        let namespace = self.namespace.expect("a namespace");
        let view = self.world.node(node).view().expect("a running node").clone();
        let mut rng = self.world.rng.clone();
        let creation = self.maker().leased(&view, namespace, name, lease, published, &mut rng);
        self.world.rng = rng;
        self.create(node, creation)
    }

    /// A quorum keyring, created at a node.
    ///
    /// # Panics
    /// When the node does not take it.
    pub fn quorum_keyring(&mut self, node: usize, name: &str) -> KeyringId {
        let namespace = self.namespace.expect("a namespace");
        let mut rng = self.world.rng.clone();
        let creation = self.maker().quorum(namespace, name, &mut rng);
        self.world.rng = rng;
        self.create(node, creation)
    }

    /// Waits until a node knows a generation of a keyring that keys can be sealed to; at most half a minute.
    pub fn await_generation(&mut self, node: usize, keyring: KeyringId) -> bool {
        let tenant = self.tenant;
        let fit = |world: &World| {
            let known = world.tenant(node, tenant).and_then(|state| state.keyrings.get(&keyring));
            known.is_some_and(|known| known.class == CustodyClass::Quorum || known.current(|_| true).is_some())
        };
        self.world.run_until(30_000, fit)
    }

    /// A key with fresh data, created at a node once keys can be sealed there. Returns the key and the planted data key.
    ///
    /// # Panics
    /// When the node does not take it.
    pub fn key(&mut self, node: usize, keyring: KeyringId, name: &str) -> (KeyId, [u8; 32]) {
        let mut data = [0; 32];
        self.world.rng.fill_bytes(&mut data);
        if !self.await_generation(node, keyring) {
            self.world.trace.note(self.world.at(), "nobody attests the generation; sealed to it all the same");
        }
        let view = self.world.node(node).view().expect("a running node").clone();
        let mut rng = self.world.rng.clone();
        let creation = self.maker().key(&view, keyring, name, &data, &mut rng);
        self.world.rng = rng;
        self.world.plant_key(&creation, &data);
        (self.create(node, creation), data)
    }

    /// An admin revokes an agent's instance at a node.
    pub fn revoke(&mut self, node: usize, agent: &Agent) -> StatementId {
        let subject = Subject::Instance(agent.instance.name());
        let id = self.admin_says(node, &Body::Revoke(Revocation { subject, reason: "stolen".into() }));
        self.world.trace.note(self.world.at(), format!("{:?} revoked at n{}", agent.instance, node + 1));
        id
    }

    /// The tenant as a node sees it.
    ///
    /// # Panics
    /// When the node is down or does not hold it.
    pub fn state(&self, node: usize) -> &TenantState {
        self.world.tenant(node, self.tenant).expect("a running node with the tenant")
    }

    /// Everything that must hold at the end of any run.
    pub fn finish(&mut self) {
        self.world.check_secrets();
        self.world.check_shares();
        self.world.check_fields();
        let lost: Vec<StatementId> = (self.world.acknowledged())
            .filter(|(_, (at, _))| !self.world.is_liar(*at))
            .filter(|(id, _)| self.world.honest().any(|node| !self.world.node(node).disk.has(id)))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.world.violation(format!("I8: {id} was acknowledged and is not everywhere"));
        }
    }
}

/// Whether a root is live at every running honest node, with its share at hand where the node is a member.
pub fn is_live(world: &World, tenant: TenantId, root: RootId) -> bool {
    world.honest().filter(|node| world.node(*node).running.is_some()).all(|node| {
        let live = world.tenant(node, tenant).and_then(|state| state.roots.get(&root)).is_some_and(|root| root.live);
        let id = world.node(node).id();
        let committees =
            world.tenant(node, tenant).and_then(|state| state.roots.get(&root)).map(|root| &root.committees);
        let shares = (0u8..).zip(committees.into_iter().flatten()).all(|(number, committee)| {
            let share = world.node(node).view().is_some_and(|view| !view.held(&tenant, root, number).is_empty());
            share == committee.spec.members.contains(&id)
        });
        live && shares
    })
}
