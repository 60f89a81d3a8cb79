//! What the replica holds: documents and ciphertexts, and who may have them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keymesh_wire::body::Body;
use keymesh_wire::ids::{BlobHash, DocumentId, MeshId, NodeId, StatementId};
use keymesh_wire::statement::Checked;

use crate::mutant::{self, Mutant};
use crate::spread::Holdings;
use crate::state::{Document, DocumentState};
use crate::view::Blobs;

/// Documents and ciphertexts.
#[derive(Debug)]
pub struct Library {
    me: NodeId,
    mesh: MeshId,
    documents: BTreeMap<DocumentId, Document>,
    blobs: BTreeMap<DocumentId, Blobs>,
    changed: BTreeSet<DocumentId>,
}

/// What became of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is held now.
    New,
    /// It was held before.
    Known,
    /// Its parents are not here.
    Orphan,
    /// It belongs to a document that this node has no business with.
    Unwanted,
}

impl Library {
    /// An empty library.
    pub fn new(me: NodeId, mesh: MeshId) -> Self {
        Self { me, mesh, documents: BTreeMap::new(), blobs: BTreeMap::new(), changed: BTreeSet::new() }
    }

    /// Takes a statement in. One that begins a document is wanted if it is this mesh's genesis, or a tenant's of this mesh
    /// that places this node.
    pub fn take(&mut self, statement: Checked) -> Taken {
        let id = statement.document();
        if let Some(document) = self.documents.get_mut(&id) {
            return match document.insert(statement) {
                crate::state::graph::Insertion::New(_) => {
                    self.changed.insert(id);
                    Taken::New
                }
                crate::state::graph::Insertion::Known => Taken::Known,
                crate::state::graph::Insertion::Missing(_) => Taken::Orphan,
                crate::state::graph::Insertion::Foreign => Taken::Unwanted,
            };
        }
        let wanted = match statement.body() {
            Some(Body::MeshGenesis(_)) => MeshId::from(statement.id()) == self.mesh,
            Some(Body::TenantGenesis(genesis)) => {
                genesis.mesh == self.mesh && genesis.nodes.iter().any(|placed| placed.node == self.me)
            }
            _ => return Taken::Orphan,
        };
        match Document::begin(statement).filter(|_| wanted) {
            Some(document) => {
                self.adopt(document);
                Taken::New
            }
            None => Taken::Unwanted,
        }
    }

    /// Takes a whole document in, whose folded state places this node.
    pub fn adopt(&mut self, document: Document) {
        self.changed.insert(document.id());
        self.blobs.entry(document.id()).or_default();
        self.documents.insert(document.id(), document);
    }

    /// Keeps a ciphertext that a document's live state names. Returns whether it was wanted and new.
    pub fn take_blob(&mut self, document: DocumentId, hash: BlobHash, bytes: Arc<[u8]>) -> bool {
        if !self.missing_blobs(&document).contains(&hash) {
            return false;
        }
        self.put_blob(document, hash, bytes);
        true
    }

    /// Keeps a ciphertext without asking, as when it comes from this node's own disk.
    pub fn put_blob(&mut self, document: DocumentId, hash: BlobHash, bytes: Arc<[u8]>) {
        Arc::make_mut(self.blobs.entry(document).or_default()).insert(hash, bytes);
        self.changed.insert(document);
    }

    /// Forgets ciphertexts. Returns those that were here. Views built before still show them, so the document counts as
    /// changed.
    pub fn erase_blobs(&mut self, document: &DocumentId, gone: &BTreeSet<BlobHash>) -> Vec<BlobHash> {
        let Some(blobs) = self.blobs.get_mut(document) else { return Vec::new() };
        let here: Vec<BlobHash> = gone.iter().filter(|hash| blobs.contains_key(hash)).copied().collect();
        if !here.is_empty() {
            let blobs = Arc::make_mut(blobs);
            here.iter().for_each(|hash| {
                blobs.remove(hash);
            });
            self.changed.insert(*document);
        }
        here
    }

