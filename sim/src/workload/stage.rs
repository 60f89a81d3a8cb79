//! How a run begins, and how everything has to come right in the end.
//!
//! While faults last only safety is asked for. Then the network is made whole, and a random part of the nodes that is
//! enough for every committee runs again; of the others nobody hears any more. Within stated virtual times that part has to
//! agree (I3), hold everything acknowledged (I8), have every denial in effect (I6) and serve whoever may have a key.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::state::DocumentState;
use keymesh_mesh::view::releasable;
use keymesh_wire::body::{Body, MeshGenesis, NewNamespace, NewPolicy, Role, RoleGrant, Scope, TenantGenesis};
use keymesh_wire::ids::{BlobHash, DocumentId, KeyId, MeshId, NodeId, StatementId, TenantId};

use super::custody::Circle;
use super::people::{CLOSED, ELSEWHERE, FAULTY};
use super::{Run, Tenancy};
use crate::agents::{Agent, Instance, evidence_root};
use crate::draw;
use crate::ground::POLICY;
use crate::model::{Match, Rule};
use crate::network::Weather;
use crate::people::{Signer, nonce};
use crate::run::Options;
use crate::scenario::{Scenario, some_of};
use crate::world::{Plan, World};

/// How long after that shares have to be back, in virtual milliseconds: pauses are up to half a minute by then, and liars
/// among the helpers cost some more.
const REPAIR: u64 = 600_000;
/// How long after the healing all has to be right, in virtual milliseconds.
const RECOVERY: u64 = 60_000;
/// How long a key generation may take in any weather, in virtual milliseconds.
const GENERATION: u64 = 180_000;

impl Run {
    /// A mesh and its tenants, in the scenario's weather but with nobody lying yet.
    pub(crate) fn begin(scenario: Scenario, options: Options) -> Self {
        let plan = Plan { nodes: scenario.nodes.len(), weather: scenario.weather, skew: scenario.skew };
        let mut world = World::at_places(scenario.seed, plan, &scenario.nodes);
        world.make(options);
        let permitted = Match { zone: Some("aws/eu-west-1a".into()), launched_by: Some("deploy".into()) };
        world.watch.model.policy(POLICY, Rule { permits: vec![permitted], forbids: Vec::new() });
        let other = Match { zone: Some("aws/eu-west-1b".into()), launched_by: None };
        world.watch.model.policy(ELSEWHERE, Rule { permits: vec![other], forbids: Vec::new() });
        for text in [CLOSED, FAULTY] {
            world.watch.model.policy(text, Rule { permits: Vec::new(), forbids: vec![Match::default()] });
        }
        let founders: Vec<Signer> = ["fay", "gus", "hal"].map(|name| Signer::new(name, &mut world.rng)).into();
        let genesis = Body::MeshGenesis(MeshGenesis {
            name: "mesh".into(),
            founders: founders.iter().map(Signer::person).collect(),
            endorsements: 2,
            salt: nonce(&mut world.rng),
        });
        let genesis = founders[0].sign(None, Vec::new(), 0, &genesis);
        let mesh = MeshId::from(genesis.id());
        world.start_all(&genesis);
        let admitted = scenario.nodes.len() - scenario.late;
        for node in 0..admitted {
            let card = world.node(node).card.clone();
            world.say(0, mesh.into(), &[&founders[0], &founders[1]], &Body::AdmitNode(card));
        }
        (1..admitted).for_each(|node| world.hand_over(mesh.into(), 0, node));
        let outside = (admitted..scenario.nodes.len()).collect();
        let mut run = Self {
            world,
            scenario,
            mesh,
            founders,
            tenants: Vec::new(),
            waiting: Vec::new(),
            outside,
            spoiled: BTreeSet::new(),
            jumped: BTreeMap::new(),
        };
        for number in 0..run.scenario.tenants.len() {
            run.begin_tenant(number);
        }
        run.world.trace.note(run.world.at(), "mesh and tenants stand");
        run
    }

