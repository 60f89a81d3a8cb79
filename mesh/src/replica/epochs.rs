//! Refresh and reshare: what this node says in the making of an epoch, and the moves of its own shares.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keymesh_custody::{KeyShare, Ristretto, RootPublic};
use keymesh_wire::body::{Body, SharingAct, SharingRef, SharingWord};
use keymesh_wire::ids::{DocumentId, RootId, StatementId, TenantId};
use keymesh_wire::secret::SecretBytes;
use keymesh_wire::statement::Checked;
use keymesh_wire::time::{Millis, Now};
use rand_core::CryptoRng;

use super::Replica;
use super::step::{Effect, Step, Write};
use crate::custody::change::{Act, Changing, Scene};
use crate::custody::slot::Slot;
use crate::mutant::{self, Mutant};
use crate::state::sharing::{Words, ready_quorum};
use crate::state::tenant::RootCommittee;
use crate::state::{Document, TenantState};
use crate::view::{HeldShare, HeldShares};

/// How often a node looks how old the sharings are that it has a part in.
pub(super) const LOOK: Millis = Millis::seconds(60);
/// How much later than the first custodian of a committee each further one asks for new shares, if nobody did.
const TURN: Millis = Millis::seconds(300);

/// Into which part of the time after which a sharing is old the moments are spread at which sharings become old.
const SPREAD: u64 = 10;

impl Replica {
    /// Asks for new shares where a sharing has become old. The custodians of a committee do it in turn, so that the first of
    /// them that is there is enough.
    pub(super) fn refresh_old(&mut self, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let Some(after) = self.config.refresh_after.filter(|_| now.boot >= self.looked_at_ages.plus(LOOK)) else {
            return;
        };
        self.looked_at_ages = now.boot;
        let mut due = Vec::new();
        for document in self.library.all() {
            let Some(tenant) = document.tenant().filter(|tenant| !self.is_fenced(&tenant.tenant)) else { continue };
            let words = Words::of(document.graph());
            for root in tenant.roots.values().filter(|root| root.live) {
                let made = document.graph().get(&root.id.into()).map(Checked::time);
                for (place, committee) in (0u8..).zip(&root.committees) {
                    let sharing = SharingRef { root: root.id, committee: place, epoch: committee.epoch + 1 };
                    let after = Millis(after.0.saturating_add(own_delay(&root.id, after).0));
                    let asked = words.get(&sharing).is_some_and(|words| !words.changes.is_empty());
                    let turn = committee.spec.members.iter().position(|member| *member == self.me);
                    let (Some(turn), Some(since)) = (turn, committee.since.or(made)) else { continue };
                    let at = since.plus(Millis(after.0.saturating_add(TURN.0 * turn as u64)));
                    if !asked && !committee.frozen && now.wall >= at {
                        due.push((document.id(), sharing));
                    }
                }
            }
        }
        for (document, sharing) in due {
            self.author(document, &Body::RefreshShares(sharing), now, rng, step);
        }
    }

    /// Takes part in changes of sharing that are open, takes shares of epochs that are agreed upon, and erases those of
    /// epochs that are over.
    pub(super) fn make_epochs(
        &mut self,
        id: DocumentId,
        tenant: &TenantState,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        let acts = self.epoch_acts(id, tenant, now, rng);
        for (sharing, act) in acts {
            match act {
                Act::Say(act) => self.say_of_epoch(id, sharing, act, now, rng, step),
                Act::KeepKey(change, secret) => {
                    let slot = Slot::Key(change);
                    let share = SecretBytes::from_slice(&mut secret.expose());
                    self.keys.insert(change, Arc::new(secret));
                    step.batch.writes.push(Write::Share { slot: slot.to_string(), share });
                }
                Act::Warn(what) => step.effects.push(Effect::Warn(what)),
            }
        }
        for root in tenant.roots.values().filter(|root| root.live) {
            for (place, committee) in (0u8..).zip(&root.committees) {
                if !committee.frozen {
                    self.take_share(id, tenant, root.id, place, committee, now, rng, step);
                    self.erase_shares(id, root.id, place, committee, now, rng, step);
                }
            }
        }
        if !self.changes.values().any(|(whose, _)| *whose == tenant.tenant) {
            self.pace.is_over(&tenant.tenant);
        }
    }

