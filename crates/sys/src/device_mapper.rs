//! The device mapper, as far as dm-verity needs it: a read-only block device whose every block is held
//! against a tree of hashes as it is read (kernel documentation, device-mapper, "verity";
//! `linux/dm-ioctl.h`).

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::mount::last_errno;

/// `_IOWR(DM_IOCTL, number, struct dm_ioctl)`.
const DM_LIST_DEVICES: libc::c_ulong = 0xc138_fd02;
const DM_DEV_CREATE: libc::c_ulong = 0xc138_fd03;
const DM_DEV_REMOVE: libc::c_ulong = 0xc138_fd04;
const DM_DEV_SUSPEND: libc::c_ulong = 0xc138_fd06;
const DM_TABLE_LOAD: libc::c_ulong = 0xc138_fd09;
/// Flags of `struct dm_ioctl`.
const DM_READONLY_FLAG: u32 = 1;
const DM_BUFFER_FULL_FLAG: u32 = 1 << 8;
const DM_DEFERRED_REMOVE: u32 = 1 << 17;
/// The interface that is spoken: 4.0, and nothing newer is used.
const VERSION: [u32; 3] = [4, 0, 0];
/// Bytes of a sector, of a block of data, and of one of hashes.
const SECTOR_BYTES: u64 = 512;
const BLOCK_BYTES: u64 = 4096;
/// Bytes of the data of one call, and of all names of devices.
const DATA_BYTES: usize = 16 << 10;
/// Bytes of a device's name with its zero byte: DM_NAME_LEN.
const NAME_BYTES: usize = 128;

/// `struct dm_ioctl`, with what follows it.
#[repr(C)]
struct Call {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; NAME_BYTES],
    uuid: [u8; 129],
    ends: [u8; 7],
    data: [u8; DATA_BYTES],
}

/// Bytes of `struct dm_ioctl` itself.
const HEADER_BYTES: usize = size_of::<Call>() - DATA_BYTES;

/// A block device under dm-verity. It goes, by itself, when nobody has it open or mounted.
#[derive(Debug)]
pub struct Verity {
    pub path: PathBuf,
    _fd: OwnedFd,
}

/// A tree of hashes over a device: SHA-256 without salt, blocks of 4096 bytes, no super block.
#[derive(Debug, Clone, Copy)]
pub struct Tree<'t> {
    /// The device that it is on, from its first byte on.
    pub device: &'t Path,
    /// The hash of its top block.
    pub root: &'t [u8; 32],
    /// Blocks of data under it.
    pub blocks: u64,
}

/// Makes a device called `name` of `data`, whose blocks are checked.
///
/// # Errors
/// `ENOENT`: no /dev/mapper/control, or no node of the device; `EINVAL`: no dm-verity, or a tree of
/// another size; `EBUSY`: the name is taken.
pub fn verity(name: &str, data: &Path, tree: Tree<'_>) -> Result<Verity, Errno> {
    let control = control()?;
    let mut call = Call::new(name)?;
    call.flags = DM_READONLY_FLAG;
    call.send(&control, DM_DEV_CREATE)?;
    let made = Call::table(name, data, tree)
        .and_then(|mut call| call.send(&control, DM_TABLE_LOAD))
        // Without DM_SUSPEND_FLAG it resumes: the table is the device's from now on.
        .and_then(|()| Call::new(name)?.send(&control, DM_DEV_SUSPEND))
        .and_then(|()| {
            let path = PathBuf::from(format!("/dev/dm-{}", minor(call.dev)));
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty())?;
            Ok(Verity { path, _fd: fd })
        });
    // While we have it open this is put off until it is closed; if we have not, it goes at once.
    let mut call = Call::new(name)?;
    call.flags = DM_DEFERRED_REMOVE;
    let removed = call.send(&control, DM_DEV_REMOVE);
    let made = made?;
    removed.map(|()| made)
}

/// Removes devices that are called `prefix…` and that nobody has open, as a process leaves one that is
/// killed while it makes it. Says which.
///
/// # Errors
/// `ENOENT`: there is no device mapper.
pub fn remove_unused(prefix: &str) -> Result<Vec<String>, Errno> {
    let control = control()?;
    let mut call = Call::new("")?;
    call.send(&control, DM_LIST_DEVICES)?;
    if call.flags & DM_BUFFER_FULL_FLAG != 0 {
        return Err(Errno::NOSPC);
    }
    let mut names = call.names();
    names.retain(|name| name.starts_with(prefix));
    names.retain(|name| {
        // EBUSY: it is in use.
        Call::new(name).is_ok_and(|mut call| call.send(&control, DM_DEV_REMOVE).is_ok())
    });
    Ok(names)
}

