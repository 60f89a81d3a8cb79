//! A mesh with everything that is needed to serve a key, for tests of faults.

use keymesh_mesh::release::GrantError;
use keymesh_sim::agents::{Agent, Instance};
use keymesh_sim::ground::Ground;
use keymesh_sim::world::{Denied, Plan};
use keymesh_wire::body::{Body, NewNamespace};
use keymesh_wire::ids::{KeyId, StatementId};
use keymesh_wire::time::Millis;

pub const LEASE: Millis = Millis::seconds(10);

pub struct Bank {
    pub ground: Ground,
    pub key: KeyId,
    pub data: [u8; 32],
    pub agent: Agent,
}

impl Bank {
    /// Nodes with a root of a majority of them, a leased keyring with a key, and an agent that may have it.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut ground = Ground::with_root(seed, plan, (plan.nodes / 2 + 1) as u8, 1);
        let keyring = ground.leased_keyring(0, "volumes", LEASE, None);
        let (key, data) = ground.key(0, keyring, "disk");
        assert!(ground.settle());
        let agent = Agent::new(Instance::A1, &mut ground.world.rng);
        assert!(ground.world.enrol_now(1, ground.tenant, &agent, &ground.launcher), "the agent is not bound");
        Self { ground, key, data, agent }
    }

    /// A release at a node, asked for once more if the lease ended between the decision and the record of it, as an agent
    /// does.
    pub fn release(&mut self, node: usize) -> Result<Vec<u8>, Denied> {
        let mut ask = || self.ground.world.release_now(node, self.ground.tenant, &self.agent, self.key);
        let released = match ask() {
            Err(Denied::Grant(GrantError::LeaseEnded)) => ask(),
            answered => answered,
        };
        released.map(|key| key.expose_secret().to_vec())
    }

    /// An admin has a namespace made at a node, which acknowledges it.
    pub fn say(&mut self, node: usize, name: &str) -> StatementId {
        self.ground.admin_says(node, &Body::CreateNamespace(NewNamespace { parent: None, name: name.into() }))
    }

    /// Waits until every node has the tenant and all have the same; at most a minute.
    pub fn settle(&mut self) -> bool {
        let tenant = self.ground.tenant;
        self.ground.world.run_until(60_000, |world| {
            (0..world.size()).all(|node| world.tenant(node, tenant).is_some()) && world.is_converged()
        })
    }

    /// Everything agrees within a minute, nothing was wrong, and every node serves.
    pub fn comes_right(mut self) {
        assert!(self.settle(), "{:#?}", self.ground.world.trace.timeline());
        self.ground.finish();
        for node in 0..self.ground.world.size() {
            let released = self.release(node);
            assert_eq!(released.as_deref(), Ok(self.data.as_slice()), "n{}", node + 1);
        }
        assert_eq!(self.ground.world.violations(), [] as [String; 0]);
    }
}
