//! One locked arena for the short secrets of the whole process (I10).
//!
//! Guarantees: a slot's bytes are on pages that are never swapped and never written to a core dump, that a forked child
//! does not have, and that are wiped before the slot is handed to anybody else. Where the kernel offers
//! `memfd_secret(2)`, the pages are also missing from the kernel's own map of memory, so that neither a reading bug in
//! the kernel nor `/proc/…/mem` of another process finds them. A system call for each secret would cost about 70 µs;
//! slots from a free list cost well under one.
//!
//! When the limit on locked memory (`RLIMIT_MEMLOCK`) is reached, secrets go to ordinary pages that are still kept out
//! of dumps and still wiped: a node that stops serving because a limit is low would be the worse failure. It is never
//! silent: [`status`] tells, and [`take_warning`] gives the text for the log once.
//!
//! Leaves to others: what is in a slot ([`super::Secret`]), core dump limits of the process ([`crate::hardening`]).
//! While any `memfd_secret` page exists, the machine cannot hibernate; that is the kernel's rule and wanted here.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

/// Bytes in a slot: one cache line, so that two secrets never share one.
pub(super) const SLOT: usize = 64;

/// Sizes tried for a new chunk of pages: when the limit has no room for the first, the next may still fit.
const CHUNKS: [usize; 3] = [64 * 1024, 16 * 1024, 4 * 1024];

/// Most bytes the arena locks, however generous the limit: a million secrets of 32 bytes.
const MOST_LOCKED: usize = 64 * 1024 * 1024;

/// How a page of the arena is protected, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `memfd_secret(2)`: locked, not dumped, absent from the kernel's map of memory.
    SecretMemory,
    /// `mlock(2)` and not dumped.
    Locked,
    /// Not dumped, but the kernel may write it to swap.
    Plain,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecretMemory => "memfd_secret",
            Self::Locked => "mlock",
            Self::Plain => "not locked",
        })
    }
}

/// What protects this process's short secrets, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The best protection obtained so far.
    pub kind: Kind,
    /// Slots on locked pages.
    pub locked: usize,
    /// Of those, slots that hold a secret now.
    pub locked_used: usize,
    /// Slots on pages that could not be locked; zero in a healthy process.
    pub plain: usize,
    /// Of those, slots that hold a secret now.
    pub plain_used: usize,
}

/// The state of the process's arena. Opens it if no secret has been made yet.
pub fn status() -> Status {
    PROCESS.status()
}

/// The sentence for the operator's log when secrets had to go to memory that is not locked: given once, to the first
/// caller after it happened.
pub fn take_warning() -> Option<String> {
    PROCESS.take_warning()
}

/// The arena every secret of the process lives in.
static PROCESS: Arena = Arena::new(Limits { secret_memory: true, most_locked: MOST_LOCKED });

/// What an arena may use; tests build smaller ones.
struct Limits {
    secret_memory: bool,
    most_locked: usize,
}

/// A free list over chunks of pages that are never given back.
pub(super) struct Arena {
    limits: Limits,
    inner: Mutex<Inner>,
}

struct Inner {
    free_locked: Vec<NonNull<[u8; SLOT]>>,
    free_plain: Vec<NonNull<[u8; SLOT]>>,
    locked: usize,
    plain: usize,
    kind: Kind,
    warning: Option<String>,
}

// SAFETY: the pointers lead to pages that live as long as the process and are owned by whoever took them out of a list.
unsafe impl Send for Inner {}

impl Arena {
    const fn new(limits: Limits) -> Self {
        let inner = Inner {
            free_locked: Vec::new(),
            free_plain: Vec::new(),
            locked: 0,
            plain: 0,
            kind: Kind::Plain,
            warning: None,
        };
        Self { limits, inner: Mutex::new(inner) }
    }

    /// A zeroed slot of the process's arena.
    pub(super) fn process() -> Slot {
        PROCESS.take()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing between lock and unlock leaves the lists half changed, so a panic elsewhere does not spoil them.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self) -> Slot {
        let mut inner = self.lock();
        let (at, kind) = loop {
            if let Some(at) = inner.free_locked.pop() {
                break (at, Home::Locked);
            }
            if let Some(at) = inner.free_plain.pop() {
                break (at, Home::Plain);
            }
            inner.grow(&self.limits);
        };
        Slot { at, home: kind, arena: self }
    }