    fn say_of_epoch(
        &mut self,
        document: DocumentId,
        sharing: SharingRef,
        act: SharingAct,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        let is_vote = matches!(act, SharingAct::Prepare { .. } | SharingAct::Commit { .. });
        let before = step.batch.writes.len();
        self.author(document, &Body::Sharing(SharingWord { sharing, act }), now, rng, step);
        if is_vote && mutant::is(Mutant::VoteNotDurable) {
            self.late.put_off(&mut step.batch.writes, before);
        }
    }

    /// What there is to do for the next epoch of each committee.
    fn epoch_acts(
        &mut self,
        id: DocumentId,
        tenant: &TenantState,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Vec<(SharingRef, Act)> {
        let Some(document) = self.library.document(&id) else { return Vec::new() };
        let mut acts = Vec::new();
        let mut under_way = BTreeSet::new();
        let words = Words::of(document.graph());
        for (sharing, said) in &words {
            let root = tenant.roots.get(&sharing.root).filter(|root| root.live);
            let Some(committee) = root.and_then(|root| root.committees.get(usize::from(sharing.committee))) else {
                continue;
            };
            if committee.frozen || Some(sharing.epoch) != committee.epoch.checked_add(1) {
                continue;
            }
            let open = proposals_in_effect(document, tenant, said);
            let votes = said.agreement(&committee.spec);
            let is_recipient = |change: &StatementId| {
                said.recipients(change, &committee.spec).is_some_and(|spec| spec.members.contains(&self.me))
            };
            let concerned = committee.spec.members.contains(&self.me) || said.changes.keys().any(is_recipient);
            // What was prepared goes on even if its proposal lost its authority meanwhile: some may be bound to it.
            if !concerned || (open.is_empty() && votes.highest_prepared(|_| true).is_none()) {
                continue;
            }
            let (_, changing) = match self.changes.entry(*sharing) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(empty) => {
                    let proposed = open.iter().filter_map(|change| said.times.get(change)).min();
                    let proposed = proposed.copied().unwrap_or(now.wall);
                    let has_begun = !said.offers.is_empty() || !said.calls.is_empty();
                    if !self.pace.may_begin(tenant.tenant, proposed, has_begun, now.boot) {
                        continue;
                    }
                    let public = committee.public.as_deref().and_then(|public| RootPublic::from_bytes(public).ok());
                    let Some(old) = public else { continue };
                    let age = now.wall.0.saturating_sub(proposed.0);
                    empty.insert((tenant.tenant, Changing::begin(old, Millis(age), now.boot)))
                }
            };
            let held = held_share(&self.shares, sharing.root, sharing.committee, committee);
            let scene = Scene {
                mesh: self.config.mesh,
                tenant: tenant.tenant,
                me: self.me,
                sharing: *sharing,
                before: &committee.spec,
                words: said,
                open: &open,
                share: held.as_ref().map(|held| &held.share),
                secrets: &self.keys,
            };
            acts.extend(changing.act(&scene, now.boot, rng).into_iter().map(|act| (*sharing, act)));
            under_way.insert(*sharing);
        }
        // What is neither under way nor still to be taken has nothing to wake up for.
        self.changes.retain(|of, _| {
            let committee = tenant.roots.get(&of.root).and_then(|root| root.committees.get(usize::from(of.committee)));
            committee.is_none_or(|committee| of.epoch <= committee.epoch) || under_way.contains(of)
        });
        acts
    }

    /// This node's share of the current epoch, if it has a part in it and does not have it. Where it was lost after it had been
    /// taken, the one-time key may still be there; what was dealt to it opens once more.
    #[expect(clippy::too_many_arguments, reason = "a committee with where it belongs, and the step's context")]
    fn take_share(
        &mut self,
        id: DocumentId,
        tenant: &TenantState,
        root: RootId,
        place: u8,
        committee: &RootCommittee,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        let sharing = SharingRef { root, committee: place, epoch: committee.epoch };
        if committee.epoch > 0 && committee.spec.members.contains(&self.me) {
            let slot = Slot::Epoch { root, committee: place, epoch: committee.epoch };
            if !self.shares.contains_key(&slot) && !self.unopened.contains(&sharing) {
                match self.open_share(id, tenant, sharing, committee, now, rng) {
                    Ok(share) => {
                        let exposed = SecretBytes::from_slice(&mut share.expose());
                        self.shares.insert(slot, Arc::new(HeldShare { share, epoch: committee.epoch }));
                        step.batch.writes.push(Write::Share { slot: slot.to_string(), share: exposed });
                        self.touch(tenant.tenant);
                    }
                    Err(why) => {
                        self.unopened.insert(sharing);
                        let what = format!("no share of epoch {} of {root} for this node: {why}", committee.epoch);
                        step.effects.push(Effect::Warn(format!("{what}; it asks the others for it")));
                    }
                }
            }
            if self.shares.contains_key(&slot) && !committee.holders.contains(&self.me) {
                self.say_of_epoch(id, sharing, SharingAct::Hold, now, rng, step);
            }
        }
    }

