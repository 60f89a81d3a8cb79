//! The workload of a run: people, agents and misfortune, each act from a stream of its own of the seed.
//!
//! What is asked of a mesh here is everything that its core can do: a test names for every kind of statement and input
//! the act that brings it about, and fails when one has none. Nobody waits for anybody: an act hands something in and
//! goes; what comes of it is looked at when it comes.
//!
//! To add to it: what people say belongs into `people`, how they take keys from whoever was expelled into `generations`,
//! what they say without a right to it into `abuse`, how they contradict one another into `quarrel`, changes of custody
//! into `custody`, what agents ask into `agents`, what breaks into `faults`, and how
//! a scenario is set up and how all comes right in the end into `stage`.

mod abuse;
mod agents;
mod custody;
mod faults;
mod generations;
mod look;
mod people;
mod quarrel;
mod stage;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use keymesh_mesh::state::TenantState;
use keymesh_wire::envelope::Verified;
use keymesh_wire::ids::{DocumentId, KeyId, KeyringId, MeshId, NamespaceId, NodeId, RootId, StatementId, TenantId};
use keymesh_wire::statement::Checked;
use keymesh_wire::ticket::Ticket;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::agents::{Agent, Question};
use crate::draw;
use crate::liar::Lie;
use crate::people::Signer;
use crate::scenario::{Scenario, TenantPlan};
use crate::world::{Handle, World};

/// From which stream of the seed on the acts have theirs.
const ACT_STREAMS: u64 = 1 << 40;

/// A key and what its versions hold.
#[derive(Debug, Clone)]
pub(crate) struct KnownKey {
    pub(crate) key: KeyId,
    pub(crate) keyring: KeyringId,
    pub(crate) leased: bool,
    pub(crate) data: Vec<[u8; 32]>,
}

/// A keyring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownKeyring {
    pub(crate) id: KeyringId,
    pub(crate) leased: bool,
    /// Its creator published a public half that is not its own: nobody should come to rely on it.
    pub(crate) false_public: bool,
}

/// A tenant as its people know it.
#[derive(Debug)]
pub(crate) struct Tenancy {
    pub(crate) id: TenantId,
    pub(crate) plan: TenantPlan,
    /// Everybody who was ever an admin; the first two are never removed, so that somebody can put things right.
    pub(crate) admins: Vec<Signer>,
    pub(crate) launcher: Signer,
    pub(crate) root: Option<RootId>,
    pub(crate) namespaces: Vec<NamespaceId>,
    pub(crate) keyrings: Vec<KnownKeyring>,
    pub(crate) keys: Vec<KnownKey>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) tickets: Vec<Verified<Ticket>>,
    pub(crate) questions: Vec<Question>,
    /// What keys were made with.
    pub(crate) made: BTreeMap<KeyId, (Vec<Checked>, Vec<Vec<u8>>)>,
    /// Nodes that people proposed to take the tenant from.
    pub(crate) displaced: BTreeSet<usize>,
    /// The newest statements that somebody saw some time ago.
    pub(crate) remembered: Vec<StatementId>,
}

impl Tenancy {
    pub(crate) fn document(&self) -> DocumentId {
        self.id.into()
    }
}

/// Something a client waits for.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) handle: Handle,
    pub(crate) since: u64,
    pub(crate) what: What,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum What {
    /// Statements handed in; `kind` is that of the first.
    Said { kind: &'static str, node: usize, then: Then },
    /// A release from a leased keyring.
    Release { tenant: usize, key: KeyId, node: usize },
    /// A blind release.
    Blind { tenant: usize, key: KeyId, node: usize, question: Question, versions: usize, epochs: Vec<u32> },
    /// An enrolment.
    Enrolment,
    /// A custodian is accused before a node, of what it did or of what it did not.
    Accusation { tenant: usize, node: usize, custodian: NodeId, holds: bool },
}

/// What people remember once something they said was taken.
#[derive(Debug, Clone)]
pub(crate) enum Then {
    Nothing,
    Keyring { tenant: usize, keyring: KnownKeyring },
    Key { tenant: usize, key: KnownKey },
    Namespace { tenant: usize, namespace: NamespaceId },
}

/// The generator of an act. What one act draws moves no other.
fn stream(scenario: &Scenario, act: u64) -> ChaCha20Rng {
    let mut rng = ChaCha20Rng::seed_from_u64(scenario.seed);
    rng.set_stream(ACT_STREAMS + act);
    rng
}

/// How long everybody rests before an act.
fn pause(scenario: &Scenario, act: u64) -> u64 {
    draw::between(&mut stream(scenario, act), 0, 2 * scenario.pause)
}

/// How many acts a scenario has at most: acts that take a while themselves leave time for fewer.
pub(crate) fn most_acts(scenario: &Scenario) -> u64 {
    let mut left = scenario.span;
    let mut number = 0;
    while let Some(rest) = left.checked_sub(pause(scenario, number)) {
        left = rest;
        number += 1;
    }
    number
}

/// How long after the beginning an act comes, if no act before it takes a while itself.
pub(crate) fn begins(scenario: &Scenario, act: u64) -> u64 {
    (0..=act).map(|number| pause(scenario, number)).sum()
}

/// A run under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) scenario: Scenario,
    pub(crate) mesh: MeshId,
    /// Who operates the mesh.
    pub(crate) founders: Vec<Signer>,
    pub(crate) tenants: Vec<Tenancy>,
    pub(crate) waiting: Vec<Waiting>,
    /// Nodes that were not admitted yet.
    pub(crate) outside: BTreeSet<usize>,
    /// Nodes whose disks lost shares or came back from older times.
    pub(crate) spoiled: BTreeSet<usize>,
    /// By how much wall clocks jumped.
    pub(crate) jumped: BTreeMap<usize, i64>,
}