    fn give_back(&self, at: NonNull<[u8; SLOT]>, home: Home) {
        let mut inner = self.lock();
        match home {
            Home::Locked => inner.free_locked.push(at),
            Home::Plain => inner.free_plain.push(at),
        }
    }

    fn status(&self) -> Status {
        let mut inner = self.lock();
        if inner.locked + inner.plain == 0 {
            inner.grow(&self.limits);
        }
        Status {
            kind: inner.kind,
            locked: inner.locked,
            locked_used: inner.locked - inner.free_locked.len(),
            plain: inner.plain,
            plain_used: inner.plain - inner.free_plain.len(),
        }
    }

    fn take_warning(&self) -> Option<String> {
        self.lock().warning.take()
    }
}

impl Inner {
    /// Adds one chunk to a free list, of the best kind that can be had.
    fn grow(&mut self, limits: &Limits) {
        let room = limits.most_locked.saturating_sub(self.locked * SLOT);
        let mut why = None;
        for bytes in CHUNKS.into_iter().filter(|bytes| *bytes <= room) {
            if limits.secret_memory
                && let Ok(start) = map_secret(bytes)
            {
                return self.add(start, bytes, Kind::SecretMemory);
            }
            match map_locked(bytes) {
                Ok(start) => return self.add(start, bytes, Kind::Locked),
                Err(error) => why = Some(error),
            }
        }
        if self.plain == 0 {
            let reason = why.map_or_else(|| "the arena's own bound is reached".to_owned(), |error| error.to_string());
            self.warning = Some(format!(
                "memory for {} secrets could be locked and no more ({reason}): further ones may be swapped to disk; \
                 raise RLIMIT_MEMLOCK",
                self.locked
            ));
        }
        match map_anonymous(CHUNKS[0]) {
            Ok(start) => self.add(start, CHUNKS[0], Kind::Plain),
            Err(_) => handle_alloc_error(Layout::new::<[u8; CHUNKS[0]]>()),
        }
    }

    fn add(&mut self, start: NonNull<u8>, bytes: usize, kind: Kind) {
        let count = bytes / SLOT;
        let (list, total) = match kind {
            Kind::SecretMemory | Kind::Locked => (&mut self.free_locked, &mut self.locked),
            Kind::Plain => (&mut self.free_plain, &mut self.plain),
        };
        *total += count;
        // Room for every slot there is: giving one back never allocates.
        list.reserve(*total - list.len());
        for index in (0..count).rev() {
            // SAFETY: `index * SLOT` lies inside the `bytes` that were mapped at `start`.
            list.push(unsafe { start.add(index * SLOT) }.cast());
        }
        self.kind = self.kind.min(kind);
    }
}

/// Which list a slot goes back to.
#[derive(Clone, Copy)]
enum Home {
    Locked,
    Plain,
}

/// 64 bytes that belong to their holder alone: zero when taken, wiped when dropped.
pub(super) struct Slot {
    at: NonNull<[u8; SLOT]>,
    home: Home,
    arena: &'static Arena,
}

// SAFETY: a slot owns its bytes as a Box would; access through `&Slot` only reads.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    pub(super) fn bytes(&self) -> &[u8; SLOT] {
        // SAFETY: mapped for the life of the process, initialised (zero pages), and nobody else holds this slot.
        unsafe { self.at.as_ref() }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; SLOT] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access the only one.
        unsafe { self.at.as_mut() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.bytes_mut().zeroize();
        self.arena.give_back(self.at, self.home);
    }
}

/// Pages of a `memfd_secret`: Linux 5.14 and later, unless switched off or over the limit on locked memory.
fn map_secret(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: the call takes flags and no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = libc::c_int::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let mapped = (|| {
        // SAFETY: `fd` was just opened by us.
        if unsafe { libc::ftruncate(fd, bytes as libc::off_t) } != 0 {
            return Err(io::Error::last_os_error());
        }
        map(bytes, libc::MAP_SHARED, fd)
    })();
    // SAFETY: `fd` is ours and nobody else has seen it; the mapping stays when it is closed.
    unsafe { libc::close(fd) };
    mapped
}

