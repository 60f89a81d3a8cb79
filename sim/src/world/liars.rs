//! Where liars come in: what they send, what they hear, and what they do of their own accord.

use keymesh_wire::body::CustodyClass;
use keymesh_wire::ids::{KeyId, KeyringId};
use keymesh_wire::label::VersionLabel;
use keymesh_wire::sealing;
use keymesh_wire::suite::Suite;

use super::*;
use crate::liar::{Around, Frame, Liar, Lie};

/// From which stream of the seed on liars have theirs.
const LIAR_STREAMS: u64 = 2 << 32;

impl World {
    /// From now on a node lies in these ways, beside those it lies in already.
    pub fn corrupt(&mut self, node: usize, lies: Vec<Lie>) {
        self.trace.note(self.at, format!("n{} lies: {lies:?}", node + 1));
        self.watch.checks.distrust(node);
        if let Some(liar) = self.liars.get_mut(&node) {
            return liar.add(lies);
        }
        let mut rng = self.nodes[node].rng.clone();
        rng.set_stream(LIAR_STREAMS + node as u64);
        let mut liar = Liar::new(lies, rng);
        let pause = liar.pause();
        self.liars.insert(node, liar);
        self.schedule(pause, Event::Lie { node });
    }

    /// The places of all liars, with their ways.
    pub fn liars(&self) -> impl Iterator<Item = (usize, &BTreeSet<Lie>)> {
        self.liars.iter().map(|(node, liar)| (*node, liar.lies()))
    }

    /// Whether a node lies.
    pub fn is_liar(&self, node: usize) -> bool {
        self.liars.contains_key(&node)
    }

    /// The places of all nodes that do not lie.
    pub fn honest(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.identities).filter(|node| !self.is_liar(*node))
    }

    /// Whether something a node complains of is no wonder: it lies itself, or the complaint names a liar.
    pub(super) fn blames_a_liar(&self, node: usize, what: &str) -> bool {
        self.is_liar(node) || self.liars.keys().any(|liar| what.contains(&self.nodes[*liar].id().to_string()))
    }

    /// Sends what a node's core wants to be sent, or what a liar makes of it.
    pub(crate) fn send(&mut self, from: usize, to: &NodeId, channel: Channel, bytes: Vec<u8>) {
        if !self.is_liar(from) || *to == self.nodes[from].id() {
            self.search(from, "sends", &bytes);
            return self.transmit(from, to, channel, bytes);
        }
        let to = *to;
        self.lie(from, |liar, around| liar.outbound(around, to, channel, bytes));
    }

    /// Whether a node's core gets to know of a frame.
    pub(super) fn hears(&mut self, to: usize, from: usize, channel: Channel, bytes: &[u8]) -> bool {
        let sender = self.nodes[from].id();
        let liar = self.liars.get_mut(&to).filter(|_| from != to);
        liar.is_none_or(|liar| liar.inbound(sender, channel, bytes))
    }

    /// A liar acts of its own accord.
    pub(super) fn lies(&mut self, node: usize) {
        self.lie(node, Liar::act);
        if let Some(pause) = self.liars.get_mut(&node).map(Liar::pause) {
            self.schedule(pause, Event::Lie { node });
        }
    }

    fn lie(&mut self, node: usize, lie: impl FnOnce(&mut Liar, &Around<'_>) -> Vec<Frame>) {
        let now = self.nodes[node].now(self.at);
        let Node { running, identity, .. } = &self.nodes[node];
        let (Some(running), Some(liar)) = (running, self.liars.get_mut(&node)) else { return };
        let linked = running.linked.iter().copied().collect();
        let around = Around { identity, replica: &running.replica, now, linked };
        for (to, channel, bytes) in lie(liar, &around) {
            self.transmit(node, &to, channel, bytes);
        }
    }

    /// What a liar opens with a lease it kept ([`Lie::KeepsLeases`]), whatever was revoked and however long ago it ended.
    pub fn open_with_kept_lease(&self, node: usize, tenant: TenantId, key: KeyId) -> Option<SecretBytes> {
        let view = self.nodes[node].view()?;
        let held = view.tenant(&tenant)?;
        let known = held.tenant().keys.get(&key)?;
        let keyring: KeyringId = known.keyring;
        let CustodyClass::Leased { .. } = held.tenant().keyrings.get(&keyring)?.class else { return None };
        let wrapped = &known.versions.last()?.wrapped;
        let lease = self.liars.get(&node)?.hoard.get(&(tenant, wrapped.sealed_to(keyring)))?;
        let label = VersionLabel {
            suite: Suite::V1,
            mesh: view.mesh,
            tenant,
            keyring,
            generation: lease.generation,
            key,
            version: wrapped.version,
        };
        sealing::open_with(&lease.secret, &label.bytes(), &[], held.blobs.get(&wrapped.ciphertext)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::Ground;

    #[test]
    fn a_peer_that_sends_a_thousand_false_steps_of_a_key_generation_fills_no_log() {
        let mut ground = Ground::new(1, Plan::calm(3));
        ground.world.corrupt(2, vec![Lie::IsMute]);
        let from = ground.world.node(2).id();
        for _ in 0..1_000 {
            ground.world.feed(0, Input::Custody { from, message: CustodyMessage::Ceremony(vec![0]) });
        }
        ground.world.run(5_000);
        let said = ground.world.node(0).warnings.iter().filter(|what| what.contains(&from.to_string())).count();
        assert!((1..=20).contains(&said), "{said} warnings");
        assert_eq!(ground.world.violations(), [] as [String; 0]);
    }
}
