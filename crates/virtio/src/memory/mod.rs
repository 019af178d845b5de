//! Guest memory: regions of one sealed memfd, mapped shared, so that another process (a vhost-user
//! back end, a snapshot) can have the same pages by the descriptor.
//!
//! Where the regions lie is the machine's business. Every access names guest addresses and is checked
//! here; the guest may change any byte at any time, so nothing ever becomes a Rust reference. Transfers
//! between descriptors and guest memory are in [`io`].

mod io;
mod shown;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use vm_memory::guest_memory::FileOffset;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
};

pub use io::TransferError;

/// The size of the pages that the guest counts in, for the balloon and for alignment.
pub const PAGE_BYTES: u64 = 4096;
/// The size of a huge page (hugetlbpage, x86-64 and aarch64 with 4 KiB pages).
pub const HUGE_PAGE_BYTES: u64 = 2 << 20;

/// A contiguous piece of the guest's physical address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Where the guest sees it; a multiple of the page size.
    pub guest_base: u64,
    /// A multiple of the page size, and not 0.
    pub size_bytes: u64,
}

/// What pages back the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Pages of 4 KiB, given when they are first touched; they can be given back.
    Base,
    /// Huge pages of 2 MiB from the host's pool, reserved at once; they are never given back, because a
    /// reservation that was let go may end in SIGBUS.
    Huge,
}

/// One region as it is mapped: what KVM and vhost-user are told.
#[derive(Debug, Clone, Copy)]
pub struct Mapping<'a> {
    /// The region.
    pub region: Region,
    /// Its first byte in this process.
    pub host_address: u64,
    /// The memfd.
    pub file: BorrowedFd<'a>,
    /// Where the region begins in the memfd.
    pub file_offset: u64,
}

/// Why there is no such memory, or no such place in it.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("guest memory without regions")]
    Empty,
    #[error("region at {guest_base:#x} of {size_bytes:#x} bytes is not made of whole pages")]
    Unaligned { guest_base: u64, size_bytes: u64 },
    #[error("{size_bytes} bytes of guest memory cannot be had")]
    Allocate { size_bytes: u64, source: Errno },
    #[error("region at {guest_base:#x} cannot be mapped")]
    Map {
        guest_base: u64,
        source: vm_memory::mmap::FromRangesError,
    },
    #[error("the file of the region at {guest_base:#x} is too short or may shrink")]
    File { guest_base: u64 },
    #[error("the regions overlap or are out of order")]
    Order(#[source] vm_memory::region::GuestRegionCollectionError),
    #[error("{length} bytes at {address:#x} are not guest memory")]
    Outside { address: u64, length: u64 },
    #[error("huge pages are not given back")]
    Huge,
    #[error("{length} bytes at {address:#x} cannot be given back")]
    Discard {
        address: u64,
        length: u64,
        source: Errno,
    },
}

/// A guest's memory. A clone is another handle to the same one.
#[derive(Debug, Clone)]
pub struct Memory {
    map: Arc<GuestMemoryMmap>,
    pages: Pages,
}

impl Memory {
    /// Makes memory of these regions, in ascending order, filled with zeroes.
    ///
    /// # Errors
    /// What is wrong with the regions, or what the host cannot give.
    pub fn new(regions: &[Region], pages: Pages) -> Result<Self, MemoryError> {
        let size_bytes = check(regions, pages)?;
        let file = allocate(size_bytes, pages)
            .map_err(|source| MemoryError::Allocate { size_bytes, source })?;
        let file = Arc::new(file);
        let mut mapped = Vec::with_capacity(regions.len());
        let mut offset = 0;
        for region in regions {
            mapped.push(map(region, &file, offset, pages)?);
            offset += region.size_bytes;
        }
        let map = GuestMemoryMmap::from_regions(mapped).map_err(MemoryError::Order)?;
        Ok(Self {
            map: Arc::new(map),
            pages,
        })
    }

    /// Maps memory that another process has made: regions, in any order, each with its file and where it
    /// begins there. The files are sealed against shrinking, so that no access ends in SIGBUS.
    ///
    /// # Errors
    /// What is wrong with the regions or with their files.
    pub fn shared(mut regions: Vec<(Region, File, u64)>) -> Result<Self, MemoryError> {
        regions.sort_by_key(|(region, ..)| region.guest_base);
        let bare: Vec<_> = regions.iter().map(|(region, ..)| *region).collect();
        check(&bare, Pages::Base)?;
        let mut mapped = Vec::with_capacity(regions.len());
        for (region, file, offset) in regions {
            check_file(&region, &file, offset)?;
            mapped.push(map(&region, &Arc::new(file), offset, Pages::Base)?);
        }
        let map = GuestMemoryMmap::from_regions(mapped).map_err(MemoryError::Order)?;
        Ok(Self {
            map: Arc::new(map),
            pages: Pages::Base,
        })
    }

