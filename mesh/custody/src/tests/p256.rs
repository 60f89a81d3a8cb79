//! A second suite, so that "generic" is more than a word: P-256, whose points have 33 bytes.

use elliptic_curve::hash2curve::{ExpandMsgXmd, GroupDigest};
use frost_p256::P256Sha256;
use p256::elliptic_curve;
use p256::{NistP256, ProjectivePoint, Scalar};

use crate::suite::{self, Suite};

impl Suite for P256Sha256 {
    const SUITE_ID: u16 = u16::MAX;
    const POINT_LEN: usize = 33;
    const SCALAR_LEN: usize = 32;

    fn second_generator() -> ProjectivePoint {
        NistP256::hash_from_bytes::<ExpandMsgXmd<sha2_10::Sha256>>(&[b"second generator"], &[b"keymesh test"]).unwrap()
    }

    fn scalar_from_wide(bytes: &[u8; 64]) -> Scalar {
        let base = suite::small::<Self>(255) + suite::one::<Self>();
        bytes.iter().fold(Scalar::ZERO, |acc, byte| acc * base + suite::small::<Self>(*byte))
    }
}

#[test]
fn any_t_members_open_on_p256() {
    for (t, n) in [(2, 2), (3, 5)] {
        super::opening::any_t_members_open::<P256Sha256>(t, n, b"payload", 50);
    }
}

#[test]
fn a_root_is_generated_on_p256() {
    super::dkg::completes::<P256Sha256>(2, 3, 51);
}

#[test]
fn one_suite_refuses_the_others_bytes() {
    let root = super::Dealt::<P256Sha256>::new(2, 3, &mut super::rng(52));
    let refused = crate::RootPublic::<crate::Ristretto>::from_bytes(&root.public.to_bytes()).unwrap_err();
    assert_eq!(refused, crate::DecodeError::WrongSuite { got: u16::MAX, want: 1 });
}
