//! Changes of a sharing: what holds when all follow the protocol.

mod adversary;
mod golden;
mod liars;
#[cfg(feature = "mutants")]
mod mutants;
mod repair;
mod secrecy;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;

use super::{Dealt, any_t, index, offers, rng, sealed};
use crate::epochs::{
    Change, Complaint, Deal, DealingError, EpochKey, EpochSecret, RedistributeError, Redistributed, TakeError,
    VerifiedDeal, deal, redistribute, take,
};
use crate::suite::{self, Suite};
use crate::{CombineError, KeyShare, PartialError, Ristretto, RootPublic, Threshold, VerifiedCapsule, combine};

const CONTEXT: &[u8] = b"mesh, root, epoch 2, attempt 1";

/// A root, and new members with their keys.
struct Setting<C: Suite> {
    old: Dealt<C>,
    secrets: Vec<EpochSecret<C>>,
    change: Change<C>,
}

fn keys<C: Suite>(secrets: &[EpochSecret<C>]) -> Vec<EpochKey<C>> {
    secrets.iter().map(|secret| secret.public().clone()).collect()
}

impl<C: Suite> Setting<C> {
    /// From `old` of the first pair to the second; members in `away` have no key.
    fn new((t, n): (u8, u8), (t2, n2): (u8, u8), away: &[u8], rng: &mut ChaCha20Rng) -> Self {
        let old = Dealt::new(t, n, rng);
        let present = (1..=n2).filter(|j| !away.contains(j));
        let secrets: Vec<_> = present.map(|j| EpochSecret::generate(CONTEXT, index(j), rng)).collect();
        let threshold = Threshold::new(t2, n2.into()).unwrap();
        let change = Change::new(&old.public, threshold, keys(&secrets), CONTEXT).unwrap();
        Setting { old, secrets, change }
    }

    fn deal(&self, i: u8, rng: &mut ChaCha20Rng) -> VerifiedDeal<C> {
        let deal = deal(&self.change, self.old.share(i), rng).unwrap();
        let sent = Deal::from_bytes(&deal.to_bytes()).unwrap();
        assert_eq!(sent, deal);
        sent.verify(&self.change).unwrap()
    }

    fn deals(&self, dealers: &[u8], rng: &mut ChaCha20Rng) -> Vec<VerifiedDeal<C>> {
        dealers.iter().map(|i| self.deal(*i, rng)).collect()
    }

    fn secret(&self, j: u8) -> &EpochSecret<C> {
        self.secrets.iter().find(|secret| secret.public().member() == index(j)).unwrap()
    }

    /// The outcome, with the share of every recipient.
    fn run(&self, deals: &[VerifiedDeal<C>], rng: &mut ChaCha20Rng) -> (Redistributed<C>, Vec<KeyShare<C>>) {
        let outcome = redistribute(&self.change, deals).unwrap();
        let shares = self.secrets.iter().map(|secret| {
            let share = take(&self.change, deals, secret, rng).unwrap();
            let again = outcome.take(&self.change, deals, secret, rng).unwrap();
            assert_eq!(*again.expose(), *share.expose());
            share
        });
        let shares = shares.collect();
        (outcome, shares)
    }
}

/// One of each encoding of a change and of a repair.
pub(super) fn samples<C: Suite>() -> Vec<Vec<u8>> {
    let mut rng = rng(71);
    let setting = Setting::<C>::new((2, 3), (3, 3), &[], &mut rng);
    let deal = setting.deal(1, &mut rng);
    let complaint = Complaint::new(&deal, setting.secret(1), &mut rng).unwrap();
    let secret = setting.secret(1);
    let mut samples = vec![secret.public().to_bytes(), secret.expose().to_vec(), deal.deal().to_bytes()];
    samples.push(complaint.to_bytes());
    samples.extend(repair::samples::<C>());
    samples
}

fn capsule_of<C: Suite>(public: &RootPublic<C>) -> VerifiedCapsule<C> {
    let publics = std::slice::from_ref(public);
    sealed(b"before", publics, b"payload", 5).verify(b"before", publics).unwrap()
}

fn opens<C: Suite>(
    capsule: &VerifiedCapsule<C>,
    public: &RootPublic<C>,
    shares: &[&KeyShare<C>],
) -> Result<Vec<u8>, CombineError> {
    let open = |share: &&KeyShare<C>| crate::open_partial(share, capsule, b"b", &mut rng(6)).unwrap();
    let partials: Vec<_> = shares.iter().map(open).collect();
    combine(capsule, std::slice::from_ref(public), &offers(&partials, b"b")).map(|opened| opened.payload.to_vec())
}

