//! What is in files: extents and bytes.

use super::compressed::{Cluster, Clusters};
use super::indexes::Lookup;
use super::inode::{Body, ChunkEntries};
use super::{Image, Inode, ReadError, Source};
use crate::erofs::format::{self, ChunkIndex, FileType};

/// Entries of a chunk table that are read at once.
const TABLE_ENTRIES: u64 = 512;
/// Most bytes of a symbolic link's target: PATH_MAX with its zero byte.
const TARGET_BYTES: u64 = 4095;

/// A run of a file's bytes that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its bytes; never 0.
    pub length: u64,
    /// Where it lies.
    pub place: Place,
}

/// Where an extent lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: its bytes are zero.
    Hole,
    /// In blocks of a file.
    Blocks {
        /// Which file: 0 is the image's own, others count from 1 in the device table.
        device: u16,
        /// Where, in bytes: a block's beginning if the extent begins at a block of the data and the
        /// file is not compressed.
        start: u64,
    },
    /// In the image's own file, beside the inode.
    Inline {
        /// Where, in bytes.
        start: u64,
    },
    /// In a physical cluster, but not as they are.
    Packed(Cluster),
}

/// A piece of an inode's indexes, so that they are not read one by one.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Where it begins in the image.
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Bytes of it: a multiple of what is read of it at once.
    const BYTES: u64 = 4096;

    /// Bytes of the image, from a multiple of their number on.
    pub(super) fn read<const N: usize, S: Source>(
        &mut self,
        image: &Image<S>,
        at: u64,
    ) -> Result<[u8; N], ReadError> {
        let found = |window: &Self| {
            let ahead = usize::try_from(at.checked_sub(window.start)?).ok()?;
            window.bytes.get(ahead..)?.first_chunk().copied()
        };
        if let Some(bytes) = found(self) {
            return Ok(bytes);
        }
        let start = at - at % Self::BYTES;
        // An image may end with its last index, in the middle of a pack.
        let there = image.size_bytes().saturating_sub(start).min(Self::BYTES);
        self.start = start;
        self.bytes.clear();
        self.bytes.resize(there as usize, 0);
        image.read_exact(&mut self.bytes, start)?;
        self.bytes.resize(Self::BYTES as usize, 0);
        found(self).ok_or(ReadError::Damaged("an index crosses the end of a block"))
    }
}

/// The extents of a file, in order and without gaps. See [`Image::extents`].
#[derive(Debug)]
pub struct Extents<'i, S> {
    image: &'i Image<S>,
    nid: u64,
    size: u64,
    body: Body,
    /// Where the next extent begins.
    offset: u64,
    /// A part of the chunk table, and the number of its first chunk.
    table: Vec<ChunkIndex>,
    table_first: u64,
    /// A part of the indexes of a compressed file.
    window: Window,
}

impl<S: Source> Image<S> {
    /// Where the bytes of a file, directory or link lie, from `offset` on. Chunks that continue each
    /// other are one extent; of a compressed file, each physical cluster is.
    pub fn extents(&self, inode: &Inode, offset: u64) -> Extents<'_, S> {
        Extents {
            image: self,
            nid: inode.nid,
            size: inode.size,
            body: inode.body,
            offset,
            table: Vec::new(),
            table_first: 0,
            window: Window::default(),
        }
    }

    /// Reads from a file's `offset` on until `buffer` is full or the file ends; says how many bytes.
    pub fn read_at(
        &self,
        inode: &Inode,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<usize, ReadError> {
        let mut filled = 0;
        for extent in self.extents(inode, offset) {
            let extent = extent?;
            let rest = &mut buffer[filled..];
            let count = usize::try_from(extent.length).map_or(rest.len(), |n| n.min(rest.len()));
            self.read_place(inode.nid, &mut rest[..count], extent.place)?;
            filled += count;
            if filled == buffer.len() {
                break;
            }
        }
        Ok(filled)
    }

    /// The target of a symbolic link.
    pub fn link_target(&self, inode: &Inode) -> Result<Vec<u8>, ReadError> {
        let damaged = |what| ReadError::DamagedInode {
            nid: inode.nid,
            what,
        };
        if inode.kind != FileType::Symlink {
            return Err(damaged("it is not a symbolic link"));
        }
        if !(1..=TARGET_BYTES).contains(&inode.size) {
            return Err(damaged("its target has an impossible length"));
        }
        let mut target = vec![0; inode.size as usize];
        self.read_at(inode, &mut target, 0)?;
        if target.contains(&0) {
            return Err(damaged("its target has a zero byte"));
        }
        Ok(target)
    }

    /// Fills `buffer` from where an extent lies.
    fn read_place(&self, nid: u64, buffer: &mut [u8], place: Place) -> Result<(), ReadError> {
        match place {
            Place::Hole => {
                buffer.fill(0);
                Ok(())
            }
            Place::Inline { start } => self.read_exact(buffer, start),
            Place::Blocks { device, start } => self.read_device(device, buffer, start),
            Place::Packed(cluster) => self.read_cluster(nid, buffer, cluster),
        }
    }
}

