//! What people do when somebody who could read keys is expelled: open new generations, rotate what is due.

use super::{KnownKey, Run, Then};
use crate::people::Maker;

/// How many keys somebody rotates at a time.
const AT_ONCE: usize = 3;

impl Run {
    /// Another generation of some keyring, needed or not.
    pub(super) fn open_generation(&mut self, tenant: usize, node: usize) {
        if let Some(keyring) = self.keyring_at(tenant, node).filter(|keyring| keyring.leased) {
            self.open_generation_of(tenant, node, keyring.id);
        }
    }

    fn open_generation_of(&mut self, tenant: usize, node: usize, keyring: keymesh_wire::ids::KeyringId) {
        let known = self.state(node, tenant).and_then(|state| state.keyrings.get(&keyring));
        if !self.knows_root(node, tenant) || known.is_none_or(|known| known.generations.len() >= 6) {
            return;
        }
        let admin = self.admin(tenant, node);
        let Some(view) = self.world.node(node).view().cloned() else { return };
        let tenancy = &self.tenants[tenant];
        let Some(root) = tenancy.root else { return };
        let maker = Maker { signer: &tenancy.admins[admin], mesh: self.mesh, tenant: tenancy.id, root };
        let made = maker.generation(&view, keyring, &mut self.world.rng);
        self.world.plant_creation(&made);
        self.say_as(tenant, node, admin, &made.body, made.blobs, Then::Nothing);
    }

    /// Somebody rotates a few of the keys that are due, and opens generations where there is none to rotate to.
    pub(super) fn rotate_due(&mut self, tenant: usize, node: usize) {
        let everybody = |_: &_| true;
        let Some(state) = self.state(node, tenant) else { return };
        let due = |known: &&KnownKey| state.due(&known.key, everybody).is_some();
        let due: Vec<KnownKey> = self.tenants[tenant].keys.iter().filter(due).take(AT_ONCE).cloned().collect();
        for known in due {
            let ring = self.state(node, tenant).and_then(|state| state.keyrings.get(&known.keyring));
            let Some(ring) = ring else { return };
            let (current, awaited) = (ring.current(everybody).is_some(), ring.awaited(everybody).is_some());
            if current && self.knows_root(node, tenant) {
                self.count("keys due rotated");
                self.add_version_to(tenant, node, &known);
            } else if !awaited {
                self.count("generations opened for keys due");
                self.open_generation_of(tenant, node, known.keyring);
            }
        }
    }
}
