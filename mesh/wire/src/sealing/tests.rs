use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;

fn hex<const N: usize>(text: &str) -> [u8; N] {
    HEXLOWER.decode(text.as_bytes()).expect("hex").try_into().expect("length")
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(9180)
}

/// The CFRG's vectors for RFC 9180: mode 0, KEM 0x0020, KDF 0x0001, AEAD 0x0002; the first five messages.
#[test]
fn the_published_vector_opens_in_order() {
    let info = hex::<20>("4f6465206f6e2061204772656369616e2055726e");
    let secret = SealingSecret::from_secret(Secret32::from_array(&mut hex(
        "497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d",
    )));
    let encapsulated = hex("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256");
    assert_eq!(secret.public().to_string(), "430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c");
    let ciphertexts = [
        "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be9931980a41de125a925cdad859d5b7a",
        "2c43aff25343fdbff864506f0818b9d87df84ea01b1a2144d23b4d40c26bf655fdf197fe40297a8aebeed5cc2d",
        "e0a8f2cf92ff61215edbb8c55dc31fe9e2eb42a5685867bb6854211542099f9e940c4b41c192bc390835b1a5f7",
        "a8ea1deafbe4935d0d484a026301a339d4668c43c37f5e289bf758c7aeb3e2812d0321c12b71978855883420c0",
        "448a8892f261cbb6bf5b7b64a4fae8a2c86492494b069c10525895d871c27c2f12cd17e0588fedaba9f7b0cd4c",
    ];
    let mut session = SessionOpener::new(&secret, &encapsulated, &info).expect("a good key");
    for (count, ciphertext) in ciphertexts.into_iter().enumerate() {
        let aad = format!("Count-{count}");
        let opened = session.open(aad.as_bytes(), &hex::<45>(ciphertext)).expect("the published ciphertext");
        assert_eq!(opened.expose_str(), Some("Beauty is truth, truth beauty"));
    }
    let single = [&encapsulated[..], &hex::<45>(ciphertexts[0])].concat();
    assert!(open_with(&secret, &info, b"Count-0", &single).is_ok());
}

