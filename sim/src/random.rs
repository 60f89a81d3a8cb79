//! A scenario drawn from a seed: a mesh, a tenant, a workload and faults, then a healed network on which all must come
//! right.
//!
//! While faults last only safety is asked for: what is released is the planted key, to nobody whose denial the releasing
//! node knew (I4), and to nobody at all once the denial was effective for a lease time (I6). Then everything is healed
//! and restarted, and within a minute of virtual time all nodes have to agree (I3), hold everything acknowledged (I8) and
//! serve whoever may have a key.

use std::collections::BTreeMap;
use std::fmt;

use keymesh_mesh::custody::message::Verdict;
use keymesh_mesh::view::releasable;
use keymesh_wire::body::{
    Body, EditOp, KeyState, KeyStateChange, Named, NewNamespace, Renaming, Revocation, Role, RoleGrant, RoleRevocation,
    Scope, Subject,
};
use keymesh_wire::ids::{KeyId, KeyringId};
use keymesh_wire::time::Millis;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::agents::{Agent, Instance};
use crate::coverage::Coverage;
use crate::disk::Reach;
use crate::draw;
use crate::ground::Ground;
use crate::network::{Latency, Weather};
use crate::people::{Maker, Signer};
use crate::world::{Denied, Handle, Outcome, Plan, World};

/// How long after the healing all has to be right, in virtual milliseconds.
const RECOVERY: u64 = 60_000;

/// What a run is about; drawn from the seed, and what is given is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// Nodes, all of them custodians and lessees.
    pub nodes: usize,
    /// The root's threshold.
    pub threshold: u8,
    /// Byzantine members it tolerates.
    pub faults: u8,
    /// How long leases last.
    pub lease: Millis,
    /// The network while faults last.
    pub weather: Weather,
    /// How many acts there are.
    pub acts: usize,
}

impl Scenario {
    /// The scenario of a seed, with so many nodes if that is given.
    pub fn draw(seed: u64, nodes: Option<usize>) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        // The run itself draws from stream 0.
        rng.set_stream(1);
        let drawn = draw::between(&mut rng, 3, 5) as usize;
        let nodes = nodes.unwrap_or(drawn).max(3);
        let threshold = (nodes / 2 + 1).min(usize::from(u8::MAX)) as u8;
        Self {
            seed,
            nodes,
            threshold,
            faults: draw::between(&mut rng, 0, u64::from(threshold) / 2) as u8,
            lease: Millis(draw::between(&mut rng, 3_000, 12_000)),
            weather: Weather {
                latency: Latency::even(1, draw::between(&mut rng, 2, 80)),
                jitter: draw::between(&mut rng, 0, 30),
                loss: draw::between(&mut rng, 0, 80),
                duplicates: draw::between(&mut rng, 0, 50),
                stragglers: draw::between(&mut rng, 0, 50),
                ..Weather::CALM
            },
            acts: 30,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, threshold, faults, lease, weather, acts } = self;
        writeln!(f, "seed {seed}: {nodes} nodes, root {threshold} of {nodes} (f = {faults}), leases of {lease}")?;
        write!(f, "network: {weather}; {acts} acts")
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The trace hash.
    pub hash: String,
    /// How many events there were.
    pub events: u64,
    /// Virtual milliseconds.
    pub time: u64,
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What was exercised.
    pub coverage: Coverage,
    /// The timeline.
    pub timeline: Vec<(u64, String)>,
    /// What was wrong; empty for a good run.
    pub violations: Vec<String>,
}

/// A key with what is known of it.
#[derive(Debug, Clone, Copy)]
struct Known {
    key: KeyId,
    keyring: KeyringId,
    data: [u8; 32],
    leased: bool,
}

/// A release that is under way.
#[derive(Debug)]
struct Asked {
    handle: Handle,
    known: Known,
    agent: usize,
    node: usize,
    /// Whether the node knew a denial of the agent when it was asked.
    denied: bool,
}

struct Run {
    ground: Ground,
    scenario: Scenario,
    agents: Vec<Agent>,
    keyrings: Vec<(KeyringId, bool)>,
    keys: Vec<Known>,
    asked: Vec<Asked>,
    /// When a denial of an agent was first seen to be effective.
    effective: BTreeMap<usize, u64>,
    counts: BTreeMap<&'static str, u64>,
}

