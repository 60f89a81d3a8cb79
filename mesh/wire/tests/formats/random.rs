//! Bytes that mean nothing: every decoder answers, none panics, and what decodes encodes to the same bytes.

use std::sync::OnceLock;

use keymesh_wire::api::*;
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::body::{Body, CustodianAccusation, PartialClaim};
use keymesh_wire::codec;
use keymesh_wire::envelope::Verified;
use keymesh_wire::error::WireError;
use keymesh_wire::ids::*;
use keymesh_wire::label::{CapsuleLabel, PartialBinding, VersionLabel};
use keymesh_wire::membership::Members;
use keymesh_wire::request::{EnrolmentRequest, QuorumRequest, SessionProof};
use keymesh_wire::statement::{Checked, Statement};
use keymesh_wire::ticket::Ticket;
use proptest::prelude::*;

use super::samples::*;

const LIMIT: usize = 64 * 1024;

fn roundtrips<T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>>(bytes: &[u8]) -> bool {
    codec::decode::<T>(bytes, LIMIT).is_ok_and(|value| {
        assert_eq!(codec::encode(&value), bytes);
        true
    })
}

/// Whether anything took the bytes for a value.
fn decode_all(bytes: &[u8]) -> bool {
    let values = [
        roundtrips::<Body>(bytes),
        roundtrips::<Statement>(bytes),
        roundtrips::<Ticket>(bytes),
        roundtrips::<SessionProof>(bytes),
        roundtrips::<EnrolmentRequest>(bytes),
        roundtrips::<QuorumRequest>(bytes),
        roundtrips::<CapsuleLabel>(bytes),
        roundtrips::<VersionLabel>(bytes),
        roundtrips::<PartialBinding>(bytes),
        roundtrips::<AuditRecord>(bytes),
        roundtrips::<PartialClaim>(bytes),
        roundtrips::<CustodianAccusation>(bytes),
    ];
    if let Ok(body) = codec::decode::<Body>(bytes, LIMIT) {
        let _ = body.check();
    }
    let _ = Members::verify(MeshId::from_bytes([1; 32]), &[bytes.to_vec()]);
    let signed = [
        Checked::from_bytes(bytes).is_ok(),
        Verified::<Ticket>::from_bytes(bytes).is_ok(),
        Verified::<SessionProof>::from_bytes(bytes).is_ok(),
        Verified::<EnrolmentRequest>::from_bytes(bytes).is_ok(),
        Verified::<QuorumRequest>::from_bytes(bytes).is_ok(),
        Verified::<PartialClaim>::from_bytes(bytes).is_ok(),
    ];
    values.into_iter().chain(signed).any(|taken| taken)
}

fn read_text(text: &str) {
    let _ = text.parse::<StatementId>().is_ok();
    let _ = text.parse::<VersionId>().is_ok();
    let _ = serde_json::from_str::<Release>(text).is_ok();
    let _ = serde_json::from_str::<Submit>(text).is_ok();
    let _ = serde_json::from_str::<AuditQuery>(text).is_ok();
    let _ = serde_json::from_str::<SessionOpen>(text).is_ok();
    let _ = serde_json::from_str::<QuorumReleased>(text).is_ok();
    let _ = serde_json::from_str::<WireError>(text).is_ok();
}

/// One encoding of every kind there is, envelopes and bare values.
fn encodings() -> &'static [Vec<u8>] {
    static ALL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let said = bodies();
        let mut all: Vec<Vec<u8>> =
            said.iter().flat_map(|body| [codec::encode(body), statement(body).bytes().to_vec()]).collect();
        all.push(codec::encode(&ticket()));
        all.push(Verified::sign(ticket(), &identity(5)).bytes().to_vec());
        all.push(codec::encode(&session_proof()));
        all.push(codec::encode(&enrolment_request()));
        all.push(codec::encode(&quorum_request()));
        all.extend(capsule_labels().iter().map(codec::encode));
        all.push(codec::encode(&version_label()));
        all.extend(partial_bindings().iter().map(codec::encode));
        all.extend(audit_records().iter().map(codec::encode));
        all
    })
}

#[test]
fn every_encoding_is_taken_by_something() {
    for bytes in encodings() {
        assert!(decode_all(bytes));
    }
}

#[test]
fn lengths_far_beyond_the_bytes_allocate_nothing() {
    for head in [0x9b_u8, 0xbb, 0x5b, 0x7b] {
        for kind in [0x00_u8, 0x05, 0x18] {
            let mut bytes = vec![0x82, kind, 0x81, head];
            bytes.extend([0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
            assert!(!decode_all(&bytes));
            assert!(!decode_all(&bytes[3..]));
        }
    }
}

#[test]
fn nesting_without_end_is_refused() {
    for byte in [0x81_u8, 0x9f, 0xd2, 0xa1, 0xbf, 0x5f] {
        assert!(!decode_all(&vec![byte; 60_000]));
    }
}

/// Two thousand cases, or as many as `PROPTEST_CASES` asks for (`just fuzz`).
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(2000), failure_persistence: None, ..asked }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn random_text_never_panics(text in ".{0,120}", prefix in "(stm_|ver_|)") {
        read_text(&format!("{prefix}{text}"));
    }

    #[test]
    fn altered_encodings_never_panic(
        chosen in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let all = encodings();
        let mut bytes = all[chosen.index(all.len())].clone();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        decode_all(&bytes);
    }

    #[test]
    fn altered_json_never_panics(at in any::<prop::sample::Index>(), byte in any::<char>()) {
        let release = Release {
            tenant: TenantId::from_bytes([1; 32]),
            key: KeyId::from_bytes([2; 32]),
            version: None,
            request: RequestId::from_bytes([3; 16]),
            receipt: quorum_request().receipt,
            trace: None,
        };
        let mut text: Vec<char> = serde_json::to_string(&release).expect("written").chars().collect();
        let place = at.index(text.len());
        text[place] = byte;
        read_text(&text.into_iter().collect::<String>());
    }
}
