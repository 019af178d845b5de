//! A descriptor chain as a request: what the device may read, then what it may write; VIRTIO 1.2, 2.7.5.
//!
//! Everything that a driver can get wrong about a chain is found here, before a device sees it.

use std::collections::VecDeque;

use virtio_queue::DescriptorChain;
use vm_memory::GuestMemoryMmap;

use crate::memory::{Memory, MemoryError};

/// The most descriptors of one chain, those of an indirect table counted. The specification has the queue's
/// size (2.7.5.3.1), which drivers pass with indirect tables; no call takes more than this (`UIO_MAXIOV`).
const DESCRIPTORS_MAX: usize = 1024;

/// A piece of guest memory that one descriptor names, and that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) address: u64,
    /// Bytes, never 0.
    pub(crate) length: u32,
}

/// Pieces of guest memory, used up from the front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Buffers {
    spans: VecDeque<Span>,
    length: u64,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    #[error("a chain is cut: a loop, an index out of the table, or a bad indirect table")]
    Cut,
    #[error("a chain has more than {DESCRIPTORS_MAX} descriptors")]
    Long,
    #[error("a chain has something to read behind something to write")]
    Order,
    #[error("{length} bytes at {address:#x} are not guest memory")]
    Outside { address: u64, length: u32 },
}

/// A request. Its head goes back to the driver when it is done.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) head: u16,
    /// What the driver says.
    pub(crate) readable: Buffers,
    /// Where the device answers.
    pub(crate) writable: Buffers,
}

impl Chain {
    pub(crate) fn parse(
        chain: DescriptorChain<&GuestMemoryMmap>,
        memory: &Memory,
    ) -> Result<Self, ChainError> {
        let head = chain.head_index();
        let mut readable = Buffers::default();
        let mut writable = Buffers::default();
        // The iterator ends without a word at a loop, a bad index or a bad table; then the last
        // descriptor promised another one, or there was none.
        let mut ends_well = false;
        for (number, descriptor) in chain.enumerate() {
            if number == DESCRIPTORS_MAX {
                return Err(ChainError::Long);
            }
            ends_well = !descriptor.has_next();
            let (address, length) = (descriptor.addr().0, descriptor.len());
            if length > 0 && !memory.contains(address, length.into()) {
                return Err(ChainError::Outside { address, length });
            }
            if descriptor.is_write_only() {
                writable.push(address, length);
            } else if writable.spans.is_empty() {
                readable.push(address, length);
            } else {
                return Err(ChainError::Order);
            }
        }
        if !ends_well {
            return Err(ChainError::Cut);
        }
        Ok(Self {
            head,
            readable,
            writable,
        })
    }
}

impl Buffers {
    /// Of addresses and lengths, unchecked.
    #[cfg(test)]
    pub(crate) fn of(spans: impl IntoIterator<Item = (u64, u32)>) -> Self {
        let mut buffers = Self::default();
        for (address, length) in spans {
            buffers.push(address, length);
        }
        buffers
    }

    /// One range, unchecked.
    pub(crate) fn range(mut address: u64, mut length: u64) -> Self {
        let mut buffers = Self::default();
        while length > 0 {
            let part = u32::try_from(length).unwrap_or(1 << 31);
            buffers.push(address, part);
            address += u64::from(part);
            length -= u64::from(part);
        }
        buffers
    }

    fn push(&mut self, address: u64, length: u32) {
        if length > 0 {
            self.spans.push_back(Span { address, length });
            self.length += u64::from(length);
        }
    }

    /// Bytes that are left.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn spans(&self) -> &VecDeque<Span> {
        &self.spans
    }

    /// Appends what is left of others.
    pub(crate) fn append(&mut self, other: &Self) {
        self.spans.extend(&other.spans);
        self.length += other.length;
    }

    /// Takes up to so many bytes from the front.
    pub(crate) fn split_front(&mut self, bytes: u64) -> Self {
        let mut front = Self::default();
        let mut left = bytes.min(self.length);
        self.length -= left;
        while left > 0 {
            let Some(span) = self.spans.front_mut() else {
                break;
            };
            if u64::from(span.length) <= left {
                left -= u64::from(span.length);
                front.push(span.address, span.length);
                self.spans.pop_front();
            } else {
                // Less than the span's length, which is a u32.
                let part = left as u32;
                front.push(span.address, part);
                span.address += left;
                span.length -= part;
                left = 0;
            }
        }
        front
    }

    /// Uses up so many bytes, or all there are.
    pub(crate) fn skip(&mut self, bytes: u64) {
        drop(self.split_front(bytes));
    }

    /// Reads from the front; fails when there is less.
    pub(crate) fn read(&mut self, memory: &Memory, into: &mut [u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        for span in &self.take(into.len())?.spans {
            let end = done + span.length as usize;
            memory.read(span.address, &mut into[done..end])?;
            done = end;
        }
        Ok(())
    }

    /// Writes to the front; fails when there is less room.
    pub(crate) fn write(&mut self, memory: &Memory, from: &[u8]) -> Result<(), MemoryError> {
        let mut done = 0;
        for span in &self.take(from.len())?.spans {
            let end = done + span.length as usize;
            memory.write(span.address, &from[done..end])?;
            done = end;
        }
        Ok(())
    }

    fn take(&mut self, bytes: usize) -> Result<Self, MemoryError> {
        let length = bytes as u64;
        if self.length < length {
            let address = self.spans.front().map_or(0, |span| span.address);
            return Err(MemoryError::Outside { address, length });
        }
        Ok(self.split_front(length))
    }

    /// An array from the front.
    pub(crate) fn read_array<const N: usize>(
        &mut self,
        memory: &Memory,
    ) -> Result<[u8; N], MemoryError> {
        let mut bytes = [0; N];
        self.read(memory, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_split_within_and_between_spans() {
        let mut buffers = Buffers::of([(0, 4), (100, 0), (200, 4)]);
        assert_eq!(buffers.len(), 8);
        assert_eq!(buffers.split_front(2), Buffers::of([(0, 2)]));
        assert_eq!(buffers.split_front(3), Buffers::of([(2, 2), (200, 1)]));
        assert_eq!(buffers.len(), 3);
        assert_eq!(buffers.split_front(9), Buffers::of([(201, 3)]));
        assert_eq!(buffers, Buffers::default());
    }
}
