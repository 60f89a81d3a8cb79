//! Repair: with honest helpers, with liars, and with mistakes.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;

use super::super::{Dealt, any_t, index, join, rng, split};
use crate::epochs::repair::{Commitment, Delta, Kind, Repair, RepairError, Sigma};
use crate::suite::{self, Suite};
use crate::{KeyShare, MemberIndex, Ristretto, RootPublic};

const CONTEXT: &[u8] = b"mesh, root, epoch 2, repair 1";

/// What all helpers have made when the member is to finish.
struct Run<C: Suite> {
    repair: Repair<C>,
    commitments: Vec<Commitment<C>>,
    deltas: Vec<Delta<C>>,
}

impl<C: Suite> Run<C> {
    fn new(public: &RootPublic<C>, member: u8, helpers: &[&KeyShare<C>], rng: &mut ChaCha20Rng) -> Self {
        let indexes: Vec<MemberIndex> = helpers.iter().map(|share| share.index()).collect();
        let repair = Repair::new(public, index(member), &indexes, CONTEXT).unwrap();
        let (mut commitments, mut deltas) = (Vec::new(), Vec::new());
        for share in helpers {
            let help = repair.help(share, rng).unwrap();
            commitments.push(Commitment::from_bytes(&help.commitment.to_bytes()).unwrap());
            deltas.extend(help.deltas);
        }
        Run { repair, commitments, deltas }
    }

    fn deltas_to(&self, to: MemberIndex) -> Vec<Delta<C>> {
        let of = self.deltas.iter().filter(|delta| delta.to() == to);
        of.map(|delta| Delta::from_exposed(&delta.expose()).unwrap()).collect()
    }

    fn gather(&self, me: MemberIndex) -> Result<Sigma<C>, RepairError> {
        self.repair.gather(me, &self.commitments, &self.deltas_to(me))
    }

    fn sigmas(&self) -> Vec<Sigma<C>> {
        self.repair.helpers().iter().map(|me| self.gather(*me).unwrap()).collect()
    }
}

/// One of each encoding.
pub(super) fn samples<C: Suite>() -> [Vec<u8>; 3] {
    let (_, run) = root::<C>();
    let sigma = run.gather(index(1)).unwrap();
    [run.commitments[0].to_bytes(), run.deltas[0].expose().to_vec(), sigma.expose().to_vec()]
}

pub(super) fn repaired<C: Suite>(
    public: &RootPublic<C>,
    member: u8,
    helpers: &[&KeyShare<C>],
    rng: &mut ChaCha20Rng,
) -> Result<KeyShare<C>, RepairError> {
    let run = Run::new(public, member, helpers, rng);
    run.repair.finish(&run.commitments, &run.sigmas())
}

/// Any t helpers and more, for any member.
fn repairs<C: Suite>(t: u8, n: u8, seed: u64) {
    let mut rng = rng(seed);
    let root = Dealt::<C>::new(t, n, &mut rng);
    for member in 1..=n {
        for count in t..n {
            let others: Vec<_> = (1..=n).filter(|i| *i != member).collect();
            let from = usize::from(n - 1 - count);
            let helpers: Vec<_> = others[from..].iter().rev().map(|i| root.share(*i)).collect();
            let share = repaired(&root.public, member, &helpers, &mut rng).unwrap();
            assert_eq!(share.expose(), root.share(member).expose());
        }
    }
}

#[test]
fn any_t_helpers_restore_the_very_same_share() {
    repairs::<Ristretto>(2, 3, 80);
    repairs::<Ristretto>(3, 5, 81);
    repairs::<Ristretto>(4, 6, 82);
    repairs::<frost_p256::P256Sha256>(2, 3, 83);
}

fn root<C: Suite>() -> (Dealt<C>, Run<C>) {
    let mut rng = rng(84);
    let root = Dealt::new(3, 5, &mut rng);
    let run = Run::new(&root.public, 2, &[root.share(1), root.share(4), root.share(5)], &mut rng);
    (root, run)
}