    fn begin_tenant(&mut self, number: usize) {
        let plan = self.scenario.tenants[number].clone();
        let world = &mut self.world;
        let admins: Vec<Signer> = ["ann", "bob", "cyd", "dan", "eve"][..plan.admins]
            .iter()
            .map(|name| Signer::new(name, &mut world.rng))
            .collect();
        let genesis = Body::TenantGenesis(TenantGenesis {
            mesh: self.mesh,
            name: format!("tenant{}", number + 1),
            admins: admins.iter().map(Signer::person).collect(),
            endorsements: plan.endorsements,
            nodes: plan.placed.iter().map(|place| world.node(*place).placement()).collect(),
            salt: nonce(&mut world.rng),
        });
        let genesis = admins[0].sign(None, Vec::new(), world.at(), &genesis);
        let first = plan.placed[0];
        world.submit_now(first, std::slice::from_ref(&genesis), Vec::new());
        let id = TenantId::from(genesis.id());
        let agents = [Instance::A1, Instance::A2, Instance::B1].map(|instance| Agent::new(instance, &mut world.rng));
        let launcher = Signer::new("deploy", &mut world.rng);
        self.tenants.push(Tenancy {
            id,
            plan,
            admins,
            launcher,
            root: None,
            namespaces: Vec::new(),
            keyrings: Vec::new(),
            keys: Vec::new(),
            agents: agents.into(),
            tickets: Vec::new(),
            questions: Vec::new(),
            made: BTreeMap::new(),
            displaced: BTreeSet::new(),
            remembered: Vec::new(),
        });
        self.everywhere(number, "the tenant's beginning", RECOVERY, |_, _| true);
        if self.tenants[number].plan.committees.is_empty() {
            return self.furnish(number);
        }
        let root = self.all_say(number, &Body::ProposeRoot(self.root_spec(number)));
        self.tenants[number].root = Some(root.into());
        self.everywhere(number, "a root", GENERATION, |run, node| {
            let state = run.state(node, number).and_then(|state| state.roots.get(&root.into()));
            state.is_some_and(|root| root.live) && run.knows_root(node, number)
        });
        self.furnish(number);
        self.enrol_first(number);
        self.first_keys(number);
    }

    /// A keyring of each class with a key in it, so that there is something to ask for from the beginning.
    fn first_keys(&mut self, number: usize) {
        let node = self.tenants[number].plan.placed[0];
        for leased in [true, false, true] {
            self.create_keyring(number, node, leased);
            self.pass(500);
        }
        while self.tenants[number].keys.len() < 6 && self.world.at() < GENERATION * 3 {
            self.create_key(number, node);
            self.pass(500);
        }
    }

    /// All admins of a tenant say something together, at its first node.
    fn all_say(&mut self, tenant: usize, body: &Body) -> StatementId {
        let tenancy = &self.tenants[tenant];
        let admins: Vec<&Signer> = tenancy.admins.iter().collect();
        self.world.say(tenancy.plan.placed[0], tenancy.document(), &admins, body)
    }

    fn furnish(&mut self, number: usize) {
        self.all_say(number, &Body::SetPolicy(NewPolicy { scope: Scope::Tenant, text: POLICY.into() }));
        self.all_say(number, &Body::TrustEvidence(evidence_root()));
        let principal = self.tenants[number].launcher.identity.principal();
        let grant = RoleGrant { principal, name: "deploy".into(), role: Role::Launcher, scope: Scope::Tenant };
        self.all_say(number, &Body::Grant(grant));
        let tenancy = &self.tenants[number];
        let namespace = Body::CreateNamespace(NewNamespace { parent: None, name: "payments".into() });
        let namespace =
            self.world.say(tenancy.plan.placed[0], tenancy.document(), &[&tenancy.admins[0]], &namespace).into();
        self.tenants[number].namespaces.push(namespace);
        self.everywhere(number, "policy and people", RECOVERY, |run, node| {
            run.state(node, number).is_some_and(|state| {
                state.launcher(&principal).is_some()
                    && state.namespaces.contains_key(&namespace)
                    && !state.evidence_roots.is_empty()
                    && !state.policies.is_empty()
            })
        });
    }

