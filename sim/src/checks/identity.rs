//! I9: one instance has one agent's key and the other way round, wherever anybody looks; and a custodian says one thing
//! once: of an instance, by a ticket, and of a root's outcome.

use std::collections::{BTreeMap, BTreeSet};

use keymesh_wire::body::Body;
use keymesh_wire::ids::{BlobHash, DocumentId, NodeId, Nonce, PrincipalId, RootId};
use keymesh_wire::statement::Checked;

use super::{Look, place_of};
use crate::seen::Seen;

#[derive(Debug, Default)]
pub(super) struct Identity {
    agents: BTreeMap<(DocumentId, String), PrincipalId>,
    instances: BTreeMap<(DocumentId, PrincipalId), String>,
    votes: BTreeMap<(DocumentId, NodeId, String), PrincipalId>,
    tickets: BTreeMap<(NodeId, Nonce), String>,
    /// Hashes of evidence that is genuine; if there are none, no evidence is looked at.
    genuine: BTreeSet<BlobHash>,
    outcomes: BTreeMap<(NodeId, RootId, u8), (u32, BlobHash)>,
    /// Who came back from an older disk, and so may have forgotten what was said.
    older: BTreeSet<usize>,
}

/// Remembers the first and tells whether another one is the same.
fn is_first<K: Ord, V: PartialEq + Clone>(known: &mut BTreeMap<K, V>, key: K, value: &V) -> bool {
    known.entry(key).or_insert_with(|| value.clone()) == value
}

impl Identity {
    pub(super) fn genuine(&mut self, evidence: BlobHash) {
        self.genuine.insert(evidence);
    }

    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        // Two machines under one identity do not know what the other said either.
        if let Seen::RolledBack { node } | Seen::Cloned { node, .. } = seen {
            self.older.insert(*node);
        }
    }

    pub(super) fn stored(&mut self, look: &mut Look<'_>, node: usize, statement: &Checked, new: bool) {
        let author = statement.author();
        let place = place_of(look.model, &author);
        let minded = new && place.is_some_and(|place| look.is_honest(place) && !self.older.contains(&place));
        let who = || place.map_or_else(|| author.to_string(), |place| format!("n{}", place + 1));
        match statement.body() {
            Some(Body::VoteEnrolment(vote)) => {
                let instance = &vote.facts.instance;
                if minded && !is_first(&mut self.votes, (statement.document(), author, instance.clone()), &vote.agent) {
                    look.wrong.push(format!("I9: {} votes for two agents on {instance}", who()));
                }
                if minded && !self.genuine.is_empty() && !self.genuine.contains(&vote.evidence) {
                    look.wrong.push(format!("I5: {} votes for {instance} by evidence that is not genuine", who()));
                }
                if minded && !is_first(&mut self.tickets, (author, vote.ticket), instance) {
                    look.wrong.push(format!("I9: {} votes for two instances by one ticket", who()));
                }
                self.check_bound(look, node, statement.document());
            }
            Some(Body::AttestRoot(word)) => {
                let outcome = (word.attempt, word.transcript);
                if minded && !is_first(&mut self.outcomes, (author, word.root, word.committee), &outcome) {
                    look.wrong.push(format!("I9: {} attests two outcomes of {}", who(), word.root));
                }
            }
            _ => {}
        }
    }

    fn check_bound(&mut self, look: &mut Look<'_>, node: usize, document: DocumentId) {
        let Some(facts) = look.model.facts(node, &document) else { return };
        for (instance, (agent, _)) in &facts.bound {
            if !is_first(&mut self.agents, (document, instance.clone()), agent) {
                look.wrong.push(format!("I9: {instance} is bound to {agent} at n{}, to another elsewhere", node + 1));
            }
            if !is_first(&mut self.instances, (document, *agent), instance) {
                look.wrong.push(format!("I9: {agent} is bound to {instance} at n{} and to another one", node + 1));
            }
        }
    }
}
