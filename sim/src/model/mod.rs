//! The oracle: says of each release whether a node may, must not, or may either way make it, by what lies on its disk.
//!
//! Written from the documented rules and sharing no code with `keymesh-mesh`: of the product it uses `keymesh-wire`'s
//! types and decoding alone. It recomputes from whole sets of statements ([`story`], [`rights`], [`facts`]) and remembers
//! what a set meant; there is nothing incremental in it. It serves I2 and I4; what else must hold of a run is for
//! [`crate::checks`].
//!
//! Exact wherever rules are documented. Either way may go what it cannot know: a policy text that nobody told it the
//! meaning of ([`Model::policy`]), and statements above this software's level.

mod epochs;
pub mod facts;
pub mod generations;
pub mod rights;
pub mod story;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use keymesh_wire::body::{Body, CustodyClass, GenerationRef, InstanceFacts, KeyState, Scope};
use keymesh_wire::ids::{DocumentId, KeyId, NodeId, PrincipalId, StatementId, TenantId, VersionId};
use keymesh_wire::statement::Checked;

use facts::Facts;
use rights::{Memory, Rights};
use story::{NoPart, Set, Story};

/// How many sets of a document are remembered with what they mean.
const REMEMBERED: usize = 256;

/// What the instances that a rule of a policy applies to are like; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Its zone.
    pub zone: Option<String>,
    /// Who launched it.
    pub launched_by: Option<String>,
}

impl Match {
    fn fits(&self, facts: &InstanceFacts) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.zone, &facts.zone) && fits(&self.launched_by, &facts.launched_by)
    }
}

/// What a policy text means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    /// Whom it permits.
    pub permits: Vec<Match>,
    /// Whom it forbids.
    pub forbids: Vec<Match>,
}

/// Why a release must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The node holds nothing of the tenant.
    NoTenant,
    /// The agent's key is not bound to exactly one instance.
    NotBound,
    /// There is no such key, keyring or version.
    NoKey,
    /// A denial of the agent or its instance is known.
    Denied(StatementId),
    /// The key is in another state than active.
    State(KeyState),
    /// No policy permits it, or one forbids it.
    Policy,
    /// The keyring is of the other custody class.
    Class,
    /// The node is no member of the mesh, not placed, or no lessee.
    NoLessee,
}

impl Reason {
    /// The invariant that a release in spite of it breaks.
    pub fn invariant(&self) -> &'static str {
        match self {
            Self::Denied(_) | Self::State(_) => "I4",
            Self::NoTenant | Self::NotBound | Self::NoKey | Self::Policy | Self::Class | Self::NoLessee => "I2",
        }
    }
}

/// What the oracle says of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything permits it.
    May,
    /// Something known forbids it.
    MustNot(Reason),
    /// The oracle does not know.
    Either(&'static str),
}

/// A release or contribution to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Who asks.
    pub agent: PrincipalId,
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// A contribution to a blind release rather than a leased release.
    pub blind: bool,
}

#[derive(Debug, Default)]
struct Document {
    story: Story,
    memory: RefCell<Memory>,
    facts: RefCell<BTreeMap<Set, Arc<Facts>>>,
}

/// The oracle.
#[derive(Debug, Default)]
pub struct Model {
    documents: BTreeMap<DocumentId, Document>,
    homes: BTreeMap<StatementId, DocumentId>,
    disks: BTreeMap<usize, BTreeMap<DocumentId, Set>>,
    nodes: BTreeMap<usize, NodeId>,
    rules: BTreeMap<String, Rule>,
    planted: BTreeMap<KeyId, BTreeMap<VersionId, Vec<u8>>>,
}

impl Model {
    /// Tells which node stands at a place.
    pub fn node(&mut self, place: usize, id: NodeId) {
        self.nodes.insert(place, id);
    }

    /// Which node stands at a place.
    pub fn id(&self, place: usize) -> Option<NodeId> {
        self.nodes.get(&place).copied()
    }

    /// Where a node stands.
    pub fn place(&self, id: &NodeId) -> Option<usize> {
        self.nodes.iter().find(|(_, node)| *node == id).map(|(place, _)| *place)
    }

    /// Tells what a policy text means.
    pub fn policy(&mut self, text: impl Into<String>, rule: Rule) {
        self.rules.insert(text.into(), rule);
    }

    /// Tells what a version of a key holds.
    pub fn planted(&mut self, key: KeyId, version: VersionId, data: &[u8]) {
        self.planted.entry(key).or_default().insert(version, data.to_vec());
    }

