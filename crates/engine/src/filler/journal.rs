//! What the filler is being asked, where the next one finds it: `pending`, a slot for each reader that
//! waits. A reader is known to the kernel by the number of the descriptor that came with its event, even
//! when the process that had it is gone; so its successor must not be given that number for another
//! event, and keeps it occupied until the first is answered.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};

/// The journal's name.
pub(super) const NAME: &str = "pending";
/// Readers that wait at once, at most; the others wait in the kernel.
const SLOTS: usize = 1024;
/// Number of the descriptor and one; inode; beginning and end.
const SLOT_BYTES: usize = 4 * 8;
/// Descriptors' numbers that an event of a dead filler may have.
const HIGHEST_NUMBER: RawFd = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    free: Mutex<Vec<usize>>,
}

/// A reader that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// What keeps its number.
    number: OwnedFd,
    /// Of the layer's file.
    pub(super) inode: u64,
    pub(super) range: Range<u64>,
    slot: usize,
}

impl Waiting {
    /// What the kernel knows it by.
    pub(super) fn number(&self) -> RawFd {
        self.number.as_raw_fd()
    }
}

impl Journal {
    /// Opens the journal in `directory` and gives what a filler before has left in it. To be done before
    /// anything else is opened: their numbers have to be free.
    pub(super) fn open(directory: &Path) -> std::io::Result<(Self, Vec<Waiting>)> {
        let path = directory.join(NAME);
        let bytes = std::fs::read(&path).unwrap_or_default();
        let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
        let mut left = Vec::new();
        for (slot, bytes) in slots.iter().enumerate().take(SLOTS) {
            let number = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
            let descriptor = number(0)
                .checked_sub(1)
                .and_then(|n| RawFd::try_from(n).ok());
            let Some(descriptor) = descriptor.filter(|n| *n <= HIGHEST_NUMBER) else {
                continue;
            };
            if let Some(occupied) = occupy(descriptor) {
                left.push(Waiting {
                    number: occupied,
                    inode: number(8),
                    range: number(16)..number(24),
                    slot,
                });
            }
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.set_len((SLOTS * SLOT_BYTES) as u64)?;
        let taken: Vec<usize> = left.iter().map(|waiting| waiting.slot).collect();
        let free = (0..SLOTS).filter(|slot| !taken.contains(slot)).collect();
        let free = Mutex::new(free);
        Ok((Self { file, free }, left))
    }

    /// Whether one more reader can be noted.
    pub(super) fn has_room(&self) -> bool {
        // An event is 72 bytes, and fewer than 64 are read at once.
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
            > 64
    }

    /// Notes a reader before anything is done for it.
    pub(super) fn note(&self, number: OwnedFd, inode: u64, range: Range<u64>) -> Waiting {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a slot it is lost if this filler dies; then it gets an error.
        let slot = free.pop().unwrap_or(SLOTS);
        drop(free);
        let waiting = Waiting {
            number,
            inode,
            range,
            slot,
        };
        let descriptor = u64::try_from(waiting.number()).unwrap_or(0) + 1;
        self.write(
            slot,
            [descriptor, inode, waiting.range.start, waiting.range.end],
        );
        waiting
    }

    /// Strikes one out that has been answered.
    pub(super) fn strike(&self, waiting: Waiting) {
        let slot = waiting.slot;
        self.write(slot, [0; 4]);
        // The number is free only now.
        drop(waiting);
        if slot < SLOTS {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(slot);
        }
    }

    fn write(&self, slot: usize, numbers: [u64; 4]) {
        if slot < SLOTS {
            let bytes = numbers.map(u64::to_ne_bytes).concat();
            let _ = self.file.write_all_at(&bytes, (slot * SLOT_BYTES) as u64);
        }
    }
}

/// The numbers that events of a dead filler may have, but for those that are known.
pub(super) fn unknown(known: &[Waiting]) -> impl Iterator<Item = RawFd> {
    let known: Vec<RawFd> = known.iter().map(Waiting::number).collect();
    (3..=HIGHEST_NUMBER).filter(move |number| !known.contains(number))
}

/// A descriptor of this number that is good for nothing.
fn occupy(number: RawFd) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty()).ok()?;
    if root.as_raw_fd() == number {
        return Some(root);
    }
    let other = rustix::io::fcntl_dupfd_cloexec(&root, number).ok()?;
    (other.as_raw_fd() == number).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_found_by_the_next_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let number = 900;
        let first = occupy(number).expect("a number");
        let (journal, left) = Journal::open(directory.path()).expect("a journal");
        assert!(left.is_empty());
        let waiting = journal.note(first, 77, 4096..8192);
        let other = journal.note(occupy(901).expect("a number"), 78, 0..1);
        journal.strike(other);
        // Killed.
        drop((journal, waiting));
        let (journal, mut left) = Journal::open(directory.path()).expect("a journal");
        let waiting = left.pop().expect("one waits");
        assert!(left.is_empty());
        assert_eq!(waiting.number(), number);
        assert_eq!((waiting.inode, waiting.range.clone()), (77, 4096..8192));
        assert!(!unknown(std::slice::from_ref(&waiting)).any(|known| known == number));
        journal.strike(waiting);
        let (_, left) = Journal::open(directory.path()).expect("a journal");
        assert!(left.is_empty());
    }
}
