//! What opens, and what does not.

use proptest::prelude::*;

use super::{Dealt, any_t, offers, rng, sealed, sizes};
use crate::suite::{self, Suite};
use crate::{CapsuleError, CombineError, MAX_PAYLOAD, PartialError, Ristretto, combine, open_partial, seal};

pub(super) fn any_t_members_open<C: Suite>(t: u8, n: u8, payload: &[u8], seed: u64) {
    let mut rng = rng(seed);
    let root = Dealt::<C>::new(t, n, &mut rng);
    let publics = [root.public.clone()];
    let capsule = seal(b"label", &publics, payload, &mut rng).unwrap().verify(b"label", &publics).unwrap();
    let partials: Vec<_> = any_t(t, n, &mut rng).into_iter().map(|i| root.partial(i, &capsule, b"binding")).collect();
    for partial in &partials {
        assert_eq!(partial.verify(&root.public, &capsule, b"binding"), Ok(()));
    }
    let opened = combine(&capsule, &publics, &offers(&partials, b"binding")).unwrap();
    assert_eq!((opened.payload.as_slice(), opened.culprits), (payload, Vec::new()));
    assert!(matches!(
        combine(&capsule, &publics, &offers(&partials[1..], b"binding")),
        Err(CombineError::NotEnough { committee: 0, .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_t_members_open_and_fewer_do_not(
        (t, n) in sizes(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        seed: u64,
    ) {
        any_t_members_open::<Ristretto>(t, n, &payload, seed);
    }

    #[test]
    fn every_required_committee_is_needed((t, n) in sizes(), (t2, n2) in sizes(), seed: u64) {
        let mut rng = rng(seed);
        let (a, b) = (Dealt::<Ristretto>::new(t, n, &mut rng), Dealt::<Ristretto>::new(t2, n2, &mut rng));
        let publics = [a.public.clone(), b.public.clone()];
        let capsule = sealed(b"both", &publics, b"payload", seed).verify(b"both", &publics).unwrap();
        let of = |root: &Dealt<Ristretto>, members: Vec<u8>| {
            members.into_iter().map(|i| root.partial(i, &capsule, b"b")).collect::<Vec<_>>()
        };
        let (from_a, from_b) = (of(&a, any_t(t, n, &mut rng)), of(&b, any_t(t2, n2, &mut rng)));
        let both: Vec<_> = offers(&from_b, b"b").into_iter().chain(offers(&from_a, b"b")).collect();
        prop_assert_eq!(&*combine(&capsule, &publics, &both).unwrap().payload, b"payload");
        let all_of_a = of(&a, (1..=n).collect());
        let refused = combine(&capsule, &publics, &offers(&all_of_a, b"b")).unwrap_err();
        let want = CombineError::NotEnough { committee: 1, have: 0, need: t2.into(), culprits: vec![] };
        prop_assert_eq!(refused, want);
    }
}

#[test]
fn the_same_member_twice_counts_once() {
    let root = Dealt::<Ristretto>::new(3, 5, &mut rng(1));
    let publics = [root.public.clone()];
    let capsule = sealed(b"l", &publics, b"p", 2).verify(b"l", &publics).unwrap();
    let partials = [1, 1, 4].map(|i| root.partial(i, &capsule, b"b"));
    let refused = combine(&capsule, &publics, &offers(&partials, b"b")).unwrap_err();
    assert_eq!(refused, CombineError::NotEnough { committee: 0, have: 2, need: 3, culprits: vec![] });
}

#[test]
fn shares_of_two_roots_do_not_mix() {
    let mut rng = rng(3);
    let (ours, other) = (Dealt::<Ristretto>::new(2, 3, &mut rng), Dealt::<Ristretto>::new(2, 3, &mut rng));
    let publics = [ours.public.clone()];
    let capsule = sealed(b"l", &publics, b"p", 4).verify(b"l", &publics).unwrap();
    let refused = open_partial(other.share(1), &capsule, b"b", &mut rng).unwrap_err();
    assert_eq!(refused, PartialError::ForeignRoot);
    assert!(!other.share(1).matches(&ours.public) && ours.share(1).matches(&ours.public));

    // A partial really made for the other root, in a capsule for both, is not one of ours.
    let both = [ours.public.clone(), other.public.clone()];
    let joint = sealed(b"l", &both, b"p", 5).verify(b"l", &both).unwrap();
    let foreign = other.partial(1, &joint, b"b");
    let refused = foreign.verify(&ours.public, &joint, b"b").unwrap_err();
    assert_eq!(refused, PartialError::OtherCommittee { got: 1, want: 0 });
    assert_eq!(combine(&joint, &publics, &[]).unwrap_err(), CombineError::OtherRoots);
}

#[test]
fn a_capsule_opens_under_another_sharing_of_the_same_root() {
    let mut rng = rng(6);
    let old = Dealt::<Ristretto>::new(3, 5, &mut rng);
    let capsule = sealed(b"l", std::slice::from_ref(&old.public), b"p", 7);
    let mut polynomial = vec![old.polynomial[0]];
    polynomial.push(super::random_scalar::<Ristretto>(&mut rng));
    let new = Dealt::<Ristretto>::of(polynomial, 4);
    let publics = [new.public.clone()];
    let capsule = capsule.verify(b"l", &publics).unwrap();
    let partials = [2, 4].map(|i| new.partial(i, &capsule, b"b"));
    assert_eq!(&*combine(&capsule, &publics, &offers(&partials, b"b")).unwrap().payload, b"p");
    // A partial of the old sharing is not one of the new.
    let stale = old.partial(2, &capsule, b"b");
    assert!(matches!(stale.verify(&new.public, &capsule, b"b"), Err(PartialError::ProofRefused { .. })));
}

#[test]
fn what_is_too_large_or_listed_twice_is_not_sealed() {
    let mut rng = rng(8);
    let root = Dealt::<Ristretto>::new(2, 2, &mut rng).public;
    let one = std::slice::from_ref(&root);
    let mut refused =
        |label: &[u8], publics: &[_], payload: &[u8]| seal(label, publics, payload, &mut rng).unwrap_err();
    let long = vec![0; MAX_PAYLOAD + 1];
    assert_eq!(refused(b"", one, &long), CapsuleError::PayloadTooLong { len: MAX_PAYLOAD + 1 });
    assert_eq!(refused(&long, one, b""), CapsuleError::LabelTooLong { len: MAX_PAYLOAD + 1 });
    assert_eq!(refused(b"", &[], b""), CapsuleError::CommitteeCount { count: 0 });
    let twice = [root.clone(), root.clone()];
    assert_eq!(refused(b"", &twice, b""), CapsuleError::DuplicateRoot { first: 0, second: 1 });
    let largest = sealed(&[7; crate::MAX_LABEL], one, &long[1..], 9);
    assert_eq!(crate::Capsule::from_bytes(&largest.to_bytes()).unwrap(), largest);
}

#[test]
fn a_generator_that_repeats_itself_reveals_nothing() {
    let root = Dealt::<Ristretto>::new(2, 2, &mut rng(10));
    let publics = [root.public.clone()];
    let (one, same, other) =
        (sealed(b"l", &publics, b"p", 11), sealed(b"l", &publics, b"p", 11), sealed(b"l", &publics, b"q", 11));
    assert_eq!(one, same);
    // Another payload has another R; with equal R and nonce the two proofs would give r away.
    let points = |capsule: &crate::Capsule<Ristretto>| super::split(&capsule.to_bytes(), 1).1[0].clone();
    assert_ne!(points(&one), points(&other));

    // Two bindings under one generator state: the nonces differ, so the usual extraction of the share fails.
    let capsule = one.verify(b"l", &publics).unwrap();
    let proofs = [&b"first"[..], b"second"].map(|binding| {
        let partial = open_partial(root.share(1), &capsule, binding, &mut rng(12)).unwrap();
        let (_, fields) = super::split(&partial.to_bytes(), 3);
        [&fields[1], &fields[2]].map(|bytes| suite::parse_scalar::<Ristretto>(bytes).unwrap())
    });
    let [[c1, z1], [c2, z2]] = proofs;
    let extracted = (z1 - z2) * suite::invert::<Ristretto>(&(c1 - c2)).unwrap();
    assert_ne!(extracted, *root.share(1).secret().expose());
}