    /// A statement is on a node's disk from now on.
    ///
    /// # Errors
    /// When a parent of it is not on the same disk.
    pub fn stored(&mut self, node: usize, statement: &Checked) -> Result<(), NoPart> {
        let document = statement.document();
        let disk = self.disks.entry(node).or_default().entry(document).or_default();
        let entry = self.documents.entry(document).or_default();
        let here = |parent: &&StatementId| entry.story.place(parent).is_some_and(|place| disk.has(place));
        if let Some(missing) = statement.parents().iter().find(|parent| !here(parent)) {
            return Err(NoPart::Parent(*missing));
        }
        let place = entry.story.add(statement.clone())?;
        disk.insert(place);
        self.homes.insert(statement.id(), document);
        Ok(())
    }

    /// A node started with these statements on its disk and knows nothing else.
    pub fn started<'i>(&mut self, node: usize, statements: impl IntoIterator<Item = &'i StatementId>) {
        let mut disk: BTreeMap<DocumentId, Set> = BTreeMap::new();
        for id in statements {
            if let Some((document, place)) = self.find(id) {
                disk.entry(document).or_default().insert(place);
            }
        }
        self.disks.insert(node, disk);
    }

    fn find(&self, id: &StatementId) -> Option<(DocumentId, usize)> {
        let document = *self.homes.get(id)?;
        Some((document, self.documents.get(&document)?.story.place(id)?))
    }

    /// Whether a statement is on a node's disk.
    pub fn holds(&self, node: usize, id: &StatementId) -> bool {
        self.find(id).is_some_and(|(document, place)| self.disk(node, &document).is_some_and(|disk| disk.has(place)))
    }

    /// A statement that ever was on a disk.
    pub fn statement(&self, id: &StatementId) -> Option<&Checked> {
        let (document, place) = self.find(id)?;
        self.story(&document).map(|story| story.at(place))
    }

    /// What of a document is on a node's disk.
    pub fn disk(&self, node: usize, document: &DocumentId) -> Option<&Set> {
        self.disks.get(&node)?.get(document)
    }

    /// Every statement of a document that ever was on a disk.
    pub fn story(&self, document: &DocumentId) -> Option<&Story> {
        self.documents.get(document).map(|document| &document.story)
    }

    /// The documents of all tenants.
    pub fn tenants(&self) -> Vec<DocumentId> {
        let is_tenant = |document: &Document| matches!(document.story.body(0), Some(Body::TenantGenesis(_)));
        self.documents.iter().filter(|(_, document)| is_tenant(document)).map(|(id, _)| *id).collect()
    }

    /// These statements of a document as a set; nothing if one of them never was on a disk.
    pub fn set<'i>(&self, document: &DocumentId, ids: impl IntoIterator<Item = &'i StatementId>) -> Option<Set> {
        let story = self.story(document)?;
        let mut set = Set::default();
        for id in ids {
            set.insert(story.place(id)?);
        }
        Some(set)
    }

    /// What a set of a document's statements means. It holds the parents of all it holds, the beginning among them.
    pub fn meaning(&self, document: &DocumentId, set: &Set) -> Option<Arc<Facts>> {
        let document = self.documents.get(document).filter(|_| set.has(0))?;
        if let Some(known) = document.facts.borrow().get(set) {
            return Some(known.clone());
        }
        let rights = Rights::of(&document.story, &document.memory, set);
        let facts = Arc::new(Facts::of(&document.story, &rights));
        let mut remembered = document.facts.borrow_mut();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(set.clone(), facts.clone());
        Some(facts)
    }

    /// What a node's disk says of a document.
    pub fn facts(&self, node: usize, document: &DocumentId) -> Option<Arc<Facts>> {
        self.meaning(document, self.disk(node, document)?)
    }

    /// What everything on all disks together says of a document.
    pub fn all_facts(&self, document: &DocumentId) -> Option<Arc<Facts>> {
        let mut all = Set::default();
        self.disks.values().filter_map(|disk| disk.get(document)).for_each(|disk| all.add(disk));
        self.meaning(document, &all)
    }

    /// Whether by the disk at place `at` a node is a member of the mesh and placed by a tenant.
    pub fn is_counted(&self, at: usize, tenant: &Facts, node: &NodeId) -> bool {
        let mesh = tenant.mesh.and_then(|mesh| self.facts(at, &mesh.into()));
        mesh.is_some_and(|mesh| mesh.members.contains(node)) && tenant.nodes.contains_key(node)
    }

    /// Whether by the disk at place `at` a node may lease a tenant's keyrings.
    pub fn may_lease(&self, at: usize, tenant: &Facts, node: &NodeId) -> bool {
        self.is_counted(at, tenant, node) && tenant.nodes.get(node).is_some_and(|placement| placement.lessee)
    }

    /// Whether any statement of a tenant's document that ever was said places a node.
    pub fn was_ever_placed(&self, document: &DocumentId, node: &NodeId) -> bool {
        let Some(story) = self.story(document) else { return false };
        let first = matches!(story.body(0), Some(Body::TenantGenesis(genesis))
            if genesis.nodes.iter().any(|placement| placement.node == *node));
        first
            || story
                .of_kind("place-node")
                .any(|place| matches!(story.body(place), Some(Body::PlaceNode(placement)) if placement.node == *node))
    }

    /// Judges a release by what is on the disk of the node that is to make it.
    pub fn judge(&self, node: usize, wish: &Wish) -> Verdict {
        let Some(facts) = self.facts(node, &wish.tenant.into()) else { return Verdict::MustNot(Reason::NoTenant) };
        if facts.above {
            return Verdict::Either("a statement above this software's level");
        }
        let Some(instance) = facts.instance_of(&wish.agent) else { return Verdict::MustNot(Reason::NotBound) };
        let Some(key) = facts.keys.get(&wish.key) else { return Verdict::MustNot(Reason::NoKey) };
        let Some(keyring) = facts.keyrings.get(&key.keyring) else { return Verdict::MustNot(Reason::NoKey) };
        if let Some(denial) = facts.denial_of(&wish.agent, &instance.instance) {
            return Verdict::MustNot(Reason::Denied(denial));
        }
        if key.state != KeyState::Active {
            return Verdict::MustNot(Reason::State(key.state));
        }
        if matches!(keyring.class, CustodyClass::Quorum) != wish.blind {
            return Verdict::MustNot(Reason::Class);
        }
        let me = self.nodes.get(&node);
        if !wish.blind && !me.is_some_and(|me| self.may_lease(node, &facts, me)) {
            return Verdict::MustNot(Reason::NoLessee);
        }
        let around = facts.around(keyring.namespace).into_iter().map(Scope::Namespace);
        let scopes = [Scope::Tenant, Scope::Keyring(key.keyring)].into_iter().chain(around);
        let heads: Vec<Vec<Option<&Rule>>> = scopes
            .filter_map(|scope| facts.policies.get(&scope))
            .map(|heads| heads.values().map(|text| self.rules.get(text)).collect())
            .collect();
        let known = || heads.iter().flatten().flatten();
        if known().any(|rule| rule.forbids.iter().any(|rule| rule.fits(instance))) {
            return Verdict::MustNot(Reason::Policy);
        }
        if heads.iter().flatten().any(Option::is_none) {
            return Verdict::Either("a policy that the oracle does not understand");
        }
        let permits = |heads: &Vec<Option<&Rule>>| {
            heads.iter().flatten().all(|rule| rule.permits.iter().any(|rule| rule.fits(instance)))
        };
        if heads.iter().any(permits) { Verdict::May } else { Verdict::MustNot(Reason::Policy) }
    }

    /// Why a version that a statement seals should not have been taken by the node that has it on its disk.
    pub fn unfit_seal(&self, node: usize, id: &StatementId) -> Option<&'static str> {
        let statement = self.statement(id)?;
        let (keyring, version) = match statement.body()? {
            Body::CreateKey(new) => (new.keyring, &new.version),
            Body::AddVersion(new) => (new.keyring, &new.version),
            _ => return None,
        };
        let document = statement.document();
        let facts = self.facts(node, &document)?;
        let of = version.sealed_to(keyring);
        let Some(generation) = facts.generations.get(&keyring)?.get(&of) else { return Some("no generation") };
        let story = self.story(&document)?;
        let past = story.past(story.place(id)?);
        let rights = Rights::of(story, &self.documents.get(&document)?.memory, past);
        // What the author knew as attested the node knew, and what is fit now was fit when it took the statement.
        let known = self.meaning(&document, past);
        let better = known.as_ref().and_then(|known| known.generations.get(&keyring)).is_some_and(|known| {
            let fit =
                |id: &GenerationRef| facts.generations[&keyring].get(id).is_some_and(generations::Generation::is_fit);
            known.iter().any(|(id, other)| other.is_attested() && fit(id))
        });
        if better && !generation.is_attested() {
            return Some("a generation that its creator alone knows");
        }
        generations::is_tainted(story, &rights, past, &of).then_some("a generation that an expelled lessee could read")
    }

    /// What a key's newest version holds, by a node's disk. Nothing if nobody told.
    pub fn newest(&self, node: usize, wish: &Wish) -> Option<&[u8]> {
        let planted = self.planted.get(&wish.key)?;
        let facts = self.facts(node, &wish.tenant.into())?;
        let newest = facts.keys.get(&wish.key)?.versions.last()?;
        planted.get(newest).map(Vec::as_slice)
    }
}