/// Runs a scenario to its end.
pub fn run(scenario: Scenario) -> Report {
    let plan = Plan { nodes: scenario.nodes, weather: scenario.weather, skew: 5_000 };
    let ground = Ground::with_root(scenario.seed, plan, scenario.threshold, scenario.faults);
    let mut run = Run {
        ground,
        scenario,
        agents: Vec::new(),
        keyrings: Vec::new(),
        keys: Vec::new(),
        asked: Vec::new(),
        effective: BTreeMap::new(),
        counts: BTreeMap::new(),
    };
    run.enrol();
    run.make_keyring(true);
    run.make_key();
    for _ in 0..scenario.acts {
        run.act();
        let pause = draw::between(&mut run.ground.world.rng, 20, 1_200);
        run.pass(pause);
    }
    run.recover();
    let world = &run.ground.world;
    Report {
        hash: world.trace.hash(),
        events: world.trace.events(),
        time: world.at(),
        counts: run.counts,
        coverage: world.watch.coverage.clone(),
        timeline: world.trace.timeline().to_vec(),
        violations: world.violations().to_vec(),
    }
}

impl Run {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn place(&mut self, len: usize) -> usize {
        draw::place(&mut self.ground.world.rng, len)
    }

    /// A node that runs and knows the root.
    fn someone(&mut self) -> Option<usize> {
        let ready = |world: &World, node: usize| {
            let view = world.node(node).view()?.tenant(&self.ground.tenant)?.clone();
            view.roots.contains_key(&self.ground.root?).then_some(())
        };
        let up: Vec<usize> =
            (0..self.scenario.nodes).filter(|node| ready(&self.ground.world, *node).is_some()).collect();
        if up.is_empty() { None } else { Some(up[self.place(up.len())]) }
    }

    fn enrol(&mut self) {
        for instance in [Instance::A1, Instance::A2, Instance::B1] {
            let agent = Agent::new(instance, &mut self.ground.world.rng);
            if !self.ground.world.enrol_now(0, self.ground.tenant, &agent, &self.ground.launcher) {
                self.ground.world.violation(format!("{instance:?} could not be enrolled in 20 seconds"));
            }
            self.agents.push(agent);
        }
    }

    /// Lets time pass and judges what came meanwhile.
    fn pass(&mut self, span: u64) {
        let end = self.ground.world.at() + span;
        while self.ground.world.at() < end {
            let left = (end - self.ground.world.at()).min(100);
            self.ground.world.run(left);
            self.look();
        }
    }

    fn look(&mut self) {
        let at = self.ground.world.at();
        for (place, agent) in self.agents.iter().enumerate() {
            let effective = (0..self.scenario.nodes).any(|node| {
                let state = self.ground.world.tenant(node, self.ground.tenant);
                let denial = state.and_then(|state| state.denial_of(&agent.id(), &agent.instance.name()));
                denial.is_some_and(|denial| denial.effective)
            });
            if effective {
                self.effective.entry(place).or_insert(at);
            }
        }
        for asked in std::mem::take(&mut self.asked) {
            match self.ground.world.outcome(asked.handle) {
                None => self.asked.push(asked),
                Some(Outcome::Released(result)) => {
                    let result = result.as_ref().map(|key| key.expose_secret().to_vec()).map_err(Clone::clone);
                    self.judge(&asked, result);
                }
                Some(Outcome::Submitted(_) | Outcome::Gathered(_)) => {}
            }
        }
    }

    fn judge(&mut self, asked: &Asked, result: Result<Vec<u8>, Denied>) {
        let at = self.ground.world.at();
        let instance = self.agents[asked.agent].instance;
        match result {
            Ok(data) => {
                self.count("released");
                let wrong = if data != asked.known.data {
                    Some("another key than the planted one")
                } else if instance == Instance::B1 {
                    Some("a key although its zone is not permitted")
                } else if asked.denied {
                    Some("a key although the node knew it was revoked")
                } else if self.effective.get(&asked.agent).is_some_and(|since| at > since + self.scenario.lease.0 + 200)
                {
                    Some("a key a lease time after its revocation was effective")
                } else {
                    None
                };
                if let Some(wrong) = wrong {
                    self.ground.world.violation(format!("n{} gave {instance:?} {wrong}", asked.node + 1));
                }
            }
            Err(Denied::Refused(_)) => self.count("refused"),
            Err(Denied::NoLease) => self.count("without a lease"),
            Err(Denied::Down | Denied::NoRecord | Denied::Grant(_)) => self.count("cut short"),
        }
    }

    fn act(&mut self) {
        let nodes = self.scenario.nodes;
        match self.place(24) {
            0 | 1 => {
                let count = 1 + self.place(nodes - 1);
                let mut island: Vec<usize> = (0..count).map(|_| self.place(nodes)).collect();
                island.sort_unstable();
                island.dedup();
                self.ground.world.cut(&island);
                self.count("cuts");
            }
            2 | 3 => self.ground.world.heal(),
            4 => {
                let node = self.place(nodes);
                self.ground.world.crash(node);
                self.count("crashes");
            }
            5 | 6 => (0..nodes).for_each(|node| self.ground.world.start(node)),
            7 | 8 => {
                let (node, batch) = (self.place(nodes), 1 + self.place(3) as u64);
                let reach = [Reach::Nothing, Reach::SharesOnly, Reach::Everything][self.place(3)];
                self.ground.world.doom(node, batch, reach);
                self.count("crashes at a write");
            }
            9 => self.make_keyring(true),
            10 => self.make_keyring(false),
            11 | 12 => self.make_key(),
            13 => self.revoke(),
            14 => self.describe(),
            15 => self.grant(),
            16 => self.question(),
            _ => self.release(),
        }
    }

