//! What is done to disks, and what operators do about it.

use super::*;
use crate::disk::Rot;

impl World {
    pub(super) fn disk_seen(&mut self, node: usize, kind: &str, what: String) {
        self.watch.coverage.count(kind);
        self.saw(Seen::Disk { node, what: &what });
        self.trace.note(self.at, what);
    }

    /// From now on a node's disk takes nothing more, or has room again.
    pub fn fill_disk(&mut self, node: usize, full: bool) {
        self.nodes[node].disk.set_full(full);
        let what = if full { "is full" } else { "has room again" };
        self.disk_seen(
            node,
            if full { "full disks" } else { "freed disks" },
            format!("the disk of n{} {what}", node + 1),
        );
    }

    /// From now on each write of a node takes so many milliseconds, from the first number to the second.
    pub fn pace_disk(&mut self, node: usize, pace: (u64, u64)) {
        self.nodes[node].disk.set_pace(pace);
        let kind = if pace == Disk::QUICK { "quick disks" } else { "slow disks" };
        self.disk_seen(node, kind, format!("writes of n{} take {}-{} ms", node + 1, pace.0, pace.1));
    }

    /// A bit of a node's disk flips. It is noticed when the node next starts, so the node crashes first. Returns whether
    /// there was anything of the kind.
    ///
    /// A lost share is no breach of the node's promise that it holds it, so it is no longer checked.
    pub fn rot(&mut self, node: usize, what: Rot) -> bool {
        self.crash(node);
        let Node { disk, rng, .. } = &mut self.nodes[node];
        let Some(done) = disk.rot(what, rng) else { return false };
        let kind = match what {
            Rot::Statement => "rotten stores",
            Rot::Blob => "rotten ciphertexts",
            Rot::Share | Rot::Slot(_) => {
                self.shareless.insert(node);
                "rotten shares"
            }
            Rot::Audit => "rotten audit logs",
        };
        self.disk_seen(node, kind, format!("n{}: {done} flips", node + 1));
        true
    }

    /// An operator does what a node that does not start says: moves a damaged store and a damaged audit log away, frees
    /// room; the node starts again and gets the rest from its peers.
    pub fn repair_disk(&mut self, node: usize) {
        let Some(mesh) = self.mesh else { return };
        self.nodes[node].disk.set_full(false);
        while let Some(fault) = self.nodes[node].disk.fault() {
            self.crash(node);
            match fault {
                DiskFault::Store => {
                    self.nodes[node].disk.new_store(mesh.into());
                    self.rolled_back(node, "new stores", "begins a new store");
                }
                DiskFault::Audit => {
                    self.nodes[node].disk.new_audit();
                    self.disk_seen(node, "new audit logs", format!("n{} begins a new audit log", node + 1));
                }
                DiskFault::Full => return,
            }
        }
        self.start(node);
    }

    /// A node loses its disk. An operator gives it an empty one with the mesh's genesis and its audit log is gone, too:
    /// statements come back from peers; its shares do not.
    ///
    /// With nothing but the genesis it does not know its peers, so it gets their document from another node's disk, as the
    /// operator would bring it.
    pub fn replace_disk(&mut self, node: usize, from: usize) {
        let Some(mesh) = self.mesh else { return };
        self.crash(node);
        let mut disk = self.nodes[from].disk.clone();
        disk.forget_own();
        disk.new_store(mesh.into());
        self.nodes[node].disk = disk;
        self.shareless.insert(node);
        self.rolled_back(node, "new disks", "has a new disk");
        self.start(node);
    }

    /// Somebody makes a copy of a node's whole disk, for later.
    pub fn back_up(&mut self, node: usize) {
        self.nodes[node].backup = Some(self.nodes[node].disk.clone());
        self.trace.note(self.at, format!("the disk of n{} is copied", node + 1));
    }

    /// Somebody puts the copy of a node's disk back, under the identity that went on meanwhile, and starts the node.
    /// Returns whether there is one.
    ///
    /// Nothing on such a disk says that it is old. What the node acknowledged since and nobody else has is lost; it may
    /// vote and attest once more in matters in which it did; a share that it got since is gone.
    pub fn restore_backup(&mut self, node: usize) -> bool {
        let Some(backup) = self.nodes[node].backup.clone() else { return false };
        self.crash(node);
        self.nodes[node].disk = backup;
        self.shareless.insert(node);
        self.rolled_back(node, "stale backups", "is put back to an old copy of its disk");
        self.start(node);
        true
    }

    fn rolled_back(&mut self, node: usize, kind: &str, what: &str) {
        self.saw(Seen::RolledBack { node });
        self.disk_seen(node, kind, format!("n{} {what}", node + 1));
        self.owe(node);
    }

    /// What a node no longer has is owed by the others that have it, and lost if there are none.
    pub(super) fn owe(&mut self, node: usize) {
        let gone: Vec<StatementId> =
            self.acknowledged.keys().filter(|id| !self.nodes[node].disk.has(id)).copied().collect();
        for id in gone {
            if !self.nodes[..self.identities].iter().any(|other| other.disk.has(&id)) {
                self.acknowledged.remove(&id);
            }
        }
    }
}