/// The same value and one.
fn wrong(value: &[u8]) -> Vec<u8> {
    let value = suite::parse_scalar::<Ristretto>(value).unwrap() + suite::one::<Ristretto>();
    suite::scalar_bytes::<Ristretto>(&value)
}

#[test]
fn who_helps_whom_is_checked() {
    let (root, _) = root::<Ristretto>();
    let refused = |member, helpers: &[u8]| {
        let helpers: Vec<_> = helpers.iter().map(|i| index(*i)).collect();
        Repair::new(&root.public, index(member), &helpers, CONTEXT).unwrap_err()
    };
    assert_eq!(refused(2, &[1, 3]), RepairError::TooFewHelpers { have: 2, need: 3 });
    assert_eq!(refused(2, &[1, 3, 1]), RepairError::DuplicateHelper { index: index(1) });
    assert_eq!(refused(2, &[1, 2, 3]), RepairError::HelpsItself { index: index(2) });
    assert_eq!(refused(6, &[1, 2, 3]), RepairError::NoSuchMember { index: index(6) });
    assert_eq!(refused(2, &[1, 3, 6]), RepairError::NoSuchMember { index: index(6) });
}

#[test]
fn a_share_of_another_sharing_or_of_nobody_asked_does_not_help() {
    let (root, run) = root::<Ristretto>();
    let mut rng = rng(85);
    let other = Dealt::<Ristretto>::new(3, 5, &mut rng);
    assert_eq!(run.repair.help(other.share(1), &mut rng).unwrap_err(), RepairError::ForeignShare);
    // Of the same root, and of another epoch.
    let mut polynomial = root.polynomial.clone();
    polynomial[1] = polynomial[2];
    let epoch = Dealt::<Ristretto>::of(polynomial, 5);
    assert_eq!(run.repair.help(epoch.share(1), &mut rng).unwrap_err(), RepairError::ForeignShare);
    let refused = run.repair.help(root.share(3), &mut rng).unwrap_err();
    assert_eq!(refused, RepairError::NotAHelper { index: index(3) });
    assert_eq!(run.gather(index(3)).unwrap_err(), RepairError::NotAHelper { index: index(3) });
}

#[test]
fn a_wrong_delta_is_named_by_its_recipient() {
    let (_, run) = root::<Ristretto>();
    let mut deltas = run.deltas_to(index(5));
    let (numbers, mut fields) = split(&deltas[1].expose(), 4);
    fields[1] = wrong(&fields[1]);
    deltas[1] = Delta::from_exposed(&join(&numbers, &fields)).unwrap();
    let refused = run.repair.gather(index(5), &run.commitments, &deltas).unwrap_err();
    assert_eq!(refused, RepairError::Wrong { culprit: index(4), kind: Kind::Delta });
}

/// The outcome of a repair in which one helper adds something to its sigma.
pub(super) fn with_a_wrong_sigma() -> Result<KeyShare<Ristretto>, RepairError> {
    let (_, run) = root::<Ristretto>();
    let mut sigmas = run.sigmas();
    let (numbers, mut fields) = split(&sigmas[2].expose(), 3);
    fields[1] = wrong(&fields[1]);
    sigmas[2] = Sigma::from_exposed(&join(&numbers, &fields)).unwrap();
    run.repair.finish(&run.commitments, &sigmas)
}

#[test]
fn a_wrong_sigma_is_named_and_no_share_comes_of_it() {
    let refused = with_a_wrong_sigma().unwrap_err();
    assert_eq!(refused, RepairError::Wrong { culprit: index(5), kind: Kind::Sigma });
}

