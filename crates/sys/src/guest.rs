//! What only the first process of a virtual machine asks of its kernel: connections to the host
//! (vsock(7)), and to take bytes for its random numbers (random(4)). rustix has neither.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::mount::last_errno;

/// Connects to a port of the machine `cid`; 2 is the host.
///
/// # Errors
/// `ECONNRESET`: nobody is behind the port; `EAFNOSUPPORT`, `ENODEV`: a kernel or a machine without vsock.
pub fn connect_vsock(cid: u32, port: u32) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
    // SAFETY: all zeroes is a valid `sockaddr_vm`: integers and an array of them.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    let length = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
    // SAFETY: connect reads `length` bytes of an address, here those of a live sockaddr_vm.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if result == 0 {
        Ok(socket)
    } else {
        Err(last_errno())
    }
}

/// The most bytes that [`add_entropy`] takes at a time.
pub const MAX_ENTROPY_BYTES: usize = 256;

/// `struct rand_pool_info` of `linux/random.h`, with room.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    size_bytes: libc::c_int,
    bytes: [u8; MAX_ENTROPY_BYTES],
}

/// `_IOW('R', 0x03, int [2])` of `linux/random.h`.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;

/// Has the kernel mix `bytes`, of which it gets all bits' worth, into its random numbers. `random` is
/// /dev/random, open for writing; what is beyond [`MAX_ENTROPY_BYTES`] is left out.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN.
pub fn add_entropy(random: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    let bytes = &bytes[..bytes.len().min(MAX_ENTROPY_BYTES)];
    let mut info = PoolInfo {
        entropy_bits: (bytes.len() * 8) as libc::c_int,
        size_bytes: bytes.len() as libc::c_int,
        bytes: [0; MAX_ENTROPY_BYTES],
    };
    info.bytes[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: RNDADDENTROPY reads two ints and as many bytes as the second one says: both are in the
    // live repr(C) value, which has room for that many.
    let result = unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY, &raw const info) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn no_connection_to_nobody() {
        // Wherever the test runs: port 0 is nobody's.
        assert!(connect_vsock(2, 0).is_err());
    }

    #[test]
    fn entropy_wants_the_random_device() {
        let null = std::fs::File::options()
            .write(true)
            .open("/dev/null")
            .unwrap();
        assert!(add_entropy(null.as_fd(), &[1; 1000]).is_err());
    }
}
