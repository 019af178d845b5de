//! Pages of a file in guest memory, instead of a copy of them: what many guests begin with, they share.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use super::{Memory, PAGE_BYTES, Pages, TransferError};

impl Memory {
    /// Shows whole pages of `file` at `address` in place of the memory's own: nothing is copied before the guest
    /// writes to one of them, and what it writes stays with it (mmap(2), `MAP_PRIVATE`). The file has to keep its
    /// length for as long as there is the memory. Another process that has the memory's file sees its own pages
    /// there: it is for what no device is ever given.
    ///
    /// # Errors
    /// [`TransferError::Buffers`] if that is not whole pages of one region, or what the host says.
    pub fn show(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        address: u64,
        length: u64,
    ) -> Result<(), TransferError> {
        let fault = TransferError::Buffers;
        let (region, start) = self.pages_of_one_region(address, length).ok_or(fault)?;
        self.replace(region, start, length, libc::MAP_PRIVATE, file, offset)
    }

    /// Takes back what [`Memory::show`] did.
    ///
    /// # Errors
    /// As there.
    pub fn hide(&self, address: u64, length: u64) -> Result<(), TransferError> {
        let fault = TransferError::Buffers;
        let (region, start) = self.pages_of_one_region(address, length).ok_or(fault)?;
        let own = region.file_offset().ok_or(fault)?;
        let offset = own.start() + start;
        self.replace(
            region,
            start,
            length,
            libc::MAP_SHARED,
            own.file().as_fd(),
            offset,
        )
    }

    /// The region, and where in it they begin.
    fn pages_of_one_region(&self, address: u64, length: u64) -> Option<(&GuestRegionMmap, u64)> {
        let region = self.map.find_region(GuestAddress(address))?;
        let start = address - region.start_addr().0;
        let is_whole = self.pages == Pages::Base && (start | length).is_multiple_of(PAGE_BYTES);
        (is_whole && length > 0 && length <= region.len() - start).then_some((region, start))
    }

    /// Maps `file` over a part of a region.
    fn replace(
        &self,
        region: &GuestRegionMmap,
        start: u64,
        length: u64,
        sharing: libc::c_int,
        file: BorrowedFd<'_>,
        offset: u64,
    ) -> Result<(), TransferError> {
        let offset = libc::off_t::try_from(offset).map_err(|_| TransferError::Buffers)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = sharing | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let at = region.as_ptr().wrapping_add(start as usize).cast();
        // SAFETY: `start` and `length` are whole pages within the region (`pages_of_one_region`), which the map
        // owns, and unmaps as a whole at its end. No Rust reference points to guest memory, and what is there
        // afterwards can be read and written as before.
        let mapped =
            unsafe { libc::mmap(at, length as usize, access, flags, file.as_raw_fd(), offset) };
        match mapped {
            libc::MAP_FAILED => Err(TransferError::Host(
                Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::super::Region;
    use super::*;

    const BASE: u64 = 1 << 20;

    fn memory(pages: Pages) -> Memory {
        let region = Region {
            guest_base: BASE,
            size_bytes: 1 << 20,
        };
        Memory::new(&[region], pages).expect("memory")
    }

    fn byte(memory: &Memory, address: u64) -> u8 {
        let mut byte = [0];
        memory.read(address, &mut byte).expect("read");
        byte[0]
    }

    #[test]
    fn a_guest_sees_the_file_and_keeps_what_it_writes() {
        let (one, other) = (memory(Pages::Base), memory(Pages::Base));
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&[7; 3 * 4096], 0).expect("written");
        for memory in [&one, &other] {
            memory.write(BASE + 4096, &[1; 4096]).expect("written");
            memory
                .show(file.as_fd(), 4096, BASE + 4096, 2 * 4096)
                .expect("shown");
        }
        one.write(BASE + 4096, &[9]).expect("written");
        let seen = [
            BASE + 4095,
            BASE + 4096,
            BASE + 4097,
            BASE + 3 * 4096 - 1,
            BASE + 3 * 4096,
        ];
        assert_eq!(seen.map(|at| byte(&one, at)), [0, 9, 7, 7, 0]);
        assert_eq!(seen.map(|at| byte(&other, at)), [0, 7, 7, 7, 0]);
        let mut kept = [0];
        file.read_exact_at(&mut kept, 4096).expect("read");
        assert_eq!(kept, [7]);
        // Its own pages are there again, with what was in them.
        one.hide(BASE + 4096, 2 * 4096).expect("hidden");
        assert_eq!(seen.map(|at| byte(&one, at)), [0, 1, 1, 0, 0]);
    }

    #[test]
    fn only_whole_pages_of_a_region_are_shown() {
        let memory = memory(Pages::Base);
        let file = tempfile::tempfile().expect("a file");
        file.set_len(4 << 20).expect("a length");
        let all = [
            (BASE + 1, 4096),
            (BASE, 4095),
            (BASE, 0),
            (BASE - 4096, 8192),
            (BASE + (1 << 20) - 4096, 8192),
            (BASE, 1 << 63),
        ];
        for (address, length) in all {
            let shown = memory.show(file.as_fd(), 0, address, length);
            assert_eq!(
                shown,
                Err(TransferError::Buffers),
                "{address:#x} {length:#x}"
            );
        }
        // mmap(2) has the last word.
        let shown = memory.show(file.as_fd(), 1, BASE, 4096);
        assert_eq!(shown, Err(TransferError::Host(Errno::INVAL)));
        assert_eq!(byte(&memory, BASE), 0);
    }
}
