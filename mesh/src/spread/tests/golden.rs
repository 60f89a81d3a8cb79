//! The bytes on the wire. Edit these only together with the version byte.

use data_encoding::HEXLOWER;
use keymesh_wire::ids::{BlobHash, DocumentId, StatementId};
use minicbor::bytes::ByteVec;

use crate::spread::{FrameError, LACKING, LIST, Message, SaltedId, Summary, Told};

fn every_kind() -> Vec<Message> {
    let document = DocumentId::from_bytes([0xd0; 32]);
    let bytes = |byte| vec![ByteVec::from(vec![byte; 3])];
    let summary = Summary { ids: [0x11; 32], count: 300, state: [0x22; 32] };
    vec![
        Message::Push { document, statements: bytes(0x51), blobs: bytes(0x52) },
        Message::Announce { document, ids: vec![StatementId::from_bytes([0x53; 32])] },
        Message::Pull { document, ids: vec![StatementId::from_bytes([0x54; 32])] },
        Message::PullBlobs { document, hashes: vec![BlobHash::from_bytes([0x55; 32])] },
        Message::Blobs { document, blobs: bytes(0x56) },
        Message::Digests { told: vec![Told { document, summary }] },
        Message::Open { document, session: 7, salt: [0x57; 16] },
        Message::Accept { document, session: 7, salt: [0x58; 16] },
        Message::Ask { document, session: 7, ranges: vec![0x61] },
        Message::Answer { document, session: 7, ranges: vec![0x61, 0] },
        Message::Close { document, session: 7, lacking: vec![SaltedId([0x59; 32])] },
        Message::Chunk { document, session: u64::MAX, statements: bytes(0x5a) },
        Message::Credit { document, session: 7, fresh: 24 },
    ]
}

#[test]
fn frames_are_written_as_they_always_were() {
    let golden = include_str!("golden-v1.txt");
    let written: Vec<_> = every_kind().iter().map(|message| HEXLOWER.encode(&message.to_frame())).collect();
    assert_eq!(written, golden.lines().collect::<Vec<_>>());
}

#[test]
fn every_message_reads_back_and_no_longer_frame_does() {
    for message in every_kind() {
        let mut frame = message.to_frame();
        assert_eq!(Message::from_frame(&frame), Ok(message));
        frame.push(0);
        assert!(matches!(Message::from_frame(&frame), Err(FrameError::Message(_))));
    }
}

#[test]
fn long_lists_and_ciphertexts_are_refused() {
    let document = DocumentId::from_bytes([1; 32]);
    let id = StatementId::from_bytes([2; 32]);
    let read = |message: Message| Message::from_frame(&message.to_frame());
    assert!(read(Message::Pull { document, ids: vec![id; LIST] }).is_ok());
    assert_eq!(read(Message::Pull { document, ids: vec![id; LIST + 1] }), Err(FrameError::Limit("ids")));
    let blobs = vec![ByteVec::from(vec![0; keymesh_wire::limits::BLOB_BYTES + 1])];
    assert_eq!(read(Message::Blobs { document, blobs }), Err(FrameError::Limit("ciphertext bytes")));
    let salted = |n: usize| SaltedId(std::array::from_fn(|at| if at < 8 { n.to_be_bytes()[at] } else { 0 }));
    let close = |count| Message::Close { document, session: 1, lacking: (0..count).map(salted).collect() };
    assert!(read(close(LACKING)).is_ok());
    assert_eq!(read(close(LACKING + 1)), Err(FrameError::Limit("salted ids")));
    let lacking = vec![salted(1), salted(1)];
    assert_eq!(read(Message::Close { document, session: 1, lacking }), Err(FrameError::Limit("salted ids")));
}
