//! fs-verity: a file that can only be read any more, and whose every block the kernel holds against a
//! tree of hashes as it is read; what does not fit is `EIO` (kernel documentation, "fs-verity").

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use crate::mount::last_errno;

/// `linux/fsverity.h`.
const FS_IOC_ENABLE_VERITY: libc::c_ulong = 0x4080_6685;
const FS_IOC_MEASURE_VERITY: libc::c_ulong = 0xc004_6686;
const FS_VERITY_HASH_ALG_SHA256: u32 = 1;
/// Bytes of data under one hash: what every kernel with fs-verity takes.
const BLOCK_BYTES: u32 = 4096;
/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;

/// `struct fsverity_enable_arg`.
#[repr(C)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest`, with room for SHA-256.
#[repr(C)]
struct Measured {
    digest_algorithm: u16,
    digest_size: u16,
    digest: [u8; DIGEST_BYTES],
}

/// Seals a file, which nobody has open for writing, with SHA-256 and without salt. The kernel writes it
/// out and reads it once; its content is right or wrong for ever after.
///
/// # Errors
/// `EOPNOTSUPP`, `ENOTTY`: the kernel or the file system does not know it; `ETXTBSY`: somebody may
/// write to it; `EEXIST`: it is sealed already.
pub fn enable(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let arg = EnableArg {
        version: 1,
        hash_algorithm: FS_VERITY_HASH_ALG_SHA256,
        block_size: BLOCK_BYTES,
        salt_size: 0,
        salt_ptr: 0,
        sig_size: 0,
        reserved1: 0,
        sig_ptr: 0,
        reserved2: [0; 11],
    };
    // SAFETY: FS_IOC_ENABLE_VERITY reads a fsverity_enable_arg, here a live repr(C) value of that
    // layout whose pointers are null with sizes of 0; it writes no memory of ours.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_ENABLE_VERITY, &raw const arg) };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

/// The digest of a sealed file: SHA-256 of its descriptor, which has its length and the root of the tree.
///
/// # Errors
/// `ENODATA`, `EOPNOTSUPP`, `ENOTTY`: it is not sealed; `EOVERFLOW`: with a longer digest.
pub fn measure(file: BorrowedFd<'_>) -> Result<[u8; DIGEST_BYTES], Errno> {
    let mut measured = Measured {
        digest_algorithm: 0,
        // How much room there is.
        digest_size: DIGEST_BYTES as u16,
        digest: [0; DIGEST_BYTES],
    };
    // SAFETY: FS_IOC_MEASURE_VERITY reads and writes a fsverity_digest, here a live repr(C) value of
    // that layout, and of the digest at most the `digest_size` bytes that follow it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_MEASURE_VERITY, &raw mut measured) };
    match result {
        0 if u32::from(measured.digest_algorithm) == FS_VERITY_HASH_ALG_SHA256 => {
            Ok(measured.digest)
        }
        0 => Err(Errno::OVERFLOW),
        _ => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_structures_have_the_kernels_size() {
        assert_eq!(size_of::<EnableArg>(), 128);
        assert_eq!(std::mem::offset_of!(Measured, digest), 4);
    }

    #[test]
    fn a_sealed_file_has_a_digest() {
        let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
        let path = directory.path().join("file");
        let mut file = std::fs::File::create(&path).expect("a file");
        file.write_all(b"content").expect("written");
        drop(file);
        let file = std::fs::File::open(&path).expect("it opens");
        assert!(measure(file.as_fd()).is_err());
        match enable(file.as_fd()) {
            Ok(()) => {
                assert_eq!(enable(file.as_fd()), Err(Errno::EXIST));
                assert_ne!(measure(file.as_fd()).expect("measured"), [0; 32]);
                assert!(std::fs::File::options().write(true).open(&path).is_err());
            }
            Err(errno) => eprintln!("skipped: no fs-verity here: {errno}"),
        }
    }
}
