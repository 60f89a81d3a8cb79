//! Bytes from outside: whatever they are, decoders answer with a value that has exactly these bytes, or with an error.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::{Dealt, join, rng, sealed, split};
use crate::epochs::repair::{Commitment, Delta, Sigma};
use crate::epochs::{Complaint, Deal, EpochKey, EpochSecret};
use crate::suite::{self, Suite};
use crate::{
    Broadcast, Capsule, CapsuleHead, Committee, DecodeError, Dkg, KeyShare, Output, Partial, Ristretto, RootPublic,
    SubShare,
};

/// One of each encoding.
fn samples() -> &'static [Vec<u8>] {
    static SAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    SAMPLES.get_or_init(make_samples)
}

fn make_samples() -> Vec<Vec<u8>> {
    let root = Dealt::<Ristretto>::new(2, 3, &mut rng(90));
    let publics = [root.public.clone()];
    let capsule = sealed(b"l", &publics, b"payload", 91);
    let verified = capsule.clone().verify(b"l", &publics).unwrap();
    let partial = root.partial(2, &verified, b"b");
    let mut samples =
        vec![root.public.to_bytes(), root.share(1).expose().to_vec(), capsule.to_bytes(), partial.to_bytes().to_vec()];
    samples.push(verified.head().to_bytes());
    let committee = Committee::new(vec![[1; 32], [2; 32]], 2).unwrap();
    let start = |me| Dkg::<Ristretto>::start(committee.clone(), super::index(me), b"c", &mut rng(92)).unwrap();
    let ((mut one, _), (_, mut two)) = (start(1), start(2));
    let Some(Output::ToAll(round1)) = two.pop() else { panic!("a broadcast") };
    samples.push(round1.to_bytes());
    let first = one.handle(super::index(2), crate::DkgMessage::Broadcast(round1)).unwrap().pop();
    let Some(Output::ToAll(echo)) = first else { panic!("an echo") };
    samples.push(echo.to_bytes());
    let second = one.handle(super::index(2), crate::DkgMessage::Broadcast(echo)).unwrap().pop();
    let Some(Output::ToOne { sub_share, .. }) = second else { panic!("a sub-share") };
    samples.push(sub_share.expose().to_vec());
    samples.extend(super::epochs::samples::<Ristretto>());
    samples
}

/// Feeds every decoder; returns how many accepted. Accepting means giving the same bytes back.
fn accepted_by<C: Suite>(bytes: &[u8]) -> usize {
    let again = [
        RootPublic::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        KeyShare::<C>::from_exposed(bytes).map(|value| value.expose().to_vec()),
        Capsule::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        CapsuleHead::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        Partial::<C>::from_bytes(bytes).map(|value| value.to_bytes().to_vec()),
        Broadcast::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        SubShare::<C>::from_exposed(bytes).map(|value| value.expose().to_vec()),
        EpochKey::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        EpochSecret::<C>::from_exposed(bytes).map(|value| value.expose().to_vec()),
        Deal::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        Complaint::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        Commitment::<C>::from_bytes(bytes).map(|value| value.to_bytes()),
        Delta::<C>::from_exposed(bytes).map(|value| value.expose().to_vec()),
        Sigma::<C>::from_exposed(bytes).map(|value| value.expose().to_vec()),
    ];
    again.into_iter().flatten().map(|again| assert_eq!(again, bytes)).count()
}

fn accepted(bytes: &[u8]) -> usize {
    accepted_by::<Ristretto>(bytes)
}

#[test]
fn every_sample_is_accepted_by_its_decoder_alone() {
    for sample in samples() {
        assert_eq!(accepted(sample), 1);
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for sample in samples() {
        for len in 0..sample.len() {
            assert_eq!(accepted(&sample[..len]), 0);
        }
        assert_eq!(accepted(&[sample.as_slice(), &[0]].concat()), 0);
    }
}

#[test]
fn claims_of_two_gigabytes_are_refused_unread() {
    for sample in samples() {
        for at in 0..sample.len() {
            // Heads of a byte string, an array, a map and a text of 2^31−1.
            for head in [0x5a, 0x9a, 0xba, 0x7a] {
                let claim = [&sample[..at], &[head, 0x7f, 0xff, 0xff, 0xff], &sample[at..]].concat();
                assert_eq!(accepted(&claim), 0);
                let claim = [&sample[..at], &[head, 0x7f, 0xff, 0xff, 0xff], &sample[at + 1..]].concat();
                assert_eq!(accepted(&claim), 0);
            }
        }
    }
}

/// So many cases, or as many as `PROPTEST_CASES` asks for (`just fuzz`).
fn cases(least: u32) -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(least), ..asked }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(accepted(&bytes), 0);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn mutated_bytes_never_panic(
        which: prop::sample::Index,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let samples = samples();
        let mut bytes = samples[which.index(samples.len())].clone();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert!(accepted(&bytes) <= 1);
    }
}

