//! Two pieces of files with the same bytes become one on disk: ioctl_fideduperange(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::mount::last_errno;

/// `linux/fs.h`.
const FIDEDUPERANGE: libc::c_ulong = 0xc018_9436;
/// `info[0].status`: the bytes are not the same.
const FILE_DEDUPE_RANGE_DIFFERS: i32 = 1;

/// A piece of a file, in bytes; a block's beginning.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'f> {
    pub file: BorrowedFd<'f>,
    pub offset: u64,
}

impl Piece<'_> {
    /// What begins so many bytes later.
    #[must_use]
    pub fn further(self, bytes: u64) -> Self {
        Self {
            offset: self.offset + bytes,
            ..self
        }
    }
}

/// `struct file_dedupe_range` with one `struct file_dedupe_range_info`.
#[repr(C)]
struct Range {
    src_offset: u64,
    src_length: u64,
    dest_count: u16,
    reserved1: u16,
    reserved2: u32,
    dest_fd: i64,
    dest_offset: u64,
    bytes_deduped: u64,
    status: i32,
    reserved: u32,
}

/// Has `length` bytes of `second` stored where those of `first` are. The kernel compares them first, so
/// nobody ever reads anything else. Says how many were: none if they differ, and no more than the file
/// system does in one call.
///
/// # Errors
/// `EOPNOTSUPP`, `ENOTTY`: the file system cannot; `EXDEV`: they are on two; `EINVAL`: offset or length is no
/// multiple of a block, and not the end of both files; `EPERM`: neither the owner nor root.
pub fn dedupe(first: Piece<'_>, second: Piece<'_>, length: u64) -> Result<u64, Errno> {
    let mut range = Range {
        src_offset: first.offset,
        src_length: length,
        dest_count: 1,
        reserved1: 0,
        reserved2: 0,
        dest_fd: second.file.as_raw_fd().into(),
        dest_offset: second.offset,
        bytes_deduped: 0,
        status: 0,
        reserved: 0,
    };
    // SAFETY: FIDEDUPERANGE reads and writes a file_dedupe_range followed by dest_count infos, here a
    // live repr(C) value of that layout with one; it keeps no pointer.
    let result = unsafe { libc::ioctl(first.file.as_raw_fd(), FIDEDUPERANGE, &raw mut range) };
    match (result, range.status) {
        (0, 0) => Ok(range.bytes_deduped),
        (0, FILE_DEDUPE_RANGE_DIFFERS) => Ok(0),
        (0, error) => Err(Errno::from_raw_os_error(error.saturating_neg())),
        _ => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_structure_has_the_kernels_size() {
        assert_eq!(size_of::<Range>(), 24 + 32);
    }

    #[test]
    fn other_bytes_are_never_shared() {
        let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let file = |name: &str, byte: u8| {
            let path = directory.path().join(name);
            std::fs::write(&path, vec![byte; 8192]).expect("written");
            File::open(&path).expect("it opens")
        };
        let (one, same, other) = (file("one", 1), file("same", 1), file("other", 2));
        let piece = |file: &File, offset| {
            dedupe(
                Piece {
                    file: one.as_fd(),
                    offset: 0,
                },
                Piece {
                    file: file.as_fd(),
                    offset,
                },
                4096,
            )
        };
        match piece(&same, 4096) {
            Ok(bytes) => {
                assert_eq!(bytes, 4096);
                assert_eq!(piece(&other, 0), Ok(0));
            }
            Err(errno) => eprintln!("skipped: no file here shares its blocks: {errno}"),
        }
    }
}