#[test]
fn what_is_sealed_opens_for_its_recipient_in_its_context_only() {
    let mut rng = rng();
    let (secret, stranger) = (SealingSecret::random(&mut rng), SealingSecret::random(&mut rng));
    let sealed = seal_to(&secret.public(), b"info", b"aad", b"attack at dawn", &mut rng);
    assert_eq!(sealed.len(), ENCAPSULATED + 14 + TAG);
    assert_eq!(open_with(&secret, b"info", b"aad", &sealed).expect("its own").expose_secret(), b"attack at dawn");
    for (who, info, aad) in [
        (&stranger, &b"info"[..], &b"aad"[..]),
        (&secret, b"inf", b"aad"),
        (&secret, b"info", b"aadd"),
        (&secret, b"", b""),
    ] {
        assert_eq!(open_with(who, info, aad, &sealed).err(), Some(SealError::Refused));
    }
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    let mut rng = rng();
    let secret = SealingSecret::random(&mut rng);
    let key = Secret32::random(&mut rng);
    let sealed = seal_to(&secret.public(), b"i", b"a", b"pt", &mut rng);
    let at_rest = seal_at_rest(&key, b"a", b"pt", &mut rng);
    for bit in 0..sealed.len() * 8 {
        // RFC 7748 ignores the top bit of the encapsulated key, but HPKE hashes it into the key: refused as well.
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(open_with(&secret, b"i", b"a", &altered).is_err(), "bit {bit}");
    }
    for bit in 0..at_rest.len() * 8 {
        let mut altered = at_rest.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(open_at_rest(&key, b"a", &altered).is_err(), "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(open_with(&secret, b"i", b"a", &sealed[..len]).is_err(), "{len} bytes");
    }
    for len in 0..at_rest.len() {
        assert!(open_at_rest(&key, b"a", &at_rest[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_session_opens_in_order_and_a_refused_message_does_not_count() {
    let mut rng = rng();
    let secret = SealingSecret::random(&mut rng);
    let (mut sealer, encapsulated) = SessionSealer::new(&secret.public(), b"session", &mut rng);
    let first = sealer.seal(b"1", b"one").expect("room");
    let second = sealer.seal(b"2", b"two").expect("room");
    let mut opener = SessionOpener::new(&secret, &encapsulated, b"session").expect("a good key");
    assert_eq!(opener.open(b"2", &second).err(), Some(SealError::Refused));
    assert_eq!(opener.open(b"1", &first).expect("in order").expose_secret(), b"one");
    assert_eq!(opener.open(b"1", &first).err(), Some(SealError::Refused));
    assert_eq!(opener.open(b"2", &second).expect("in order").expose_secret(), b"two");
}

#[test]
fn keys_of_small_order_and_second_encodings_are_refused() {
    let secret = x25519_dalek::StaticSecret::from([7; 32]);
    for bytes in SMALL_ORDER {
        let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(bytes));
        assert_eq!(shared.as_bytes(), &[0; 32], "the table lists only points of small order");
        assert_eq!(SealingPublic::from_bytes(bytes), Err(SealError::PublicKey));
        let holder = SealingSecret::from_secret(Secret32::from_array(&mut [7; 32]));
        assert_eq!(SessionOpener::new(&holder, &bytes, b"").err(), Some(SealError::Refused));
    }
    let mut nine = [0; 32];
    nine[0] = 9;
    assert!(SealingPublic::from_bytes(nine).is_ok());
    nine[31] = 0x80;
    assert_eq!(SealingPublic::from_bytes(nine), Err(SealError::PublicKey), "the ignored top bit");
    for low in 0xed..=0xff {
        let mut above = [0xff; 32];
        (above[0], above[31]) = (low, 0x7f);
        assert_eq!(SealingPublic::from_bytes(above), Err(SealError::PublicKey), "p + {}", low - 0xed);
    }
}

#[test]
fn a_public_key_reads_back_from_every_form() {
    let public = SealingSecret::random(&mut rng()).public();
    assert_eq!(public.to_string().parse(), Ok(public));
    let json = serde_json::to_string(&public).expect("a string");
    assert_eq!(serde_json::from_str::<SealingPublic>(&json).expect("its own form"), public);
    let cbor = minicbor::to_vec(public).expect("to memory");
    assert_eq!(minicbor::decode::<SealingPublic>(&cbor).expect("its own form"), public);
    let zero = minicbor::to_vec(minicbor::bytes::ByteArray::from([0; 32])).expect("to memory");
    assert!(minicbor::decode::<SealingPublic>(&zero).is_err());
}

#[test]
fn sealing_is_a_function_of_the_randomness_given() {
    let public = SealingSecret::random(&mut rng()).public();
    let seal = |seed| seal_to(&public, b"i", b"a", b"pt", &mut ChaCha20Rng::seed_from_u64(seed));
    assert_eq!(seal(1), seal(1));
    assert_ne!(seal(1), seal(2));
}

#[test]
fn a_key_of_32_bytes_opens_into_locked_memory() {
    let mut rng = rng();
    let secret = SealingSecret::random(&mut rng);
    let key = Secret32::random(&mut rng);
    let sealed = seal_to(&secret.public(), b"i", b"a", key.expose_secret(), &mut rng);
    assert!(open_secret_with(&secret, b"i", b"a", &sealed).expect("32 bytes").ct_eq(&key));
    let short = seal_to(&secret.public(), b"i", b"a", b"short", &mut rng);
    assert_eq!(open_secret_with(&secret, b"i", b"a", &short).err(), Some(SealError::Refused));
}

#[test]
fn bytes_at_rest_open_at_their_own_place_only() {
    let mut rng = rng();
    let (key, other) = (Secret32::random(&mut rng), Secret32::random(&mut rng));
    let sealed = seal_at_rest(&key, b"share/1", b"share", &mut rng);
    assert_eq!(open_at_rest(&key, b"share/1", &sealed).expect("its own").expose_secret(), b"share");
    assert_eq!(open_at_rest(&key, b"share/2", &sealed).err(), Some(SealError::Refused));
    assert_eq!(open_at_rest(&other, b"share/1", &sealed).err(), Some(SealError::Refused));
}