    fn open_share(
        &mut self,
        id: DocumentId,
        tenant: &TenantState,
        sharing: SharingRef,
        committee: &RootCommittee,
        now: Now,
        rng: &mut impl CryptoRng,
    ) -> Result<KeyShare<Ristretto>, String> {
        let (spec, public) = committee.before.as_ref().ok_or("the epoch before is not known")?;
        let (mesh, me) = (self.config.mesh, self.me);
        let document = self.library.document(&id).ok_or("the document is not here")?;
        let words = Words::of(document.graph());
        let said = words.get(&sharing).ok_or("nothing was said about it")?;
        let certified = said.agreement(spec).certified();
        let transcript = certified.first().and_then(|value| said.transcripts.get(value));
        let transcript = transcript.ok_or("what was agreed upon is not here")?;
        if committee.public.as_ref() != Some(&transcript.public) {
            return Err("it does not fit what was agreed upon".to_owned());
        }
        let (_, changing) = match self.changes.entry(sharing) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(empty) => {
                let old = RootPublic::from_bytes(public).map_err(|error| error.to_string())?;
                empty.insert((tenant.tenant, Changing::begin(old, Millis(0), now.boot)))
            }
        };
        let open = BTreeSet::new();
        let scene = Scene {
            mesh,
            tenant: tenant.tenant,
            me,
            sharing,
            before: spec,
            words: said,
            open: &open,
            share: None,
            secrets: &self.keys,
        };
        changing.take(&scene, transcript, rng)
    }

    /// Erases shares of epochs that are over and keys of changes that are.
    #[expect(clippy::too_many_arguments, reason = "a committee with where it belongs, and the step's context")]
    fn erase_shares(
        &mut self,
        id: DocumentId,
        root: RootId,
        place: u8,
        committee: &RootCommittee,
        now: Now,
        rng: &mut impl CryptoRng,
        step: &mut Step,
    ) {
        if committee.epoch == 0 || committee.holders.len() < ready_quorum(&committee.spec) {
            return;
        }
        // Of earlier epochs, and of attempts at key generation that were lost.
        let made = |attempt| Slot::Made { root, committee: place, attempt };
        let of = |epoch| Slot::Epoch { root, committee: place, epoch };
        let over = self.shares.range(made(0)..=made(u32::MAX)).chain(self.shares.range(of(0)..of(committee.epoch)));
        let over: Vec<Slot> = over.map(|(slot, _)| *slot).collect();
        for slot in over {
            self.shares.remove(&slot);
            self.touch(id.into());
            if !mutant::is(Mutant::OldShareKept) {
                step.batch.writes.push(Write::EraseShare { slot: slot.to_string() });
            }
        }
        let mine = committee.past.iter().filter(|past| past.spec.members.contains(&self.me));
        let silent: Vec<u32> = mine.filter(|past| !past.erased.contains(&self.me)).map(|past| past.epoch).collect();
        for epoch in silent {
            let sharing = SharingRef { root, committee: place, epoch };
            self.say_of_epoch(id, sharing, SharingAct::Erase, now, rng, step);
        }
        self.erase_keys(id, root, place, committee, step);
    }

    /// One-time keys of changes that are over die with them: what was dealt to them can then be read by nobody.
    fn erase_keys(&mut self, id: DocumentId, root: RootId, place: u8, committee: &RootCommittee, step: &mut Step) {
        let Some(document) = self.library.document(&id) else { return };
        let is_member = committee.spec.members.contains(&self.me);
        let has_share = self.shares.contains_key(&Slot::Epoch { root, committee: place, epoch: committee.epoch });
        if is_member && !has_share {
            return;
        }
        let over: Vec<StatementId> = self
            .keys
            .keys()
            .filter(|change| {
                sharing_of(document, change)
                    .is_some_and(|of| (of.root, of.committee) == (root, place) && of.epoch <= committee.epoch)
            })
            .copied()
            .collect();
        for change in over {
            self.keys.remove(&change);
            step.batch.writes.push(Write::EraseShare { slot: Slot::Key(change).to_string() });
        }
        self.changes.retain(|of, _| (of.root, of.committee) != (root, place) || of.epoch > committee.epoch);
        self.unopened.retain(|of| (of.root, of.committee) != (root, place) || of.epoch >= committee.epoch);
    }

    /// Goes on with changes whose time has come.
    pub(super) fn tick_epochs(&mut self, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let mut due = BTreeSet::new();
        for (tenant, changing) in self.changes.values_mut().filter(|(_, changing)| changing.is_due(now.boot)) {
            due.insert(*tenant);
            // Of these some have nothing to do with time any more: the epoch was made and its shares are on their way, or
            // this node keeps silent. Whoever acts says anew when to be woken.
            changing.rest();
        }
        while let Some(tenant) = self.pace.take_turn(now.boot) {
            self.go_on(tenant, now, rng, step);
        }
        for tenant in due {
            self.go_on(tenant, now, rng, step);
        }
    }

    fn go_on(&mut self, tenant: TenantId, now: Now, rng: &mut impl CryptoRng, step: &mut Step) {
        let id = tenant.into();
        let Some(state) = self.library.document(&id).map(|document| document.state().clone()) else { return };
        if let crate::state::DocumentState::Tenant(tenant) = &*state
            && !self.is_fenced(&tenant.tenant)
        {
            self.make_epochs(id, tenant, now, rng, step);
        }
    }

    /// Brings up to date which shares of a tenant's roots there are to decide with: of every epoch that is in use.
    pub(super) fn note_shares_in_use(&mut self, tenant: &TenantId) {
        let mut in_use = HeldShares::new();
        for root in self.tenants.get(tenant).into_iter().flat_map(|view| view.tenant().roots.values()) {
            for (place, committee) in (0u8..).zip(&root.committees) {
                let slots = committee.sharings().filter_map(|(epoch, ..)| slot_of(root.id, place, committee, epoch));
                let mut held: Vec<_> = slots.filter_map(|slot| self.shares.get(&slot)).cloned().collect();
                if !held.is_empty() {
                    held.sort_by_key(|held| held.epoch);
                    in_use.insert((root.id, place), held);
                }
            }
        }
        let is_same = |known: &Arc<HeldShares>| {
            let all = |shares: &HeldShares| -> Vec<_> { shares.values().flatten().map(Arc::as_ptr).collect() };
            known.keys().eq(in_use.keys()) && all(known) == all(&in_use)
        };
        // Most of what is said of a tenant moves no share, and views that were published keep the map.
        if !self.in_use.get(tenant).is_some_and(is_same) {
            self.in_use.insert_mut(*tenant, Arc::new(in_use));
        }
    }
}