impl<S: Source> Extents<'_, S> {
    fn read(&mut self) -> Result<Extent, ReadError> {
        let offset = self.offset;
        let (place, length) = match self.body {
            // Cannot be: no data is no size.
            Body::Empty => (Place::Hole, self.size - offset),
            Body::Flat {
                start, tail_offset, ..
            } if offset < tail_offset => {
                let start = start + offset;
                (Place::Blocks { device: 0, start }, tail_offset - offset)
            }
            Body::Flat {
                tail_offset,
                tail_start,
                ..
            } => {
                let start = tail_start + (offset - tail_offset);
                (Place::Inline { start }, self.size - offset)
            }
            Body::Chunks { chunk_bits, .. } => self.chunks(chunk_bits)?,
            Body::Compressed(clusters) => self.cluster(clusters)?,
        };
        Ok(Extent {
            offset,
            length,
            place,
        })
    }

    /// The rest of the physical cluster that the present offset is in.
    fn cluster(&mut self, clusters: Clusters) -> Result<(Place, u64), ReadError> {
        let (image, nid) = (self.image, self.nid);
        let mut lookup = Lookup {
            image,
            clusters,
            nid,
            size: self.size,
            window: &mut self.window,
        };
        let found = lookup.find(self.offset)?;
        let (device, start, bytes) = image.locate(&found);
        self.check(device, start, bytes)?;
        let skip = self.offset - found.offset;
        let packing = image.packing(&clusters, &found);
        let place = match packing.map_err(|problem| problem.at(nid))? {
            None => Place::Blocks {
                device,
                start: start + skip,
            },
            // An extent has 12 MiB at most.
            Some(packing) => Place::Packed(Cluster {
                device,
                start,
                bytes: bytes as u32,
                packing,
                extent_bytes: (found.end - found.offset) as u32,
                skip: skip as u32,
            }),
        };
        Ok((place, found.end - self.offset))
    }

    /// The chunk at the present offset, with those that continue it.
    fn chunks(&mut self, chunk_bits: u32) -> Result<(Place, u64), ReadError> {
        let chunk_bytes = 1_u64 << chunk_bits;
        let within = self.offset & (chunk_bytes - 1);
        let mut chunk = self.offset >> chunk_bits;
        let first = self.place(chunk)?;
        // What lies before the offset counts, until the end.
        let mut length = chunk_bytes.min(self.size - (self.offset - within));
        loop {
            let end = self.offset - within + length;
            if end >= self.size {
                break;
            }
            chunk += 1;
            if self.place(chunk)? != further(first, length) {
                break;
            }
            length += chunk_bytes.min(self.size - end);
        }
        if let Place::Blocks { device, start } = first {
            self.check(device, start, length)?;
        }
        Ok((further(first, within), length - within))
    }

    /// Where a chunk begins.
    fn place(&mut self, chunk: u64) -> Result<Place, ReadError> {
        let index = self.index(chunk)?;
        if index.block == format::NULL_ADDRESS {
            return Ok(Place::Hole);
        }
        let start = u64::from(index.block) << self.image.geometry.block_bits;
        let device = match self.image.geometry.has_devices {
            true => index.device,
            false => 0,
        };
        Ok(Place::Blocks { device, start })
    }

    /// An entry of the chunk table.
    fn index(&mut self, chunk: u64) -> Result<ChunkIndex, ReadError> {
        if let Some(ahead) = chunk.checked_sub(self.table_first)
            && let Some(index) = self.table.get(ahead as usize)
        {
            return Ok(*index);
        }
        let Body::Chunks {
            table,
            chunk_bits,
            entries,
        } = self.body
        else {
            return Err(self.damaged("it has no chunks"));
        };
        let count = ((self.size - 1) >> chunk_bits) + 1 - chunk;
        let mut bytes = vec![0; count.min(TABLE_ENTRIES) as usize * entries.bytes()];
        // The inode was read: the table lies within the image.
        self.image
            .read_exact(&mut bytes, table + chunk * entries.bytes() as u64)?;
        self.table_first = chunk;
        self.table = match entries {
            ChunkEntries::Indexes => {
                let (indexes, _) = bytes.as_chunks();
                indexes.iter().map(ChunkIndex::from_bytes).collect()
            }
            ChunkEntries::Blocks => {
                let (blocks, _) = bytes.as_chunks();
                let block = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
                let index = |bytes| ChunkIndex {
                    device: 0,
                    block: block(bytes),
                };
                blocks.iter().map(index).collect()
            }
        };
        Ok(self.table[0])
    }

    /// Whether blocks are within their file.
    fn check(&self, device: u16, start: u64, length: u64) -> Result<(), ReadError> {
        let geometry = &self.image.geometry;
        let bytes = match device {
            0 => self.image.bytes,
            _ => match geometry.device_blocks.get(usize::from(device) - 1) {
                // Not said, as by mkfs.erofs 1.5: reading finds the end.
                Some(0) => u64::MAX,
                Some(&blocks) => u64::from(blocks) << geometry.block_bits,
                None => return Err(ReadError::NoDevice(device)),
            },
        };
        match start.checked_add(length).is_some_and(|end| end <= bytes) {
            true => Ok(()),
            false => Err(self.damaged("its data reaches past the end of a device")),
        }
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::DamagedInode {
            nid: self.nid,
            what,
        }
    }
}

/// Where what lies `bytes` after a place begins.
fn further(place: Place, bytes: u64) -> Place {
    match place {
        // The latter cannot be: chunks are not packed.
        Place::Hole | Place::Packed(_) => place,
        Place::Blocks { device, start } => Place::Blocks {
            device,
            start: start.saturating_add(bytes),
        },
        Place::Inline { start } => Place::Inline {
            start: start.saturating_add(bytes),
        },
    }
}

impl<S: Source> Iterator for Extents<'_, S> {
    type Item = Result<Extent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.size {
            return None;
        }
        let extent = self.read();
        // After an error there is nothing more to say.
        self.offset = match &extent {
            Ok(extent) => extent.offset + extent.length,
            Err(_) => self.size,
        };
        Some(extent)
    }
}
