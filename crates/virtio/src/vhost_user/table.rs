//! The memory table: the guest's memory as the front end shares it, and the front end's own addresses of it,
//! by which it says where queues are.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::message::{Fields, REGIONS_MAX};
use crate::memory::{Memory, Region};

/// Where a region is for both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    region: Region,
    /// Its first byte in the front end.
    user_base: u64,
    file_offset: u64,
    /// Device and inode.
    file: (u64, u64),
}

/// A table as it is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told(Vec<Entry>);

impl Told {
    /// `None`: it makes no sense.
    pub(super) fn parse(payload: &[u8], descriptors: &[OwnedFd]) -> Option<Self> {
        let mut fields = Fields(payload);
        let count = fields.u32()? as usize;
        let _padding = fields.u32()?;
        if count > REGIONS_MAX || count != descriptors.len() {
            return None;
        }
        let entries = descriptors.iter().map(|file| entry(&mut fields, file));
        Some(Self(entries.collect::<Option<_>>()?))
    }
}

/// The table of a front end's.
#[derive(Debug)]
pub(super) struct Table {
    told: Told,
    pub(super) memory: Memory,
}

impl Table {
    /// `None`: that cannot be mapped.
    pub(super) fn map(told: Told, descriptors: Vec<OwnedFd>) -> Option<Self> {
        let regions = told.0.iter().zip(descriptors);
        let regions = regions.map(|(entry, file)| (entry.region, file.into(), entry.file_offset));
        let memory = Memory::shared(regions.collect()).ok()?;
        Some(Self { told, memory })
    }

    pub(super) fn is(&self, told: &Told) -> bool {
        self.told == *told
    }

    /// The payload that shares this memory, and its descriptors.
    pub(super) fn payload(memory: &Memory) -> (Vec<u8>, Vec<BorrowedFd<'_>>) {
        let (mut bytes, mut files) = (Vec::new(), Vec::new());
        for mapping in memory.mappings() {
            for number in [
                mapping.region.guest_base,
                mapping.region.size_bytes,
                mapping.host_address,
                mapping.file_offset,
            ] {
                bytes.extend(number.to_le_bytes());
            }
            files.push(mapping.file);
        }
        let count = (files.len() as u64).to_le_bytes();
        ([count.as_slice(), &bytes].concat(), files)
    }

    /// The guest's address of what the front end has at `user`.
    pub(super) fn guest_address(&self, user: u64) -> Option<u64> {
        self.told.0.iter().find_map(|entry| {
            let offset = user.checked_sub(entry.user_base)?;
            (offset < entry.region.size_bytes).then(|| entry.region.guest_base + offset)
        })
    }
}

/// This process's address of what the guest has at `address`.
pub(super) fn host_address(memory: &Memory, address: u64) -> Option<u64> {
    memory.mappings().find_map(|mapping| {
        let offset = address.checked_sub(mapping.region.guest_base)?;
        (offset < mapping.region.size_bytes).then(|| mapping.host_address + offset)
    })
}

fn entry(fields: &mut Fields<'_>, file: &OwnedFd) -> Option<Entry> {
    let stat = rustix::fs::fstat(file.as_fd()).ok()?;
    let region = Region {
        guest_base: fields.u64()?,
        size_bytes: fields.u64()?,
    };
    Some(Entry {
        region,
        user_base: fields.u64()?,
        file_offset: fields.u64()?,
        file: (stat.st_dev, stat.st_ino),
    })
}