/// How much later than others the sharing of one root becomes old, up to a [`SPREAD`]th: roots that were made in one hour
/// must not be refreshed in one hour for ever.
fn own_delay(root: &RootId, after: Millis) -> Millis {
    let drawn = root.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    Millis(drawn % (after.0 / SPREAD + 1))
}

/// In which slot the share of an epoch lies.
pub(super) fn slot_of(root: RootId, place: u8, committee: &RootCommittee, epoch: u32) -> Option<Slot> {
    Some(match epoch {
        0 => Slot::Made { root, committee: place, attempt: committee.attempt? },
        epoch => Slot::Epoch { root, committee: place, epoch },
    })
}

fn held_share(
    shares: &BTreeMap<Slot, Arc<HeldShare>>,
    root: RootId,
    place: u8,
    committee: &RootCommittee,
) -> Option<Arc<HeldShare>> {
    shares.get(&slot_of(root, place, committee, committee.epoch)?).cloned()
}

/// Proposals with a right to be, and with the endorsements they need.
fn proposals_in_effect(document: &Document, tenant: &TenantState, said: &Words<'_>) -> BTreeSet<StatementId> {
    let waits = |id: &StatementId| tenant.pending.iter().any(|pending| pending.statement == *id);
    said.changes.keys().filter(|id| !document.is_invalid(id) && !waits(id)).copied().collect()
}

fn sharing_of(document: &Document, change: &StatementId) -> Option<SharingRef> {
    match document.graph().get(change)?.body()? {
        Body::RefreshShares(sharing) => Some(*sharing),
        Body::ReshareRoot(change) => Some(change.sharing),
        _ => None,
    }
}
