//! What an adversary tries with capsules and partials, and how it is refused and named.

use proptest::prelude::*;

use super::{Dealt, index, join, offers, rng, sealed, split};
use crate::suite;
use crate::{
    Capsule, CapsuleError, CombineError, Culprit, Offer, Partial, PartialError, Ristretto, VerifiedCapsule, combine,
};

type Root = Dealt<Ristretto>;

const LABEL: &[u8] = b"what it is for";
const BINDING: &[u8] = b"request 1";

fn committee() -> (Root, VerifiedCapsule<Ristretto>) {
    let root = Root::new(3, 5, &mut rng(20));
    let publics = [root.public.clone()];
    let capsule = sealed(LABEL, &publics, b"payload", 21).verify(LABEL, &publics).unwrap();
    (root, capsule)
}

/// Replaces the fields of `mine` at the given places by those of `theirs`.
fn graft(mine: &Capsule<Ristretto>, theirs: &Capsule<Ristretto>, places: &[usize]) -> Capsule<Ristretto> {
    let (numbers, mut fields) = split(&mine.to_bytes(), 1);
    let (_, source) = split(&theirs.to_bytes(), 1);
    for place in places {
        fields[*place] = source[*place].clone();
    }
    Capsule::from_bytes(&join(&numbers, &fields)).expect("well formed")
}

#[test]
fn another_label_root_or_order_is_refused() {
    let mut rng = rng(22);
    let (a, b) = (Root::new(2, 3, &mut rng), Root::new(2, 3, &mut rng));
    let (ab, ba) = ([a.public.clone(), b.public.clone()], [b.public.clone(), a.public.clone()]);
    let capsule = sealed(LABEL, &ab, b"payload", 23);
    let refused = |label: &[u8], publics: &[_]| capsule.clone().verify(label, publics).unwrap_err();
    assert_eq!(refused(b"something else", &ab), CapsuleError::ProofRefused);
    assert_eq!(refused(LABEL, &ba), CapsuleError::ProofRefused);
    assert_eq!(refused(LABEL, &ab[..1]), CapsuleError::ProofRefused);
    assert_eq!(refused(LABEL, &[]), CapsuleError::CommitteeCount { count: 0 });
    assert!(capsule.clone().verify(LABEL, &ab).is_ok());
}

#[test]
fn a_victims_point_under_an_own_label_is_refused() {
    let root = Root::new(3, 5, &mut rng(24));
    let publics = [root.public.clone()];
    let victim = sealed(b"victim's label", &publics, b"victim's payload", 25);
    let own = sealed(b"own label", &publics, b"own payload", 26);
    // Fields: R, R-bar, challenge, response, commitment, ciphertext. Every mixture of the two, either way.
    for mask in 1u8..63 {
        let places: Vec<usize> = (0..6).filter(|place| mask >> place & 1 == 1).collect();
        let grafted = graft(&own, &victim, &places);
        assert_eq!(grafted.clone().verify(b"own label", &publics).unwrap_err(), CapsuleError::ProofRefused);
        assert_eq!(grafted.verify(b"victim's label", &publics).unwrap_err(), CapsuleError::ProofRefused);
    }
    assert_eq!(victim.verify(b"own label", &publics).unwrap_err(), CapsuleError::ProofRefused);
}

#[test]
fn a_point_of_unknown_logarithm_cannot_be_proved() {
    // R·k for a chosen k is the point an attacker would want opened: it knows no r for it, only the victim's proof.
    let root = Root::new(2, 3, &mut rng(27));
    let publics = [root.public.clone()];
    let victim = sealed(LABEL, &publics, b"payload", 28);
    let (numbers, mut fields) = split(&victim.to_bytes(), 1);
    for field in fields.iter_mut().take(2) {
        let point = suite::parse_point::<Ristretto>(field).unwrap();
        *field = suite::point_bytes::<Ristretto>(&(point + point)).unwrap();
    }
    let blinded = Capsule::<Ristretto>::from_bytes(&join(&numbers, &fields)).unwrap();
    assert_eq!(blinded.clone().verify(LABEL, &publics).unwrap_err(), CapsuleError::ProofRefused);
    assert_eq!(blinded.verify(b"own", &publics).unwrap_err(), CapsuleError::ProofRefused);
}

