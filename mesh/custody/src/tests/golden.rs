//! Fixed bytes of every format that is kept or sent. These files are never edited: a change here is a new suite or a
//! new format, and old disks hold the old one.

use data_encoding::HEXLOWER;

use super::{Dealt, rng};
use crate::{Broadcast, Capsule, KeyShare, Partial, Ristretto, RootPublic, SubShare, combine, open_partial, seal};

const LABEL: &[u8] = b"golden label";
const BINDING: &[u8] = b"golden binding";
const PAYLOAD: &[u8] = b"golden payload";

fn golden(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.trim().as_bytes()).expect("hex")
}

struct Golden {
    root: Vec<u8>,
    share: Vec<u8>,
    capsule: Vec<u8>,
    partials: [Vec<u8>; 2],
}

fn files() -> Golden {
    Golden {
        root: golden(include_str!("../../tests/golden/root_public.hex")),
        share: golden(include_str!("../../tests/golden/key_share_1.hex")),
        capsule: golden(include_str!("../../tests/golden/capsule.hex")),
        partials: [
            golden(include_str!("../../tests/golden/partial_1.hex")),
            golden(include_str!("../../tests/golden/partial_3.hex")),
        ],
    }
}

#[test]
fn the_same_seed_gives_the_bytes_on_file() {
    let mut rng = rng(1);
    let root = Dealt::<Ristretto>::new(2, 3, &mut rng);
    let publics = [root.public.clone()];
    let capsule = seal(LABEL, &publics, PAYLOAD, &mut rng).unwrap();
    let verified = capsule.clone().verify(LABEL, &publics).unwrap();
    let partials = [1, 3].map(|i| open_partial(root.share(i), &verified, BINDING, &mut rng).unwrap());
    let made = [
        ("root_public", root.public.to_bytes()),
        ("key_share_1", root.share(1).expose().to_vec()),
        ("capsule", capsule.to_bytes()),
        ("partial_1", partials[0].to_bytes().to_vec()),
        ("partial_3", partials[1].to_bytes().to_vec()),
    ];
    let files = files();
    let [first, third] = files.partials;
    let kept = [files.root, files.share, files.capsule, first, third];
    for ((name, made), kept) in made.iter().zip(kept) {
        assert_eq!(HEXLOWER.encode(made), HEXLOWER.encode(&kept), "{name}");
    }
}

#[test]
fn the_bytes_on_file_open() {
    let files = files();
    let publics = [RootPublic::<Ristretto>::from_bytes(&files.root).unwrap()];
    let capsule = Capsule::from_bytes(&files.capsule).unwrap().verify(LABEL, &publics).unwrap();
    assert!(KeyShare::from_exposed(&files.share).unwrap().matches(&publics[0]));
    let partials = files.partials.map(|bytes| Partial::from_bytes(&bytes).unwrap());
    for partial in &partials {
        assert_eq!(partial.verify(&publics[0], &capsule, BINDING), Ok(()));
    }
    let opened = combine(&capsule, &publics, &super::offers(&partials, BINDING)).unwrap();
    assert_eq!(&*opened.payload, PAYLOAD);
    assert_eq!(HEXLOWER.encode(&capsule.hash()), include_str!("../../tests/golden/capsule_hash.hex").trim());
    assert_eq!(HEXLOWER.encode(&publics[0].hash()), include_str!("../../tests/golden/root_public_hash.hex").trim());
}

/// What frost draws from a generator is not this crate's promise; that old messages are read is.
#[test]
fn the_dkg_messages_on_file_are_read() {
    for hex in [include_str!("../../tests/golden/dkg_round_1.hex"), include_str!("../../tests/golden/dkg_echo.hex")] {
        let bytes = golden(hex);
        assert_eq!(Broadcast::<Ristretto>::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    }
    let bytes = golden(include_str!("../../tests/golden/dkg_sub_share.hex"));
    assert_eq!(SubShare::<Ristretto>::from_exposed(&bytes).unwrap().expose().as_slice(), bytes);
}