    fn enrol_first(&mut self, number: usize) {
        for agent in 0..self.tenants[number].agents.len() {
            let id = self.tenants[number].agents[agent].id();
            let bound = |run: &Self, node: usize| {
                let view = run.world.node(node).view().and_then(|view| view.tenant(&run.tenants[number].id));
                view.is_some_and(|view| view.agents.contains_key(&id))
            };
            for _ in 0..30 {
                let tenancy = &self.tenants[number];
                let node = tenancy.plan.placed[0];
                self.world.enrol(node, tenancy.id, &tenancy.agents[agent], &tenancy.launcher);
                self.pass(1_000);
                if self.tenants[number].plan.placed.iter().all(|node| bound(self, *node)) {
                    break;
                }
            }
            self.everywhere(number, "an agent's binding", RECOVERY, bound);
        }
    }

    /// Waits until something is so at all nodes that a tenant was placed on.
    fn everywhere(&mut self, tenant: usize, what: &str, span: u64, so: impl Fn(&Self, usize) -> bool) {
        let end = self.world.at() + span;
        while self.world.at() < end {
            let holds = |node: &usize| self.state(*node, tenant).is_some() && so(self, *node);
            if self.tenants[tenant].plan.placed.iter().all(holds) {
                return;
            }
            self.pass(50);
        }
        self.world.violation(format!("liveness: {what} of tenant {} is not everywhere after {span} ms", tenant + 1));
    }

    /// Heals everything and demands that all comes right.
    pub(crate) fn recover(&mut self) {
        self.world.rng = self.stream(u64::from(u32::MAX));
        let nodes = self.world.size();
        self.world.set_right();
        for (node, by) in std::mem::take(&mut self.jumped) {
            self.world.jump_clock(node, -by);
        }
        self.world.network.set_weather(Weather::CALM);
        self.world.heal();
        let core = self.core();
        let names: Vec<String> = core.iter().map(|node| format!("n{}", node + 1)).collect();
        self.world.trace.note(self.world.at(), format!("healed; from now on there are {}", names.join(" ")));
        for node in 0..nodes {
            if core.contains(&node) || self.scenario.liars.contains(&node) {
                self.world.start(node);
            } else {
                self.world.crash(node);
            }
        }
        self.hand_over(&core);
        // Nothing that anybody does by himself is left to do after this: leases run out, wishes end.
        self.pass(5_000);
        let began = self.world.at();
        let mut again = true;
        while !self.agree(&core) && self.world.at() < began + RECOVERY {
            self.pass(100);
            // Whoever was not yet known to be placed when the documents were brought gets them now.
            if again && self.world.at() > began + RECOVERY / 4 {
                again = false;
                self.hand_over(&core);
            }
        }
        if !self.agree(&core) {
            let apart = self.apart(&core);
            self.world.violation(format!("I3: {apart} {RECOVERY} ms after the healing"));
        }
        let took = self.world.at() - began;
        self.world.trace.note(self.world.at(), format!("all agree {took} ms after the last look"));
        self.everything_acknowledged(&core);
        for tenant in 0..self.tenants.len() {
            self.denials_in_effect(tenant, &core);
            self.serve(tenant, &core);
        }
        self.shares_come_back(&core);
    }

    /// I8: whoever lost its share has it again, where enough honest custodians have theirs.
    fn shares_come_back(&mut self, core: &BTreeSet<usize>) {
        let lacking =
            |world: &World| world.lacking().into_iter().find(|lack| core.contains(&lack.node) && lack.helpers);
        if !self.world.run_until(REPAIR, |world| lacking(world).is_none())
            && let Some(lack) = lacking(&self.world)
        {
            self.world.violation(format!("I8: {lack} {REPAIR} ms after everything was right"));
        }
    }

