//! Bytes from outside: whatever they are, decoders answer with a value that has exactly these bytes, or with an error.

use proptest::prelude::*;

use super::{Dealt, join, rng, sealed, split};
use crate::{
    Broadcast, Capsule, Committee, DecodeError, Dkg, KeyShare, Output, Partial, Ristretto, RootPublic, SubShare,
};

/// One of each encoding.
fn samples() -> Vec<Vec<u8>> {
    let root = Dealt::<Ristretto>::new(2, 3, &mut rng(90));
    let publics = [root.public.clone()];
    let capsule = sealed(b"l", &publics, b"payload", 91);
    let partial = root.partial(2, &capsule.clone().verify(b"l", &publics).unwrap(), b"b");
    let mut samples =
        vec![root.public.to_bytes(), root.share(1).expose().to_vec(), capsule.to_bytes(), partial.to_bytes().to_vec()];
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
    samples
}

/// Feeds every decoder; returns how many accepted. Accepting means giving the same bytes back.
fn accepted(bytes: &[u8]) -> usize {
    let again = [
        RootPublic::<Ristretto>::from_bytes(bytes).map(|value| value.to_bytes()),
        KeyShare::<Ristretto>::from_exposed(bytes).map(|value| value.expose().to_vec()),
        Capsule::<Ristretto>::from_bytes(bytes).map(|value| value.to_bytes()),
        Partial::<Ristretto>::from_bytes(bytes).map(|value| value.to_bytes().to_vec()),
        Broadcast::<Ristretto>::from_bytes(bytes).map(|value| value.to_bytes()),
        SubShare::<Ristretto>::from_exposed(bytes).map(|value| value.expose().to_vec()),
    ];
    again.into_iter().flatten().map(|again| assert_eq!(again, bytes)).count()
}

#[test]
fn every_sample_is_accepted_by_its_decoder_alone() {
    for sample in samples() {
        assert_eq!(accepted(&sample), 1);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(accepted(&bytes), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

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

/// The order of the group, little-endian, and p: the smallest encodings that are not reduced.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
const PRIME: &str = "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";

#[test]
fn identity_and_non_canonical_encodings_are_refused() {
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let samples = samples();
    let bad_points = [
        vec![0; 32],                     // the identity
        hex(PRIME),                      // the identity, not reduced
        [vec![1], vec![0; 31]].concat(), // negative: a small-order point of the curve has this encoding in other formats
        vec![0xff; 32],
        vec![5; 31],
        vec![5; 33],
    ];
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
