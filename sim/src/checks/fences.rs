//! I9: a custodian that does not know its own last words says and contributes nothing more, and neither does one under whose
//! identity two machines spoke.
//!
//! A node that starts from an older disk lacks statements of its own. Where so many others of a committee had one of them
//! on their disks when it started that it cannot have asked enough of them without hearing of it, it has to keep silent
//! until it has it back: no word as a custodian, no partial, no help in a repair. What too few had heard of it need not
//! know. Judged from disks; what nodes ask each other is not looked at.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::audit::AuditKind;
use keymesh_wire::body::{Body, CommitteeSpec};
use keymesh_wire::ids::{DocumentId, NodeId, StatementId};
use keymesh_wire::statement::Checked;

use super::{Look, place_of};
use crate::model::facts::Facts;
use crate::model::story::Story;
use crate::seen::Seen;

/// What a node lacks of its own words in one document, since it started.
#[derive(Debug, Default)]
struct Owed {
    /// Its committees by what was on its disk then.
    committees: Vec<CommitteeSpec>,
    /// Its statements that it lacks, with who has them on disk since before.
    statements: BTreeMap<StatementId, BTreeSet<usize>>,
}

#[derive(Debug, Default)]
pub(super) struct Fences {
    owed: BTreeMap<(usize, DocumentId), Owed>,
    /// On whose disks two machines of that identity speak.
    forked: BTreeSet<(usize, DocumentId)>,
    /// Identities that run twice.
    cloned: BTreeSet<usize>,
}

impl Fences {
    pub(super) fn see(&mut self, look: &mut Look<'_>, seen: &Seen<'_>) {
        match seen {
            Seen::Started { node, .. } => self.started(look, *node),
            Seen::RolledBack { node } => self.forget(*node),
            Seen::Cloned { node, twin } => {
                self.cloned.extend([*node, *twin]);
                self.forget(*node);
            }
            Seen::Contributed { node, tenant, .. } => {
                self.judge(look, *node, (*tenant).into(), "contributes to a release")
            }
            Seen::Leased { node, tenant, .. } => self.judge(look, *node, (*tenant).into(), "contributes to a lease"),
            Seen::Recorded { node, record } if record.kind == AuditKind::ShareRepair => {
                if let Some(tenant) = record.tenant {
                    self.judge(look, *node, tenant.into(), "helps in a repair");
                }
            }
            _ => {}
        }
    }

    pub(super) fn stored(&mut self, look: &mut Look<'_>, node: usize, statement: &Checked, new: bool) {
        let (author, document) = (statement.author(), statement.document());
        if look.model.id(node) != Some(author) || !statement.body().is_some_and(is_custodians_word) {
            return;
        }
        if new {
            self.judge(look, node, document, "speaks as a custodian");
        }
        let Some(story) = look.model.story(&document) else { return };
        let Some(disk) = look.model.disk(node, &document) else { return };
        let Some(place) = story.place(&statement.id()) else { return };
        // A word of an identity that was never anything but one machine follows all of its others.
        let apart = |other: usize| other != place && !story.past(place).has(other) && !story.past(other).has(place);
        if words(story, &author).any(|other| disk.has(other) && apart(other)) {
            self.forked.insert((node, document));
        }
    }

    /// Whose disk loses something is no longer one of those who have it.
    fn forget(&mut self, node: usize) {
        for owed in self.owed.values_mut() {
            owed.statements.values_mut().for_each(|holders| {
                holders.remove(&node);
            });
        }
    }

    fn started(&mut self, look: &mut Look<'_>, node: usize) {
        self.owed.retain(|(of, _), _| *of != node);
        self.forked.retain(|(of, _)| *of != node);
        let Some(me) = look.model.id(node).filter(|_| look.is_honest(node)) else { return };
        for document in look.model.tenants() {
            let Some(story) = look.model.story(&document) else { continue };
            let Some(facts) = look.model.facts(node, &document) else { continue };
            let Some(disk) = look.model.disk(node, &document) else { continue };
            let mine: Vec<usize> = words(story, &me).filter(|place| disk.has(*place)).collect();
            let follows = |pair: &[usize]| story.past(pair[1]).has(pair[0]);
            if !mine.windows(2).all(follows) {
                self.forked.insert((node, document));
            }
            let mut owed = Owed { committees: committees(&facts, &me), statements: BTreeMap::new() };
            for place in (0..story.len()).filter(|place| story.author(*place) == me && !disk.has(*place)) {
                let id = story.id(place);
                let members = owed.committees.iter().flat_map(|spec| &spec.members);
                let places = members.filter(|member| **member != me).filter_map(|member| place_of(look.model, member));
                let holders = places.filter(|at| !self.cloned.contains(at) && look.model.holds(*at, &id)).collect();
                owed.statements.insert(id, holders);
            }
            if !owed.statements.is_empty() {
                look.coverage.count("starts without one's own last words");
                self.owed.insert((node, document), owed);
            }
        }
    }

    fn judge(&mut self, look: &mut Look<'_>, node: usize, document: DocumentId, what: &str) {
        let Some(me) = look.model.id(node).filter(|_| look.is_honest(node)) else { return };
        let n = node + 1;
        if self.forked.contains(&(node, document)) {
            look.wrong.push(format!("I9: n{n} {what}, and knows that two machines speak under its identity"));
        }
        let Some(owed) = self.owed.get_mut(&(node, document)) else { return };
        owed.statements.retain(|id, _| !look.model.holds(node, id));
        if owed.statements.is_empty() {
            self.owed.remove(&(node, document));
            return;
        }
        let Some(facts) = look.model.facts(node, &document) else { return };
        let current = committees(&facts, &me);
        for (id, holders) in &owed.statements {
            let must_hear = |spec: &&CommitteeSpec| {
                let others = spec.members.iter().filter(|member| **member != me);
                let tells = |member: &&NodeId| {
                    place_of(look.model, member).is_some_and(|at| look.is_honest(at) && holders.contains(&at))
                };
                let silent = others.filter(|member| !tells(member)).count();
                silent < usize::from(spec.faults + 1).min(usize::from(spec.threshold) - 1)
            };
            if owed.committees.iter().filter(|spec| current.contains(spec)).any(|spec| must_hear(&spec)) {
                look.wrong.push(format!("I9: n{n} {what} without {id}, which it said itself and its peers know of"));
                return;
            }
        }
    }
}

/// The committees of sharings in use that a node belongs to.
fn committees(facts: &Facts, node: &NodeId) -> Vec<CommitteeSpec> {
    let parts = facts.roots.values().flat_map(|root| &root.committees);
    parts.flat_map(|part| part.specs_in_use()).filter(|spec| spec.members.contains(node)).cloned().collect()
}

/// The words of a custodian, in the order of the story.
fn words<'s>(story: &'s Story, author: &NodeId) -> impl Iterator<Item = usize> + use<'s> {
    let author = *author;
    (0..story.len())
        .filter(move |place| story.author(*place) == author && story.body(*place).is_some_and(is_custodians_word))
}

fn is_custodians_word(body: &Body) -> bool {
    matches!(body, Body::AttestRoot(_) | Body::VoteEnrolment(_) | Body::Witness(_) | Body::Sharing(_))
}