fn changes<C: Suite>((t, n): (u8, u8), (t2, n2): (u8, u8), dealers: u8, seed: u64) {
    let mut rng = rng(seed);
    let setting = Setting::<C>::new((t, n), (t2, n2), &[], &mut rng);
    let capsule = capsule_of(&setting.old.public);
    let dealers = any_t(dealers, n, &mut rng);
    let deals = setting.deals(&dealers, &mut rng);
    let (outcome, shares) = setting.run(&deals, &mut rng);
    let public = outcome.public;
    assert_eq!(public.group_key(), setting.old.public.group_key());
    assert_eq!(public.threshold(), setting.change.threshold());
    assert_eq!(RootPublic::from_bytes(&public.to_bytes()).unwrap(), public);
    for j in 1..=n2.min(n) {
        assert_ne!(public.verifying_share(index(j)), setting.old.public.verifying_share(index(j)));
    }

    let chosen: Vec<_> = any_t(t2, n2, &mut rng).into_iter().map(|j| &shares[usize::from(j) - 1]).collect();
    assert!(chosen.iter().all(|share| share.matches(&public) && !share.matches(&setting.old.public)));
    assert_eq!(opens(&capsule, &public, &chosen).unwrap(), b"payload");
    let few = opens(&capsule, &public, &chosen[1..]).unwrap_err();
    assert!(matches!(few, CombineError::NotEnough { .. }));

    // One share of the old sharing among new ones, and the other way round.
    let new_one = chosen[0];
    if new_one.index().get() <= n {
        let mut mixed = chosen.clone();
        mixed[0] = setting.old.share(new_one.index().get());
        let refused = opens(&capsule, &public, &mixed).unwrap_err();
        let CombineError::NotEnough { culprits, .. } = refused else { panic!("{refused:?}") };
        assert_eq!(culprits[0].reason, PartialError::ProofRefused { index: new_one.index() });
        let mut mixed: Vec<_> = (1..=n).filter(|i| *i != new_one.index().get()).take(usize::from(t) - 1).collect();
        mixed.push(new_one.index().get());
        let share = |i: &u8| if *i == new_one.index().get() { new_one } else { setting.old.share(*i) };
        let mixed: Vec<_> = mixed.iter().map(share).collect();
        assert!(opens(&capsule, &setting.old.public, &mixed).is_err());
    }
}

