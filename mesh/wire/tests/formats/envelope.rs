//! Attacks on envelopes: whatever is altered, the result is not a payload by whom it names.

use coset::{CborSerializable, CoseSign1, CoseSign1Builder, Header, HeaderBuilder, iana};
use keymesh_wire::codec::{self, CodecError};
use keymesh_wire::envelope::{ENVELOPE_OVERHEAD, EnvelopeError, Signable, Verified};
use keymesh_wire::ids::PrincipalId;
use keymesh_wire::request::{EnrolmentRequest, QuorumRequest, SessionProof};
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::{Checked, Statement};
use keymesh_wire::ticket::Ticket;
use minicbor::{Decode, Encode};

use super::samples::*;

fn signed_ticket() -> Vec<u8> {
    Verified::sign(ticket(), &identity(5)).bytes().to_vec()
}

fn refused(bytes: &[u8]) -> EnvelopeError {
    Verified::<Ticket>::from_bytes(bytes).expect_err("refused")
}

/// Signs any payload under any header, as an attacker who holds a key can.
fn forge(header: Header, unprotected: Header, payload: Vec<u8>, domain: &str, signer: &Identity) -> Vec<u8> {
    CoseSign1Builder::new()
        .protected(header)
        .unprotected(unprotected)
        .payload(payload)
        .create_signature(domain.as_bytes(), |message| signer.sign(message).to_vec())
        .build()
        .to_vec()
        .expect("written")
}

fn eddsa() -> Header {
    HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).build()
}

