//! Fixed bytes of every format. The files are never edited: bytes like them are on disks and in other people's hands, and
//! a signature or a ciphertext made over them must hold for ever. A new format gets a new file with a new version.
//!
//! `KEYMESH_NEW_GOLDEN=1` writes files that are missing and never touches one that is there.

use std::collections::BTreeSet;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use keymesh_wire::audit::AuditRecord;
use keymesh_wire::body::{Body, GenerationRef, NewVersion, WrappedVersion, key_id, keyring_id};
use keymesh_wire::codec;
use keymesh_wire::envelope::{Signable, Verified};
use keymesh_wire::ids::{DocumentId, Nonce, StatementId};
use keymesh_wire::label::{CapsuleLabel, PartialBinding, VersionLabel};
use keymesh_wire::limits;
use keymesh_wire::request::session_info;
use keymesh_wire::sign::Identity;
use keymesh_wire::statement::{Checked, Content};

use super::samples::*;

/// How many kinds about changes of sharing have their ids in one file.
const SHARING_KINDS: usize = 12;

/// The bytes on file under this name.
fn on_file(name: &str, made: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    if !path.exists() && std::env::var_os("KEYMESH_NEW_GOLDEN").is_some() {
        std::fs::write(&path, HEXLOWER.encode(made) + "\n").expect("written");
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    HEXLOWER.decode(text.trim().as_bytes()).expect("hex")
}

fn assert_on_file(name: &str, made: &[u8]) -> Vec<u8> {
    let kept = on_file(name, made);
    assert_eq!(HEXLOWER.encode(made), HEXLOWER.encode(&kept), "{name}");
    kept
}

#[test]
fn a_statement_of_every_kind_is_the_one_on_file() {
    let mut kinds = BTreeSet::new();
    for body in bodies() {
        assert!(is_sampled(&body) && kinds.insert(body.kind()));
        let made = statement(&body);
        let kept = assert_on_file(&format!("statement-v1-{}", body.kind()), made.bytes());
        let read = Checked::from_bytes(&kept).expect("a statement of this format is read for ever");
        assert_eq!(read, made);
        assert_eq!(read.content(), &Content::Known(body.clone()));
        assert_eq!(read.id(), made.id());
        let encoded = codec::encode(&body);
        assert_eq!(codec::decode::<Body>(&encoded, limits::STATEMENT_BYTES), Ok(body));
    }
    assert_eq!(kinds.len(), KINDS);
}

#[test]
fn the_id_of_a_statement_is_the_one_on_file() {
    let ids =
        |bodies: &[Body]| -> Vec<u8> { bodies.iter().flat_map(|body| *statement(body).id().as_bytes()).collect() };
    let bodies = bodies();
    let (first, later) = bodies.split_at(FIRST_KINDS);
    assert_on_file("statement-ids-v1", &ids(first));
    let (sharing, later) = later.split_at(SHARING_KINDS);
    assert_on_file("statement-ids-sharing-v1", &ids(sharing));
    for body in later {
        assert_on_file(&format!("statement-id-v1-{}", body.kind()), statement(body).id().as_bytes());
    }
}

fn check_signed<T: Signable + PartialEq + std::fmt::Debug + Clone>(name: &str, payload: &T, signer: &Identity) {
    let made = Verified::sign(payload.clone(), signer);
    let kept = assert_on_file(name, made.bytes());
    let read = Verified::<T>::from_bytes(&kept).expect("read for ever");
    assert_eq!(*read, *payload);
    assert_eq!(Verified::sign(read.into_payload(), signer).bytes(), kept);
}

#[test]
fn tickets_and_requests_are_the_ones_on_file() {
    check_signed("ticket-v1", &ticket(), &identity(5));
    let bare = keymesh_wire::ticket::Ticket { instance: None, agent: None, ..ticket() };
    check_signed("ticket-v1-bare", &bare, &identity(5));
    check_signed("partial-claim-v1", &partial_claim(), &identity(11));
    check_signed("session-proof-v1", &session_proof(), &identity(6));
    check_signed("enrolment-request-v1", &enrolment_request(), &identity(6));
    check_signed("quorum-request-v1", &quorum_request(), &identity(6));
    let newest =
        keymesh_wire::request::QuorumRequest { version: None, receipt: Default::default(), ..quorum_request() };
    check_signed("quorum-request-v1-newest", &newest, &identity(6));
}

#[test]
fn words_about_a_later_generation_are_the_ones_on_file() {
    let opened = Some(StatementId::from_bytes([0x37; 32]));
    for body in bodies() {
        let later = match body {
            Body::AttestGeneration(of) => Body::AttestGeneration(GenerationRef { number: 2, opened, ..of }),
            Body::AddVersion(new) => {
                let version = WrappedVersion { generation: 2, opened, ..new.version };
                Body::AddVersion(NewVersion { version, ..new })
            }
            _ => continue,
        };
        let made = statement(&later);
        let kept = assert_on_file(&format!("statement-v1-{}-later-generation", later.kind()), made.bytes());
        assert_eq!(Checked::from_bytes(&kept).expect("read for ever").content(), &Content::Known(later));
    }
}

#[test]
fn what_ciphertexts_are_bound_to_is_on_file() {
    for (label, purpose) in capsule_labels().iter().zip(["generation", "version"]) {
        let kept = assert_on_file(&format!("capsule-label-v1-{purpose}"), &label.bytes());
        let encoded = kept.strip_prefix(b"keymesh capsule label v1").expect("its domain comes first");
        assert_eq!(codec::decode::<CapsuleLabel>(encoded, 1024).as_ref(), Ok(label));
    }
    for (binding, purpose) in partial_bindings().iter().zip(["lease", "release"]) {
        let kept = assert_on_file(&format!("partial-binding-v1-{purpose}"), &binding.bytes());
        let encoded = kept.strip_prefix(b"keymesh partial binding v1").expect("its domain comes first");
        assert_eq!(codec::decode::<PartialBinding>(encoded, 1024).as_ref(), Ok(binding));
    }
    let label = version_label();
    let kept = assert_on_file("version-label-v1", &label.bytes());
    let encoded = kept.strip_prefix(b"keymesh version label v1").expect("its domain comes first");
    assert_eq!(codec::decode::<VersionLabel>(encoded, 1024), Ok(label));
    assert_on_file("session-info-v1", &session_info(&session_proof()));
}

#[test]
fn audit_records_are_the_ones_on_file() {
    for (record, name) in audit_records().iter().zip(["whole", "bare"]) {
        let kept = assert_on_file(&format!("audit-record-v1-{name}"), &codec::encode(record));
        let read = codec::decode::<AuditRecord>(&kept, AuditRecord::LIMIT);
        assert_eq!(read.as_ref(), Ok(record));
        let text = serde_json::to_string(record).expect("written");
        assert_eq!(serde_json::from_str::<AuditRecord>(&text).expect("read"), *record);
    }
}

#[test]
fn ids_of_keyrings_and_keys_are_the_ones_on_file() {
    let (document, nonce) = (DocumentId::from_bytes([0x41; 32]), Nonce::from_bytes([0x29; 16]));
    let keyring = keyring_id(&document, &who(1), &nonce);
    let key = key_id(&document, &who(1), &nonce);
    assert_on_file("claimed-ids-v1", &[*keyring.as_bytes(), *key.as_bytes()].concat());
}

#[test]
fn no_file_lies_about_that_nothing_checks() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(folder).expect("the folder is there").count();
    assert_eq!(files, KINDS + 22);
}
