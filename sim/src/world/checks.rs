//! What has to hold of all nodes together.

use keymesh_mesh::custody::slot::Slot;
use keymesh_wire::body::{SharingAct, SharingRef};

use super::*;
use crate::checks::agree;

/// A share that a custodian should have and has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    /// Who.
    pub node: usize,
    /// Of which sharing.
    pub sharing: SharingRef,
    /// Whether there are honest custodians enough to give it back.
    pub helpers: bool,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let SharingRef { root, committee, epoch } = self.sharing;
        write!(f, "n{} lacks its share of epoch {epoch} of {root}, committee {}", self.node + 1, committee + 1)
    }
}

impl World {
    /// Statements that were acknowledged, with where and for which document.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&StatementId, &(usize, DocumentId))> {
        self.acknowledged.iter()
    }

    /// I2, I3: what every running node made of its statements is what the oracle makes of them.
    pub fn check_states(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.check_state(node, false));
    }

    /// As [`World::check_states`], the descriptive fields included, which no decision rests on.
    pub fn check_fields(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.check_state(node, true));
    }

    /// Now and then one node's state is looked at.
    pub(super) fn look_around(&mut self) {
        if self.at < self.next_look {
            return;
        }
        let node = (self.next_look / LOOK) as usize % self.nodes.len();
        self.next_look = self.at + LOOK;
        self.check_state(node, false);
    }

    fn check_state(&mut self, node: usize, fields: bool) {
        let settled = self.nodes[node].running.as_ref().filter(|running| running.writing.is_none());
        let Some(running) = settled.filter(|_| self.watch.checks.trusts(node)) else { return };
        let mut wrong = Vec::new();
        for status in running.replica.documents() {
            let Some(document) = running.replica.document(&status.document) else { continue };
            let id = document.id();
            let set = self.watch.model.set(&id, document.graph().ids());
            let facts = set.as_ref().and_then(|set| self.watch.model.meaning(&id, set));
            let (Some(set), Some(facts)) = (set, facts) else {
                wrong.push(format!("I8: n{} goes by statements of {id} that are on no disk", node + 1));
                continue;
            };
            let mut found = agree::differences(&facts, document.state());
            if fields {
                found.extend(agree::field_differences(&facts, &document.materialise()));
            }
            wrong.extend(found.into_iter().map(|what| format!("I2: n{} takes {id} otherwise: {what}", node + 1)));
            wrong.extend(self.watch.checks.digest(node, id, &set, document.digest()));
            let accused = document.tenant().map(TenantState::accused).unwrap_or_default();
            let honest = accused.iter().filter_map(|id| self.place(id)).filter(|place| !self.is_liar(*place));
            wrong.extend(honest.map(|place| format!("I2: n{} holds honest n{} for a liar", node + 1, place + 1)));
        }
        self.watch.coverage.count("states compared with the oracle's");
        wrong.into_iter().for_each(|what| self.violation(what));
    }

    /// I8: no node attested a share that is not on its disk, wherever the attestation got to.
    pub fn check_shares(&mut self) {
        // What each said to hold, and to have erased, by slot. A share of the first epoch lies where its attempt put it.
        let (mut held, mut erased) = (BTreeSet::new(), BTreeSet::new());
        let mut attempts: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
        for statement in self.watch.statements.values() {
            let author = statement.author();
            match statement.body() {
                Some(Body::AttestRoot(said)) => {
                    attempts.entry((author, said.root, said.committee)).or_default().insert(said.attempt);
                }
                Some(Body::Sharing(word)) => match word.act {
                    SharingAct::Hold => drop(held.insert((author, word.sharing))),
                    SharingAct::Erase => drop(erased.insert((author, word.sharing))),
                    _ => {}
                },
                _ => {}
            }
        }
        for (author, root, committee) in attempts.keys() {
            held.insert((*author, SharingRef { root: *root, committee: *committee, epoch: 0 }));
        }
        let slots = |author: &NodeId, of: &SharingRef| -> Vec<String> {
            let SharingRef { root, committee, epoch } = *of;
            let attempts = attempts.get(&(*author, root, committee)).into_iter().flatten();
            match epoch {
                0 => attempts.map(|attempt| Slot::Made { root, committee, attempt: *attempt }.to_string()).collect(),
                epoch => vec![Slot::Epoch { root, committee, epoch }.to_string()],
            }
        };
        let mut wrong = Vec::new();
        // Whoever was away while an epoch came and was closed erases its old share without a word.
        let is_over = |of: &SharingRef| {
            held.iter().any(|(_, other): &(NodeId, SharingRef)| {
                (other.root, other.committee) == (of.root, of.committee) && other.epoch > of.epoch
            })
        };
        for (author, of) in held.iter().filter(|(_, of)| !is_over(of)) {
            let Some(place) = self.place(author).filter(|place| !self.is_liar(*place)) else { continue };
            if erased.contains(&(*author, *of)) || self.shareless.contains(&place) {
                continue;
            }
            for slot in slots(author, of).iter().filter(|slot| !self.nodes[place].disk.has_share(slot)) {
                wrong.push(format!("I8: n{} attested the share in {slot}, which is not on its disk", place + 1));
            }
        }
        for (author, of) in &erased {
            let Some(place) = self.place(author).filter(|place| !self.is_liar(*place)) else { continue };
            // What came back with an older disk is erased when the node has seen what it said.
            if self.shareless.contains(&place) {
                continue;
            }
            for slot in slots(author, of).iter().filter(|slot| self.nodes[place].disk.has_share(slot)) {
                wrong
                    .push(format!("I10: n{} said to have erased the share in {slot}, which is on its disk", place + 1));
            }
        }
        wrong.extend(self.misfits());
        wrong.into_iter().for_each(|wrong| self.violation(wrong));
    }

    /// I8: of every part of a root that is in use the honest disks hold a threshold of shares of one sharing that was agreed
    /// upon.
    pub fn check_thresholds(&mut self) {
        let mut wrong = Vec::new();
        for document in self.watch.model.tenants() {
            let Some(facts) = self.watch.model.all_facts(&document) else { continue };
            for (root, of) in facts.roots.iter().filter(|(_, root)| root.live) {
                for (number, part) in (0u8..).zip(&of.committees) {
                    let whole = (0u32..).zip(&part.sharings).any(|(epoch, spec)| {
                        let lies_here = |slot: &str| match slot.parse() {
                            Ok(Slot::Made { root: of, committee, .. }) => (of, committee, 0) == (*root, number, epoch),
                            Ok(Slot::Epoch { root: of, committee, epoch: held }) => {
                                (of, committee, held) == (*root, number, epoch)
                            }
                            Ok(Slot::Key(_)) | Err(_) => false,
                        };
                        let places = spec.members.iter().filter_map(|member| self.place(member));
                        let honest = places.filter(|place| !self.is_liar(*place));
                        let held = honest.filter(|place| self.nodes[*place].disk.slots().any(lies_here)).count();
                        held >= usize::from(spec.threshold)
                    });
                    if !whole {
                        wrong.push(format!("I8: no sharing of {root} has a threshold of shares on disks any more"));
                    }
                }
            }
        }
        wrong.into_iter().for_each(|wrong| self.violation(wrong));
    }

    /// I5: shares by which a node would contribute and that are not its own of that epoch.
    fn misfits(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for place in self.honest() {
            let Some(view) = self.nodes[place].view() else { continue };
            let tenants = view.tenants.iter();
            let roots = tenants.flat_map(|(tenant, state)| state.sharings.iter().map(move |of| (tenant, of)));
            for (tenant, (root, committees)) in roots {
                for (number, sharings) in (0u8..).zip(committees) {
                    for held in view.held(tenant, *root, number) {
                        let sharing = sharings.iter().find(|sharing| sharing.epoch == held.epoch);
                        let at = |index: u8| sharing.and_then(|sharing| sharing.members.get(usize::from(index) - 1));
                        let fits = sharing.is_some_and(|sharing| held.share.matches(&sharing.public));
                        if !fits || at(held.share.index().get()) != Some(&view.me) {
                            let epoch = held.epoch;
                            wrong
                                .push(format!("I5: n{} holds a share of epoch {epoch} that is not its own", place + 1));
                        }
                    }
                }
            }
        }
        wrong
    }

    /// The shares that honest custodians lack which are still admitted and placed.
    pub fn lacking(&self) -> Vec<Lack> {
        let mut lacking = Vec::new();
        for place in self.honest() {
            let Some(replica) = self.nodes[place].replica() else { continue };
            let view = replica.view();
            for (tenant, sharing) in replica.lacking() {
                let held = view.tenant(&tenant).filter(|held| view.counts(held.tenant(), &view.me));
                // One of two machines asks for nothing.
                let held = held.filter(|held| !held.tenant().forked.contains(&view.me));
                let parts = held.and_then(|held| held.sharings.get(&sharing.root));
                let current = parts.and_then(|parts| parts.get(usize::from(sharing.committee))?.last());
                let Some(current) = current.filter(|current| current.epoch == sharing.epoch) else { continue };
                let me = view.me;
                // Whoever was displaced hears no more of it, so it takes both sides to know that they count.
                let has = |node: &&NodeId| {
                    let honest = self.place(node).filter(|place| !self.is_liar(*place));
                    let helper = honest.and_then(|place| self.nodes[place].view());
                    let helper = helper.filter(|helper| !helper.fenced.contains(&tenant));
                    let sees = helper.and_then(|helper| helper.tenant(&tenant));
                    let counts = held.is_some_and(|held| held.tenant().nodes.contains_key(node))
                        && sees.is_some_and(|sees| sees.tenant().nodes.contains_key(&me));
                    let shares = helper.map(|helper| helper.held(&tenant, sharing.root, sharing.committee));
                    counts && shares.unwrap_or_default().iter().any(|held| held.epoch == sharing.epoch)
                };
                let have = current.members.iter().filter(has).count();
                let helpers = have >= usize::from(current.public.threshold().t());
                lacking.push(Lack { node: place, sharing, helpers });
            }
        }
        lacking
    }

    /// Whether all honest nodes that hold a document hold the same of it, ciphertexts included, and all of them run.
    pub fn is_converged(&self) -> bool {
        let mut seen: BTreeMap<DocumentId, ([u8; 32], usize)> = BTreeMap::new();
        for node in self.honest().map(|node| &self.nodes[node]) {
            let still = |running: &&Running| running.writing.is_none() && !node.is_paused();
            let Some(running) = node.running.as_ref().filter(still) else {
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