    /// People copy documents to nodes that were placed or admitted and have nothing yet, as `keymesh tenant place` does.
    fn hand_over(&mut self, core: &BTreeSet<usize>) {
        self.pass(2_000);
        // Of an admission that only the admitted node heard of, somebody brings word.
        let members = self.holders_of(core).remove(&self.mesh.into()).unwrap_or_default();
        let settled = self.world.size() - self.scenario.late;
        for node in members.into_iter().filter(|node| *node >= settled) {
            let first = core.iter().next().copied().unwrap_or_default();
            self.world.hand_over(self.mesh.into(), node, first);
            self.world.hand_over(self.mesh.into(), first, node);
        }
        for (document, holders) in self.holders_of(core) {
            let has = |run: &Self, node: &usize| {
                run.world.node(*node).replica().is_some_and(|r| r.document(&document).is_some())
            };
            let Some(from) = holders.iter().copied().find(|node| has(self, node)) else { continue };
            for node in holders {
                if !has(self, &node) {
                    self.world.hand_over(document, from, node);
                }
            }
        }
    }

    /// Nodes that run in the end: enough honest ones for every committee to open, to fix enrolments, and to put denials in
    /// effect.
    fn core(&mut self) -> BTreeSet<usize> {
        let honest: Vec<usize> = (0..self.world.size()).filter(|node| !self.scenario.liars.contains(node)).collect();
        let mut core: BTreeSet<usize> = honest.iter().copied().collect();
        if draw::chance(&mut self.world.rng, 500) {
            return core;
        }
        let needed: Vec<Vec<Circle>> = (0..self.tenants.len()).map(|tenant| self.circles(tenant)).collect();
        let mut rng = self.world.rng.clone();
        for node in some_of(&honest, honest.len(), &mut rng) {
            core.remove(&node);
            let placed = |tenant: &Tenancy| tenant.plan.placed.iter().any(|place| core.contains(place));
            let enough = self.tenants.iter().zip(&needed).all(|(tenant, circles)| {
                let up = |member: &&usize| {
                    core.contains(member) && !tenant.displaced.contains(member) && !self.spoiled.contains(member)
                };
                placed(tenant) && circles.iter().all(|circle| circle.is_enough(up))
            });
            if !enough || draw::chance(&mut rng, 500) {
                core.insert(node);
            }
        }
        self.world.rng = rng;
        core
    }

    /// For each document the nodes of the core that hold it, by the state of the one that knows most.
    fn holders_of(&self, core: &BTreeSet<usize>) -> BTreeMap<DocumentId, Vec<usize>> {
        let mut most: BTreeMap<DocumentId, (usize, usize)> = BTreeMap::new();
        for node in core {
            let Some(replica) = self.world.node(*node).replica() else { continue };
            for status in replica.documents() {
                let best = most.entry(status.document).or_insert((status.statements, *node));
                if status.statements > best.0 {
                    *best = (status.statements, *node);
                }
            }
        }
        let listed = |document: &DocumentId, node: usize| -> BTreeSet<NodeId> {
            match self
                .world
                .node(node)
                .replica()
                .and_then(|replica| replica.document(document))
                .map(|held| held.state())
            {
                Some(state) => match &**state {
                    DocumentState::Mesh(mesh) => mesh.nodes.keys().copied().collect(),
                    DocumentState::Tenant(tenant) => tenant.nodes.keys().copied().collect(),
                },
                None => BTreeSet::new(),
            }
        };
        let mesh: DocumentId = self.mesh.into();
        let admitted = most.get(&mesh).map(|(_, node)| listed(&mesh, *node)).unwrap_or_default();
        most.iter()
            .map(|(document, (_, node))| {
                let placed = listed(document, *node);
                let holds = |place: &usize| {
                    let id = self.world.node(*place).id();
                    admitted.contains(&id) && placed.contains(&id)
                };
                (*document, core.iter().copied().filter(holds).collect())
            })
            .collect()
    }

