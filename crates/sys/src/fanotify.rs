//! Being asked before a file is read: fanotify(7), pre-content events (Linux 6.14; ext4, xfs, btrfs).
//!
//! A [`Group`] hears of each read of the files that it watches, and the reader waits until it has
//! answered. The group lives as long as any descriptor of it, in whatever process. When the last one
//! is closed, readers are let through: whoever has something to lose by that holds one.

use std::mem::size_of;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use crate::mount::last_errno;

/// `FAN_PRE_ACCESS` of linux/fanotify.h: before a range of a file is read or written.
const PRE_ACCESS: u64 = 0x0010_0000;
/// `FAN_EVENT_INFO_TYPE_RANGE`.
const INFO_RANGE: u8 = 6;
/// `FAN_ALLOW`, and `FAN_DENY_ERRNO(EIO)`.
const ALLOW: u32 = 0x01;
const DENY_WITH_IO_ERROR: u32 = 0x02 | (libc::EIO as u32) << 24;
/// Bytes of `struct fanotify_event_metadata`, and of an info record with a range: header of four bytes,
/// padding of four, offset and count.
const METADATA_BYTES: usize = size_of::<libc::fanotify_event_metadata>();
const RANGE_BYTES: usize = 24;

/// Something that is asked about reads. A clone of its descriptor is as good as itself.
#[derive(Debug)]
pub struct Group {
    fd: OwnedFd,
}

/// Somebody is about to read.
#[derive(Debug)]
pub struct Access {
    /// What is read. Reading and writing by way of this descriptor asks nobody.
    pub file: OwnedFd,
    /// The process.
    pub pid: i32,
    /// The bytes; `None` if the kernel did not say.
    pub range: Option<Range<u64>>,
}

/// What is said to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Read.
    Allow,
    /// `EIO`.
    Fail,
}

impl Group {
    /// A group that watches nothing yet.
    ///
    /// # Errors
    /// `EPERM`: needs CAP_SYS_ADMIN; `EINVAL`: a kernel without permission events; `ENOSYS`.
    pub fn new() -> Result<Self, Errno> {
        let flags = libc::FAN_CLASS_PRE_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        let files = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE) as libc::c_uint;
        // SAFETY: no memory is handed over.
        let fd = unsafe { libc::fanotify_init(flags, files) };
        if fd < 0 {
            return Err(last_errno());
        }
        // SAFETY: fanotify_init has just returned this descriptor to us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Of a descriptor that has been handed over.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Watches a file. Those that have it open already are not asked about.
    ///
    /// # Errors
    /// `EINVAL`: a kernel without pre-content events; `EOPNOTSUPP`: a file system without.
    pub fn watch(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        self.mark(libc::FAN_MARK_ADD, file)
    }

    /// Watches a file no more. One that was not watched is fine.
    ///
    /// # Errors
    /// `EBADF` only.
    pub fn forget(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        match self.mark(libc::FAN_MARK_REMOVE, file) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }

    fn mark(&self, action: libc::c_uint, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let (group, file) = (self.fd.as_raw_fd(), file.as_raw_fd());
        // SAFETY: without a path the descriptor's own file is meant; no memory is handed over.
        match unsafe { libc::fanotify_mark(group, action, PRE_ACCESS, file, ptr::null()) } {
            0 => Ok(()),
            _ => Err(last_errno()),
        }
    }

    /// Takes what is asked now, without waiting. Readers that the caller has no answer for by the next
    /// call go on waiting.
    ///
    /// # Errors
    /// Those of read(2), `EAGAIN` left out.
    pub fn accesses(&self) -> Result<Vec<Access>, Errno> {
        // Room for some events; the kernel gives whole ones only.
        let mut buffer = [0; 4096];
        let length = match rustix::io::read(&self.fd, &mut buffer) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(errno) => return Err(errno),
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        let mut accesses = Vec::new();
        while let Some((access, after)) = next(rest) {
            accesses.extend(access);
            rest = after;
        }
        Ok(accesses)
    }

