//! Committees, thresholds, the public side and shares; and the hash-to-group vectors.

use super::{Dealt, index, join, random_scalar, rng, split};
use crate::suite::{self, Suite, expand_message_xmd};
use crate::{Committee, CommitteeError, DecodeError, KeyShare, Ristretto, RootPublic, Threshold};

#[test]
fn thresholds_and_committees_out_of_range_are_refused() {
    assert_eq!(Threshold::new(1, 3), Err(CommitteeError::ThresholdTooLow { t: 1 }));
    assert_eq!(Threshold::new(4, 3), Err(CommitteeError::ThresholdTooHigh { t: 4, n: 3 }));
    assert_eq!(Threshold::new(2, 256), Err(CommitteeError::TooManyMembers { n: 256 }));
    assert!(Threshold::new(255, 255).is_ok());
    let duplicate = Committee::new(vec![[1; 32], [2; 32], [1; 32]], 2);
    assert_eq!(duplicate, Err(CommitteeError::DuplicateMember { first: index(1), second: index(3) }));
    let committee = Committee::new(vec![[9; 32], [2; 32], [1; 32]], 2).unwrap();
    assert_eq!(committee.index_of(&[1; 32]), Some(index(3)));
    assert_eq!(committee.index_of(&[3; 32]), None);
    assert_eq!(committee.member(index(1)), Some(&[9; 32]));
    assert_eq!(committee.member(index(4)), None);
}

#[test]
fn verifying_shares_off_the_polynomial_are_refused() {
    for (t, n) in [(2, 2), (2, 5), (3, 5), (5, 9)] {
        let root = Dealt::<Ristretto>::new(t, n, &mut rng(40));
        let bytes = root.public.to_bytes();
        assert_eq!(RootPublic::<Ristretto>::from_bytes(&bytes).unwrap(), root.public);
        let (numbers, fields) = split(&bytes, 3);
        for place in 0..=usize::from(n) {
            let mut fields = fields.clone();
            let wrong = suite::point_bytes::<Ristretto>(&suite::generator::<Ristretto>()).unwrap();
            match place.checked_sub(1) {
                None => fields[0] = wrong,
                Some(at) => fields[1][at * 32..][..32].copy_from_slice(&wrong),
            }
            let refused = RootPublic::<Ristretto>::from_bytes(&join(&numbers, &fields)).unwrap_err();
            assert_eq!(refused, DecodeError::Inconsistent, "place {place} of {t} of {n}");
        }
        // A threshold below the degree is a lie too.
        if t > 2 {
            let lower = join(&[numbers[0], u64::from(t) - 1, numbers[2]], &fields);
            assert_eq!(RootPublic::<Ristretto>::from_bytes(&lower), Err(DecodeError::Inconsistent));
        }
    }
}

fn arithmetic_is_that_of_the_group<C: Suite>() {
    let mut rng = rng(43);
    let scalars: Vec<_> = (0..5).map(|_| random_scalar::<C>(&mut rng)).collect();
    for scalar in scalars.iter().copied().chain([suite::zero::<C>(), suite::one::<C>()]) {
        assert!(C::generator_times(&scalar) == suite::generator::<C>() * scalar);
    }
    let points = scalars.iter().map(|scalar| C::second_generator() * *scalar);
    let mut terms: Vec<_> = scalars.iter().rev().copied().zip(points).collect();
    for _ in 0..=terms.len() {
        let sum = terms.iter().fold(suite::identity::<C>(), |sum, (scalar, point)| sum + *point * *scalar);
        assert!(C::public_sum(&terms) == sum, "{} terms", terms.len());
        terms.pop();
    }
}

#[test]
fn what_a_suite_does_faster_is_what_the_group_says() {
    arithmetic_is_that_of_the_group::<Ristretto>();
    arithmetic_is_that_of_the_group::<frost_p256::P256Sha256>();
}

