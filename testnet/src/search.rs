//! Looking for bytes where they must not be: in a process's memory, in files.
//!
//! Every search takes needles that must not be there together with a canary that must, so that a search that sees nothing
//! at all is noticed. What cannot be searched is said: pages made with `memfd_secret` are readable by their own process
//! alone, not even by root, which is what they are for.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::TestnetError;

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// Something to look for.
#[derive(Debug, Clone)]
pub struct Needle {
    /// What it is, for messages.
    pub name: String,
    /// Its bytes; at least 4.
    pub bytes: Vec<u8>,
}

impl Needle {
    /// A needle of these bytes.
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }

    /// A secret in the forms in which it could have been written down: raw, hexadecimal, base64url.
    pub fn forms(name: &str, secret: &[u8]) -> Vec<Self> {
        vec![
            Self::new(format!("{name}, raw"), secret),
            Self::new(format!("{name}, hex"), data_encoding::HEXLOWER.encode(secret)),
            Self::new(format!("{name}, base64url"), data_encoding::BASE64URL_NOPAD.encode(secret)),
        ]
    }
}

/// What a search of a process's memory saw.
#[derive(Debug, Clone, Default)]
pub struct MemorySearch {
    /// Bytes that were read.
    pub bytes: u64,
    /// Mappings that the kernel lets nobody else read.
    pub closed: usize,
    /// How often each needle was found, in the order given.
    pub found: Vec<usize>,
}

/// Searches the readable memory of a process.
///
/// # Errors
/// [`TestnetError::Io`] if this process may not look at the other's memory: it needs root for an undumpable process.
pub fn memory(pid: u32, needles: &[Needle]) -> Result<MemorySearch, TestnetError> {
    let maps = format!("/proc/{pid}/maps");
    let text = fs::read_to_string(&maps).map_err(TestnetError::io("read", &maps))?;
    let path = format!("/proc/{pid}/mem");
    let memory = File::open(&path).map_err(TestnetError::io("open", &path))?;
    let mut search = MemorySearch { found: vec![0; needles.len()], ..MemorySearch::default() };
    for line in text.lines() {
        let Some((start, end)) = readable(line) else { continue };
        let mut window = Window::new(needles);
        let (mut at, mut piece) = (start, vec![0; PIECE]);
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            match memory.read_at(&mut piece[..want], at) {
                Ok(0) | Err(_) => {
                    search.closed += 1;
                    break;
                }
                Ok(read) => {
                    window.feed(&piece[..read], needles, &mut search.found);
                    search.bytes += read as u64;
                    at += read as u64;
                }
            }
        }
    }
    Ok(search)
}

/// The range of a line of `/proc/PID/maps` that can be read and holds the program's own data.
fn readable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    if !rights.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// A needle found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Which needle.
    pub needle: String,
    /// In which file.
    pub file: PathBuf,
}

/// Searches every file below `folder`, names included. Returns the sightings and how many bytes were read.
///
/// # Errors
/// [`TestnetError::Io`].
pub fn files(folder: &Path, needles: &[Needle]) -> Result<(Vec<Sighting>, u64), TestnetError> {
    let (mut sightings, mut bytes) = (Vec::new(), 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(TestnetError::io("list", &folder))? {
            let path = entry.map_err(TestnetError::io("list", &folder))?.path();
            let name = path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
            let mut found = count(&name, needles);
            if path.is_dir() {
                folders.push(path.clone());
            } else {
                bytes += file(&path, needles, &mut found).map_err(TestnetError::io("read", &path))?;
            }
            let seen = needles.iter().zip(&found).filter(|(_, times)| **times > 0);
            sightings.extend(seen.map(|(needle, _)| Sighting { needle: needle.name.clone(), file: path.clone() }));
        }
    }
    Ok((sightings, bytes))
}

fn file(path: &Path, needles: &[Needle], found: &mut [usize]) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let (mut window, mut piece, mut bytes) = (Window::new(needles), vec![0; PIECE], 0);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(bytes),
            read => {
                window.feed(&piece[..read], needles, found);
                bytes += read as u64;
            }
        }
    }
}

/// How often each needle is in `bytes`.
pub fn count(bytes: &[u8], needles: &[Needle]) -> Vec<usize> {
    let mut found = vec![0; needles.len()];
    Window::new(needles).feed(bytes, needles, &mut found);
    found
}

/// A stream seen piece by piece, with enough of the past kept for a needle across a border.
struct Window {
    kept: Vec<u8>,
    keep: usize,
}

impl Window {
    fn new(needles: &[Needle]) -> Self {
        let longest = needles.iter().map(|needle| needle.bytes.len()).max().unwrap_or(1);
        Self { kept: Vec::new(), keep: longest.saturating_sub(1) }
    }

    fn feed(&mut self, piece: &[u8], needles: &[Needle], found: &mut [usize]) {
        let old = self.kept.len();
        self.kept.extend_from_slice(piece);
        for (needle, times) in needles.iter().zip(found) {
            // What ends within the past was counted when the past was new.
            let from = old.saturating_sub(needle.bytes.len().saturating_sub(1));
            *times += occurrences(&self.kept[from..], &needle.bytes);
        }
        let cut = self.kept.len().saturating_sub(self.keep);
        self.kept.drain(..cut);
    }
}

fn occurrences(hay: &[u8], needle: &[u8]) -> usize {
    let Some(first) = needle.first() else { return 0 };
    let (mut times, mut at) = (0, 0);
    while let Some(offset) = hay[at..].iter().position(|byte| byte == first) {
        at += offset;
        if hay[at..].starts_with(needle) {
            times += 1;
        }
        at += 1;
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles() -> Vec<Needle> {
        vec![Needle::new("a", *b"needle"), Needle::new("b", *b"absent")]
    }

    #[test]
    fn a_needle_across_a_border_is_found_once() {
        let needles = needles();
        for cut in 0..=12 {
            let text = b"...needle...";
            let (mut window, mut found) = (Window::new(&needles), vec![0; 2]);
            window.feed(&text[..cut], &needles, &mut found);
            window.feed(&text[cut..], &needles, &mut found);
            assert_eq!(found, [1, 0], "cut at {cut}");
        }
    }

    #[test]
    fn files_are_searched_by_content_and_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("deep")).expect("a folder");
        fs::write(folder.path().join("deep/one"), b"xxneedlexx").expect("written");
        fs::write(folder.path().join("needle.txt"), b"nothing").expect("written");
        let (mut seen, bytes) = files(folder.path(), &needles()).expect("a search");
        seen.sort_by(|a, b| a.file.cmp(&b.file));
        let names: Vec<_> = seen.iter().filter_map(|seen| seen.file.file_name()).collect();
        assert_eq!((names, bytes), (vec!["one".as_ref(), "needle.txt".as_ref()], 17));
    }

    #[test]
    fn this_process_holds_what_it_holds() {
        let planted: Vec<u8> = (0..32).map(|at| at * 7 + 3).collect();
        // A closure would let the needle itself be the only copy; the planted bytes are a second one.
        let needles = Needle::forms("planted", &planted);
        let search = memory(std::process::id(), &needles).expect("own memory");
        assert!(search.found[0] >= 2, "{search:?}");
        assert!(search.bytes > 1 << 20);
    }
}