    /// Answers the reader whose access came with the descriptor numbered `file`, which may be one of a
    /// process that is no more.
    ///
    /// # Errors
    /// `ENOENT`: nobody waits for that.
    pub fn answer(&self, file: RawFd, answer: Answer) -> Result<(), Errno> {
        let answer = match answer {
            Answer::Allow => ALLOW,
            Answer::Fail => DENY_WITH_IO_ERROR,
        };
        let response = [file.to_ne_bytes(), answer.to_ne_bytes()].concat();
        rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, &response)).map(drop)
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The first event of what was read, and what follows it. An event without a file, as of an overflow,
/// is nobody's access.
fn next(bytes: &[u8]) -> Option<(Option<Access>, &[u8])> {
    // event_len, vers, reserved, metadata_len, mask, fd, pid.
    let (event, _) = bytes.split_first_chunk::<METADATA_BYTES>()?;
    let length = u32::from_ne_bytes([event[0], event[1], event[2], event[3]]) as usize;
    let metadata_bytes = u16::from_ne_bytes([event[6], event[7]]);
    let number = |at: usize| i32::from_ne_bytes(std::array::from_fn(|i| event[at + i]));
    let (fd, pid) = (number(16), number(20));
    let infos = bytes.get(metadata_bytes.into()..length);
    let rest = bytes.get(length.max(METADATA_BYTES)..)?;
    if fd < 0 {
        return Some((None, rest));
    }
    // SAFETY: the kernel has just opened this descriptor for us, as part of the event.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    let access = Access {
        file,
        pid,
        range: range(infos.unwrap_or_default()),
    };
    Some((Some(access), rest))
}

/// `struct fanotify_event_info_range`, if there is one.
fn range(mut infos: &[u8]) -> Option<Range<u64>> {
    while let [kind, _, low, high, ..] = *infos {
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let info = infos.get(..length).filter(|info| info.len() >= 4)?;
        if kind == INFO_RANGE && length >= RANGE_BYTES {
            let number = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| info[at + i]));
            return Some(number(8)..number(8).saturating_add(number(16)));
        }
        infos = &infos[length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_among_other_records() {
        let mut infos = vec![5, 0, 8, 0, 1, 2, 3, 4];
        infos.extend([INFO_RANGE, 0, 24, 0, 0, 0, 0, 0]);
        infos.extend(4096_u64.to_ne_bytes());
        infos.extend(100_u64.to_ne_bytes());
        assert_eq!(range(&infos), Some(4096..4196));
        assert_eq!(range(&infos[..8]), None);
        assert_eq!(range(&infos[..20]), None);
        assert_eq!(range(&[6, 0, 0, 0]), None);
        assert_eq!(range(&[]), None);
    }

    #[test]
    fn a_reader_waits_for_its_answer() {
        let file = tempfile::tempfile_in("/var/tmp").expect("a file");
        rustix::fs::ftruncate(&file, 8192).expect("long");
        let group = match Group::new() {
            Ok(group) => group,
            Err(errno) => return eprintln!("skipped: no pre-content events here: {errno}"),
        };
        if let Err(errno) = group.watch(file.as_fd()) {
            return eprintln!("skipped: no pre-content events here: {errno}");
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        for answer in [Answer::Allow, Answer::Fail] {
            let path = path.clone();
            let reader = std::thread::spawn(move || {
                use std::os::unix::fs::FileExt;
                let file = std::fs::File::open(path).expect("opened");
                file.read_exact_at(&mut [0; 100], 4096)
            });
            let access = loop {
                let mut polled = [rustix::event::PollFd::new(
                    &group,
                    rustix::event::PollFlags::IN,
                )];
                rustix::event::poll(&mut polled, None).expect("polled");
                if let Some(access) = group.accesses().expect("asked").pop() {
                    break access;
                }
            };
            // The kernel asks about whole pages.
            assert_eq!(access.range, Some(4096..8192));
            assert_eq!(access.pid, std::process::id() as i32);
            group
                .answer(access.file.as_raw_fd(), answer)
                .expect("answered");
            let read = reader.join().expect("ended");
            assert_eq!(read.is_ok(), answer == Answer::Allow);
            let gone = group.answer(access.file.as_raw_fd(), answer);
            assert_eq!(gone, Err(Errno::NOENT));
        }
        group.forget(file.as_fd()).expect("forgotten");
        group.forget(file.as_fd()).expect("forgotten twice");
    }
}