#[test]
fn alternating_binomials_are_those_of_pascal() {
    let number = |number: u32| (0..number).fold(suite::zero::<Ristretto>(), |sum, _| sum + suite::one::<Ristretto>());
    let zero = suite::zero::<Ristretto>();
    assert_eq!(suite::alternating_binomials::<Ristretto>(0), [number(1)]);
    let fourth = [number(1), zero - number(4), number(6), zero - number(4), number(1)];
    assert_eq!(suite::alternating_binomials::<Ristretto>(4), fourth);
    // (1 − 1)ⁿ
    let sum = suite::alternating_binomials::<Ristretto>(254).into_iter().fold(zero, |sum, term| sum + term);
    assert_eq!(sum, zero);
}

#[test]
fn the_largest_committee_works() {
    let root = Dealt::<Ristretto>::new(128, 255, &mut rng(41));
    assert_eq!(RootPublic::<Ristretto>::from_bytes(&root.public.to_bytes()).unwrap(), root.public);
    let longest = 3 + 3 + 2 + 4 + 34 + 255 * 32;
    assert!(root.public.to_bytes().len() <= longest);
}

#[test]
fn a_share_survives_its_bytes_and_prints_only_its_name() {
    let root = Dealt::<Ristretto>::new(2, 3, &mut rng(42));
    let share = KeyShare::<Ristretto>::from_exposed(&root.share(3).expose()).unwrap();
    assert!(share.matches(&root.public));
    assert_eq!((share.index(), share.group_key()), (index(3), root.public.group_key()));
    assert_eq!(format!("{share:?}"), "KeyShare");
    assert_eq!(format!("{:?}", share.secret()), "SecretScalar");
}

#[test]
fn a_zero_share_is_refused() {
    let root = Dealt::<Ristretto>::new(2, 3, &mut rng(43));
    let (numbers, mut fields) = split(&root.share(1).expose(), 2);
    fields[1] = vec![0; 32];
    let refused = KeyShare::<Ristretto>::from_exposed(&join(&numbers, &fields)).unwrap_err();
    assert_eq!(refused, DecodeError::Scalar { field: "share" });
}

#[test]
fn lagrange_finds_the_constant_term() {
    let mut rng = rng(44);
    let polynomial: Vec<_> = (0..4).map(|_| random_scalar::<Ristretto>(&mut rng)).collect();
    let indexes = [2, 255, 7, 100];
    let sum = indexes.iter().fold(suite::zero::<Ristretto>(), |sum, i| {
        sum + suite::lagrange_at_zero::<Ristretto>(*i, &indexes).unwrap()
            * super::evaluate::<Ristretto>(&polynomial, *i)
    });
    assert_eq!(sum, polynomial[0]);
    assert_eq!(suite::small::<Ristretto>(255), curve25519_dalek::Scalar::from(255u8));
}

/// RFC 9380, appendix K.3 (SHA-512, 32 bytes).
#[test]
fn expansion_matches_the_published_vectors() {
    let dst = b"QUUX-V01-CS02-with-expander-SHA512-256";
    for (msg, want) in [
        (&b""[..], "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba"),
        (b"abc", "0da749f12fbe5483eb066a5f595055679b976e93abe9be6f0f6318bce7aca8dc"),
    ] {
        let mut out = [0; 32];
        expand_message_xmd(dst, msg, &mut out);
        assert_eq!(data_encoding::HEXLOWER.encode(&out), want);
    }
}

#[test]
fn the_second_generator_is_another_point_and_never_changes() {
    let second = suite::point_bytes::<Ristretto>(&Ristretto::second_generator()).unwrap();
    assert_ne!(second, suite::point_bytes::<Ristretto>(&suite::generator::<Ristretto>()).unwrap());
    let golden = include_str!("../../tests/golden/second_generator.hex");
    assert_eq!(data_encoding::HEXLOWER.encode(&second), golden.trim());
}