/// (t, n) to (t′, n′) up to 7 of 15, and how many dealers: t, all, or something between.
fn pairs() -> impl Strategy<Value = ((u8, u8), (u8, u8), u8)> {
    let sizes = || (2u8..=7).prop_flat_map(|t| (Just(t), t..=15));
    (sizes(), sizes()).prop_flat_map(|((t, n), new)| (Just((t, n)), Just(new), t..=n))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn new_shares_open_what_was_sealed_before((old, new, dealers) in pairs(), seed: u64) {
        changes::<Ristretto>(old, new, dealers, seed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn new_shares_open_what_was_sealed_before_on_p256((old, new, dealers) in pairs(), seed: u64) {
        changes::<frost_p256::P256Sha256>(old, new, dealers, seed);
    }
}

#[test]
fn a_refresh_changes_every_share_with_exactly_t_and_with_all_dealers() {
    for dealers in 3..=5 {
        changes::<Ristretto>((3, 5), (3, 5), dealers, 61);
    }
}

#[test]
fn nine_members_reshare_to_eleven_and_to_the_largest_sizes() {
    changes::<Ristretto>((5, 9), (6, 11), 5, 62);
    changes::<Ristretto>((7, 15), (7, 15), 15, 63);
}

#[test]
fn epochs_follow_one_another() {
    let mut rng = rng(64);
    let first = Setting::<Ristretto>::new((2, 3), (3, 5), &[], &mut rng);
    let capsule = capsule_of(&first.old.public);
    let deals = first.deals(&[1, 3], &mut rng);
    let (middle, shares) = first.run(&deals, &mut rng);
    let context = b"the third epoch";
    let secrets: Vec<_> = (1..=4).map(|j| EpochSecret::generate(context, index(j), &mut rng)).collect();
    let change = Change::new(&middle.public, Threshold::new(2, 4).unwrap(), keys(&secrets), context).unwrap();
    let deals: Vec<_> =
        shares[1..4].iter().map(|share| deal(&change, share, &mut rng).unwrap().verify(&change).unwrap()).collect();
    let last = redistribute(&change, &deals).unwrap();
    let shares: Vec<_> = secrets.iter().map(|secret| take(&change, &deals, secret, &mut rng).unwrap()).collect();
    assert_eq!(last.public.group_key(), first.old.public.group_key());
    assert_eq!(opens(&capsule, &last.public, &[&shares[3], &shares[0]]).unwrap(), b"payload");
}

/// An adversary that moves: t−1 shares of each of two epochs, put together in every way, are not the root.
#[test]
fn shares_of_two_epochs_do_not_add_up() {
    let mut rng = rng(72);
    let setting = Setting::<Ristretto>::new((3, 5), (3, 5), &[], &mut rng);
    let (_, new) = setting.run(&setting.deals(&[2, 3, 5], &mut rng), &mut rng);
    let old = &setting.old.shares;
    // From which epoch the share of each of three members is: a bit each.
    for from in 0u8..8 {
        let members = [1u8, 2, 4];
        let mut sum = suite::zero::<Ristretto>();
        for (bit, member) in members.iter().enumerate() {
            let epoch = if from >> bit & 1 == 1 { &new } else { old };
            let share = epoch[usize::from(*member) - 1].secret().expose();
            sum += suite::lagrange_at_zero::<Ristretto>(*member, &members).unwrap() * share;
        }
        assert_eq!(sum == setting.old.polynomial[0], from == 0 || from == 7);
    }
}

#[test]
fn the_outcome_depends_on_the_set_of_deals_and_not_on_their_order() {
    let mut rng = rng(65);
    let setting = Setting::<Ristretto>::new((2, 4), (2, 4), &[], &mut rng);
    let deals = setting.deals(&[1, 2, 3], &mut rng);
    let outcome = redistribute(&setting.change, [&deals[0], &deals[1]]).unwrap();
    assert_eq!(redistribute(&setting.change, [&deals[1], &deals[0]]).unwrap(), outcome);
    for other in [vec![&deals[0], &deals[2]], vec![&deals[0], &deals[1], &deals[2]]] {
        let other = redistribute(&setting.change, other).unwrap();
        assert_ne!(other.transcript_hash, outcome.transcript_hash);
        assert_ne!(other.public, outcome.public);
    }
}

#[test]
fn too_few_deals_and_two_of_one_dealer_make_no_sharing() {
    let mut rng = rng(66);
    let setting = Setting::<Ristretto>::new((3, 5), (2, 3), &[], &mut rng);
    let deals = setting.deals(&[1, 2, 4, 4], &mut rng);
    let refused = redistribute(&setting.change, &deals[..2]).unwrap_err();
    assert_eq!(refused, RedistributeError::NotEnough { have: 2, need: 3 });
    let refused = redistribute(&setting.change, &deals).unwrap_err();
    assert_eq!(refused, RedistributeError::TwoDeals { dealer: index(4) });
    let refused = take(&setting.change, &deals[..2], setting.secret(1), &mut rng).unwrap_err();
    assert!(matches!(refused, TakeError::NoSharing(RedistributeError::NotEnough { have: 2, need: 3 })));
}

#[test]
fn a_member_that_was_away_gets_its_share_by_repair() {
    let mut rng = rng(67);
    let setting = Setting::<Ristretto>::new((3, 5), (3, 6), &[2, 5], &mut rng);
    let deals = setting.deals(&[1, 2, 5], &mut rng);
    let (outcome, shares) = setting.run(&deals, &mut rng);
    let helpers: Vec<_> = shares.iter().collect();
    let repaired = repair::repaired(&outcome.public, 5, &helpers[1..], &mut rng).unwrap();
    let capsule = capsule_of(&setting.old.public);
    assert_eq!(opens(&capsule, &outcome.public, &[&repaired, helpers[0], helpers[3]]).unwrap(), b"payload");
}

#[test]
fn a_share_of_another_epoch_or_root_is_not_dealt() {
    let mut rng = rng(68);
    let setting = Setting::<Ristretto>::new((2, 3), (2, 3), &[], &mut rng);
    let deals = setting.deals(&[1, 2], &mut rng);
    let (_, shares) = setting.run(&deals, &mut rng);
    let other = Dealt::<Ristretto>::new(2, 3, &mut rng);
    for share in [&shares[0], other.share(1)] {
        assert_eq!(deal(&setting.change, share, &mut rng).unwrap_err(), DealingError::ForeignShare);
    }
}

#[test]
fn a_generator_that_repeats_itself_deals_alike_only_for_the_same_change() {
    let mut generator = rng(69);
    let setting = Setting::<Ristretto>::new((2, 3), (3, 3), &[], &mut generator);
    let other = Change::new(&setting.old.public, setting.change.threshold(), keys(&setting.secrets[..]), CONTEXT);
    let again = |change: &Change<Ristretto>, i: u8| deal(change, setting.old.share(i), &mut rng(7)).unwrap();
    assert_eq!(again(&setting.change, 1), again(&other.unwrap(), 1));
    let secrets: Vec<_> = (1..=3).map(|j| EpochSecret::generate(b"next", index(j), &mut generator)).collect();
    let next = Change::new(&setting.old.public, setting.change.threshold(), keys(&secrets), b"next").unwrap();
    let (_, here) = super::split(&again(&setting.change, 1).to_bytes(), 3);
    for other in [again(&next, 1), again(&setting.change, 2)] {
        let (_, there) = super::split(&other.to_bytes(), 3);
        // Neither commitments nor R.
        assert!(here[1] != there[1] && here[2] != there[2]);
    }
}

#[test]
fn secrets_of_a_change_print_only_their_names() {
    let setting = Setting::<Ristretto>::new((2, 2), (2, 2), &[], &mut rng(70));
    let secret = EpochSecret::<Ristretto>::from_exposed(&setting.secret(1).expose()).unwrap();
    assert_eq!(secret.public(), setting.secret(1).public());
    assert_eq!(format!("{secret:?}"), "EpochSecret");
    assert_eq!(format!("{:?}", secret.public()), "EpochKey(member 1)");
    assert_eq!(format!("{:?}", setting.change), "Change(2 of 2 to 2 of 2, 2 recipients)");
}
