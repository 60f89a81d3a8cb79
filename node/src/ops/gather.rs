//! Answers of custodians on their way to whoever gathers them.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keymesh_mesh::custody::message::{CustodyMessage, RefusalCode, Verdict};
use keymesh_mesh::replica::Channel;
use keymesh_wire::error::{Code, WireError};
use keymesh_wire::ids::{NodeId, RequestId};
use tokio::sync::mpsc;

use super::Node;

/// Answers waiting to be looked at, of one gathering.
const QUEUE: usize = 1024;

/// One who gathers: its number and where answers go.
type Gatherer = (u64, mpsc::Sender<(NodeId, Verdict)>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_request: HashMap<RequestId, Vec<Gatherer>>,
}

/// Which requests gather answers. The same request may be gathered twice at once, when an agent retries.
#[derive(Debug, Default)]
pub struct Gatherings {
    open: Mutex<Open>,
}

impl Gatherings {
    /// Hands an answer to whoever gathers for its request; gives it back if nobody does.
    pub fn deliver(&self, request: RequestId, from: NodeId, verdict: Verdict) -> Option<Verdict> {
        let open = self.lock();
        let Some(gathering) = open.by_request.get(&request) else { return Some(verdict) };
        for (_, sender) in gathering {
            // A peer that answers more often than there is room for has been heard enough.
            let _ = sender.try_send((from, verdict.clone()));
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One gathering; ends when dropped.
#[derive(Debug)]
pub(super) struct Gathering<'n> {
    node: &'n Node,
    request: RequestId,
    id: u64,
    receiver: mpsc::Receiver<(NodeId, Verdict)>,
    /// Who has been asked and may still answer.
    pub(super) open: BTreeSet<NodeId>,
}

impl<'n> Gathering<'n> {
    /// Starts gathering answers to `request`.
    pub(super) fn start(node: &'n Node, request: RequestId) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut open = node.gatherings.lock();
        open.next += 1;
        let id = open.next;
        open.by_request.entry(request).or_default().push((id, sender));
        drop(open);
        Self { node, request, id, receiver, open: BTreeSet::new() }
    }

    /// Asks everybody but this node. Returns those who cannot be reached, which are not waited for.
    pub(super) fn ask<'m>(
        &mut self,
        members: impl IntoIterator<Item = &'m NodeId>,
        message: &CustodyMessage,
    ) -> BTreeSet<NodeId> {
        let frame = message.to_frame();
        let mut out_of_reach = BTreeSet::new();
        for member in members.into_iter().filter(|member| **member != self.node.me) {
            if self.node.send(*member, Channel::Custody, frame.clone()) {
                self.open.insert(*member);
            } else {
                out_of_reach.insert(*member);
            }
        }
        out_of_reach
    }

    /// The next answer of somebody who was asked.
    pub(super) async fn next(&mut self) -> (NodeId, Verdict) {
        loop {
            match self.receiver.recv().await {
                Some((from, verdict)) if self.open.contains(&from) => return (from, verdict),
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        let mut open = self.node.gatherings.lock();
        if let Some(gathering) = open.by_request.get_mut(&self.request) {
            gathering.retain(|(id, _)| *id != self.id);
            if gathering.is_empty() {
                open.by_request.remove(&self.request);
            }
        }
    }
}

/// What a client is told when custodians said no: the code most of them gave. For a tie the one that tells least.
pub(super) fn telling(refusals: &[RefusalCode]) -> WireError {
    let ranked = [
        (Code::Refused, "refused"),
        (Code::AlreadyBound, "the instance is bound to another key; an operator of the tenant has to look at it"),
        (Code::TicketInvalid, "the launch ticket does not hold: expired, used, of another launch or launcher"),
        (Code::EvidenceInvalid, "the instance's evidence does not hold for this tenant"),
        (Code::ClockDifference, "the clocks of this machine and the custodians differ too much"),
        (Code::Stale, "the request was used before or is too old; make a new one"),
        (Code::QuorumUnavailable, "too few custodians could answer in time"),
    ];
    let count = |code: Code| refusals.iter().filter(|refusal| refusal.wire() == code).count();
    let mut best = (Code::QuorumUnavailable, "too few custodians could answer in time", 0);
    for (code, text) in ranked {
        if count(code) > best.2 {
            best = (code, text, count(code));
        }
    }
    match best.0 {
        Code::Refused => WireError::refused(),
        code => WireError::new(code, best.1),
    }
}

/// What committees have of what they have to give, for the one who asked: those alone that are short of it.
pub(super) fn short_of(what: &str, committees: &[(usize, usize)]) -> String {
    let several = committees.len();
    let short = (1..).zip(committees).filter(|(_, (have, needed))| have < needed);
    let each = short.map(|(place, (have, needed)): (usize, _)| match several {
        1 => format!("{have} of the {needed} {what}"),
        _ => format!("{have} of the {needed} {what} of committee {place} of {several}"),
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committee_that_is_short_is_named() {
        assert_eq!(short_of("partials needed", &[(2, 3)]), "2 of the 3 partials needed");
        assert_eq!(short_of("partials needed", &[(5, 3), (1, 2)]), "1 of the 2 partials needed of committee 2 of 2");
        assert_eq!(short_of("partials needed", &[(3, 3), (2, 2)]), "");
    }

    #[test]
    fn most_custodians_word_is_the_answer_and_a_tie_tells_least() {
        use RefusalCode::{EvidenceInvalid, NotReady, Refused, TicketInvalid};
        assert_eq!(telling(&[]).code, Code::QuorumUnavailable);
        assert_eq!(telling(&[TicketInvalid, TicketInvalid, NotReady]).code, Code::TicketInvalid);
        assert_eq!(telling(&[EvidenceInvalid, Refused]), WireError::refused());
        assert_eq!(telling(&[NotReady, NotReady, Refused]).code, Code::QuorumUnavailable);
    }
}
