//! What has to hold of all nodes together.

use super::*;

impl World {
    /// Statements that were acknowledged, with where and for which document.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&StatementId, &(usize, DocumentId))> {
        self.acknowledged.iter()
    }

    /// I8: what a node acknowledged it has after a restart.
    pub(super) fn check_acknowledged(&mut self, node: usize) {
        let lost: Vec<StatementId> = self
            .acknowledged
            .iter()
            .filter(|(id, (at, _))| *at == node && !self.nodes[node].disk.has(id))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.violation(format!("n{} acknowledged {id} and lost it", node + 1));
        }
        self.check_shares();
    }

    /// No node attested a share that is not on its disk, wherever the attestation got to.
    pub fn check_shares(&mut self) {
        let mut attested = BTreeSet::new();
        for node in &self.nodes {
            for statement in node.disk.statements().filter_map(|bytes| Checked::from_bytes(bytes).ok()) {
                if let Some(Body::AttestRoot(said)) = statement.body() {
                    let slot = keymesh_mesh::custody::ceremony::slot_name(&said.root, said.committee, said.attempt);
                    attested.insert((statement.author(), slot));
                }
            }
        }
        for (author, slot) in attested {
            let Some(place) = self.place(&author) else { continue };
            if !self.nodes[place].disk.has_share(&slot) {
                self.violation(format!("n{} attested the share in {slot}, which is not on its disk", place + 1));
            }
        }
    }

    /// Whether all running nodes that hold a document hold the same of it, ciphertexts included, and all nodes run.
    pub fn is_converged(&self) -> bool {
        let mut seen: BTreeMap<DocumentId, ([u8; 32], usize)> = BTreeMap::new();
        for node in &self.nodes {
            let Some(running) = node.running.as_ref().filter(|running| running.writing.is_none()) else {
                return false;
            };
            for status in running.replica.documents() {
                let Some(document) = running.replica.document(&status.document) else { return false };
                let missing = document.tenant().map(TenantState::wanted_blobs).unwrap_or_default();
                if missing.iter().any(|hash| running.replica.blob(&status.document, hash).is_none()) {
                    return false;
                }
                let mine = (document.digest(), document.graph().len());
                if *seen.entry(status.document).or_insert(mine) != mine {
                    return false;
                }
            }
        }
        true
    }
}
