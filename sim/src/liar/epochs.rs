//! Lies in changes of sharing, by custodians who have genuine shares and keys.
//!
//! None of them may brick a root, make two sharings of one epoch, or have an honest custodian blamed: bad deals are shown
//! to be bad and the epoch is made without them, what a liar votes twice is counted for both, and whoever says nothing is
//! left out.

use std::collections::BTreeSet;

use keymesh_custody::epochs::danger::{false_complaint, false_deal};
use keymesh_custody::epochs::{Change, Deal, EpochKey};
use keymesh_custody::{KeyShare, MemberIndex, Ristretto, RootPublic, Threshold};
use keymesh_mesh::state::TenantState;
use keymesh_mesh::state::sharing::Words;
use keymesh_mesh::state::tenant::RootCommittee;
use keymesh_mesh::view::View;
use keymesh_wire::body::{CommitteeSpec, Reshare, SharingAct, SharingRef, SharingWord, Transcript};
use keymesh_wire::codec;
use keymesh_wire::ids::{BlobHash, TenantId};

use super::*;

/// For each recipient of a bad deal that is no liar's only victim: every one of them, or one.
const ALL_WRONG: u64 = 300;

impl Liar {
    /// What a peer gets of statements that this node says in changes of sharing.
    pub(super) fn bend_words(&mut self, around: &Around<'_>, to: &NodeId, statements: Vec<ByteVec>) -> Vec<ByteVec> {
        if !Lie::IN_EPOCHS.iter().any(|lie| self.does(*lie)) {
            return statements;
        }
        let me = around.identity.principal();
        let mut bent = Vec::with_capacity(statements.len());
        for bytes in statements {
            let statement = Checked::from_bytes(&bytes).ok().filter(|statement| statement.author() == me);
            let word = statement.as_ref().and_then(|statement| match statement.body() {
                Some(Body::Sharing(word)) => Some(word.clone()),
                _ => None,
            });
            let (Some(statement), Some(word)) = (statement, word) else {
                bent.push(bytes);
                continue;
            };
            if self.does(Lie::SilentInEpochs) {
                continue;
            }
            let instead = self.instead(around, to, &statement, word);
            bent.push(instead.map_or(bytes, |other| ByteVec::from(other.bytes().to_vec())));
        }
        bent
    }

    /// What is said to a peer instead of a word, at the same place.
    fn instead(&mut self, around: &Around<'_>, to: &NodeId, said: &Checked, word: SharingWord) -> Option<Checked> {
        let act = match word.act {
            SharingAct::Deal { call, .. } if self.does(Lie::FalseDeals) => {
                if let Some(known) = self.bent.get(&said.id()) {
                    return Some(known.clone());
                }
                let deal = self.bad_deal(around, said.document(), word.sharing, &call)?;
                SharingAct::Deal { call, deal }
            }
            SharingAct::Prepare { ballot, transcript } if self.does(Lie::TwoFacedInEpochs) && self.half(to) => {
                SharingAct::Prepare { ballot, transcript: self.other(transcript) }
            }
            SharingAct::Commit { ballot, transcript } if self.does(Lie::TwoFacedInEpochs) && self.half(to) => {
                SharingAct::Commit { ballot, transcript: self.other(transcript) }
            }
            // Its votes beside its core's words make these stand for nothing.
            SharingAct::Commit { ballot, transcript } if self.does(Lie::RivalProposals) => {
                SharingAct::Prepare { ballot, transcript }
            }
            SharingAct::Propose { ballot, ref transcript, prepared: Some(_) } if self.does(Lie::RivalProposals) => {
                SharingAct::Prepare { ballot, transcript: transcript.id() }
            }
            _ => return None,
        };
        if let Some(known) = self.bent.get(&said.id()) {
            return Some(known.clone());
        }
        let body = Body::Sharing(SharingWord { sharing: word.sharing, act });
        let parents = said.parents().to_vec();
        let other = Checked::sign(&body, Some(said.document()), parents, said.time(), around.identity).ok()?;
        self.bent.insert(said.id(), other.clone());
        Some(other)
    }

    /// Another transcript than this one: one that was proposed, or none that is.
    fn other(&mut self, transcript: BlobHash) -> BlobHash {
        let known: Vec<BlobHash> = self.transcripts.iter().filter(|other| **other != transcript).copied().collect();
        if known.is_empty() || draw::chance(&mut self.rng, 300) {
            return BlobHash::from_bytes(self.random_id());
        }
        known[draw::place(&mut self.rng, known.len())]
    }

