//! What must verify, and everything that must not.

use aws_lc_rs::rsa::KeySize;
use data_encoding::BASE64;
use keymesh_wire::time::{Millis, Wall};
use proptest::prelude::*;

use super::fixture::{DATA, DOCUMENT, ID_SHA1, ID_SHA256, Message, Signer, certificate_of, signers, tlv, wrap};
use super::*;

fn check(message: &Message<'_>) -> Result<AwsDocument, EvidenceError> {
    verify(&message.text(), &[signers().1.pinned(), signers().0.pinned()])
}

fn message(content: &str) -> Message<'static> {
    Message::new(&signers().0, content)
}

#[test]
fn a_document_as_aws_signs_it_verifies_and_becomes_facts() {
    let mut message = message(DOCUMENT);
    message.attributes.push(Message::protection(ID_SHA256));
    let document = check(&message).unwrap();
    assert_eq!(document.version(), "2017-09-30");
    assert_eq!(document.signer(), signers().0.pinned().fingerprint());

    let evidence = Evidence::AwsIid { pkcs7: message.text() };
    let roots = EvidenceRoots { aws_iid: vec![signers().0.pinned()] };
    let facts = evidence.verify(&roots).unwrap();
    assert_eq!(
        facts,
        Facts {
            instance: "aws:111122223333:i-0123456789abcdef0".into(),
            provider: "aws".into(),
            account: "111122223333".into(),
            region: "eu-west-1".into(),
            zone: "aws/eu-west-1a".into(),
            image: "ami-0a1b2c3d4e5f60718".into(),
            instance_type: "m7g.large".into(),
            pending: Wall(1_772_366_400_000),
        }
    );
}

#[test]
fn plain_der_and_other_line_breaks_verify_too() {
    let mut message = message(DOCUMENT).rsa_encryption();
    message.plain_der = true;
    check(&message).unwrap();
    let pinned = [signers().0.pinned()];
    verify(BASE64.encode(&message.bytes()).as_bytes(), &pinned).unwrap();
    let windows = String::from_utf8(message.text()).unwrap().replace('\n', "\r\n") + "\r\n";
    verify(windows.as_bytes(), &pinned).unwrap();
}

#[test]
fn altered_content_is_not_the_signed_digest() {
    let mut message = message(DOCUMENT);
    message.content = DOCUMENT.replace("eu-west-1a", "eu-west-1b").into_bytes();
    assert_eq!(check(&message), Err(EvidenceError::DigestMismatch));
}

#[test]
#[cfg(feature = "mutants")]
fn only_a_mutant_believes_a_relay_that_altered_the_document() {
    use crate::mutant::{Mutant, with};
    let mut altered = message(DOCUMENT);
    altered.content = DOCUMENT.replace("eu-west-1a", "eu-west-1b").into_bytes();
    let impostor = Signer::new(KeySize::Rsa2048, 1);
    let mut forged = Message::new(&impostor, DOCUMENT);
    forged.plain_der = true;
    for message in [altered, forged] {
        assert!(check(&message).is_err());
        assert!(with(Some(Mutant::RelayBelieved), || check(&message)).is_ok());
    }
}

#[test]
fn an_altered_signature_or_attribute_is_a_bad_signature() {
    let good = message(DOCUMENT);
    let bytes = good.bytes();
    let pinned = [signers().0.pinned()];
    for marker in [&[0x04, 0x82, 1, 0][..], b"260301120002Z"] {
        let at = bytes.windows(marker.len()).position(|window| window == marker).unwrap() + marker.len();
        let mut altered = bytes.clone();
        // The last digit of the signing time, or the first octet of the signature.
        let at = if marker.len() > 4 { at - 2 } else { at };
        altered[at] ^= 1;
        assert_eq!(verify(&wrap(&altered), &pinned), Err(EvidenceError::BadSignature));
    }
}