fn control() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, c"/dev/mapper/control", flags, Mode::empty())
}

/// As the kernel's new_decode_dev has it.
fn minor(dev: u64) -> u64 {
    (dev & 0xff) | ((dev >> 12) & 0xfff00)
}

impl Call {
    fn new(name: &str) -> Result<Box<Self>, Errno> {
        let mut call = Box::new(Self {
            version: VERSION,
            data_size: size_of::<Self>() as u32,
            data_start: HEADER_BYTES as u32,
            target_count: 0,
            open_count: 0,
            flags: 0,
            event_nr: 0,
            padding: 0,
            dev: 0,
            name: [0; NAME_BYTES],
            uuid: [0; 129],
            ends: [0; 7],
            data: [0; DATA_BYTES],
        });
        let room = call
            .name
            .get_mut(..name.len())
            .filter(|_| name.len() < NAME_BYTES);
        room.ok_or(Errno::NAMETOOLONG)?
            .copy_from_slice(name.as_bytes());
        Ok(call)
    }

    /// One target, `verity`, over the whole device: a `struct dm_target_spec` and its parameters.
    fn table(name: &str, data: &Path, tree: Tree<'_>) -> Result<Box<Self>, Errno> {
        const SPEC_BYTES: usize = 40;
        let mut call = Self::new(name)?;
        let root: String = tree.root.iter().map(|byte| format!("{byte:02x}")).collect();
        let parameters = format!(
            "1 {} {} {BLOCK_BYTES} {BLOCK_BYTES} {} 0 sha256 {root} -",
            data.display(),
            tree.device.display(),
            tree.blocks,
        );
        let sectors = tree.blocks * (BLOCK_BYTES / SECTOR_BYTES);
        // sector_start, length, status and next, target_type.
        call.data[8..16].copy_from_slice(&sectors.to_ne_bytes());
        call.data[24..30].copy_from_slice(b"verity");
        let room = call.data.get_mut(SPEC_BYTES..SPEC_BYTES + parameters.len());
        room.ok_or(Errno::NAMETOOLONG)?
            .copy_from_slice(parameters.as_bytes());
        call.target_count = 1;
        call.flags = DM_READONLY_FLAG;
        Ok(call)
    }

    fn send(&mut self, control: &OwnedFd, number: libc::c_ulong) -> Result<(), Errno> {
        // SAFETY: each of these calls reads and writes a dm_ioctl and the data after it, `data_size` bytes
        // in all, which is the size of this live repr(C) value of that layout; the kernel keeps none of it.
        let result = unsafe { libc::ioctl(control.as_raw_fd(), number, &raw mut *self) };
        match result {
            0 => Ok(()),
            _ => Err(last_errno()),
        }
    }

    /// The names of a list of devices: `struct dm_name_list` after each other, each saying how far it is
    /// to the next one.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let start = (self.data_start as usize).saturating_sub(HEADER_BYTES);
        let mut rest = self.data.get(start..).unwrap_or_default();
        loop {
            let (Some(dev), Some(next), Some(name)) =
                (rest.first_chunk(), rest.get(8..12), rest.get(12..))
            else {
                return names;
            };
            let next = next
                .first_chunk()
                .map_or(0, |next| u32::from_ne_bytes(*next));
            let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
            if u64::from_ne_bytes(*dev) != 0 {
                names.push(String::from_utf8_lossy(&name[..end]).into_owned());
            }
            match rest.get(next as usize..) {
                Some(further) if next > 0 => rest = further,
                _ => return names,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_kernels_size() {
        // sizeof(struct dm_ioctl), which is in the calls' numbers too.
        assert_eq!(HEADER_BYTES, 312);
        assert_eq!((DM_DEV_CREATE >> 16) & 0x3fff, 312);
    }

    #[test]
    fn device_numbers_are_split() {
        assert_eq!(minor(0xfd00), 0);
        assert_eq!(minor(0xfd07), 7);
        assert_eq!(minor(0x10_fd01), 0x101);
    }

    #[test]
    fn names_are_listed() {
        let mut call = Call::new("").expect("a call");
        call.data[..8].copy_from_slice(&1_u64.to_ne_bytes());
        call.data[8..12].copy_from_slice(&24_u32.to_ne_bytes());
        call.data[12..15].copy_from_slice(b"one");
        call.data[24..32].copy_from_slice(&2_u64.to_ne_bytes());
        call.data[36..39].copy_from_slice(b"two");
        assert_eq!(call.names(), ["one", "two"]);
    }
}