impl Run {
    fn stream(&self, act: u64) -> ChaCha20Rng {
        stream(&self.scenario, act)
    }

    fn place(&mut self, len: usize) -> usize {
        draw::place(&mut self.world.rng, len)
    }

    fn count(&mut self, what: impl Into<String>) {
        self.world.watch.coverage.count(what);
    }

    /// Honest nodes that run and hold the tenant.
    fn holders(&self, tenant: usize) -> Vec<usize> {
        let id = self.tenants[tenant].id;
        let holds = |node: &usize| self.world.tenant(*node, id).is_some();
        (0..self.world.size()).filter(|node| !self.scenario.liars.contains(node)).filter(holds).collect()
    }

    /// One of those.
    fn holder(&mut self, tenant: usize) -> Option<usize> {
        let holders = self.holders(tenant);
        if holders.is_empty() { None } else { Some(holders[self.place(holders.len())]) }
    }

    fn state(&self, node: usize, tenant: usize) -> Option<&TenantState> {
        self.world.tenant(node, self.tenants[tenant].id)
    }

    /// Whether a node's view can seal to the tenant's root.
    fn knows_root(&self, node: usize, tenant: usize) -> bool {
        let tenancy = &self.tenants[tenant];
        let view = self.world.node(node).view().and_then(|view| view.tenant(&tenancy.id));
        view.zip(tenancy.root).is_some_and(|(view, root)| view.roots.contains_key(&root))
    }

    /// One act.
    fn act(&mut self, number: u64) {
        self.world.begin_act(number);
        self.world.rng = self.stream(number);
        let mix = self.scenario.mix;
        let (tenant, drawn) =
            (self.place(self.tenants.len()), self.place((mix.people + mix.agents + mix.faults) as usize));
        let drawn = drawn as u64;
        if drawn < mix.people {
            self.people(tenant);
        } else if drawn < mix.people + mix.agents {
            self.agents(tenant);
        } else {
            self.fault();
        }
        self.world.trace.acted();
    }

    /// All acts of the scenario, with the pauses between them.
    pub(crate) fn acts(&mut self) {
        let mut rng = self.stream(u64::from(u32::MAX) - 1);
        for liar in self.scenario.liars.clone() {
            let mut lies = Lie::draw(&mut rng);
            // Partials are few among all that a node says; somebody has to be false about those, too.
            let partial = [Lie::FalsePartials, Lie::ForeignPartials, Lie::BorrowsIndexes];
            let plans = self.scenario.tenants.iter().flat_map(|tenant| &tenant.committees);
            let custodian = plans.into_iter().any(|plan| plan.members.contains(&liar));
            if draw::chance(&mut rng, if custodian { 900 } else { 500 }) {
                lies.push(partial[draw::place(&mut rng, partial.len())]);
            }
            // Whoever has a part in a root lies in its changes, too, and mostly where others get their shares back.
            let seated = self.scenario.tenants.iter().flat_map(|tenant| &tenant.committees);
            let seated = seated.into_iter().any(|committee| committee.members.contains(&liar));
            for _ in 0..if seated { 2 } else { 0 } {
                lies.push(Lie::IN_EPOCHS[draw::place(&mut rng, Lie::IN_EPOCHS.len())]);
            }
            for _ in 0..if seated { 2 } else { 0 } {
                lies.push(Lie::IN_REPAIRS[draw::place(&mut rng, Lie::IN_REPAIRS.len())]);
            }
            self.world.corrupt(liar, lies);
        }
        let end = self.world.at() + self.scenario.span;
        for number in 0.. {
            let pause = pause(&self.scenario, number);
            if self.world.at() + pause > end {
                break;
            }
            self.pass(pause);
            if !self.scenario.skip.contains(&number) {
                self.act(number);
            }
        }
        self.pass(end.saturating_sub(self.world.at()));
    }
}
