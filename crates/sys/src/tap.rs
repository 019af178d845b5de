//! TAP devices: an Ethernet interface whose other end is a descriptor; the kernel's
//! `Documentation/networking/tuntap.rst`, `linux/if_tun.h`. rustix has none of their calls.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::mount::last_errno;

/// Bytes of the header before each packet: `struct virtio_net_hdr_v1` (VIRTIO 1.2, 5.1.6).
pub const HEADER_BYTES: usize = 12;

// What the reader of a TAP device can deal with; a set of these bits is given to `set_offload`.
/// Packets without a checksum.
pub const OFFLOAD_CHECKSUM: u32 = 1;
/// TCP segments over IPv4 larger than the MTU.
pub const OFFLOAD_TSO4: u32 = 2;
/// The same over IPv6.
pub const OFFLOAD_TSO6: u32 = 4;
/// The same with congestion marks.
pub const OFFLOAD_TSO_ECN: u32 = 8;

/// `IFNAMSIZ` of `linux/if.h`, with the zero at the end.
const NAME_BYTES: usize = 16;

/// `struct ifreq` of `linux/if.h`, for requests with flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; NAME_BYTES],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Opens the interface `name` of the calling thread's network namespace, or makes it: then it lives as long
/// as the descriptor. Each read and write is one packet behind a header of [`HEADER_BYTES`], and none
/// blocks.
///
/// # Errors
/// `EPERM`: neither the interface's owner nor CAP_NET_ADMIN; `EBUSY`: somebody else has it open; `EINVAL`:
/// no such name, or an interface of another kind; `ENOENT`, `ENODEV`: no /dev/net/tun.
pub fn open(name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let tap = rustix::fs::openat(CWD, c"/dev/net/tun", flags, Mode::empty())?;
    if name.is_empty() || name.len() >= NAME_BYTES {
        return Err(Errno::INVAL);
    }
    let kind = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let mut request = InterfaceRequest {
        name: [0; NAME_BYTES],
        flags: kind as libc::c_short,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes an `ifreq`, here a live repr(C) value of that size.
    let made = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if made != 0 {
        return Err(last_errno());
    }
    let header = HEADER_BYTES as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads an int, which lives here.
    let set = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header) };
    if set != 0 {
        return Err(last_errno());
    }
    Ok(tap)
}

/// Says what the reader can deal with: any of the `OFFLOAD_` bits. Without a checksum there are no large
/// segments.
///
/// # Errors
/// `EINVAL`: a bit that this kernel does not have; `ENOTTY`: no TAP device.
pub fn set_offload(tap: BorrowedFd<'_>, offload: u32) -> Result<(), Errno> {
    let offload = libc::c_ulong::from(offload);
    // SAFETY: TUNSETOFFLOAD takes a number, and touches no memory of ours.
    let set = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, offload) };
    if set == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn an_interface_is_there_as_long_as_its_descriptor() {
        let name = format!("gmtap{}", std::process::id() % 1_000_000);
        let path = format!("/sys/class/net/{name}");
        match open(&name) {
            Ok(tap) => {
                assert_eq!(open(&name).err(), Some(Errno::BUSY));
                let all = OFFLOAD_CHECKSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_TSO_ECN;
                set_offload(tap.as_fd(), all).expect("all of them");
                assert_eq!(set_offload(tap.as_fd(), 1 << 30), Err(Errno::INVAL));
                set_offload(tap.as_fd(), 0).expect("none");
                // Nobody has put it up.
                let read = rustix::io::read(&tap, &mut [0; 64]);
                assert!(matches!(read, Err(Errno::AGAIN | Errno::IO)), "{read:?}");
                drop(tap);
                assert!(!std::path::Path::new(&path).exists());
            }
            Err(errno @ (Errno::NOENT | Errno::NODEV | Errno::PERM | Errno::ACCESS)) => {
                eprintln!("skipped: no TAP devices here: {errno}");
            }
            Err(errno) => panic!("{errno}"),
        }
    }

    #[test]
    fn the_structure_has_the_kernels_size() {
        assert_eq!(size_of::<InterfaceRequest>(), size_of::<libc::ifreq>());
    }

    #[test]
    fn a_name_must_fit() {
        assert_eq!(open("").err(), Some(Errno::INVAL));
        assert_eq!(open("sixteen-letters-").err(), Some(Errno::INVAL));
    }
}
