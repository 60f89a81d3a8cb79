//! What agents do: enrol, ask for keys, ask again, and what copied machines and strangers try.

use keymesh_mesh::custody::message::CustodyMessage;
use keymesh_wire::ids::KeyId;
use keymesh_wire::secret::Secret32;
use keymesh_wire::sign::Identity;
use rand_core::Rng;

use super::{Run, Waiting, What};
use crate::agents::{Agent, Instance};
use crate::draw;

impl Run {
    /// An agent of a tenant, or somebody who would like to be one, does something.
    pub(super) fn agents(&mut self, tenant: usize) {
        match self.place(20) {
            0 => self.enrol_again(tenant),
            1 => self.enrol_new(tenant),
            2 => self.enrol_copy(tenant),
            3..=6 => self.ask_blind(tenant),
            7 => self.replay(tenant),
            8 => self.release_unknown(tenant),
            9 => self.enrol_forged(tenant),
            _ => self.release(tenant),
        }
    }

    /// A node that an agent turns to: any that is not a liar, whether it serves the tenant or not.
    fn door(&mut self) -> usize {
        loop {
            let node = self.place(self.world.size());
            if !self.scenario.liars.contains(&node) {
                return node;
            }
        }
    }

    fn wait(&mut self, handle: crate::world::Handle, what: What) {
        let since = self.world.at();
        self.waiting.push(Waiting { handle, since, what });
    }

    /// An agent that is bound already, or lost an answer, enrols once more: the same key on the same instance.
    fn enrol_again(&mut self, tenant: usize) {
        let Some(node) = self.holder(tenant) else { return };
        let agent = self.place(self.tenants[tenant].agents.len());
        let tenancy = &self.tenants[tenant];
        let id = tenancy.agents[agent].id();
        let handle = self.world.enrol(node, tenancy.id, &tenancy.agents[agent], &tenancy.launcher);
        self.world.did(|| format!("agent {id:?} enrols again at n{}", node + 1));
        self.wait(handle, What::Enrolment);
        self.count("enrolments again");
    }

    /// Another machine enrols with a ticket for whoever holds its one-time key.
    fn enrol_new(&mut self, tenant: usize) {
        let Some(node) = self.holder(tenant) else { return };
        let instance = Instance::ALL[self.place(Instance::ALL.len())];
        let agent = Agent::new(instance, &mut self.world.rng);
        let bearer = Identity::from_seed(Secret32::random(&mut self.world.rng));
        self.world.did(|| format!("agent {:?} enrols at n{} with a voucher", agent.id(), node + 1));
        let tenancy = &self.tenants[tenant];
        let ticket = self.world.ticket(tenancy.id, bearer.principal(), instance, &tenancy.launcher);
        let handle = self.world.enrol_with(node, tenancy.id, &agent, &ticket, Some(&bearer));
        self.wait(handle, What::Enrolment);
        self.tenants[tenant].tickets.push(ticket);
        if self.tenants[tenant].agents.len() < 8 {
            self.tenants[tenant].agents.push(agent);
        }
        self.count("enrolments by voucher");
    }

    /// A copy of a machine, which has the evidence but not the key; or the key of one machine shown on another; or
    /// somebody who found a used ticket.
    fn enrol_copy(&mut self, tenant: usize) {
        let Some(node) = self.holder(tenant) else { return };
        let count = self.tenants[tenant].agents.len();
        let victim = self.place(count);
        let copy = Agent::new(self.tenants[tenant].agents[victim].instance, &mut self.world.rng);
        self.world.did(|| format!("a copy {:?} of agent {} enrols at n{}", copy.id(), victim + 1, node + 1));
        let tenancy = &self.tenants[tenant];
        let handle = match (draw::place(&mut self.world.rng, 2), tenancy.tickets.last().cloned()) {
            (0, Some(used)) => self.world.enrol_with(node, tenancy.id, &copy, &used, Some(&copy.identity)),
            _ => self.world.enrol(node, tenancy.id, &copy, &tenancy.launcher),
        };
        self.wait(handle, What::Enrolment);
        // The copy goes on to ask for keys as if it had been let in.
        if count < 8 {
            self.tenants[tenant].agents.push(copy);
        }
        self.count("enrolments of copies");
    }

