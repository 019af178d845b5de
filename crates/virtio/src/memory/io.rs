//! Transfers between a descriptor and guest memory, without a copy of ours in between: the kernel is given
//! guest memory by its host address.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{Memory, Pages};
use crate::chain::Buffers;

/// The most pieces that one call takes: `IOV_MAX` of Linux, `UIO_MAXIOV` of `linux/uio.h`.
const PIECES_MAX: usize = 1024;

/// Why a transfer did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The buffers are no guest memory, or in more pieces than one call takes.
    #[error("the buffers cannot be used")]
    Buffers,
    /// The file ended before the buffers did.
    #[error("the file is shorter than it was")]
    End,
    /// What the kernel says.
    #[error(transparent)]
    Host(#[from] Errno),
}

/// Pieces of mapped guest memory, at most [`PIECES_MAX`], that the kernel may be given for as long as the
/// memory is borrowed.
struct Pieces<'a> {
    pieces: Vec<libc::iovec>,
    length: u64,
    memory: PhantomData<&'a Memory>,
}

impl Pieces<'_> {
    fn count(&self) -> libc::c_int {
        // At most PIECES_MAX.
        self.pieces.len() as libc::c_int
    }

    /// readv(2).
    fn fill(&self, from: BorrowedFd<'_>) -> Result<usize, TransferError> {
        // SAFETY: readv writes into `count` pieces at `as_ptr`, and each is guest memory, which is mapped
        // while `self` borrows it and which no Rust reference points to.
        let read = unsafe { libc::readv(from.as_raw_fd(), self.pieces.as_ptr(), self.count()) };
        transferred(read)
    }

    /// writev(2).
    fn drain(&self, to: BorrowedFd<'_>) -> Result<usize, TransferError> {
        // SAFETY: writev reads `count` pieces at `as_ptr`, and each is guest memory, which is mapped while
        // `self` borrows it.
        let written = unsafe { libc::writev(to.as_raw_fd(), self.pieces.as_ptr(), self.count()) };
        transferred(written)
    }
}

impl Memory {
    /// One readv(2) into the front of the buffers; the number of bytes, 0 at the end of the stream.
    pub(crate) fn receive(
        &self,
        from: BorrowedFd<'_>,
        into: &Buffers,
    ) -> Result<usize, TransferError> {
        self.pieces(into)?.fill(from)
    }

    /// One writev(2) from the front of the buffers; the number of bytes.
    pub(crate) fn send(&self, to: BorrowedFd<'_>, from: &Buffers) -> Result<usize, TransferError> {
        self.pieces(from)?.drain(to)
    }

    /// As [`Memory::receive`] where one call is one packet: with all of the buffers or not at all.
    pub(crate) fn receive_packet(
        &self,
        from: BorrowedFd<'_>,
        into: &Buffers,
    ) -> Result<usize, TransferError> {
        self.all_pieces(into)?.fill(from)
    }

    /// As [`Memory::send`] where one call is one packet: all of the buffers or nothing.
    pub(crate) fn send_packet(
        &self,
        to: BorrowedFd<'_>,
        from: &Buffers,
    ) -> Result<usize, TransferError> {
        self.all_pieces(from)?.drain(to)
    }

    /// Fills the buffers with what the file has at `offset`.
    pub(crate) fn read_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        into: Buffers,
    ) -> Result<(), TransferError> {
        all(into.len(), self.read_file_at_most(file, offset, into))
    }

    /// Writes all of the buffers into the file at `offset`.
    pub(crate) fn write_file(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        from: Buffers,
    ) -> Result<(), TransferError> {
        all(from.len(), self.write_file_at_most(file, offset, from))
    }

    /// Fills the front of the buffers with what the file has from `offset` to its end. Says how many bytes
    /// that were, and what kept it from going on before the end.
    pub(crate) fn read_file_at_most(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        into: Buffers,
    ) -> (u64, Result<(), TransferError>) {
        piecewise(offset, into, |at, into| {
            let pieces = self.pieces(into)?;
            let vector = pieces.pieces.as_ptr();
            // SAFETY: as in `Pieces::fill`.
            transferred(unsafe { libc::preadv(file.as_raw_fd(), vector, pieces.count(), at) })
        })
    }

    /// Writes the buffers into the file at `offset`. Says how many bytes of them, and what kept it from
    /// going on.
    pub(crate) fn write_file_at_most(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        from: Buffers,
    ) -> (u64, Result<(), TransferError>) {
        piecewise(offset, from, |at, from| {
            let pieces = self.pieces(from)?;
            let vector = pieces.pieces.as_ptr();
            // SAFETY: as in `Pieces::drain`.
            transferred(unsafe { libc::pwritev(file.as_raw_fd(), vector, pieces.count(), at) })
        })
    }

    /// Fills `length` bytes at `address` with what the file has at `offset`: how a machine loads what its
    /// guest begins with.
    ///
    /// # Errors
    /// That this is no guest memory, or the file is shorter, or what the kernel says.
    pub fn load(
        &self,
        file: BorrowedFd<'_>,
        offset: u64,
        address: u64,
        length: u64,
    ) -> Result<(), TransferError> {
        if !self.contains(address, length) {
            return Err(TransferError::Buffers);
        }
        let sent_bytes = match self.pages {
            Pages::Base => self.send_in(file, offset, address, length),
            // They cannot be written but through a mapping.
            Pages::Huge => 0,
        };
        let rest = Buffers::range(address + sent_bytes, length - sent_bytes);
        self.read_file(file, offset + sent_bytes, rest)
    }

    /// As [`Memory::load`] without this process's mapping: no page is filled with zeroes first, and none is a
    /// fault. Says how far it came. Nobody else may use the place in the memory's file meanwhile.
    fn send_in(&self, file: BorrowedFd<'_>, offset: u64, address: u64, length: u64) -> u64 {
        let region = self.map.find_region(GuestAddress(address));
        let Some((region, memory)) =
            region.and_then(|region| Some((region, region.file_offset()?)))
        else {
            return 0;
        };
        let start = address - region.start_addr().0;
        let length = length.min(region.len() - start);
        if rustix::fs::seek(memory.file(), SeekFrom::Start(memory.start() + start)).is_err() {
            return 0;
        }
        let (mut at, mut sent) = (offset, 0);
        while sent < length {
            let rest = usize::try_from(length - sent).unwrap_or(usize::MAX);
            match rustix::fs::sendfile(memory.file(), file, Some(&mut at), rest) {
                Ok(bytes) if bytes > 0 => sent += bytes as u64,
                _ => break,
            }
        }
        sent
    }

    fn all_pieces(&self, buffers: &Buffers) -> Result<Pieces<'_>, TransferError> {
        let pieces = self.pieces(buffers)?;
        if pieces.length == buffers.len() {
            Ok(pieces)
        } else {
            Err(TransferError::Buffers)
        }
    }

    /// As many from the front as one call takes.
    fn pieces(&self, buffers: &Buffers) -> Result<Pieces<'_>, TransferError> {
        let mut pieces = Vec::with_capacity(buffers.spans().len().min(PIECES_MAX));
        let mut length = 0;
        'spans: for span in buffers.spans() {
            let slices = self
                .map
                .get_slices(GuestAddress(span.address), span.length as usize);
            for slice in slices {
                let slice = slice.map_err(|_| TransferError::Buffers)?;
                if pieces.len() == PIECES_MAX {
                    break 'spans;
                }
                length += slice.len() as u64;
                pieces.push(libc::iovec {
                    iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                    iov_len: slice.len(),
                });
            }
        }
        Ok(Pieces {
            pieces,
            length,
            memory: PhantomData,
        })
    }
}