#[test]
fn a_signer_nobody_pinned_is_named() {
    let message = message(DOCUMENT);
    for pinned in [&[][..], &[signers().1.pinned()]] {
        let error = verify(&message.text(), pinned).unwrap_err();
        let EvidenceError::UnknownSigner { issuer, serial } = error else { panic!("{error}") };
        assert!(issuer.contains("Keymesh test metadata"), "{issuer}");
        assert_eq!(serial, "5E:11:01");
    }
}

#[test]
fn a_stranger_with_the_pinned_name_and_serial_number_is_a_bad_signature() {
    let impostor = Signer::new(KeySize::Rsa2048, 1);
    let message = Message::new(&impostor, DOCUMENT);
    assert_eq!(check(&message), Err(EvidenceError::BadSignature));
    // And two pinned certificates that differ only by key are both tried.
    verify(&message.text(), &[signers().0.pinned(), impostor.pinned()]).unwrap();
}

#[test]
fn weaker_digests_are_refused_wherever_they_stand() {
    let mut weak = message(DOCUMENT);
    weak.digest_algorithm = ID_SHA1;
    let refused = check(&weak).unwrap_err();
    assert!(matches!(refused, EvidenceError::Unsupported { part: "digestAlgorithms", .. }), "{refused}");

    let mut weak = message(DOCUMENT);
    weak.attributes.push(Message::protection(ID_SHA1));
    let refused = check(&weak).unwrap_err();
    assert!(matches!(refused, EvidenceError::Unsupported { part: "cmsAlgorithmProtection", .. }), "{refused}");

    let mut weak = message(DOCUMENT);
    weak.signature_algorithm = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
    let refused = check(&weak).unwrap_err();
    assert!(matches!(refused, EvidenceError::Unsupported { part: "signatureAlgorithm", .. }), "{refused}");
}

#[test]
fn a_message_without_the_document_is_detached() {
    for plain_der in [false, true] {
        let mut message = message(DOCUMENT);
        message.with_content = false;
        message.plain_der = plain_der;
        assert_eq!(check(&message), Err(EvidenceError::Detached));
    }
}

#[test]
fn signing_the_content_without_attributes_is_refused() {
    let mut message = message(DOCUMENT);
    message.with_attributes = false;
    assert_eq!(check(&message), Err(EvidenceError::MissingAttribute { name: "contentType" }));
}

#[test]
fn another_signed_content_type_is_refused() {
    let mut message = message(DOCUMENT);
    message.content_type = ID_SHA256;
    assert_eq!(check(&message), Err(EvidenceError::Malformed { part: "contentType" }));
}

#[test]
fn a_repeated_attribute_is_refused() {
    let mut message = message(DOCUMENT);
    message.attributes.push(Message::protection(ID_SHA256));
    message.attributes.push(Message::protection(ID_SHA1));
    assert_eq!(check(&message), Err(EvidenceError::Malformed { part: "signedAttrs" }));
}

#[test]
fn whatever_the_signature_does_not_cover_must_be_absent() {
    let mut with = message(DOCUMENT);
    with.after_content = tlv(0xa0, &[signers().0.certificate()]);
    assert_eq!(check(&with), Err(EvidenceError::Unexpected { part: "certificates" }));

    let mut with = message(DOCUMENT);
    with.unsigned = tlv(0xa1, &[&Message::attribute(DATA, &[5, 0])]);
    assert_eq!(check(&with), Err(EvidenceError::Unexpected { part: "unsignedAttrs" }));
}

#[test]
fn exactly_one_signer_is_expected() {
    let mut none = message(DOCUMENT);
    none.signers = 0;
    assert_eq!(check(&none), Err(EvidenceError::SignerCount { count: 0 }));
    let mut twice = message(DOCUMENT);
    twice.signers = 2;
    assert_eq!(check(&twice), Err(EvidenceError::SignerCount { count: 2 }));
}