    /// Something false about an epoch that is being made, or was.
    pub(super) fn false_word_on_epoch(&mut self, around: &Around<'_>, lie: Lie, document: DocumentId) -> Vec<Body> {
        let Some(held) = around.replica.document(&document) else { return Vec::new() };
        let Some(tenant) = held.tenant() else { return Vec::new() };
        let all = Words::of(held.graph());
        let mut said = Vec::new();
        for root in tenant.roots.values().filter(|root| root.live) {
            for (number, part) in (0u8..).zip(&root.committees) {
                let next = SharingRef { root: root.id, committee: number, epoch: part.epoch + 1 };
                let words = all.get(&next);
                let acts = match (lie, words) {
                    (Lie::FalseDeals, Some(words)) => self.second_deals(around, document, next, part, words),
                    (Lie::FalseComplaints, Some(words)) => self.false_complaints(around, tenant, next, part, words),
                    (Lie::FalseVotes, Some(words)) => self.false_votes(words),
                    (Lie::ForeignEpochKeys, Some(words)) => self.foreign_keys(words),
                    (Lie::FalseHolds, _) => {
                        let of = SharingRef { epoch: part.epoch, ..next };
                        let word = |sharing, act| Body::Sharing(SharingWord { sharing, act });
                        if part.epoch > 0 {
                            said.push(word(of, SharingAct::Hold));
                        }
                        said.push(word(of, SharingAct::Erase));
                        Vec::new()
                    }
                    _ => Vec::new(),
                };
                said.extend(acts.into_iter().map(|act| Body::Sharing(SharingWord { sharing: next, act })));
                if lie == Lie::FalseVotes && draw::chance(&mut self.rng, 200) {
                    let me = around.identity.principal();
                    let spec = CommitteeSpec { members: vec![me, part.spec.members[0]], threshold: 2, faults: 0 };
                    said.push(Body::ReshareRoot(Reshare { sharing: next, spec }));
                }
            }
        }
        said.truncate(3);
        said
    }

    fn second_deals(
        &mut self,
        around: &Around<'_>,
        document: DocumentId,
        sharing: SharingRef,
        part: &RootCommittee,
        words: &Words<'_>,
    ) -> Vec<SharingAct> {
        if !part.spec.members.contains(&around.identity.principal()) {
            return Vec::new();
        }
        let me = around.identity.principal();
        let many =
            |call: &StatementId| words.deals.values().filter(|(who, of, _)| (who, of) == (&me, call)).count() > 2;
        let calls: Vec<StatementId> = words.calls.keys().filter(|call| !many(call)).copied().collect();
        let deals = calls.into_iter().filter_map(|call| {
            let deal = self.bad_deal(around, document, sharing, &call)?;
            Some(SharingAct::Deal { call, deal })
        });
        deals.take(1).collect()
    }

    fn bad_deal(
        &mut self,
        around: &Around<'_>,
        document: DocumentId,
        sharing: SharingRef,
        call: &StatementId,
    ) -> Option<Vec<u8>> {
        let held = around.replica.document(&document)?;
        let tenant = held.tenant()?;
        let part = tenant.roots.get(&sharing.root)?.committees.get(usize::from(sharing.committee))?;
        let all = Words::of(held.graph());
        let before = (&part.spec, part.public.as_deref()?);
        let change = change(around, tenant, sharing, before, all.get(&sharing)?, call)?;
        let share = share_of(around.replica.view(), tenant.tenant, sharing, &change)?;
        let recipients: Vec<MemberIndex> = change.recipients().collect();
        let victim = recipients[draw::place(&mut self.rng, recipients.len())];
        let all = draw::chance(&mut self.rng, ALL_WRONG);
        let wrong = |index: MemberIndex| all || index == victim;
        false_deal(&change, share, wrong, &mut self.rng).map(|deal| deal.to_bytes())
    }

