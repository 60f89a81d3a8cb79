//! Which secrets of a run are planted, and where they are searched for (I1, I10).

use keymesh_mesh::replica::Write;

use keymesh_mesh::custody::slot::Slot;

use super::*;
use crate::people::Creation;

impl World {
    /// From now on this data key must be seen nowhere but at whom it is released to.
    pub fn plant(&mut self, secret: &[u8]) {
        self.plant_as("a data key", secret);
    }

    /// As [`World::plant`], for any secret, with a name for it.
    pub fn plant_as(&mut self, what: &str, secret: &[u8]) {
        self.canaries.plant(what, secret);
    }

    /// Plants what somebody's key consists of. `whose` ends like `ann's`.
    pub fn plant_identity(&mut self, whose: &str, identity: &Identity) {
        if !self.canaries.knows(identity.expose_seed()) {
            self.canaries.plant(format!("{whose} seed"), identity.expose_seed());
            self.canaries.plant(format!("{whose} sealing secret"), identity.sealing().expose_secret().expose_secret());
        }
    }

    /// Plants what is secret about something that was created.
    pub fn plant_creation<I>(&mut self, creation: &Creation<I>) {
        if let Some(secret) = &creation.secret {
            self.canaries.plant("a generation's secret", secret.expose_secret().expose_secret());
        }
    }

    pub(super) fn plant_nodes(&mut self) {
        for node in 0..self.nodes.len() {
            let identity = self.nodes[node].identity.clone();
            self.plant_identity(&format!("n{}'s", node + 1), &identity);
        }
    }

    /// A planted secret in what a node does is a violation.
    pub(crate) fn search(&mut self, node: usize, does: &str, bytes: &[u8]) {
        if let Some(found) = self.canaries.find(bytes) {
            self.violation(format!("I1: n{} {does} {found}", node + 1));
        }
    }

    /// Searches what a node is about to write, and plants the share in it: from then on it may lie in this node's slot of
    /// this name and nowhere else.
    pub(super) fn search_write(&mut self, node: usize, write: &Write) {
        match write {
            Write::Statement { bytes, .. } => self.search(node, "writes", bytes),
            Write::Blob { bytes, .. } => self.search(node, "writes", bytes),
            Write::Audit(record) => self.search(node, "records", &record.to_payload()),
            Write::Share { slot, share } => {
                let share = share.expose_secret();
                let Some(scalar) = secret_in(slot, share) else {
                    return self.violation(format!("n{} writes a share of {} bytes", node + 1, share.len()));
                };
                // A machine and its copy have the same shares.
                let place = self.place(&self.nodes[node].id()).unwrap_or(node);
                let name = format!("n{}'s share in {slot}", place + 1);
                self.canaries.plant(name.as_str(), scalar);
                if let Some(found) = self.canaries.find(share)
                    && found.what != name
                {
                    self.violation(format!("I1: n{} writes into {slot} {found}", node + 1));
                }
            }
            Write::EraseBlob { .. } | Write::EraseShare { .. } => {}
        }
    }

    /// The ciphertexts, and the secrets in slots, that a node is about to erase.
    pub(super) fn to_erase(&self, node: usize, writes: &[Write]) -> Vec<Vec<u8>> {
        let gone: BTreeSet<_> = writes
            .iter()
            .filter_map(|write| match write {
                Write::EraseBlob { document, hash } => Some((*document, *hash)),
                _ => None,
            })
            .collect();
        let slots: BTreeSet<&str> = writes
            .iter()
            .filter_map(|write| match write {
                Write::EraseShare { slot } => Some(slot.as_str()),
                _ => None,
            })
            .collect();
        if gone.is_empty() && slots.is_empty() {
            return Vec::new();
        }
        let stored = self.nodes[node].disk.stored();
        let blobs = stored.blobs.into_iter().filter(|(document, hash, _)| gone.contains(&(*document, *hash)));
        let shares = stored.shares.iter().filter(|(slot, _)| slots.contains(slot.as_str()));
        let scalars = shares.filter_map(|(slot, share)| secret_in(slot, share.expose_secret()).map(|s| s.to_vec()));
        blobs.map(|(.., bytes)| bytes).chain(scalars).collect()
    }