    /// The regions, in ascending order.
    pub fn mappings(&self) -> impl Iterator<Item = Mapping<'_>> {
        self.map.iter().filter_map(|region| {
            let file = region.file_offset()?;
            Some(Mapping {
                region: Region {
                    guest_base: region.start_addr().0,
                    size_bytes: region.len(),
                },
                host_address: region.as_ptr() as u64,
                file: file.file().as_fd(),
                file_offset: file.start(),
            })
        })
    }

    /// Whether all of `length` bytes at `address` are memory.
    #[must_use]
    pub fn contains(&self, address: u64, length: u64) -> bool {
        usize::try_from(length)
            .is_ok_and(|length| self.map.check_range(GuestAddress(address), length))
    }

    /// Copies from guest memory.
    ///
    /// # Errors
    /// [`MemoryError::Outside`]; then `into` holds anything.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let length = into.len() as u64;
        let read = self.map.read_slice(into, GuestAddress(address));
        read.map_err(|_| MemoryError::Outside { address, length })
    }

    /// Copies into guest memory.
    ///
    /// # Errors
    /// [`MemoryError::Outside`]; then nothing is written.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let length = from.len() as u64;
        if !self.contains(address, length) {
            return Err(MemoryError::Outside { address, length });
        }
        let written = self.map.write_slice(from, GuestAddress(address));
        written.map_err(|_| MemoryError::Outside { address, length })
    }

    /// Gives pages back to the host: those that lie wholly in the range read as zeroes from now on and
    /// cost nothing until they are touched (fallocate(2), `FALLOC_FL_PUNCH_HOLE`, which also takes them
    /// out of every mapping). Says how many bytes that were.
    ///
    /// # Errors
    /// [`MemoryError::Huge`], [`MemoryError::Outside`], or what the host says.
    pub fn discard(&self, address: u64, length: u64) -> Result<u64, MemoryError> {
        if self.pages == Pages::Huge {
            return Err(MemoryError::Huge);
        }
        if !self.contains(address, length) {
            return Err(MemoryError::Outside { address, length });
        }
        let mut at = address.next_multiple_of(PAGE_BYTES);
        let end = (address + length) & !(PAGE_BYTES - 1);
        let mut given_bytes = 0;
        while at < end {
            let piece = self.discard_in_region(at, end - at)?;
            given_bytes += piece;
            at += piece;
        }
        Ok(given_bytes)
    }

    /// Up to the end of the region that `address` is in; regions are whole pages.
    fn discard_in_region(&self, address: u64, length: u64) -> Result<u64, MemoryError> {
        let outside = MemoryError::Outside { address, length };
        let Some(region) = self.map.find_region(GuestAddress(address)) else {
            return Err(outside);
        };
        let Some(file) = region.file_offset() else {
            return Err(outside);
        };
        let start = address - region.start_addr().0;
        let length = length.min(region.len() - start);
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(file.file(), flags, file.start() + start, length).map_err(
            |source| MemoryError::Discard {
                address,
                length,
                source,
            },
        )?;
        Ok(length)
    }

    /// What the rings are read and written through.
    pub(crate) fn map(&self) -> &GuestMemoryMmap {
        &self.map
    }
}

/// The sum of the sizes.
fn check(regions: &[Region], pages: Pages) -> Result<u64, MemoryError> {
    let page = match pages {
        Pages::Base => PAGE_BYTES,
        Pages::Huge => HUGE_PAGE_BYTES,
    };
    let mut total: u64 = 0;
    for &Region {
        guest_base,
        size_bytes,
    } in regions
    {
        let whole = size_bytes > 0 && (guest_base | size_bytes).is_multiple_of(page);
        let end = guest_base.checked_add(size_bytes);
        let sum = total.checked_add(size_bytes).filter(|_| end.is_some());
        total = sum.filter(|_| whole).ok_or(MemoryError::Unaligned {
            guest_base,
            size_bytes,
        })?;
    }
    if total == 0 {
        return Err(MemoryError::Empty);
    }
    Ok(total)
}

/// A region's pages are in the file, and stay there.
fn check_file(region: &Region, file: &File, offset: u64) -> Result<(), MemoryError> {
    let end = offset.checked_add(region.size_bytes);
    let is_whole = offset.is_multiple_of(PAGE_BYTES);
    let size = rustix::fs::fstat(file).map(|stat| stat.st_size.cast_unsigned());
    let seals = rustix::fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    let has_all = size.is_ok_and(|size| end.is_some_and(|end| end <= size));
    if is_whole && has_all && seals.contains(SealFlags::SHRINK) {
        Ok(())
    } else {
        Err(MemoryError::File {
            guest_base: region.guest_base,
        })
    }
}