/// Five offers of which the first is `bad`; three honest ones are enough.
fn opens_naming_the_first(root: &Root, capsule: &VerifiedCapsule<Ristretto>, bad: &Partial<Ristretto>) {
    let reason = PartialError::ProofRefused { index: bad.index() };
    assert_eq!(bad.verify(&root.public, capsule, BINDING), Err(reason.clone()));
    let culprit = Culprit { offer: 0, committee: 0, index: bad.index(), reason };
    let publics = [root.public.clone()];
    let honest: Vec<_> = (1..=5).filter(|i| index(*i) != bad.index()).collect();
    let partials: Vec<_> = honest.into_iter().map(|i| root.partial(i, capsule, BINDING)).collect();
    let mut all = vec![Offer { partial: bad, binding: BINDING }];
    all.extend(offers(&partials, BINDING));
    let opened = combine(capsule, &publics, &all).unwrap();
    assert_eq!((&**opened.payload, &opened.culprits), (&b"payload"[..], &vec![culprit.clone()]));
    // With two honest ones beside it the capsule stays shut, and the culprit is named all the same.
    let refused = combine(capsule, &publics, &all[..3]).unwrap_err();
    assert_eq!(refused, CombineError::NotEnough { committee: 0, have: 2, need: 3, culprits: vec![culprit] });
}

#[test]
fn a_partial_of_a_wrong_share_is_named() {
    let (root, capsule) = committee();
    // Member 1's value, presented as member 2's.
    let (mut numbers, fields) = split(&root.partial(1, &capsule, BINDING).to_bytes(), 3);
    numbers[2] = 2;
    opens_naming_the_first(&root, &capsule, &Partial::from_bytes(&join(&numbers, &fields)).unwrap());
}

#[test]
fn a_partial_of_another_capsule_is_named() {
    let (root, capsule) = committee();
    let publics = [root.public.clone()];
    let other = sealed(LABEL, &publics, b"other payload", 29).verify(LABEL, &publics).unwrap();
    opens_naming_the_first(&root, &capsule, &root.partial(4, &other, BINDING));
}

#[test]
fn a_value_that_was_made_up_is_named() {
    let (root, capsule) = committee();
    let (numbers, mut fields) = split(&root.partial(5, &capsule, BINDING).to_bytes(), 3);
    fields[0] = suite::point_bytes::<Ristretto>(&suite::generator::<Ristretto>()).unwrap();
    opens_naming_the_first(&root, &capsule, &Partial::from_bytes(&join(&numbers, &fields)).unwrap());
}

#[test]
fn a_partial_replayed_for_another_binding_does_not_verify() {
    let (root, capsule) = committee();
    let partial = root.partial(3, &capsule, b"request 0");
    assert_eq!(partial.verify(&root.public, &capsule, b"request 0"), Ok(()));
    let refused = partial.verify(&root.public, &capsule, BINDING).unwrap_err();
    assert_eq!(refused, PartialError::ProofRefused { index: index(3) });
    // Where another offer forces the proofs to be checked, the replay is named beside it.
    let (mut numbers, fields) = split(&root.partial(1, &capsule, BINDING).to_bytes(), 3);
    numbers[2] = 2;
    let wrong = Partial::from_bytes(&join(&numbers, &fields)).unwrap();
    let honest = [1, 4, 5].map(|i| root.partial(i, &capsule, BINDING));
    let mut all = offers(&honest, BINDING);
    all.insert(0, Offer { partial: &wrong, binding: BINDING });
    all.insert(0, Offer { partial: &partial, binding: BINDING });
    let opened = combine(&capsule, std::slice::from_ref(&root.public), &all).unwrap();
    let named: Vec<_> = opened.culprits.iter().map(|culprit| (culprit.offer, culprit.index)).collect();
    assert_eq!(named, [(0, index(3)), (1, index(2))]);
}