/// Encodings of P-256 have other lengths and several forms of one point, of which one is taken.
#[test]
fn the_second_suite_is_as_strict() {
    type P256 = frost_p256::P256Sha256;
    let uncompressed = {
        use p256::elliptic_curve::sec1::ToEncodedPoint;
        let point = suite::generator::<P256>();
        point.to_affine().to_encoded_point(false).as_bytes().to_vec()
    };
    for sample in super::epochs::samples::<P256>() {
        assert_eq!((accepted_by::<P256>(&sample), accepted(&sample)), (1, 0));
        for len in 0..sample.len() {
            assert_eq!(accepted_by::<P256>(&sample[..len]), 0);
        }
    }
    let key = &super::epochs::samples::<P256>()[0];
    let (numbers, fields) = split(key, 3);
    let mut other_forms = vec![vec![0], uncompressed.clone(), fields[0][1..].to_vec(), vec![0xff; 33]];
    for tag in [0, 1, 4, 5, 6, 7] {
        other_forms.push([&[tag], &fields[0][1..]].concat());
    }
    for point in other_forms {
        let mut fields = fields.clone();
        fields[0] = point;
        assert_eq!(accepted_by::<P256>(&join(&numbers, &fields)), 0);
    }
}

/// The order of the group, little-endian, and p: the smallest encodings that are not reduced.
pub(super) const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
const PRIME: &str = "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn bad_points() -> [Vec<u8>; 6] {
    [
        vec![0; 32],                     // the identity
        hex(PRIME),                      // the identity, not reduced
        [vec![1], vec![0; 31]].concat(), // negative: a small-order point of the curve has this encoding in other formats
        vec![0xff; 32],
        vec![5; 31],
        vec![5; 33],
    ]
}

/// Every point and every scalar of every encoding, found by what it is: a byte string, or a part of one, that parses.
#[test]
fn a_bad_point_or_scalar_anywhere_in_a_change_or_repair_is_refused() {
    // How many leading numbers, and which of the byte strings are points and which scalars.
    let fields: [(usize, &[usize], &[usize]); 7] = [
        (3, &[0], &[1, 2]),    // epoch key: point, challenge, response
        (3, &[], &[0, 1, 2]),  // epoch secret: secret, challenge, response
        (3, &[1, 2], &[3, 4]), // deal: session, commitments, R, challenge, response
        (4, &[2], &[3, 4]),    // complaint: session, deal, K, challenge, response
        (3, &[1], &[]),        // commitment: session, points
        (4, &[], &[1]),        // delta: session, value
        (3, &[], &[1]),        // sigma: session, value
    ];
    for (sample, (leading, points, scalars)) in super::epochs::samples::<Ristretto>().iter().zip(fields) {
        let (numbers, strings) = split(sample, leading);
        let with = |place: usize, at: usize, bytes: &[u8]| {
            let mut strings = strings.clone();
            strings[place].splice(at..at + 32, bytes.iter().copied());
            accepted(&join(&numbers, &strings))
        };
        for place in points {
            for at in (0..strings[*place].len()).step_by(32) {
                assert!(bad_points().iter().all(|bad| with(*place, at, bad) == 0));
            }
        }
        for place in scalars {
            for bad in [hex(ORDER), vec![0xff; 32], vec![5; 31], vec![5; 33]] {
                assert_eq!(with(*place, 0, &bad), 0);
            }
        }
    }
}

#[test]
fn identity_and_non_canonical_encodings_are_refused() {
    let samples = samples();
    let bad_points = bad_points();
    for point in &bad_points {
        let (numbers, fields) = split(&samples[3], 3);
        let mut partial = fields;
        partial[0] = point.clone();
        let refused = Partial::<Ristretto>::from_bytes(&join(&numbers, &partial)).unwrap_err();
        assert_eq!(refused, DecodeError::Point { field: "value" });
        let (numbers, fields) = split(&samples[2], 1);
        for place in 0..2 {
            let mut capsule = fields.clone();
            capsule[place] = point.clone();
            let refused = Capsule::<Ristretto>::from_bytes(&join(&numbers, &capsule)).unwrap_err();
            assert!(matches!(refused, DecodeError::Point { .. }));
        }
    }
    let (numbers, mut fields) = split(&samples[3], 3);
    fields[2] = hex(ORDER);
    let refused = Partial::<Ristretto>::from_bytes(&join(&numbers, &fields)).unwrap_err();
    assert_eq!(refused, DecodeError::Scalar { field: "response" });
}

#[test]
fn what_is_too_long_is_refused_unread() {
    let long = vec![0; Capsule::<Ristretto>::MAX_BYTES + 1];
    let refused = Capsule::<Ristretto>::from_bytes(&long).unwrap_err();
    assert_eq!(refused, DecodeError::TooLong { len: long.len(), max: long.len() - 1 });
    assert!(matches!(Partial::<Ristretto>::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(Broadcast::<Ristretto>::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(EpochKey::<Ristretto>::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(EpochSecret::<Ristretto>::from_exposed(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(Deal::<Ristretto>::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(Complaint::<Ristretto>::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(Commitment::<Ristretto>::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(Delta::<Ristretto>::from_exposed(&long), Err(DecodeError::TooLong { .. })));
    assert!(matches!(Sigma::<Ristretto>::from_exposed(&long), Err(DecodeError::TooLong { .. })));
}

#[test]
fn a_longer_head_for_the_same_number_is_refused() {
    for sample in samples() {
        // The suite's number 1 as 0x18 0x01: the same value, not the shortest head.
        let at = sample.iter().position(|byte| *byte == 1).unwrap();
        let longer = [&sample[..at], &[0x18, 1], &sample[at + 1..]].concat();
        assert_eq!(accepted(&longer), 0);
    }
}