    /// Whether all nodes of the core hold the same of every document that they are to hold, ciphertexts included.
    fn agree(&self, core: &BTreeSet<usize>) -> bool {
        self.holders_of(core).into_iter().all(|(document, holders)| {
            let all = holders.clone();
            let mut digests = holders.into_iter().map(|node| {
                let running = self.world.node(node).running.as_ref().filter(|running| running.writing.is_none())?;
                let held = running.replica.document(&document)?;
                let missing = held.tenant().map(|tenant| tenant.wanted_blobs()).unwrap_or_default();
                // What was on one disk only and is lost with it nobody can get; nor what only a displaced node has.
                let anywhere = |hash: &BlobHash| {
                    all.iter().any(|node| {
                        self.world.node(*node).replica().is_some_and(|there| there.blob(&document, hash).is_some())
                    })
                };
                let complete =
                    missing.iter().all(|hash| running.replica.blob(&document, hash).is_some() || !anywhere(hash));
                complete.then(|| (held.digest(), held.graph().len()))
            });
            let Some(first) = digests.next() else { return true };
            first.is_some() && digests.all(|digest| digest == first)
        })
    }

    /// Who holds what of the first document that is not the same everywhere.
    fn apart(&self, core: &BTreeSet<usize>) -> String {
        let held = |document: &DocumentId, node: usize| {
            let Some(running) = self.world.node(node).running.as_ref() else { return "does not run".to_owned() };
            let Some(held) = running.replica.document(document) else { return "has nothing".to_owned() };
            let wanted = held.tenant().map(|tenant| tenant.wanted_blobs()).unwrap_or_default();
            let missing = wanted.iter().filter(|hash| running.replica.blob(document, hash).is_none()).count();
            let digest = data_encoding::HEXLOWER.encode(&held.digest()[..4]);
            format!("has {} statements, lacks {missing} ciphertexts, state {digest}", held.graph().len())
        };
        for (document, holders) in self.holders_of(core) {
            let each: Vec<(usize, String)> = holders.into_iter().map(|node| (node, held(&document, node))).collect();
            if each.iter().any(|(_, what)| *what != each[0].1 || !what.contains("lacks 0")) {
                let each: Vec<String> = each.iter().map(|(node, what)| format!("n{} {what}", node + 1)).collect();
                return format!("of {document} {}", each.join("; "));
            }
        }
        "ciphertexts are lacking everywhere".to_owned()
    }

    /// I8: what an honest node acknowledged, every holder of the core has.
    fn everything_acknowledged(&mut self, core: &BTreeSet<usize>) {
        let holders = self.holders_of(core);
        let lost: Vec<(StatementId, DocumentId, usize)> = self
            .world
            .acknowledged()
            // What one that is gone for good, or that the document was taken from, acknowledged and could tell nobody is
            // on its disk only.
            .filter(|(_, (node, document))| holders.get(document).is_some_and(|holders| holders.contains(node)))
            .filter(|(id, (_, document))| {
                let holders = holders.get(document).map(Vec::as_slice).unwrap_or_default();
                holders.iter().any(|node| !self.world.node(*node).disk.has(id))
            })
            .map(|(id, (node, document))| (*id, *document, *node))
            .collect();
        for (id, document, node) in lost {
            let kind = self.world.watch.statements.get(&id).and_then(|statement| statement.body()).map(Body::kind);
            let kind = kind.unwrap_or("statement");
            let what = format!("I8: {kind} {id} of {document}, acknowledged by n{}, is not everywhere", node + 1);
            self.world.violation(what);
        }
    }

    /// I6: once enough custodians run, denials come into effect.
    fn denials_in_effect(&mut self, tenant: usize, core: &BTreeSet<usize>) {
        let end = self.world.at() + RECOVERY;
        let holders = self.holders_of(core).remove(&self.tenants[tenant].document()).unwrap_or_default();
        while self.is_able(tenant, core) {
            let pending: Option<StatementId> = holders
                .iter()
                .filter_map(|node| self.state(*node, tenant))
                .find_map(|state| state.denials.values().find(|denial| !denial.effective))
                .map(|denial| denial.statement);
            let Some(pending) = pending else { return };
            if self.world.at() >= end {
                let what = format!("I6: {pending} is not in effect {RECOVERY} ms after the healing");
                return self.world.violation(what);
            }
            self.pass(500);
        }
    }