#[test]
fn culprits_are_named_in_the_committee_they_belong_to() {
    let mut rng = rng(30);
    let (a, b) = (Root::new(2, 3, &mut rng), Root::new(2, 3, &mut rng));
    let publics = [a.public.clone(), b.public.clone()];
    let capsule = sealed(LABEL, &publics, b"payload", 31).verify(LABEL, &publics).unwrap();
    let (mut numbers, fields) = split(&b.partial(1, &capsule, BINDING).to_bytes(), 3);
    numbers[2] = 2;
    let bad = Partial::from_bytes(&join(&numbers, &fields)).unwrap();
    let partials = [a.partial(1, &capsule, BINDING), a.partial(3, &capsule, BINDING), bad];
    let rest = [b.partial(3, &capsule, BINDING), b.partial(1, &capsule, BINDING)];
    let all: Vec<_> = offers(&partials, BINDING).into_iter().chain(offers(&rest, BINDING)).collect();
    let opened = combine(&capsule, &publics, &all).unwrap();
    let reason = PartialError::ProofRefused { index: index(2) };
    assert_eq!(opened.culprits, [Culprit { offer: 2, committee: 1, index: index(2), reason }]);
}

#[test]
fn an_index_or_a_committee_that_does_not_exist_is_refused() {
    let (root, capsule) = committee();
    let (mut numbers, fields) = split(&root.partial(1, &capsule, BINDING).to_bytes(), 3);
    numbers[2] = 6;
    let stranger = Partial::<Ristretto>::from_bytes(&join(&numbers, &fields)).unwrap();
    let refused = stranger.verify(&root.public, &capsule, BINDING).unwrap_err();
    assert_eq!(refused, PartialError::NoSuchMember { index: index(6) });
    (numbers[1], numbers[2]) = (1, 1);
    let elsewhere = Partial::<Ristretto>::from_bytes(&join(&numbers, &fields)).unwrap();
    let refused = elsewhere.verify(&root.public, &capsule, BINDING).unwrap_err();
    assert_eq!(refused, PartialError::OtherCommittee { got: 1, want: 0 });
    let all = [&stranger, &elsewhere].map(|partial| Offer { partial, binding: BINDING });
    let refused = combine(&capsule, std::slice::from_ref(&root.public), &all).unwrap_err();
    assert_eq!(refused, CombineError::NotEnough { committee: 0, have: 0, need: 3, culprits: vec![] });
}

#[test]
fn a_capsule_sealed_wrongly_opens_to_nothing_and_blames_no_custodian() {
    let root = Root::new(2, 3, &mut rng(32));
    let publics = [root.public.clone()];
    let r = super::random_scalar::<Ristretto>(&mut rng(33));
    let capsule = Capsule::danger_seal_wrongly(LABEL, &publics, r, [0; 32], vec![0; 40]).unwrap();
    let capsule = capsule.verify(LABEL, &publics).unwrap();
    let partials = [1, 2].map(|i| root.partial(i, &capsule, BINDING));
    let refused = combine(&capsule, &publics, &offers(&partials, BINDING)).unwrap_err();
    assert_eq!(refused, CombineError::CapsuleUnsound { culprits: vec![] });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_capsule_with_any_bit_flipped_never_verifies(bit: prop::sample::Index) {
        let (root, capsule) = committee();
        let mut bytes = capsule.capsule().to_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(capsule) = Capsule::<Ristretto>::from_bytes(&bytes) {
            let refused = capsule.verify(LABEL, std::slice::from_ref(&root.public)).unwrap_err();
            prop_assert_eq!(refused, CapsuleError::ProofRefused);
        }
    }

    #[test]
    fn a_partial_with_any_bit_flipped_never_verifies(bit: prop::sample::Index) {
        let (root, capsule) = committee();
        let mut bytes = root.partial(2, &capsule, BINDING).to_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(partial) = Partial::<Ristretto>::from_bytes(&bytes) {
            prop_assert!(partial.verify(&root.public, &capsule, BINDING).is_err());
        }
    }
}