/// A helper that commits to another share, consistently with the deltas it sends, is found at its commitment.
#[test]
fn a_helper_that_lies_about_its_share_is_named() {
    let (root, mut run) = root::<Ristretto>();
    let mut rng = rng(86);
    let mut polynomial = root.polynomial.clone();
    polynomial[1] += suite::one::<Ristretto>();
    let liar = Dealt::<Ristretto>::of(polynomial, 5);
    let repair = Repair::new(&liar.public, index(2), run.repair.helpers(), CONTEXT).unwrap();
    let help = repair.help(liar.share(4), &mut rng).unwrap();
    let session = *run.repair.session();
    let (numbers, mut fields) = split(&help.commitment.to_bytes(), 3);
    fields[0] = session.to_vec();
    run.commitments[1] = Commitment::from_bytes(&join(&numbers, &fields)).unwrap();
    run.deltas.retain(|delta| delta.from() != index(4));
    for delta in &help.deltas {
        let (numbers, mut fields) = split(&delta.expose(), 4);
        fields[0] = session.to_vec();
        run.deltas.push(Delta::from_exposed(&join(&numbers, &fields)).unwrap());
    }
    let named = RepairError::Wrong { culprit: index(4), kind: Kind::Commitment };
    assert_eq!(run.gather(index(1)).unwrap_err(), named);

    // Two of them in league: the other one passes the wrong deltas on. The member finds out at the sum.
    let (_, honest) = self::root::<Ristretto>();
    let mut sigmas = honest.sigmas();
    let (numbers, mut fields) = split(&sigmas[0].expose(), 3);
    fields[1] = wrong(&fields[1]);
    sigmas[0] = Sigma::from_exposed(&join(&numbers, &fields)).unwrap();
    assert_eq!(honest.repair.finish(&run.commitments, &sigmas).unwrap_err(), named);
}

#[test]
fn a_commitment_of_the_wrong_length_is_named() {
    let (_, mut run) = root::<Ristretto>();
    let (numbers, mut fields) = split(&run.commitments[0].to_bytes(), 3);
    let point = fields[1][..32].to_vec();
    fields[1].extend(point);
    run.commitments[0] = Commitment::from_bytes(&join(&numbers, &fields)).unwrap();
    let named = RepairError::Wrong { culprit: index(1), kind: Kind::Commitment };
    assert_eq!(run.gather(index(5)).unwrap_err(), named);
}

#[test]
fn messages_that_are_missing_double_or_of_another_repair_are_named() {
    let (root, mut run) = root::<Ristretto>();
    let me = index(1);
    let gather = |deltas: &[Delta<Ristretto>]| run.repair.gather(me, &run.commitments, deltas).unwrap_err();
    let (from, kind) = (index(5), Kind::Delta);
    assert_eq!(gather(&run.deltas_to(me)[..2]), RepairError::Missing { from, kind });
    let twice: Vec<_> = run.deltas_to(me).into_iter().chain(run.deltas_to(me)).collect();
    assert_eq!(gather(&twice), RepairError::Twice { from: me, kind });
    // A delta for another helper.
    assert_eq!(gather(&run.deltas_to(index(4))), RepairError::Foreign { from: me, kind });

    let helpers = [root.share(1), root.share(4), root.share(5)];
    let other = Run::new(&root.public, 3, &helpers, &mut rng(87));
    assert_eq!(gather(&other.deltas_to(me)), RepairError::Foreign { from: me, kind });
    let refused = run.repair.finish(&run.commitments, &other.sigmas()).unwrap_err();
    assert_eq!(refused, RepairError::Foreign { from: me, kind: Kind::Sigma });
    run.commitments = other.commitments;
    assert_eq!(run.gather(me).unwrap_err(), RepairError::Foreign { from: me, kind: Kind::Commitment });
}

/// A cloned helper asked twice would otherwise give its share to whoever gets the last delta of both repairs.
#[test]
fn a_generator_that_repeats_itself_gives_no_share_away() {
    let (root, _) = root::<Ristretto>();
    let helpers = [root.share(1), root.share(4), root.share(5)];
    let runs = [2, 3].map(|member| Run::new(&root.public, member, &helpers, &mut rng(88)));
    let last = runs.each_ref().map(|run| {
        let (_, fields) = split(&run.deltas_to(index(5))[0].expose(), 4);
        suite::parse_scalar::<Ristretto>(&fields[1]).unwrap()
    });
    let weights = [2, 3].map(|member| suite::lagrange_at::<Ristretto>(member, 1, &[1, 4, 5]).unwrap());
    let extracted = (last[0] - last[1]) * suite::invert::<Ristretto>(&(weights[0] - weights[1])).unwrap();
    assert_ne!(extracted, *root.share(1).secret().expose());
}

