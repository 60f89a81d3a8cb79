//! Reading the audit log: every record from the first on, each checked against the chain.
//!
//! What does not verify is one of two things. Beyond the last acknowledged record of the last file it is the unfinished
//! write of a crash, which nobody was told about: the records end before it ([`TornTail`]). Anywhere else somebody or
//! something changed the log: an error that names the file, the record and the offset. A log that was cut off cleanly
//! behind its own mark, or as a whole set back to an older copy, is only found against a head that somebody else keeps:
//! pass it as `expected`.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::frame::{self, Begin, FRAME, FileHeader, HEADER, Mark};
use super::{Head, file_name};
use crate::disk::error::DiskError;

/// A record as read and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number, counted from one through the whole log.
    pub seq: u64,
    /// The chain hash up to and including it.
    pub chain_hash: [u8; 32],
    /// What was appended.
    pub payload: Vec<u8>,
    /// The file it lies in.
    pub file: PathBuf,
    /// Where it begins there, in bytes.
    pub offset: u64,
}

/// An unfinished write behind the last record: nothing in it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The file.
    pub file: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What was found there.
    pub what: String,
}

/// All records of a log in order. Stops for good at the first error.
///
/// Reads a live log, too: it then ends at a record that was complete when it looked.
#[derive(Debug)]
pub struct Records {
    dir: PathBuf,
    log_id: [u8; 32],
    expected: Option<Head>,
    file: Option<Open>,
    head: Head,
    torn: Option<TornTail>,
    ended: bool,
}

/// The file being read.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    number: u32,
    reader: BufReader<File>,
    offset: u64,
    mark: Option<Mark>,
    /// True if it was opened, or opened again, after the next file had been begun: nothing more is appended to it.
    settled: bool,
}

impl Records {
    /// Starts at the first record of the log in `dir`.
    ///
    /// `log_id` is what the log was created with. If the log does not contain `expected`, the reading ends in
    /// [`DiskError::AuditTruncated`] or [`DiskError::AuditTampered`].
    pub fn open(dir: &Path, log_id: [u8; 32], expected: Option<Head>) -> Result<Self, DiskError> {
        let head = Head { seq: 0, chain_hash: frame::genesis(&log_id) };
        let dir = dir.to_path_buf();
        let mut records = Self { dir, log_id, expected, file: None, head, torn: None, ended: false };
        records.check_names()?;
        records.file = records.open_file(1)?;
        Ok(records)
    }

    /// The last record read, or the state before the first.
    pub fn head(&self) -> Head {
        self.head
    }

    /// After the last record: what an interrupted write left behind it.
    pub fn torn_tail(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }

    /// Reads on to the end and returns the head.
    pub fn verify(&mut self) -> Result<Head, DiskError> {
        self.by_ref().try_for_each(|record| record.map(drop))?;
        Ok(self.head)
    }

    /// The number of the last file, its end of records and its mark; none if there is no file.
    pub(super) fn position(&self) -> Option<(u32, u64, Option<Mark>)> {
        self.file.as_ref().map(|file| (file.number, file.offset, file.mark))
    }