#[test]
fn trailing_bytes_are_refused_and_counted() {
    let mut bytes = message(DOCUMENT).bytes();
    bytes.extend(b"more");
    let pinned = [signers().0.pinned()];
    assert_eq!(verify(&wrap(&bytes), &pinned), Err(EvidenceError::TrailingBytes { count: 4 }));
    let text = [&message(DOCUMENT).text()[..], b"\n\n-----END PKCS7-----"].concat();
    assert_eq!(verify(&text, &pinned), Err(EvidenceError::Base64));
}

#[test]
fn a_seventeen_kibibyte_document_is_refused_unread() {
    let size = 17 * 1024;
    let refused = EvidenceError::TooLarge { size, limit: DOCUMENT_LIMIT };
    assert_eq!(verify(&vec![b'A'; size], &[signers().0.pinned()]), Err(refused));
}

#[test]
fn every_missing_or_mistyped_field_is_named() {
    for field in
        ["accountId", "region", "availabilityZone", "imageId", "instanceId", "instanceType", "pendingTime", "version"]
    {
        let missing = DOCUMENT.replace(&format!("\"{field}\""), "\"other\"");
        assert_eq!(check(&message(&missing)), Err(EvidenceError::MissingField { field }));

        let mut value: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        value[field] = 7.into();
        assert_eq!(check(&message(&value.to_string())), Err(EvidenceError::FieldType { field }));
        value[field] = "a/b\nc".into();
        let refused = EvidenceError::FieldValue { field, value: "a/b\nc".into() };
        assert_eq!(check(&message(&value.to_string())), Err(refused));
    }
}

#[test]
fn a_document_that_two_readers_could_read_differently_is_refused() {
    let twice = DOCUMENT.replacen('{', r#"{"accountId":"999999999999","#, 1);
    assert_eq!(check(&message(&twice)), Err(EvidenceError::RepeatedField { field: "accountId".into() }));
    for text in ["", "[]", "\"text\"", &format!("{DOCUMENT}{DOCUMENT}"), &DOCUMENT[1..]] {
        assert_eq!(check(&message(text)), Err(EvidenceError::NotJson), "{text}");
    }
}

#[test]
fn evidence_and_roots_survive_both_encodings() {
    let evidence = Evidence::AwsIid { pkcs7: b"MIAG\nCSqG".to_vec() };
    let json = serde_json::to_string(&evidence).unwrap();
    assert_eq!(json, r#"{"kind":"aws-iid","pkcs7":"TUlBRwpDU3FH"}"#);
    assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), evidence);
    let cbor = minicbor::to_vec(&evidence).unwrap();
    assert_eq!(minicbor::decode::<Evidence>(&cbor).unwrap(), evidence);

    let roots = EvidenceRoots { aws_iid: vec![signers().0.pinned()] };
    let json = serde_json::to_string(&roots).unwrap();
    assert_eq!(serde_json::from_str::<EvidenceRoots>(&json).unwrap(), roots);
    let mut cbor = minicbor::to_vec(&roots).unwrap();
    assert_eq!(minicbor::decode::<EvidenceRoots>(&cbor).unwrap(), roots);
    // A root that is no certificate does not decode.
    let at = cbor.len() - signers().0.certificate().len();
    cbor[at] ^= 1;
    minicbor::decode::<EvidenceRoots>(&cbor).unwrap_err();
}