fn transferred(result: isize) -> Result<usize, TransferError> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        TransferError::Host(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}

/// Calls `transfer` with offsets and what is left of the buffers, until nothing is, or nothing comes.
fn piecewise(
    offset: u64,
    mut buffers: Buffers,
    mut transfer: impl FnMut(i64, &Buffers) -> Result<usize, TransferError>,
) -> (u64, Result<(), TransferError>) {
    let mut done_bytes: u64 = 0;
    while buffers.len() > 0 {
        let at = offset.checked_add(done_bytes).map(i64::try_from);
        let Some(Ok(at)) = at else {
            return (done_bytes, Err(Errno::OVERFLOW.into()));
        };
        match transfer(at, &buffers) {
            Ok(0) => break,
            Ok(bytes) => {
                buffers.skip(bytes as u64);
                done_bytes += bytes as u64;
            }
            Err(TransferError::Host(Errno::INTR)) => {}
            Err(error) => return (done_bytes, Err(error)),
        }
    }
    (done_bytes, Ok(()))
}

/// Nothing at all before the end of the buffers is the file's end.
fn all(
    wanted_bytes: u64,
    (done_bytes, ended): (u64, Result<(), TransferError>),
) -> Result<(), TransferError> {
    ended?;
    if done_bytes == wanted_bytes {
        Ok(())
    } else {
        Err(TransferError::End)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::memory::{Pages, Region};

    fn memory() -> Memory {
        let region = Region {
            guest_base: 0x10_0000,
            size_bytes: 0x10_0000,
        };
        Memory::new(&[region], Pages::Base).expect("memory")
    }

    #[test]
    fn a_file_goes_into_scattered_memory_and_back() {
        let memory = memory();
        let file = tempfile::tempfile().expect("a file");
        // More pieces than one call takes, backwards in memory.
        let spans = (0..3000_u64).map(|at| (0x1f_0000 - at * 16, 7));
        let buffers = Buffers::of(spans);
        let content: Vec<u8> = (0..21_000_u32).map(|at| (at % 251) as u8).collect();
        buffers.clone().write(&memory, &content).expect("written");
        memory
            .write_file(file.as_fd(), 5, buffers.clone())
            .expect("a file");
        assert_eq!(file.metadata().expect("metadata").len(), 21_005);
        buffers
            .clone()
            .write(&memory, &[0; 21_000])
            .expect("zeroed");
        memory
            .read_file(file.as_fd(), 5, buffers.clone())
            .expect("read");
        let mut read = vec![0; 21_000];
        buffers.clone().read(&memory, &mut read).expect("read");
        assert_eq!(read, content);
        let end = memory.read_file(file.as_fd(), 6, buffers.clone());
        assert_eq!(end, Err(TransferError::End));
        assert_eq!(
            memory.send_packet(file.as_fd(), &buffers),
            Err(TransferError::Buffers),
            "a packet is one call"
        );
    }

    #[test]
    fn no_byte_outside_of_memory_is_touched() {
        let memory = memory();
        let file = tempfile::tempfile().expect("a file");
        let outside = Buffers::of([(0x10_0000, 16), (0x1f_fff8, 16)]);
        let written = memory.write_file(file.as_fd(), 0, outside.clone());
        assert_eq!(written, Err(TransferError::Buffers));
        assert_eq!(file.metadata().expect("metadata").len(), 0);
        assert_eq!(
            memory.receive(file.as_fd(), &outside),
            Err(TransferError::Buffers)
        );
    }
}