    /// I10: what was destroyed does not come back from a peer or a client, unless those who destroyed it turned out to have
    /// lost their right: then the key lives.
    pub(super) fn check_readmitted(&mut self, node: usize, writes: &[Write]) {
        for write in writes {
            match write {
                Write::EraseBlob { hash, .. } => {
                    self.nodes[node].erased.insert(*hash);
                }
                Write::Blob { document, hash, .. } if self.nodes[node].erased.contains(hash) => {
                    let held = self.nodes[node].replica().and_then(|replica| replica.document(document));
                    let lives = held.and_then(|held| held.tenant()).is_some_and(|t| t.wanted_blobs().contains(hash));
                    if lives {
                        self.watch.coverage.count("destructions that lost their authority");
                        continue;
                    }
                    self.violation(format!("I10: n{} takes {hash} in again, which it destroyed", node + 1));
                }
                _ => {}
            }
        }
    }

    /// I10: erased bytes lie nowhere on the disk any more, in no freed page either.
    pub(super) fn check_erased(&mut self, node: usize, erased: &[Vec<u8>]) {
        for bytes in erased {
            if self.nodes[node].disk.contains(bytes) {
                self.violation(format!("I10: n{} keeps what it erased", node + 1));
            }
        }
    }

    /// Looks for planted secrets in everything that is left of a run: the timeline, warnings, and all disks.
    pub fn check_secrets(&mut self) {
        let mut wrong = Vec::new();
        for (at, line) in self.trace.timeline() {
            if let Some(found) = self.canaries.find(line.as_bytes()) {
                wrong.push(format!("I1: the timeline shows {found} at {at} ms"));
            }
        }
        for (machine, node) in self.nodes.iter().enumerate() {
            let place = self.place(&node.id()).unwrap_or(machine);
            let stored = node.disk.stored();
            let files = stored.statements.iter().chain(stored.blobs.iter().map(|(.., bytes)| bytes));
            let records: Vec<Vec<u8>> = node.disk.audit().iter().map(|record| record.to_payload()).collect();
            for bytes in files.chain(&records) {
                if let Some(found) = self.canaries.find(bytes) {
                    wrong.push(format!("I1: on n{}'s disk lies {found}", place + 1));
                }
            }
            for (slot, share) in &stored.shares {
                let found = self.canaries.find(share.expose_secret());
                let own = format!("n{}'s share in {slot}", place + 1);
                if found.as_ref().is_none_or(|found| found.what != own) {
                    wrong.push(format!("I1: in n{}'s slot {slot} lies {found:?}", place + 1));
                }
            }
        }
        wrong.into_iter().for_each(|wrong| self.violation(wrong));
    }

    /// I10: what a node shows of its core and its view when it is printed holds no planted secret.
    pub fn check_printed(&mut self, node: usize) {
        let printed = self.nodes[node].running.as_ref().map(|running| format!("{running:?}")).unwrap_or_default();
        if let Some(found) = self.canaries.find(printed.as_bytes()) {
            self.violation(format!("I10: n{} printed shows {found}", node + 1));
        }
    }
}

/// The scalar in what a slot holds: a share ends with it; a one-time key has it before its proof of two scalars, each with
/// two bytes before it.
fn secret_in<'a>(slot: &str, exposed: &'a [u8]) -> Option<&'a [u8; 32]> {
    match slot.parse().ok()? {
        Slot::Key(_) => exposed.get(..exposed.len().checked_sub(2 * 34)?)?.last_chunk(),
        Slot::Made { .. } | Slot::Epoch { .. } => exposed.last_chunk(),
    }
}