/// A memfd that nobody can shrink below the mappings, which would turn an access into SIGBUS.
fn allocate(size_bytes: u64, pages: Pages) -> Result<File, Errno> {
    let huge = match pages {
        Pages::Base => MemfdFlags::empty(),
        Pages::Huge => MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | huge;
    let file = rustix::fs::memfd_create(c"guest-memory", flags)?;
    rustix::fs::ftruncate(&file, size_bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

fn map(
    region: &Region,
    file: &Arc<File>,
    offset: u64,
    pages: Pages,
) -> Result<GuestRegionMmap, MemoryError> {
    use vm_memory::mmap::FromRangesError;

    let guest_base = region.guest_base;
    let failed = |source| MemoryError::Map { guest_base, source };
    // Huge pages are reserved by mmap, so that their lack is an error here and no signal later.
    let flags = match pages {
        Pages::Base => libc::MAP_SHARED | libc::MAP_NORESERVE,
        Pages::Huge => libc::MAP_SHARED,
    };
    let size_bytes = usize::try_from(region.size_bytes)
        .map_err(|_| failed(FromRangesError::InvalidGuestRegion))?;
    let mapping = MmapRegionBuilder::new(size_bytes)
        .with_file_offset(FileOffset::from_arc(Arc::clone(file), offset))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(flags)
        .with_hugetlbfs(pages == Pages::Huge)
        .build()
        .map_err(|error| failed(FromRangesError::MmapRegion(error)))?;
    GuestRegionMmap::new(mapping, GuestAddress(guest_base))
        .ok_or_else(|| failed(FromRangesError::InvalidGuestRegion))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn region(guest_base: u64, size_bytes: u64) -> Region {
        Region {
            guest_base,
            size_bytes,
        }
    }

    fn two() -> Memory {
        let regions = [region(0, MIB), region(2 * MIB, MIB)];
        Memory::new(&regions, Pages::Base).expect("memory")
    }

    #[test]
    fn what_is_written_can_be_read_and_holes_are_not_memory() {
        let memory = two();
        memory.write(MIB - 4, b"four").expect("the last four bytes");
        let mut read = [0; 4];
        memory.read(MIB - 4, &mut read).expect("read");
        assert_eq!(&read, b"four");
        assert!(memory.write(MIB - 3, b"four").is_err());
        memory.read(MIB - 4, &mut read).expect("read");
        assert_eq!(&read, b"four", "nothing was written");
        assert!(memory.contains(2 * MIB, MIB) && !memory.contains(2 * MIB, MIB + 1));
        assert!(!memory.contains(u64::MAX, 2) && !memory.contains(0, u64::MAX));
    }

    #[test]
    fn regions_are_whole_pages_in_order() {
        let refused = |regions: &[Region]| Memory::new(regions, Pages::Base).is_err();
        assert!(refused(&[]));
        assert!(refused(&[region(0, 0)]));
        assert!(refused(&[region(0, 5000)]));
        assert!(refused(&[region(100, PAGE_BYTES)]));
        assert!(refused(&[region(0, 2 * MIB), region(MIB, MIB)]));
        assert!(refused(&[region(u64::MAX - 4095, PAGE_BYTES)]));
        assert!(refused(&[region(0, 1 << 63), region(1 << 63, 1 << 62)]));
    }

    #[test]
    fn adjoining_regions_are_one_range() {
        let memory = Memory::new(&[region(0, MIB), region(MIB, MIB)], Pages::Base).expect("memory");
        memory.write(MIB - 2, b"four").expect("across");
        let mut read = [0; 4];
        memory.read(MIB - 2, &mut read).expect("across");
        assert_eq!(&read, b"four");
        memory.write(MIB - PAGE_BYTES, b"x").expect("written");
        let given = memory.discard(MIB - PAGE_BYTES, 2 * PAGE_BYTES);
        assert_eq!(given.expect("discarded"), 2 * PAGE_BYTES);
        memory.read(MIB - 2, &mut read).expect("across");
        assert_eq!(read, [0; 4]);
    }

    #[test]
    fn discarded_pages_cost_nothing_and_read_as_zeroes() {
        let memory = two();
        let blocks = || {
            let mapping = memory.mappings().next().expect("a region");
            rustix::fs::fstat(mapping.file).expect("stat").st_blocks
        };
        memory.write(0, &vec![7; MIB as usize]).expect("written");
        let before = blocks();
        // Only whole pages: the torn ones at both ends stay.
        let given = memory.discard(1, 4 * PAGE_BYTES).expect("discarded");
        assert_eq!(given, 3 * PAGE_BYTES);
        assert_eq!(before - blocks(), 3 * PAGE_BYTES as i64 / 512);
        let mut byte = [0];
        memory.read(0, &mut byte).expect("read");
        assert_eq!(byte, [7]);
        memory.read(PAGE_BYTES, &mut byte).expect("read");
        assert_eq!(byte, [0]);
        assert!(memory.discard(MIB - PAGE_BYTES, 2 * PAGE_BYTES).is_err());
        assert_eq!(memory.discard(1, 2).expect("no whole page"), 0);
    }

    #[test]
    fn huge_pages_are_mapped_or_refused_and_never_given_back() {
        match Memory::new(&[region(0, HUGE_PAGE_BYTES)], Pages::Huge) {
            Ok(memory) => {
                memory.write(0, b"huge").expect("written");
                assert!(matches!(
                    memory.discard(0, HUGE_PAGE_BYTES),
                    Err(MemoryError::Huge)
                ));
            }
            Err(error @ (MemoryError::Allocate { .. } | MemoryError::Map { .. })) => {
                eprintln!("skipped: no huge pages here: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