    /// An admin says something wherever it can be said.
    fn say(&mut self, body: &Body, blobs: Vec<Vec<u8>>) -> bool {
        let Some(node) = self.someone() else { return false };
        let about = match body {
            Body::SetKeyState(change) => Some(change.keyring),
            Body::Rename(Renaming { object: Named::Keyring(keyring), .. }) => Some(*keyring),
            _ => None,
        };
        // Nobody speaks about a keyring that is not to be seen where they look.
        let state = self.ground.world.tenant(node, self.ground.tenant);
        if about.is_some_and(|keyring| !state.is_some_and(|state| state.keyrings.contains_key(&keyring))) {
            return false;
        }
        self.say_at(node, body, blobs)
    }

    fn say_at(&mut self, node: usize, body: &Body, blobs: Vec<Vec<u8>>) -> bool {
        let signer: &Signer = &self.ground.admins[(self.ground.world.at() % 2) as usize];
        let document = self.ground.document();
        let statements = self.ground.world.together(node, document, &[signer], body);
        let done = self.ground.world.submit_now(node, &statements, blobs);
        self.look();
        if let Some(Err(error)) = &done {
            self.ground.world.violation(format!("n{} does not take {}: {error:?}", node + 1, body.kind()));
        }
        if matches!(done, Some(Ok(_))) {
            self.count("statements");
            return true;
        }
        false
    }

    fn make_keyring(&mut self, leased: bool) {
        let (Some(node), Some(namespace), Some(root)) = (self.someone(), self.ground.namespace, self.ground.root)
        else {
            return;
        };
        let Some(view) = self.ground.world.node(node).view().cloned() else { return };
        let name = ["prod", "dev"][self.place(2)];
        let Ground { world, admins, mesh, tenant, .. } = &mut self.ground;
        let signer = &admins[(world.at() % 2) as usize];
        let maker = Maker { signer, mesh: *mesh, tenant: *tenant, root };
        let made = if leased {
            maker.leased(&view, namespace, name, self.scenario.lease, None, &mut world.rng)
        } else {
            maker.quorum(namespace, name, &mut world.rng)
        };
        world.plant_creation(&made);
        if self.say_at(node, &made.body, made.blobs) {
            self.keyrings.push((made.id, leased));
            self.count("keyrings");
        }
    }

    fn make_key(&mut self) {
        let Some(node) = self.someone() else { return };
        let Some(view) = self.ground.world.node(node).view().cloned() else { return };
        let here = view.tenant(&self.ground.tenant).cloned();
        let known: Vec<_> = self
            .keyrings
            .iter()
            .filter(|(id, _)| here.as_ref().is_some_and(|tenant| tenant.tenant().keyrings.contains_key(id)))
            .copied()
            .collect();
        let Some(root) = self.ground.root.filter(|_| !known.is_empty()) else { return };
        let (keyring, leased) = known[self.place(known.len())];
        let mut data = [0; 32];
        self.ground.world.rng.fill_bytes(&mut data);
        let Ground { world, admins, mesh, tenant, .. } = &mut self.ground;
        let maker = Maker { signer: &admins[(world.at() % 2) as usize], mesh: *mesh, tenant: *tenant, root };
        let made = maker.key(&view, keyring, "disk", &data, &mut world.rng);
        world.plant_key(&made, &data);
        if self.say_at(node, &made.body, made.blobs) {
            self.keys.push(Known { key: made.id, keyring, data, leased });
            self.count("keys");
        }
    }

    fn revoke(&mut self) {
        // The first agent is never revoked, so that somebody can be served in the end.
        let agent = 1 + self.place(self.agents.len() - 1);
        let subject = match self.place(2) {
            0 => Subject::Instance(self.agents[agent].instance.name()),
            _ => Subject::Agent(self.agents[agent].id()),
        };
        if self.say(&Body::Revoke(Revocation { subject, reason: "stolen".into() }), Vec::new()) {
            self.count(if self.ground.world.network.is_whole() { "revocations" } else { "revocations during a cut" });
        }
    }