fn no_flip_verifies<T: Signable + std::fmt::Debug>(bytes: &[u8]) {
    assert!(Verified::<T>::from_bytes(bytes).is_ok());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Verified::<T>::from_bytes(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_anywhere_never_verifies() {
    no_flip_verifies::<Ticket>(&signed_ticket());
    no_flip_verifies::<SessionProof>(Verified::sign(session_proof(), &identity(6)).bytes());
    no_flip_verifies::<EnrolmentRequest>(Verified::sign(enrolment_request(), &identity(6)).bytes());
    no_flip_verifies::<QuorumRequest>(Verified::sign(quorum_request(), &identity(6)).bytes());
    for body in bodies().iter().step_by(7) {
        no_flip_verifies::<Statement>(statement(body).bytes());
    }
}

#[test]
fn the_same_forging_without_an_attack_is_taken() {
    let bytes = forge(eddsa(), Header::default(), codec::encode(&ticket()), Ticket::DOMAIN, &identity(5));
    assert_eq!(bytes, signed_ticket());
}

#[test]
fn an_envelope_cut_short_anywhere_is_refused() {
    let bytes = signed_ticket();
    for end in 0..bytes.len() {
        refused(&bytes[..end]);
    }
}

#[test]
fn trailing_bytes_are_refused() {
    for extra in [&[0_u8][..], &[0xf6], &[0xff], &[0xa0, 0xa0]] {
        refused(&[&signed_ticket(), extra].concat());
    }
}

#[test]
fn an_unprotected_header_is_refused() {
    let unprotected = HeaderBuilder::new().key_id(b"k".to_vec()).build();
    let bytes = forge(eddsa(), unprotected, codec::encode(&ticket()), Ticket::DOMAIN, &identity(5));
    assert_eq!(refused(&bytes), EnvelopeError::Envelope("unprotected headers present"));
}

#[test]
fn another_algorithm_or_a_further_protected_header_is_refused() {
    let payload = || codec::encode(&ticket());
    let none = Header::default;
    for header in [
        none(),
        HeaderBuilder::new().algorithm(iana::Algorithm::ES256).build(),
        HeaderBuilder::new().algorithm(iana::Algorithm::HMAC_256_256).build(),
        HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).key_id(b"k".to_vec()).build(),
        HeaderBuilder::new().algorithm(iana::Algorithm::EdDSA).add_critical(iana::HeaderParameter::Alg).build(),
    ] {
        let bytes = forge(header, none(), payload(), Ticket::DOMAIN, &identity(5));
        assert_eq!(refused(&bytes), EnvelopeError::Envelope("protected header is not exactly EdDSA"));
    }
}

/// Replaces `from`, which occurs exactly once at the envelope's own level.
fn replace(bytes: &[u8], at: usize, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(&bytes[at..at + from.len()], from, "the envelope is laid out as expected");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn a_head_longer_than_necessary_is_refused() {
    let bytes = signed_ticket();
    let payload_head = [bytes[6], bytes[7]];
    assert_eq!(payload_head[0], 0x58, "a payload of less than 256 bytes");
    let signature = bytes.len() - 66;
    for changed in [
        replace(&bytes, 0, &[0x84], &[0x98, 4]),
        replace(&bytes, 0, &[0x84], &[0x99, 0, 4]),
        replace(&bytes, 1, &[0x43], &[0x58, 3]),
        replace(&bytes, 5, &[0xa0], &[0xb8, 0]),
        replace(&bytes, 6, &payload_head, &[0x59, 0, payload_head[1]]),
        replace(&bytes, signature, &[0x58, 64], &[0x59, 0, 64]),
        [replace(&bytes, 0, &[0x84], &[0x9f]), vec![0xff]].concat(),
        replace(&bytes, 5, &[0xa0], &[0xbf, 0xff]),
        replace(&bytes, 2, &[0xa1, 0x01, 0x27], &[0xa1, 0x01, 0x27]).iter().copied().chain([0]).collect(),
        [&[0xd2][..], &bytes].concat(),
    ] {
        refused(&changed);
    }
}

#[test]
fn a_protected_header_written_otherwise_and_signed_so_is_refused() {
    // {1: -8} with a non-minimal -8, signed over those very bytes.
    let protected = [0xa1, 0x01, 0x38, 0x07];
    let payload = codec::encode(&ticket());
    let mut to_sign = vec![0x84, 0x6a];
    to_sign.extend(b"Signature1");
    to_sign.push(0x44);
    to_sign.extend(protected);
    let domain = Ticket::DOMAIN.as_bytes();
    to_sign.extend([0x58, domain.len() as u8]);
    to_sign.extend(domain);
    to_sign.extend([0x58, payload.len() as u8]);
    to_sign.extend(&payload);
    let signature = identity(5).sign(&to_sign);
    let bytes =
        [&[0x84, 0x44][..], &protected, &[0xa0, 0x58, payload.len() as u8], &payload, &[0x58, 64], &signature].concat();
    refused(&bytes);
}

#[test]
fn a_payload_that_is_not_canonical_is_refused_although_it_is_signed() {
    let canonical = codec::encode(&ticket());
    assert_eq!(canonical[0], 0x88);
    let long_head = [&[0x98, 8][..], &canonical[1..]].concat();
    let indefinite = [&[0x9f][..], &canonical[1..], &[0xff]].concat();
    let trailing = [&canonical[..], &[0xf6]].concat();
    let further_field = [&[0x89][..], &canonical[1..], &[0xf6]].concat();
    for payload in [long_head, indefinite, trailing, further_field] {
        let bytes = forge(eddsa(), Header::default(), payload, Ticket::DOMAIN, &identity(5));
        assert!(matches!(refused(&bytes), EnvelopeError::Payload(_)));
    }
}

#[test]
fn a_missing_payload_or_signature_is_refused() {
    let mut envelope = CoseSign1::from_slice(&signed_ticket()).expect("reads");
    envelope.payload = None;
    assert_eq!(refused(&envelope.clone().to_vec().expect("written")), EnvelopeError::Envelope("payload missing"));
    let mut envelope = CoseSign1::from_slice(&signed_ticket()).expect("reads");
    envelope.signature.clear();
    assert!(matches!(refused(&envelope.clone().to_vec().expect("written")), EnvelopeError::Signature { .. }));
    envelope.signature = vec![0; 65];
    assert!(matches!(refused(&envelope.to_vec().expect("written")), EnvelopeError::Signature { .. }));
}

#[test]
fn a_ticket_is_no_statement_and_a_statement_no_ticket() {
    assert!(Checked::from_bytes(&signed_ticket()).is_err());
    for body in bodies() {
        let bytes = statement(&body).bytes().to_vec();
        assert!(Verified::<Ticket>::from_bytes(&bytes).is_err());
        assert!(Verified::<EnrolmentRequest>::from_bytes(&bytes).is_err());
    }
    let session = Verified::sign(session_proof(), &identity(6));
    assert!(Verified::<QuorumRequest>::from_bytes(session.bytes()).is_err());
}

/// The same fields as a ticket, for another purpose.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(transparent)]
struct Voucher(#[n(0)] Ticket);

impl Signable for Voucher {
    const DOMAIN: &'static str = "keymesh voucher v1";
    const LIMIT: usize = 1024;

    fn signer(&self) -> PrincipalId {
        self.0.launcher
    }
}

#[test]
fn a_signature_for_one_purpose_does_not_hold_for_another_with_the_same_bytes() {
    let voucher = Verified::sign(Voucher(ticket()), &identity(5));
    let ticket = Verified::sign(ticket(), &identity(5));
    let signer = who(5);
    assert_eq!(refused(voucher.bytes()), EnvelopeError::Signature { signer, domain: Ticket::DOMAIN });
    assert!(Verified::<Voucher>::from_bytes(ticket.bytes()).is_err());
    assert_ne!(voucher.digest(), ticket.digest());
}

#[test]
fn a_payload_signed_by_somebody_else_than_it_names_is_refused() {
    let bytes = forge(eddsa(), Header::default(), codec::encode(&ticket()), Ticket::DOMAIN, &identity(9));
    assert_eq!(refused(&bytes), EnvelopeError::Signature { signer: who(5), domain: Ticket::DOMAIN });
}

#[test]
fn a_malleated_signature_is_refused() {
    // s + L is the same scalar: RFC 8032 demands s < L.
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = signed_ticket();
    let start = bytes.len() - 32;
    let mut carry = 0_u16;
    for (byte, l) in bytes[start..].iter_mut().zip(L) {
        carry += u16::from(*byte) + u16::from(l);
        *byte = (carry & 0xff) as u8;
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    assert!(matches!(refused(&bytes), EnvelopeError::Signature { .. }));
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    // With the neutral element for a key, R = neutral and s = 0 verify for every message under lax rules.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let forged = Ticket { launcher: PrincipalId::from_bytes(neutral), ..ticket() };
    let mut signature = [0; 64];
    signature[0] = 1;
    let envelope = CoseSign1Builder::new().protected(eddsa()).payload(codec::encode(&forged));
    let bytes = envelope.signature(signature.to_vec()).build().to_vec().expect("written");
    assert!(matches!(refused(&bytes), EnvelopeError::Signature { .. }));
}

#[test]
fn an_oversize_envelope_is_refused_before_it_is_read() {
    let limit = Ticket::LIMIT + ENVELOPE_OVERHEAD;
    let got = limit + 1;
    assert_eq!(refused(&vec![0; got]), CodecError::TooLong { got, limit }.into());
    let large = EnrolmentRequest { evidence: vec![0; EnrolmentRequest::LIMIT], ..enrolment_request() };
    let signed = Verified::sign(large, &identity(6));
    assert!(matches!(
        Verified::<EnrolmentRequest>::from_bytes(signed.bytes()),
        Err(EnvelopeError::Payload(CodecError::TooLong { .. }))
    ));
}

#[test]
fn the_largest_payload_fits_with_its_envelope() {
    let room = EnrolmentRequest::LIMIT - codec::encode(&enrolment_request()).len();
    let largest = EnrolmentRequest { evidence: vec![0; room + b"evidence".len() - 2], ..enrolment_request() };
    let encoded = codec::encode(&largest).len();
    assert!((EnrolmentRequest::LIMIT - 4..=EnrolmentRequest::LIMIT).contains(&encoded));
    assert!(Verified::<EnrolmentRequest>::from_bytes(Verified::sign(largest, &identity(6)).bytes()).is_ok());
}
