//! The bytes of the audit log: file header, acknowledgement marks, records, and the chain through them.
//!
//! ```text
//! 0     magic 8 | file number 4 | first sequence number 8 | chain hash before it 32 | digest 32
//! 1024  mark: sequence number 8 | closed 1 | check 8
//! 2048  mark, the other one
//! 4096  records: word 4 | sequence number 8 | chain hash 32 | payload, then zeros
//! ```
//!
//! All integers are big-endian. The word is `0xA5` and the payload's length in three bytes; a word of zero ends the
//! records. `chain hash = SHA-256(domain ‖ chain hash before ‖ sequence number ‖ payload)`, so a record stands for all
//! before it.
//!
//! A **mark** says up to which record appends were acknowledged. It is written after the sync that made them durable
//! and becomes durable with the next one, so it is never ahead of the records, and after a power cut at most one batch
//! behind. It is what tells an unfinished last write (beyond the mark) from a record that was altered (within it). The
//! two marks take turns in different sectors, so that a torn mark leaves the other.

use sha2::{Digest, Sha256};

/// Bytes before the first record of a file.
pub(super) const HEADER: u64 = 4096;
/// Bytes of a record around its payload.
pub(super) const FRAME: usize = 4 + 8 + 32;
/// The largest payload in bytes.
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// Where the two marks lie.
pub(super) const MARKS: [u64; 2] = [1024, 2048];
const MARK: usize = 8 + 1 + 8;

const MAGIC: &[u8; 8] = b"KMAUDIT1";
const WORD: u32 = 0xA500_0000;

/// The first link of a log's chain.
pub(super) fn genesis(log_id: &[u8; 32]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(b"keymesh audit log v1\0").chain_update(log_id);
    hash.finalize().into()
}

/// The link after `previous`.
pub(super) fn chain(previous: &[u8; 32], seq: u64, payload: &[u8]) -> [u8; 32] {
    let hash = Sha256::new().chain_update(b"keymesh audit record v1\0").chain_update(previous);
    hash.chain_update(seq.to_be_bytes()).chain_update(payload).finalize().into()
}

/// The head of one file: its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    /// Files count from one.
    pub(super) number: u32,
    /// The sequence number of its first record.
    pub(super) first_seq: u64,
    /// The chain hash before that record.
    pub(super) previous: [u8; 32],
}

impl FileHeader {
    pub(super) fn encode(&self, log_id: &[u8; 32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.first_seq.to_be_bytes());
        bytes.extend_from_slice(&self.previous);
        let digest = Sha256::new().chain_update(b"keymesh audit file v1\0").chain_update(log_id).chain_update(&bytes);
        bytes.extend_from_slice(&digest.finalize());
        bytes.resize(HEADER as usize, 0);
        bytes
    }

    /// The header in the first [`HEADER`] bytes of a file; none if it is not whole or of another log.
    pub(super) fn decode(bytes: &[u8], log_id: &[u8; 32]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (first_seq, rest) = rest.split_first_chunk::<8>()?;
        let (previous, _) = rest.split_first_chunk::<32>()?;
        let header = Self {
            number: u32::from_be_bytes(*number),
            first_seq: u64::from_be_bytes(*first_seq),
            previous: *previous,
        };
        // Outside the marks, every byte of a header is determined.
        bytes.get(..MARKS[0] as usize).filter(|bytes| header.encode(log_id).starts_with(bytes)).map(|_| header)
    }
}

/// Up to where appends to a file were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The last acknowledged record.
    pub(super) seq: u64,
    /// True once the next file exists.
    pub(super) closed: bool,
}

impl Mark {
    pub(super) fn encode(self) -> [u8; MARK] {
        let mut bytes = [0; MARK];
        bytes[..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8] = u8::from(self.closed);
        let digest = Sha256::new().chain_update(b"keymesh audit mark v1\0").chain_update(&bytes[..9]).finalize();
        bytes[9..].copy_from_slice(&digest[..8]);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (seq, rest) = bytes.split_first_chunk::<8>()?;
        let mark = Self { seq: u64::from_be_bytes(*seq), closed: *rest.first()? == 1 };
        (bytes == mark.encode()).then_some(mark)
    }

    /// The mark in force in the first [`HEADER`] bytes of a file; none before the first acknowledgement.
    pub(super) fn newest(header: &[u8]) -> Option<Self> {
        let marks = MARKS.iter().filter_map(|at| header.get(*at as usize..).and_then(|bytes| bytes.get(..MARK)));
        marks.filter_map(Self::decode).max_by_key(|mark| (mark.seq, mark.closed))
    }
}

/// Appends a record's bytes to `out` and returns its chain hash. The payload is at most [`MAX_PAYLOAD`].
pub(super) fn encode_record(out: &mut Vec<u8>, previous: &[u8; 32], seq: u64, payload: &[u8]) -> [u8; 32] {
    let hash = chain(previous, seq, payload);
    out.extend_from_slice(&(WORD | payload.len() as u32).to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&hash);
    out.extend_from_slice(payload);
    hash
}

/// What a record's first bytes say.
pub(super) enum Begin {
    /// The records end here.
    End,
    /// A record of this many payload bytes.
    Record { len: usize, seq: u64, hash: [u8; 32] },
    /// Neither.
    Impossible,
}

pub(super) fn decode_begin(bytes: &[u8; FRAME]) -> Begin {
    let (word, rest) = bytes.split_first_chunk::<4>().expect("a frame is longer than its word");
    let (seq, hash) = rest.split_first_chunk::<8>().expect("a frame is longer than its sequence number");
    let word = u32::from_be_bytes(*word);
    let len = (word & 0x00FF_FFFF) as usize;
    if word == 0 {
        Begin::End
    } else if word & 0xFF00_0000 != WORD || len > MAX_PAYLOAD {
        Begin::Impossible
    } else {
        let hash = hash.try_into().expect("the rest of a frame is its hash");
        Begin::Record { len, seq: u64::from_be_bytes(*seq), hash }
    }
}