    fn describe(&mut self) {
        let value = format!("at {}", self.ground.world.at());
        let body = match self.place(4) {
            0 => Body::Edit(vec![EditOp::Put { path: vec!["contact".into()], value }]),
            1 => Body::Edit(vec![EditOp::Delete { path: vec!["contact".into()] }]),
            2 => Body::CreateNamespace(NewNamespace { parent: self.ground.namespace, name: "team".into() }),
            _ => match self.keyrings.first() {
                Some((keyring, _)) => Body::Rename(Renaming { object: Named::Keyring(*keyring), name: "main".into() }),
                None => return,
            },
        };
        self.say(&body, Vec::new());
    }

    fn grant(&mut self) {
        let (principal, scope) = (self.agents[0].id(), Scope::Tenant);
        let body = match (self.place(3), self.keys.last().copied()) {
            (0, _) => Body::Grant(RoleGrant { principal, name: "lea".into(), role: Role::Auditor, scope }),
            (1, Some(known)) if self.keys.len() > 1 => {
                let Known { key, keyring, .. } = known;
                let state = [KeyState::Suspended, KeyState::Deactivated][self.place(2)];
                Body::SetKeyState(KeyStateChange { key, keyring, state })
            }
            _ => Body::RevokeGrant(RoleRevocation { principal, role: Role::Auditor, scope }),
        };
        self.say(&body, Vec::new());
    }

    fn release(&mut self) {
        let leased: Vec<Known> = self.keys.iter().filter(|known| known.leased).copied().collect();
        if leased.is_empty() {
            return;
        }
        let (node, agent) = (self.place(self.scenario.nodes), self.place(self.agents.len()));
        let known = leased[self.place(leased.len())];
        let Ground { world, tenant, .. } = &mut self.ground;
        let who = &self.agents[agent];
        let view = world.node(node).view().and_then(|view| view.tenant(tenant)).cloned();
        let denied = view.is_some_and(|view| view.tenant().denial_of(&who.id(), &who.instance.name()).is_some());
        let request = who.wants(*tenant, known.key, &mut world.rng);
        let handle = world.release(node, request);
        self.asked.push(Asked { handle, known, agent, node, denied });
    }

    fn question(&mut self) {
        let blind: Vec<Known> = self.keys.iter().filter(|known| !known.leased).copied().collect();
        let Some(node) = self.someone() else { return };
        if blind.is_empty() {
            return;
        }
        let (known, agent) = (blind[self.place(blind.len())], self.place(self.agents.len()));
        let Ground { world, tenant, .. } = &mut self.ground;
        let question = self.agents[agent].asks(*tenant, known.key, world.at(), &mut world.rng);
        let handle = world.ask(node, &question);
        self.pass(1_500);
        let opened = self.ground.world.open(node, &question, None, handle, self.scenario.nodes);
        let parts =
            self.ground.world.gathered(handle).iter().filter(|(_, verdict)| matches!(verdict, Verdict::Partial(_)));
        let parts = parts.count();
        match opened {
            Ok(data) if data == known.data => self.count("opened blindly"),
            Ok(_) => self.ground.world.violation("a blind release gave another key than the planted one"),
            Err(_)
                if parts >= usize::from(self.scenario.threshold) && self.ground.world.node(node).running.is_some() =>
            {
                self.count("blind releases whose node forgot");
            }
            Err(_) => self.count("blind releases without a quorum"),
        }
    }

    /// Heals everything and demands that all comes right.
    fn recover(&mut self) {
        let nodes = self.scenario.nodes;
        (0..nodes).for_each(|node| self.ground.world.pardon(node));
        self.ground.world.network.set_weather(Weather::CALM);
        self.ground.world.heal();
        (0..nodes).for_each(|node| self.ground.world.start(node));
        // Nothing that anybody does by himself is left to do after this: leases run out, wishes end.
        self.pass(5_000);
        let began = self.ground.world.at();
        if !self.ground.world.run_until(RECOVERY, World::is_converged) {
            self.ground.world.violation(format!("I3: nodes do not agree {RECOVERY} ms after the healing"));
        }
        let took = self.ground.world.at() - began;
        self.ground.world.trace.note(self.ground.world.at(), format!("all agree {took} ms after the last look"));
        self.ground.finish();
        let serving: Vec<Known> = self
            .keys
            .iter()
            .filter(|known| {
                let key = self.ground.state(0).keys.get(&known.key);
                known.leased && key.is_some_and(|key| releasable(key.state))
            })
            .take(2)
            .copied()
            .collect();
        for known in serving {
            for node in 0..nodes {
                let released = self.ground.world.release_now(node, self.ground.tenant, &self.agents[0], known.key);
                match released {
                    Ok(data) if data.expose_secret() == known.data => self.count("served in the end"),
                    Ok(_) => self.ground.world.violation("another key than the planted one"),
                    Err(why) => self.ground.world.violation(format!("n{} does not serve in the end: {why}", node + 1)),
                }
            }
        }
    }
}
