//! Loop devices: a file as a read-only block device; loop(4). rustix has none of their calls.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::mount::last_errno;

/// `linux/loop.h`.
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4c82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// How often another process may be quicker with the free device before that is taken for a fault.
const ATTEMPTS: u32 = 64;

/// `struct loop_info64` of `linux/loop.h`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of `linux/loop.h`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    /// 0: the kernel chooses.
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A loop device, with the path that names it. It is gone when nobody has it open or mounted.
#[derive(Debug)]
pub struct LoopDevice {
    pub path: PathBuf,
    _fd: OwnedFd,
}

/// Makes `file` a read-only block device. Its blocks are read without the file's own page cache where
/// the file system can: they are cached once, as the device's.
///
/// # Errors
/// `ENOENT`: no /dev/loop-control, or no device node; `EPERM`, `EACCES`: not the host's root;
/// `EINVAL`: Linux before 5.8.
pub fn attach(file: BorrowedFd<'_>) -> Result<LoopDevice, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let control = rustix::fs::openat(CWD, c"/dev/loop-control", flags, Mode::empty())?;
    let mut attempts = 0;
    loop {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of ours.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(last_errno());
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let device = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
        match configure(device.as_fd(), file) {
            Ok(()) => return Ok(LoopDevice { path, _fd: device }),
            // Another process was quicker with it.
            Err(Errno::BUSY) if attempts < ATTEMPTS => attempts += 1,
            Err(errno) => return Err(errno),
        }
    }
}

fn configure(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> Result<(), Errno> {
    let config = LoopConfig {
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads a loop_config, here a live repr(C) value of that layout; it writes
    // no memory, and keeps a reference of its own to the file.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    match result {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_size() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn a_file_can_be_read_as_a_device() {
        let mut file = tempfile::tempfile_in("/var/tmp").expect("a file");
        std::io::Write::write_all(&mut file, &[b'x'; 8192]).expect("written");
        match attach(file.as_fd()) {
            Ok(device) => assert_eq!(std::fs::read(&device.path).expect("read"), [b'x'; 8192]),
            Err(errno @ (Errno::NOENT | Errno::PERM | Errno::ACCESS)) => {
                eprintln!("skipped: no loop devices here: {errno}");
            }
            Err(errno) => panic!("{errno}"),
        }
    }
}
