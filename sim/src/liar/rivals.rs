//! A liar who wants an epoch agreed upon twice: the strongest that one can do about it without others' keys.
//!
//! It prepares whatever is proposed and never commits, so that in a committee that needs every honest member some come to
//! be bound to a transcript without a certificate when another one is away. For the ballots that it leads it then proposes
//! another transcript, soundly made of other deals, as if nothing had been prepared; or says of it what is not so. Only the
//! locks of the honest keep two certificates apart.
//!
//! What it says stands beside its core's words and not behind them, because peers never get those that it withholds.

use keymesh_custody::epochs::{Deal, VerifiedDeal, deal, redistribute};
use keymesh_custody::{MemberIndex, Ristretto};
use keymesh_mesh::state::Document;
use keymesh_mesh::state::sharing::Words;
use keymesh_wire::body::{CommitteeSpec, SharingAct, SharingRef, SharingWord, Transcript};
use keymesh_wire::ids::BlobHash;
use keymesh_wire::limits;

use super::epochs::{change, share_of};
use super::*;

/// In how many ballots to come it proposes at once.
const AHEAD: u32 = 12;

/// An epoch that is not agreed upon without this liar.
#[derive(Debug, Clone, Copy)]
struct Open<'a> {
    held: &'a Document,
    sharing: SharingRef,
    /// The custodians of the epoch before, and its public side.
    before: &'a CommitteeSpec,
    public: &'a [u8],
    words: &'a Words<'a>,
}

impl Liar {
    /// What it says for another transcript than the one that some are bound to.
    pub(super) fn rivals(&mut self, around: &Around<'_>, document: DocumentId, frames: &mut Vec<Frame>) {
        let Some(held) = around.replica.document(&document) else { return };
        let Some(tenant) = held.tenant() else { return };
        let all = Words::of(held.graph());
        let me = around.identity.principal();
        for root in tenant.roots.values().filter(|root| root.live) {
            for (committee, part) in (0u8..).zip(&root.committees) {
                let at = |epoch| SharingRef { root: root.id, committee, epoch };
                let next = part.public.as_deref().map(|public| (at(part.epoch + 1), &part.spec, public));
                // Its own core takes the vote for given that nobody else gets, and the epoch for made.
                let made = part.before.as_ref().map(|(spec, public)| (at(part.epoch), spec, public.as_slice()));
                for (sharing, before, public) in next.into_iter().chain(made) {
                    let Some(words) = all.get(&sharing).filter(|_| before.members.contains(&me)) else { continue };
                    let open = Open { held, sharing, before, public, words };
                    if !open.is_over(&me) {
                        self.is_in_haste |= words.transcripts.is_empty() && !words.deals.is_empty();
                        self.prepare_all(around, open, frames);
                        self.propose_another(around, open, frames);
                    }
                }
            }
        }
    }

    /// Prepares everything that is proposed, so that what others would have to agree upon without it is prepared.
    fn prepare_all(&mut self, around: &Around<'_>, open: Open<'_>, frames: &mut Vec<Frame>) {
        let agreement = open.words.agreement(open.before);
        let newest = agreement.reached().unwrap_or(0);
        for ballot in newest..=newest.saturating_add(1) {
            let Some(proposal) = agreement.proposal(ballot) else { continue };
            if self.stood_for.insert((open.sharing, ballot, proposal.value)) {
                let act = SharingAct::Prepare { ballot, transcript: proposal.value };
                self.say_beside(around, open, act, frames);
            }
        }
    }