    /// Documents that changed since this was last asked, their states brought up to date.
    pub fn refold(&mut self) -> BTreeSet<DocumentId> {
        let changed = std::mem::take(&mut self.changed);
        for id in &changed {
            if let Some(document) = self.documents.get_mut(id) {
                document.refold();
            }
        }
        changed
    }

    /// A document.
    pub fn document(&self, id: &DocumentId) -> Option<&Document> {
        self.documents.get(id)
    }

    /// All documents.
    pub fn all(&self) -> impl Iterator<Item = &Document> {
        self.documents.values()
    }

    /// A document's ciphertexts.
    pub fn blobs_of(&self, id: &DocumentId) -> Blobs {
        self.blobs.get(id).cloned().unwrap_or_default()
    }

    fn is_member(&self, node: &NodeId) -> bool {
        let mesh = self.documents.get(&self.mesh.into()).and_then(Document::mesh);
        mesh.is_some_and(|mesh| mesh.nodes.contains_key(node))
    }
}

impl Holdings for Library {
    fn documents(&self) -> Vec<DocumentId> {
        self.documents.keys().copied().collect()
    }

    fn shares(&self, document: &DocumentId, peer: &NodeId) -> bool {
        self.is_member(peer)
            && self.documents.get(document).is_some_and(|document| match &**document.state() {
                DocumentState::Mesh(_) => true,
                DocumentState::Tenant(tenant) => {
                    tenant.nodes.contains_key(peer) || mutant::is(Mutant::PlacementNotAsked)
                }
            })
    }

    fn takes(&self, document: &DocumentId, peer: &NodeId) -> bool {
        // A node that was away, or has only a document's beginning, does not know yet who was admitted or placed since.
        // Statements prove themselves; that the peer is one at all was the transport's to see to.
        self.is_member(peer) || *document == self.mesh.into()
    }

    fn holds(&self, document: &DocumentId) -> bool {
        self.documents.contains_key(document)
    }

    fn contains(&self, document: &DocumentId, id: &StatementId) -> bool {
        self.documents.get(document).is_some_and(|document| document.graph().contains(id))
    }

    fn bytes(&self, document: &DocumentId, id: &StatementId) -> Option<&[u8]> {
        self.documents.get(document)?.graph().get(id).map(Checked::bytes)
    }

    fn parents(&self, document: &DocumentId, id: &StatementId) -> Option<&[StatementId]> {
        self.documents.get(document)?.graph().get(id).map(Checked::parents)
    }

    fn ids(&self, document: &DocumentId) -> Vec<StatementId> {
        self.documents.get(document).map(|document| document.graph().ids().copied().collect()).unwrap_or_default()
    }

    fn height(&self, document: &DocumentId, id: &StatementId) -> u64 {
        self.documents.get(document).and_then(|document| document.graph().height(id)).unwrap_or_default()
    }

    fn digest(&self, document: &DocumentId) -> [u8; 32] {
        self.documents.get(document).map(Document::digest).unwrap_or_default()
    }

    fn blob(&self, document: &DocumentId, hash: &BlobHash) -> Option<&[u8]> {
        self.blobs.get(document)?.get(hash).map(|bytes| &**bytes)
    }

    fn missing_blobs(&self, document: &DocumentId) -> Vec<BlobHash> {
        let Some(tenant) = self.documents.get(document).and_then(Document::tenant) else { return Vec::new() };
        let here = self.blobs.get(document);
        let held = |hash: &BlobHash| here.is_some_and(|blobs| blobs.contains_key(hash));
        let mut wanted = tenant.wanted_blobs();
        if mutant::is(Mutant::DestroyedHashReadmitted) {
            let versions = tenant.keys.values().flat_map(|key| &key.versions);
            wanted.extend(versions.map(|version| version.wrapped.ciphertext));
        }
        wanted.into_iter().filter(|hash| !held(hash)).collect()
    }
}