/// Ordinary pages, locked.
fn map_locked(bytes: usize) -> io::Result<NonNull<u8>> {
    let start = map_anonymous(bytes)?;
    // SAFETY: exactly the pages just mapped.
    if unsafe { libc::mlock(start.as_ptr().cast(), bytes) } != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: nobody has been given any part of them.
        unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
        return Err(error);
    }
    Ok(start)
}

fn map_anonymous(bytes: usize) -> io::Result<NonNull<u8>> {
    map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
}

fn map(bytes: usize, flags: libc::c_int, fd: libc::c_int) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses the address, so no existing mapping is touched.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
        // SAFETY: advice on pages that are ours; neither of the two changes their content. A refusal costs a layer of
        // protection the process-wide hardening also gives, so it does not refuse the secret.
        unsafe { libc::madvise(start, bytes, advice) };
    }
    NonNull::new(start.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena(secret_memory: bool, most_locked: usize) -> &'static Arena {
        Box::leak(Box::new(Arena::new(Limits { secret_memory, most_locked })))
    }

    /// Reads a slot nobody holds any more.
    fn danger_peek(at: NonNull<[u8; SLOT]>) -> [u8; SLOT] {
        // SAFETY: arenas are never unmapped, and these tests use arenas no other thread takes slots from.
        unsafe { at.read_volatile() }
    }

    #[test]
    fn a_dropped_slot_holds_nothing_and_is_used_again() {
        for secret_memory in [true, false] {
            let arena = arena(secret_memory, MOST_LOCKED);
            let mut slot = arena.take();
            slot.bytes_mut().fill(0xa5);
            let at = slot.at;
            assert_eq!(danger_peek(at), [0xa5; SLOT]);
            drop(slot);
            assert_eq!(danger_peek(at), [0; SLOT]);
            let again = arena.take();
            assert_eq!(again.at, at);
            assert_eq!(again.bytes(), &[0; SLOT]);
        }
    }

    #[test]
    fn a_full_arena_goes_on_in_plain_memory_and_says_so_once() {
        let arena = arena(true, CHUNKS[2]);
        let held: Vec<Slot> = (0..CHUNKS[2] / SLOT).map(|_| arena.take()).collect();
        assert_eq!(arena.take_warning(), None);
        let beyond = arena.take();
        let status = arena.status();
        assert_ne!(status.kind, Kind::Plain);
        assert_eq!((status.locked, status.locked_used, status.plain_used), (held.len(), held.len(), 1));
        assert!(arena.take_warning().is_some_and(|text| text.contains("RLIMIT_MEMLOCK")));
        assert_eq!(arena.take_warning(), None);

        // Room that becomes free among the locked slots is used before plain memory.
        drop(held);
        let locked = arena.take();
        assert!(matches!((beyond.home, locked.home), (Home::Plain, Home::Locked)));
    }

    #[test]
    fn slots_of_many_threads_never_overlap() {
        let arena = arena(true, MOST_LOCKED);
        std::thread::scope(|scope| {
            for thread in 1..=8_u8 {
                scope.spawn(move || {
                    for round in 0..200_u8 {
                        let mut held: Vec<Slot> = (0..20).map(|_| arena.take()).collect();
                        for slot in &mut held {
                            assert_eq!(slot.bytes(), &[0; SLOT]);
                            slot.bytes_mut().fill(thread ^ round.rotate_left(3));
                        }
                        for slot in &held {
                            assert_eq!(slot.bytes(), &[thread ^ round.rotate_left(3); SLOT]);
                        }
                    }
                });
            }
        });
        let status = arena.status();
        assert_eq!((status.locked_used, status.plain), (0, 0));
    }

    #[test]
    fn the_pages_are_locked_and_left_out_of_dumps() {
        let slot = arena(false, MOST_LOCKED).take();
        let address = slot.at.as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("this process's own maps");
        let mut inside = false;
        let flags = maps
            .lines()
            .find(|line| {
                if let Some((start, end)) = line.split(' ').next().and_then(|range| range.split_once('-'))
                    && let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16))
                {
                    inside = (start..end).contains(&address);
                }
                inside && line.starts_with("VmFlags:")
            })
            .expect("the slot's page is mapped");
        for flag in [" lo", " dd", " dc"] {
            assert!(flags.contains(flag), "{flag} is missing from {flags}");
        }
    }
}
