//! The image file as it is written: one byte after another, in large writes. Only what cannot be
//! known before (the first block, numbers of links) is put in its place at the end.

use std::os::fd::BorrowedFd;

use super::ImageError;
use super::format::BLOCK_BYTES;

/// Bytes of one write.
const BUFFER_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Output<'f> {
    file: BorrowedFd<'f>,
    buffer: Vec<u8>,
    /// Bytes of the file before those in the buffer.
    written: u64,
    limit_bytes: u64,
}

impl<'f> Output<'f> {
    /// The first block is left out; see [`Output::patch`].
    pub(super) fn new(file: BorrowedFd<'f>, limit_bytes: u64) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: BLOCK_BYTES as u64,
            limit_bytes,
        }
    }

    /// Bytes of the file so far.
    pub(crate) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The number of the block that comes next; what is in the present one is padded.
    pub(crate) fn block(&mut self) -> Result<u32, ImageError> {
        let padding = self.position().next_multiple_of(BLOCK_BYTES as u64) - self.position();
        self.zeros(padding)?;
        let block = u32::try_from(self.position() / BLOCK_BYTES as u64);
        // The largest number stands for a hole.
        match block {
            Ok(block) if block != u32::MAX => Ok(block),
            _ => Err(ImageError::limit("blocks in an image", u32::MAX)),
        }
    }

    /// Adds bytes.
    pub(crate) fn append(&mut self, mut bytes: &[u8]) -> Result<(), ImageError> {
        if self.position() + bytes.len() as u64 > self.limit_bytes {
            return Err(ImageError::limit("bytes in an image", self.limit_bytes));
        }
        while !bytes.is_empty() {
            if self.buffer.is_empty() && bytes.len() >= BUFFER_BYTES {
                self.write_at(bytes, self.written)?;
                self.written += bytes.len() as u64;
                return Ok(());
            }
            let (now, later) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == BUFFER_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Leaves room for bytes that are written later, up to the end of their last block: a hole.
    pub(crate) fn leave_out(&mut self, bytes: u64) -> Result<(), ImageError> {
        let room = bytes.checked_next_multiple_of(BLOCK_BYTES as u64);
        match room.and_then(|room| self.position().checked_add(room)) {
            Some(end) if end <= self.limit_bytes => {
                self.flush()?;
                self.written = end;
                Ok(())
            }
            _ => Err(ImageError::limit("bytes in an image", self.limit_bytes)),
        }
    }

    /// Adds zero bytes.
    pub(crate) fn zeros(&mut self, mut count: u64) -> Result<(), ImageError> {
        const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
        while count > 0 {
            let now = usize::try_from(count).map_or(BLOCK_BYTES, |count| count.min(BLOCK_BYTES));
            self.append(&ZEROS[..now])?;
            count -= now as u64;
        }
        Ok(())
    }

    /// Writes out what has been added so far.
    pub(super) fn flush(&mut self) -> Result<(), ImageError> {
        self.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Puts bytes in the place of others, all of which have been flushed.
    pub(super) fn patch(&self, bytes: &[u8], at: u64) -> Result<(), ImageError> {
        self.write_at(bytes, at)
    }

    fn write_at(&self, mut bytes: &[u8], mut at: u64) -> Result<(), ImageError> {
        while !bytes.is_empty() {
            let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(self.file, bytes, at))
                .map_err(ImageError::at("write the image"))?;
            at += count as u64;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}