    /// A file removed from the middle or the front is named before anything is read.
    fn check_names(&self) -> Result<(), DiskError> {
        let mut numbers: Vec<u32> = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(DiskError::io(&self.dir, "listing"))? {
            let name = entry.map_err(DiskError::io(&self.dir, "listing"))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|name| name.parse().ok());
            numbers.extend(number.filter(|number| self.dir.join(file_name(*number)).file_name() == Some(&*name)));
        }
        numbers.sort_unstable();
        for (expected, found) in (1u32..).zip(numbers) {
            if expected != found {
                let file = self.dir.join(file_name(expected));
                return Err(self.tampered(&file, 0, "the file is missing although later ones are there"));
            }
        }
        Ok(())
    }

    fn open_file(&self, number: u32) -> Result<Option<Open>, DiskError> {
        let path = self.dir.join(file_name(number));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(DiskError::io(&path, "opening")(error)),
        };
        let mut reader = BufReader::with_capacity(64 * 1024, file);
        let mut bytes = Vec::new();
        reader.by_ref().take(HEADER).read_to_end(&mut bytes).map_err(DiskError::io(&path, "reading"))?;
        let header = (bytes.len() as u64 == HEADER).then(|| FileHeader::decode(&bytes, &self.log_id)).flatten();
        let Some(header) = header else {
            return Err(self.tampered(&path, 0, "the file's header was altered or belongs to another log"));
        };
        if header.number != number {
            let what = format!("this is file {} under another name", header.number);
            return Err(self.tampered(&path, 0, &what));
        }
        if header.first_seq != self.head.seq + 1 || header.previous != self.head.chain_hash {
            let what = format!("the file continues record {}, not record {}", header.first_seq - 1, self.head.seq);
            return Err(self.tampered(&path, 0, &what));
        }
        Ok(Some(Open { path, number, reader, offset: HEADER, mark: Mark::newest(&bytes), settled: false }))
    }

    fn tampered(&self, file: &Path, offset: u64, what: &str) -> DiskError {
        let (file, what) = (file.to_path_buf(), what.to_owned());
        DiskError::AuditTampered { file, seq: self.head.seq + 1, offset, what }
    }

    fn step(&mut self) -> Result<Option<Record>, DiskError> {
        loop {
            let Some(file) = &mut self.file else {
                return self.end(self.dir.clone());
            };
            let found = file.next(&self.head).map_err(DiskError::io(&file.path, "reading"))?;
            let acknowledged = file.mark.map_or(0, |mark| mark.seq);
            let (path, offset) = (file.path.clone(), file.offset);
            let what = match found {
                Found::Record(hash, payload) => {
                    file.offset += (FRAME + payload.len()) as u64;
                    self.head = Head { seq: self.head.seq + 1, chain_hash: hash };
                    if let Some(expected) = self.expected
                        && expected.seq == self.head.seq
                        && expected != self.head
                    {
                        let what = "the chain here is not the one witnessed before".to_owned();
                        return Err(DiskError::AuditTampered { file: path, seq: expected.seq, offset, what });
                    }
                    return Ok(Some(Record { seq: self.head.seq, chain_hash: hash, payload, file: path, offset }));
                }
                Found::End => None,
                Found::Bad(what) => Some(what),
            };
            if self.head.seq < acknowledged {
                return Err(match what {
                    Some(what) => self.tampered(&path, offset, &what),
                    None if rest_is_empty(&path, offset)? => {
                        DiskError::AuditTruncated { path, found: self.head.seq, expected: acknowledged }
                    }
                    None => self.tampered(&path, offset, "the record was removed"),
                });
            }
            let next_path = self.dir.join(file_name(file.number + 1));
            if !file.settled && next_path.try_exists().map_err(DiskError::io(&next_path, "looking for it"))? {
                // A live writer may have appended here after the end was seen, and then gone on to the next file.
                file.settle().map_err(DiskError::io(&path, "reading"))?;
                continue;
            }
            let (number, closed) = (file.number, file.mark.is_some_and(|mark| mark.closed));
            match self.open_file(number + 1)? {
                Some(_) if what.is_some() => {
                    return Err(self.tampered(&path, offset, &what.unwrap_or_default()));
                }
                Some(next) => self.file = Some(next),
                None if closed => {
                    return Err(self.tampered(&next_path, 0, "the file is missing although the one before was closed"));
                }
                None => {
                    let what = match what {
                        None if !rest_is_empty(&path, offset)? => {
                            Some("only a later part of a write arrived".to_owned())
                        }
                        what => what,
                    };
                    self.torn = what.map(|what| TornTail { file: path.clone(), offset, what });
                    return self.end(path);
                }
            }
        }
    }

    fn end(&mut self, path: PathBuf) -> Result<Option<Record>, DiskError> {
        self.ended = true;
        match self.expected {
            Some(expected) if expected.seq > self.head.seq => {
                Err(DiskError::AuditTruncated { path, found: self.head.seq, expected: expected.seq })
            }
            // Of the state before the first record there is no record to compare.
            Some(expected) if expected.seq == 0 && expected.chain_hash != frame::genesis(&self.log_id) => {
                Err(self.tampered(&path, 0, "the log began differently from the one witnessed before"))
            }
            _ => Ok(None),
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, DiskError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended |= step.is_err();
        step.transpose()
    }
}

/// What stands at a file's current offset.
enum Found {
    Record([u8; 32], Vec<u8>),
    End,
    Bad(String),
}

impl Open {
    /// Reads mark and records anew from where the reading stands.
    fn settle(&mut self) -> std::io::Result<()> {
        let file = self.reader.get_mut();
        let mut header = vec![0; HEADER as usize];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut header)?;
        self.mark = Mark::newest(&header);
        // Seeking through the buffer empties it.
        self.reader.seek(SeekFrom::Start(self.offset))?;
        self.settled = true;
        Ok(())
    }

    fn next(&mut self, head: &Head) -> std::io::Result<Found> {
        let mut begin = Vec::with_capacity(FRAME);
        self.reader.by_ref().take(FRAME as u64).read_to_end(&mut begin)?;
        let Ok(begin) = <[u8; FRAME]>::try_from(&*begin) else {
            let empty = begin.iter().all(|byte| *byte == 0);
            return Ok(if empty { Found::End } else { Found::Bad("the file ends inside the record".to_owned()) });
        };
        let (len, seq, hash) = match frame::decode_begin(&begin) {
            Begin::End => return Ok(Found::End),
            Begin::Impossible => return Ok(Found::Bad("its first bytes are not those of a record".to_owned())),
            Begin::Record { len, seq, hash } => (len, seq, hash),
        };
        if seq != head.seq + 1 {
            let what = format!("record {seq} stands here: records were removed, repeated or reordered");
            return Ok(Found::Bad(what));
        }
        let mut payload = Vec::with_capacity(len);
        self.reader.by_ref().take(len as u64).read_to_end(&mut payload)?;
        if payload.len() < len {
            return Ok(Found::Bad("the file ends inside the record".to_owned()));
        }
        if frame::chain(&head.chain_hash, seq, &payload) != hash {
            return Ok(Found::Bad("its content or its chain hash was altered".to_owned()));
        }
        Ok(Found::Record(hash, payload))
    }
}

/// True if nothing but zeros follows `offset`.
fn rest_is_empty(path: &Path, offset: u64) -> Result<bool, DiskError> {
    let empty = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let (mut block, zeros) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            match file.read(&mut block)? {
                0 => return Ok(true),
                n if block[..n] != zeros[..n] => return Ok(false),
                _ => {}
            }
        }
    };
    empty().map_err(DiskError::io(path, "reading"))
}