    fn false_complaints(
        &mut self,
        around: &Around<'_>,
        tenant: &TenantState,
        sharing: SharingRef,
        part: &RootCommittee,
        words: &Words<'_>,
    ) -> Vec<SharingAct> {
        let me = around.identity.principal();
        let Some(public) = part.public.as_deref() else { return Vec::new() };
        let told = |deal: &StatementId| words.complaints.values().any(|(who, about, _)| (who, about) == (&me, deal));
        let deals: Vec<StatementId> = words.deals.keys().filter(|deal| !told(deal)).copied().collect();
        self.is_in_haste |= !words.offers.is_empty() && words.transcripts.is_empty();
        let mut said = Vec::new();
        for id in deals {
            let (dealer, call, bytes) = words.deals[&id];
            let Some(change) = change(around, tenant, sharing, (&part.spec, public), words, &call) else { continue };
            if dealer == me {
                continue;
            }
            let Some((_, of, _)) = words.calls.get(&call) else { continue };
            let spec = words.recipients(of, &part.spec);
            let Some(place) = spec.and_then(|spec| index_of(spec, &me)) else { continue };
            let deal = Deal::<Ristretto>::from_bytes(bytes).ok().and_then(|deal| deal.verify(&change).ok());
            let complaint = deal.and_then(|deal| false_complaint(&deal, place, &mut self.rng));
            said.extend(complaint.map(|c| SharingAct::Complain { deal: id, complaint: c.to_bytes() }));
        }
        said.truncate(1);
        said
    }

    /// Votes for anything in any ballot, transcripts that do not follow from their deals, readiness for all.
    fn false_votes(&mut self, words: &Words<'_>) -> Vec<SharingAct> {
        let known: BTreeSet<BlobHash> = words.transcripts.keys().copied().collect();
        self.transcripts.extend(&known);
        let value = self.other(BlobHash::from_bytes([0; 32]));
        let ballot = match draw::between(&mut self.rng, 0, 3) {
            0 => draw::between(&mut self.rng, 1, 3) as u32,
            1 => draw::between(&mut self.rng, 100, 1_000_000) as u32,
            _ => 0,
        };
        vec![match draw::between(&mut self.rng, 0, 4) {
            0 => SharingAct::Prepare { ballot, transcript: value },
            1 => SharingAct::Commit { ballot, transcript: value },
            2 => SharingAct::Ready { transcript: value },
            _ => {
                let Some(transcript) = words.transcripts.values().next() else { return Vec::new() };
                let mut transcript: Transcript = (*transcript).clone();
                match draw::between(&mut self.rng, 0, 2) {
                    0 => transcript.hash = BlobHash::from_bytes(self.random_id()),
                    1 => drop(transcript.deals.pop()),
                    _ => self.alter(&mut transcript.public),
                }
                if transcript.deals.is_empty() {
                    return Vec::new();
                }
                let prepared = ballot.checked_sub(1);
                SharingAct::Propose { ballot, transcript, prepared }
            }
        }]
    }

    /// Somebody else's one-time key, or one of another place.
    fn foreign_keys(&mut self, words: &Words<'_>) -> Vec<SharingAct> {
        let offers: Vec<(StatementId, Vec<u8>)> =
            words.offers.values().map(|(_, change, key)| (*change, key.to_vec())).collect();
        if offers.is_empty() {
            return Vec::new();
        }
        let (change, key) = offers[draw::place(&mut self.rng, offers.len())].clone();
        vec![SharingAct::OfferKey { change, key }]
    }
}

/// A node's share of the sharing that a change leaves.
pub(super) fn share_of<'v>(
    view: &'v View,
    tenant: TenantId,
    sharing: SharingRef,
    change: &Change<Ristretto>,
) -> Option<&'v KeyShare<Ristretto>> {
    let shares = view.held(&tenant, sharing.root, sharing.committee);
    shares.iter().map(|held| &held.share).find(|share| share.matches(change.old()))
}

/// What a call is about, as the core has it, among custodians of the epoch `before` with this public side.
pub(super) fn change(
    around: &Around<'_>,
    tenant: &TenantState,
    sharing: SharingRef,
    (before, public): (&CommitteeSpec, &[u8]),
    words: &Words<'_>,
    call: &StatementId,
) -> Option<Change<Ristretto>> {
    let SharingRef { root, committee, epoch } = sharing;
    let (_, change, offers) = words.calls.get(call)?;
    let spec = words.recipients(change, before)?;
    let mesh = around.replica.view().mesh;
    let context = codec::encode(&("keymesh sharing v1", mesh, tenant.tenant, root, committee, epoch, *change));
    let keys = offers.iter().map(|offer| EpochKey::<Ristretto>::from_bytes(words.offers.get(offer)?.2).ok());
    let keys: Vec<_> = keys.collect::<Option<_>>()?;
    let old = RootPublic::from_bytes(public).ok()?;
    Change::new(&old, Threshold::new(spec.threshold, spec.members.len()).ok()?, keys, &context).ok()
}

fn index_of(spec: &CommitteeSpec, node: &NodeId) -> Option<MemberIndex> {
    let place = spec.members.iter().position(|member| member == node)?;
    MemberIndex::new(u8::try_from(place + 1).ok()?)
}