#[test]
fn certificates_are_read_from_pem_of_any_width_and_show_who_they_are() {
    let signer = &signers().0;
    let pem = |body: &str| format!("\n-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let pinned = PinnedCertificate::from_pem(&pem(&BASE64.encode(signer.certificate()))).unwrap();
    let wrapped = PinnedCertificate::from_pem(&pem(&String::from_utf8(wrap(signer.certificate())).unwrap())).unwrap();
    assert_eq!(pinned, wrapped);
    assert_eq!(pinned, signer.pinned());
    assert_eq!(pinned.subject(), "O=Keymesh test metadata,C=US");
    assert_eq!(pinned.serial().to_string(), "5E:11:01");
    assert_eq!(pinned.fingerprint().to_string().len(), 64);
    assert_eq!(rfc3339::format(pinned.validity().1), "2195-01-01T00:00:00Z");

    for text in ["", "no PEM", &pem("%%%%"), &pem("AAAA").repeat(2), &BASE64.encode(signer.certificate())] {
        assert_eq!(PinnedCertificate::from_pem(text), Err(CertificateError::Pem), "{text}");
    }
    let trailing = [signer.certificate(), b"more"].concat();
    assert!(matches!(PinnedCertificate::from_der(&trailing), Err(CertificateError::Malformed { .. })));
    let size = CERTIFICATE_LIMIT + 1;
    assert_eq!(PinnedCertificate::from_der(&vec![0x30; size]), Err(CertificateError::TooLarge { size }));
}

#[test]
fn certificates_with_weak_or_foreign_keys_are_refused() {
    let read =
        |octets: usize, exponent: &[u8]| PinnedCertificate::from_der(&certificate_of(&vec![0xff; octets], exponent));
    read(256, &[1, 0, 1]).unwrap();
    read(1024, &[1, 0, 1]).unwrap();
    assert_eq!(read(255, &[1, 0, 1]), Err(CertificateError::KeySize { bits: 2040 }));
    assert_eq!(read(1025, &[1, 0, 1]), Err(CertificateError::KeySize { bits: 8200 }));
    for exponent in [&[3][..], &[1, 0, 0]] {
        assert_eq!(read(256, exponent), Err(CertificateError::Exponent));
    }
    let good = signers().0.certificate();
    let rsa = good.windows(9).position(|window| window == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]).unwrap();
    let mut foreign = good.to_vec();
    foreign[rsa + 8] = 10;
    assert!(matches!(PinnedCertificate::from_der(&foreign), Err(CertificateError::NotRsa { .. })));
}

#[test]
fn a_launch_must_fall_into_the_life_of_its_ticket() {
    let fits = |pending| fits_ticket(Wall(pending), Wall(10_000), Wall(20_000), Millis(1_000));
    for pending in [9_000, 10_000, 20_000, 21_000] {
        assert_eq!(fits(pending), Ok(()));
    }
    assert_eq!(fits(8_999), Err(TicketMismatch::LaunchedBefore { pending: Wall(8_999), issued: Wall(10_000) }));
    assert_eq!(fits(21_001), Err(TicketMismatch::LaunchedAfter { pending: Wall(21_001), expires: Wall(20_000) }));
    assert!(fits_ticket(Wall(u64::MAX), Wall(0), Wall(u64::MAX), Millis(u64::MAX)).is_ok());
}

#[test]
fn no_single_flipped_bit_anywhere_verifies() {
    let bytes = message(DOCUMENT).bytes();
    let pinned = [signers().0.pinned()];
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let verdict = verify(BASE64.encode(&flipped).as_bytes(), &pinned);
        assert!(verdict.is_err(), "bit {bit} of {}", bytes.len() * 8);
    }
}

proptest! {
    #[test]
    fn mutated_text_never_verifies_as_another_document(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let good = message(DOCUMENT).text();
        let pinned = [signers().0.pinned()];
        let mut text = good.clone();
        for (at, byte, kind) in edits {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => { text.remove(at); }
            }
        }
        if let Ok(document) = verify(&text, &pinned) {
            prop_assert_eq!(document, verify(&good, &pinned).unwrap());
        }
    }

    #[test]
    fn mutated_structure_never_verifies_as_another_document(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let good = message(DOCUMENT).bytes();
        let pinned = [signers().0.pinned()];
        let mut bytes = good.clone();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(document) = verify(BASE64.encode(&bytes).as_bytes(), &pinned) {
            prop_assert_eq!(document, verify(&wrap(&good), &pinned).unwrap());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let pinned = [signers().0.pinned()];
        prop_assert!(verify(&text, &pinned).is_err());
        prop_assert!(verify(BASE64.encode(&text).as_bytes(), &pinned).is_err());
        let _ = PinnedCertificate::from_der(&text);
    }
}