    /// A machine shows a document whose zone it altered, with a ticket that is good.
    fn enrol_forged(&mut self, tenant: usize) {
        let Some(node) = self.holder(tenant) else { return };
        let instance = Instance::ALL[self.place(Instance::ALL.len())];
        let agent = Agent::new(instance, &mut self.world.rng);
        let tenancy = &self.tenants[tenant];
        let ticket = self.world.ticket(tenancy.id, agent.id(), instance, &tenancy.launcher);
        let document = instance.forged();
        let handle = self.world.enrol_showing(node, tenancy.id, &agent, &ticket, None, document);
        self.wait(handle, What::Enrolment);
        self.count("enrolments with forged evidence");
    }

    fn asked_key(&mut self, tenant: usize, leased: bool) -> Option<KeyId> {
        let keys: Vec<KeyId> =
            self.tenants[tenant].keys.iter().filter(|known| known.leased == leased).map(|known| known.key).collect();
        if keys.is_empty() { None } else { Some(keys[self.place(keys.len())]) }
    }

    fn release(&mut self, tenant: usize) {
        let Some(key) = self.asked_key(tenant, true) else { return };
        let mut node = self.door();
        let mut agent = self.place(self.tenants[tenant].agents.len());
        // Mostly somebody who may, at a node that serves: what must be refused is asked for often enough elsewhere.
        if draw::chance(&mut self.world.rng, 600) {
            (node, agent) = (self.holder(tenant).unwrap_or(node), self.place(2));
        }
        self.release_at(tenant, node, agent, key);
    }

    pub(super) fn release_at(&mut self, tenant: usize, node: usize, agent: usize, key: KeyId) -> crate::world::Handle {
        let tenancy = &self.tenants[tenant];
        let request = tenancy.agents[agent].wants(tenancy.id, key, &mut self.world.rng);
        let id = tenancy.agents[agent].id();
        self.world.did(|| format!("agent {id:?} asks n{} for {key:?}", node + 1));
        let handle = self.world.release(node, request);
        self.wait(handle, What::Release { tenant, key, node });
        handle
    }

    /// A key that nobody made, or another tenant's.
    fn release_unknown(&mut self, tenant: usize) {
        let other = (tenant + 1) % self.tenants.len();
        let foreign = self.tenants[other].keys.first().map(|known| known.key).filter(|_| other != tenant);
        let mut bytes = [0; 32];
        self.world.rng.fill_bytes(&mut bytes);
        let key = foreign.unwrap_or_else(|| KeyId::from_bytes(bytes));
        let node = self.door();
        self.release_at(tenant, node, 0, key);
        self.count("releases of foreign keys");
    }

    fn ask_blind(&mut self, tenant: usize) {
        let Some(node) = self.holder(tenant) else { return };
        let Some(key) = self.asked_key(tenant, false) else { return };
        let agent = self.place(self.tenants[tenant].agents.len());
        self.ask_at(tenant, node, agent, key);
    }

    pub(super) fn ask_at(&mut self, tenant: usize, node: usize, agent: usize, key: KeyId) -> crate::world::Handle {
        let tenancy = &self.tenants[tenant];
        let question = tenancy.agents[agent].asks(tenancy.id, key, self.world.at(), &mut self.world.rng);
        let id = tenancy.agents[agent].id();
        self.world.did(|| format!("agent {id:?} asks for {key:?} blindly through n{}", node + 1));
        let handle = self.world.ask(node, &question);
        let versions = self.versions(node, tenant, &key);
        let epochs = self.settled_epochs(node, tenant).unwrap_or_default();
        // Where they do not show the same from here on, custodians may speak of different versions.
        let versions = if self.everybody_shows(node, tenant, &key, versions, &epochs) { versions } else { 0 };
        self.wait(handle, What::Blind { tenant, key, node, question, versions, epochs });
        handle
    }

    /// Somebody who recorded an old signed request shows it again at another node.
    fn replay(&mut self, tenant: usize) {
        let Some(node) = self.holder(tenant).filter(|_| !self.tenants[tenant].questions.is_empty()) else { return };
        let old = self.tenants[tenant].questions.remove(0);
        self.world.did(|| format!("an old request {:?} is shown again at n{}", old.request, node + 1));
        let message = CustodyMessage::QuorumAsk(old.signed.bytes().to_vec());
        let custodians = self.world.guardians(node, old.tenant, &old.key);
        self.world.carry(node, old.request, &custodians, &message);
        self.count("replayed requests");
    }
}