#[test]
fn secrets_of_a_repair_print_only_their_names() {
    let (_, run) = root::<Ristretto>();
    let sigma = run.gather(index(4)).unwrap();
    assert_eq!(format!("{:?} {:?}", run.deltas[0], sigma), "Delta Sigma");
    assert_eq!(format!("{:?}", run.repair), "Repair(member 2 by 3 helpers)");
}

/// What one helper does.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// Nothing wrong.
    None,
    /// A delta that is not the one it committed to, to the helper at this place.
    Delta(prop::sample::Index),
    /// A commitment with one point exchanged for another.
    Commitment(prop::sample::Index),
    /// A sum that is not that of its deltas.
    Sigma,
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        Just(Lie::None),
        any::<prop::sample::Index>().prop_map(Lie::Delta),
        any::<prop::sample::Index>().prop_map(Lie::Commitment),
        Just(Lie::Sigma),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_lying_helper_is_named_whatever_it_does(
        (t, n) in (2u8..=7).prop_flat_map(|t| (Just(t), t + 1..=15)),
        lie in lie(),
        seed: u64,
    ) {
        let mut rng = rng(seed);
        let root = Dealt::<Ristretto>::new(t, n, &mut rng);
        let mut members = any_t(t + 1, n, &mut rng);
        let member = members.pop().unwrap();
        let liar = index(members[0]);
        let helpers: Vec<_> = members.iter().map(|i| root.share(*i)).collect();
        let mut run = Run::new(&root.public, member, &helpers, &mut rng);
        match lie {
            Lie::None | Lie::Sigma => {}
            Lie::Delta(place) => {
                let of_liar: Vec<usize> = (0..run.deltas.len()).filter(|at| run.deltas[*at].from() == liar).collect();
                let delta = &mut run.deltas[of_liar[place.index(of_liar.len())]];
                let (numbers, mut fields) = split(&delta.expose(), 4);
                fields[1] = wrong(&fields[1]);
                *delta = Delta::from_exposed(&join(&numbers, &fields)).unwrap();
            }
            Lie::Commitment(place) => {
                let at = run.commitments.iter().position(|commitment| commitment.from() == liar).unwrap();
                let (numbers, mut fields) = split(&run.commitments[at].to_bytes(), 3);
                let point = suite::point_bytes::<Ristretto>(&suite::generator::<Ristretto>()).unwrap();
                fields[1][place.index(usize::from(t)) * 32..][..32].copy_from_slice(&point);
                run.commitments[at] = Commitment::from_bytes(&join(&numbers, &fields)).unwrap();
            }
        }
        let gathered: Result<Vec<_>, _> = run.repair.helpers().iter().map(|me| run.gather(*me)).collect();
        let named = |kind| RepairError::Wrong { culprit: liar, kind };
        match (lie, gathered) {
            (Lie::None, Ok(sigmas)) => {
                let share = run.repair.finish(&run.commitments, &sigmas).unwrap();
                prop_assert_eq!(share.expose(), root.share(member).expose());
            }
            (Lie::Sigma, Ok(mut sigmas)) => {
                let sigma = sigmas.iter_mut().find(|sigma| sigma.from() == liar).unwrap();
                let (numbers, mut fields) = split(&sigma.expose(), 3);
                fields[1] = wrong(&fields[1]);
                *sigma = Sigma::from_exposed(&join(&numbers, &fields)).unwrap();
                let refused = run.repair.finish(&run.commitments, &sigmas).unwrap_err();
                prop_assert_eq!(refused, named(Kind::Sigma));
            }
            (Lie::Delta(_), Err(error)) => prop_assert_eq!(error, named(Kind::Delta)),
            (Lie::Commitment(_), Err(error)) => prop_assert_eq!(error, named(Kind::Commitment)),
            (lie, gathered) => prop_assert!(false, "{:?}: {:?}", lie, gathered),
        }
    }
}