    /// Whether enough members of every committee of the tenant's roots run, are honest, and still count for it: people may
    /// have taken the tenant from more of its custodians than it can do without.
    fn is_able(&self, tenant: usize, core: &BTreeSet<usize>) -> bool {
        let holders = self.holders_of(core).remove(&self.tenants[tenant].document()).unwrap_or_default();
        let counts = |member: &&usize| holders.contains(member) && !self.spoiled.contains(member);
        let circles = self.circles(tenant);
        self.tenants[tenant].root.is_some()
            && !self.is_frozen(tenant)
            && circles.iter().all(|circle| circle.is_enough(counts))
    }

    /// Whoever may have a key gets it from every lessee.
    fn serve(&mut self, tenant: usize, core: &BTreeSet<usize>) {
        let holders = self.holders_of(core).remove(&self.tenants[tenant].document()).unwrap_or_default();
        let Some(node) = holders.first().copied().filter(|_| self.is_able(tenant, core)) else {
            return self.count("tenants left without a quorum");
        };
        let agent = &self.tenants[tenant].agents[0];
        let (id, instance) = (agent.id(), agent.instance.name());
        let Some(state) = self.state(node, tenant) else { return };
        if state.denial_of(&id, &instance).is_some() {
            return;
        }
        let served: Vec<(KeyId, bool)> = self.tenants[tenant]
            .keys
            .iter()
            .filter(|known| {
                let closed = state.policies.contains_key(&Scope::Keyring(known.keyring));
                let accused = state.keyrings.get(&known.keyring).is_none_or(|keyring| !keyring.accusers().is_empty());
                let false_public =
                    self.tenants[tenant].keyrings.iter().any(|k| k.id == known.keyring && k.false_public);
                let there = |hash: &BlobHash| {
                    let replica = self.world.node(node).replica();
                    replica.is_some_and(|replica| replica.blob(&self.tenants[tenant].document(), hash).is_some())
                };
                let alive = state.keys.get(&known.key).is_some_and(|key| {
                    releasable(key.state) && key.versions.iter().all(|version| there(&version.wrapped.ciphertext))
                });
                alive && !closed && !accused && !false_public
            })
            .map(|known| (known.key, known.leased))
            .collect();
        let leased: Vec<KeyId> = served.iter().filter(|(_, leased)| *leased).map(|(key, _)| *key).take(2).collect();
        let blind: Option<KeyId> = served.iter().find(|(_, leased)| !leased).map(|(key, _)| *key);
        let asked = holders.first().copied();
        for node in holders {
            // Nobody leases to an identity under which two machines spoke, as one may that lost its last words.
            let id = self.world.node(node).id();
            let lessee = self.state(node, tenant).is_some_and(|state| {
                state.nodes.get(&id).is_some_and(|placement| placement.lessee) && !state.forked.contains(&id)
            });
            for key in leased.iter().filter(|_| lessee) {
                self.must_serve(tenant, node, *key);
            }
        }
        if let Some((node, key)) = asked.zip(blind) {
            self.must_open(tenant, node, key);
        }
    }

    /// One sharing may take over from another while parts of a release come together: an agent asks again.
    fn must_open(&mut self, tenant: usize, node: usize, key: KeyId) {
        let before = self.world.watch.coverage.of("opened blindly");
        for _ in 0..3 {
            self.ask_at(tenant, node, 0, key);
            self.pass(3_000);
            if self.world.watch.coverage.of("opened blindly") > before {
                return;
            }
        }
        self.world.violation(format!("liveness: {key} is not opened blindly in the end"));
    }

    fn must_serve(&mut self, tenant: usize, node: usize, key: KeyId) {
        let before = self.world.watch.coverage.of("released");
        let mut tries = 0;
        loop {
            self.release_at(tenant, node, 0, key);
            self.pass(3_500);
            tries += 1;
            if self.world.watch.coverage.of("released") > before {
                return self.count("served in the end");
            }
            if tries == 3 {
                let what = format!("liveness: n{} does not serve {key} in the end", node + 1);
                return self.world.violation(what);
            }
        }
    }
}