    /// Once somebody is bound to a transcript: another one, in the next ballot to come that this node leads.
    fn propose_another(&mut self, around: &Around<'_>, open: Open<'_>, frames: &mut Vec<Frame>) {
        let agreement = open.words.agreement(open.before);
        let mut transcripts = open.words.transcripts.iter();
        let Some((bound, like)) = transcripts.find(|(value, _)| agreement.support(**value).1 > 0) else { return };
        let me = around.identity.principal();
        let now = agreement.reached().unwrap_or(0);
        let mine = (now + 1..=now + AHEAD).find(|ballot| agreement.leader(*ballot) == Some(me));
        let Some(ballot) = mine.filter(|ballot| !self.led.contains(&(open.sharing, *ballot))) else { return };
        let Some(rival) = self.rival(around, open, like, frames).filter(|rival| rival.id() != *bound) else { return };
        self.led.insert((open.sharing, ballot));
        let prepared = draw::chance(&mut self.rng, 300).then(|| ballot - 1);
        self.say_beside(around, open, SharingAct::Propose { ballot, transcript: rival, prepared }, frames);
    }

    /// A transcript like another one, of other deals: without one of them, or with a second one of its own.
    fn rival(
        &mut self,
        around: &Around<'_>,
        open: Open<'_>,
        like: &Transcript,
        frames: &mut Vec<Frame>,
    ) -> Option<Transcript> {
        let Open { held, sharing, before, public, words } = open;
        let change = change(around, held.tenant()?, sharing, (before, public), words, &like.call)?;
        let read = |bytes: &[u8]| Deal::<Ristretto>::from_bytes(bytes).ok()?.verify(&change).ok();
        let mut deals: BTreeMap<MemberIndex, (StatementId, VerifiedDeal<Ristretto>)> = BTreeMap::new();
        for id in &like.deals {
            let deal = read(words.deals.get(id)?.2)?;
            deals.insert(deal.dealer(), (*id, deal));
        }
        if deals.len() > usize::from(before.threshold) {
            let places: Vec<MemberIndex> = deals.keys().copied().collect();
            deals.remove(&places[draw::place(&mut self.rng, places.len())]);
        } else {
            let share = share_of(around.replica.view(), held.tenant()?.tenant, sharing, &change)?;
            let again = deal(&change, share, &mut self.rng).ok()?;
            let act = SharingAct::Deal { call: like.call, deal: again.to_bytes() };
            let said = self.say_beside(around, open, act, frames)?;
            let again = again.verify(&change).ok()?;
            deals.insert(again.dealer(), (said, again));
        }
        let outcome = redistribute(&change, deals.values().map(|(_, deal)| deal)).ok()?;
        Some(Transcript {
            call: like.call,
            deals: deals.values().map(|(id, _)| *id).collect(),
            public: outcome.public.to_bytes(),
            hash: BlobHash::from_bytes(outcome.transcript_hash),
        })
    }

    /// Says something on top of what others said, as if this node had said nothing before.
    fn say_beside(
        &mut self,
        around: &Around<'_>,
        open: Open<'_>,
        act: SharingAct,
        frames: &mut Vec<Frame>,
    ) -> Option<StatementId> {
        if self.words >= WORDS {
            return None;
        }
        let me = around.identity.principal();
        let (graph, document) = (open.held.graph(), open.held.id());
        let mut left = graph.parents_for_new();
        let (mut parents, mut seen) = (BTreeSet::new(), BTreeSet::new());
        while let Some(id) = left.pop() {
            match graph.get(&id).filter(|said| said.author() == me) {
                Some(own) if seen.insert(id) => left.extend(own.parents()),
                Some(_) => {}
                None => drop(parents.insert(id)),
            }
        }
        let parents = parents.into_iter().take(limits::PARENTS).collect();
        let body = Body::Sharing(SharingWord { sharing: open.sharing, act });
        let said = Checked::sign(&body, Some(document), parents, around.now.wall, around.identity).ok()?;
        self.words += 1;
        let frame = push(document, &[&said]);
        frames.extend(around.linked.iter().map(|peer| (*peer, Channel::Spread, frame.clone())));
        Some(said.id())
    }
}

impl Open<'_> {
    /// Whether others agreed upon it whatever this node votes.
    fn is_over(&self, me: &NodeId) -> bool {
        let agreement = self.words.agreement(self.before);
        let own = usize::from(self.before.members.contains(me));
        self.words.transcripts.keys().any(|value| agreement.support(*value).1 >= agreement.quorum() + own)
    }
}
