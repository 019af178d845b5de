//! An image in the making: data goes out as it comes, inodes are packed between it, and names are
//! kept until the end (see `finish`).

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use super::clusters::{Press, Pressed};
use super::format::{
    Algorithm, BLOCK_BYTES, BLOCK_MAP_BYTES, CHUNK_INDEX_BYTES, CHUNK_INDEXES, CLUSTER_INDEX_BYTES,
    ChunkIndex, ClusterIndex, DEVICE_SLOT_BYTES, DeviceSlot, EXTENDED_BYTES, FULL_INDEX_GAP,
    FileType, Inode, Layout, MAP_HEADER_BYTES, MapHeader,
};
use super::output::Output;
use super::records::{Records, Slot};
use super::tree::Tree;
use super::xattr::{SharedXattrs, Sharing, XattrBody};
use super::{ImageError, WriteOptions};
use crate::reproduce::Kept;
use crate::unpack::archive::Attributes;

/// Where the data of an inode is.
pub(crate) enum Content<'c> {
    /// There is none.
    Empty,
    /// Here; it goes beside the inode if there is room in a block.
    Inline(&'c [u8]),
    /// In blocks that have been written, from this one on.
    Blocks {
        /// The first block.
        first: u32,
        /// Bytes of data.
        bytes: u64,
    },
    /// In chunks.
    Chunks {
        /// Bytes of data.
        bytes: u64,
        /// log2 of blocks in a chunk, and [`CHUNK_INDEXES`].
        format: u16,
        /// One for each chunk. Devices are written only with [`CHUNK_INDEXES`].
        table: &'c mut dyn ExactSizeIterator<Item = ChunkIndex>,
    },
    /// Compressed, in blocks that have been written.
    Clusters {
        /// Bytes of data, uncompressed.
        bytes: u64,
        /// Blocks that they take.
        blocks: u64,
        /// What comes before the indexes.
        header: MapHeader,
        /// One for each block of data.
        table: &'c mut dyn ExactSizeIterator<Item = ClusterIndex>,
    },
    /// A device, by its [`super::format::device_number`].
    Device(u32),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ImageWriter<'f> {
    pub(crate) out: Output<'f>,
    pub(crate) tree: Tree,
    pub(super) records: Records,
    pub(super) shared: SharedXattrs,
    /// Inodes that have had several names, and how many names they have in the end.
    pub(super) links: HashMap<Slot, u32>,
    pub(super) features: u32,
    /// What compresses files' data, if it is compressed.
    pub(super) press: Option<Press>,
    /// [`Algorithm::bit`] of those that have been used.
    pub(super) algorithms: u16,
    /// Where chunks may lie besides the image itself.
    pub(super) devices: Vec<DeviceSlot>,
    pub(super) inodes: u32,
    pub(super) options: WriteOptions,
}

impl<'f> ImageWriter<'f> {
    /// An image in an empty file.
    pub(crate) fn new(file: BorrowedFd<'f>, options: &WriteOptions) -> Self {
        Self {
            out: Output::new(file, options.image_bytes),
            tree: Tree::new(options.memory_bytes),
            records: Records::default(),
            shared: SharedXattrs::default(),
            links: HashMap::new(),
            features: 0,
            press: None,
            algorithms: 0,
            devices: Vec::new(),
            inodes: 0,
            options: options.clone(),
        }
    }

    /// Has files' data compressed as the options say, by so many threads.
    pub(super) fn compress(&mut self, threads: usize) -> Result<(), ImageError> {
        self.press = Press::new(self.options.compression, threads)?;
        Ok(())
    }

    /// An image some of whose files' data lies on other devices, which count from 1. Their table follows
    /// the first block. In one address space, by which compressed files are found, the devices follow the
    /// largest image that the options allow.
    pub(crate) fn with_devices(
        file: BorrowedFd<'f>,
        options: &WriteOptions,
        mut devices: Vec<DeviceSlot>,
    ) -> Result<Self, ImageError> {
        let mut writer = Self::new(file, options);
        let mut end = u32::try_from(options.image_bytes.div_ceil(BLOCK_BYTES as u64)).ok();
        for device in &mut devices {
            // 0, nowhere, for those that such a space is too small for.
            let next = end.and_then(|end| end.checked_add(device.blocks));
            device.mapped_blkaddr = end.filter(|_| next.is_some()).unwrap_or_default();
            end = next;
        }
        writer
            .out
            .zeros((devices.len() * DEVICE_SLOT_BYTES) as u64)?;
        writer.devices = devices;
        Ok(writer)
    }

    /// Adds an inode of anything but a directory.
    pub(crate) fn add(
        &mut self,
        file_type: FileType,
        attributes: &Attributes,
        content: Content<'_>,
    ) -> Result<Slot, ImageError> {
        let xattrs = self
            .shared
            .body(&attributes.xattrs, Sharing::WhenRepeated)?;
        let inode = self.inode(file_type, attributes, &xattrs);
        match content {
            Content::Empty => self.put(inode, &xattrs, &[]),
            Content::Inline(data) => Ok(self.add_inline(inode, &xattrs, data)?.0),
            Content::Blocks { first, bytes } => {
                let (data, size) = (first, bytes);
                self.put(
                    Inode {
                        data,
                        size,
                        ..inode
                    },
                    &xattrs,
                    &[],
                )
            }
            Content::Device(data) => self.put(Inode { data, ..inode }, &xattrs, &[]),
            Content::Chunks {
                bytes,
                format,
                table,
            } => {
                let inode = Inode {
                    layout: Layout::ChunkBased,
                    size: bytes,
                    data: format.into(),
                    ..inode
                };
                self.add_chunks(inode, &xattrs, format, table)
            }
            Content::Clusters {
                bytes,
                blocks,
                header,
                table,
            } => {
                let inode = Inode {
                    layout: Layout::CompressedFull,
                    size: bytes,
                    // For stat(2) only.
                    data: u32::try_from(blocks).unwrap_or(u32::MAX),
                    ..inode
                };
                self.add_clusters(inode, &xattrs, header, table)
            }
        }
    }

    /// Adds an inode whose data goes beside it if there is room in a block, and says where it is.
    pub(crate) fn add_with_data(
        &mut self,
        file_type: FileType,
        attributes: &Attributes,
        data: &[u8],
    ) -> Result<(Slot, Kept<&'static [u8]>), ImageError> {
        let xattrs = self
            .shared
            .body(&attributes.xattrs, Sharing::WhenRepeated)?;
        let inode = self.inode(file_type, attributes, &xattrs);
        self.add_inline(inode, &xattrs, data)
    }

    /// Adds a file whose data has been compressed, and says where it is.
    pub(super) fn add_pressed(
        &mut self,
        attributes: &Attributes,
        pressed: &Pressed<'_>,
    ) -> Result<(Slot, Kept<&'static [u8]>), ImageError> {
        let Pressed { first, bytes, .. } = *pressed;
        let Some(header) = pressed.header() else {
            let slot = self.add(FileType::File, attributes, Content::Blocks { first, bytes })?;
            return Ok((slot, Kept::InBlocks(u64::from(first) * BLOCK_BYTES as u64)));
        };
        let content = Content::Clusters {
            bytes,
            blocks: pressed.blocks(),
            header,
            table: &mut pressed.indexes(),
        };
        let slot = self.add(FileType::File, attributes, content)?;
        Ok((slot, Kept::Compressed(slot.offset())))
    }

    /// Data beside its inode, or, where that makes it too large, in blocks of its own.
    fn add_inline(
        &mut self,
        inode: Inode,
        xattrs: &XattrBody,
        data: &[u8],
    ) -> Result<(Slot, Kept<&'static [u8]>), ImageError> {
        let size = data.len() as u64;
        let head_bytes = EXTENDED_BYTES + xattrs.bytes.len();
        if data.is_empty() || head_bytes + data.len() <= BLOCK_BYTES {
            let layout = match data {
                [] => Layout::FlatPlain,
                _ => Layout::FlatInline,
            };
            let inode = Inode {
                layout,
                size,
                ..inode
            };
            let slot = self.put(inode, xattrs, data)?;
            let beside = slot.offset() + head_bytes as u64;
            return Ok((slot, Kept::BesideInode(beside)));
        }
        let first = self.out.block()?;
        let kept = Kept::InBlocks(self.out.position());
        self.out.append(data)?;
        let inode = Inode {
            data: first,
            size,
            ..inode
        };
        Ok((self.put(inode, xattrs, &[])?, kept))
    }

    fn add_chunks(
        &mut self,
        inode: Inode,
        xattrs: &XattrBody,
        format: u16,
        table: &mut dyn ExactSizeIterator<Item = ChunkIndex>,
    ) -> Result<Slot, ImageError> {
        self.features |= super::format::INCOMPAT_CHUNKED_FILE;
        let indexes = format & CHUNK_INDEXES != 0;
        let entry_bytes = if indexes {
            CHUNK_INDEX_BYTES
        } else {
            BLOCK_MAP_BYTES
        };
        let mut head = [&inode.to_extended()[..], &xattrs.bytes].concat();
        head.resize(head.len().next_multiple_of(entry_bytes), 0);
        let append = |bytes: &mut Vec<u8>, index: ChunkIndex| match indexes {
            true => bytes.extend_from_slice(&index.to_bytes()),
            false => bytes.extend_from_slice(&index.block.to_le_bytes()),
        };
        self.add_table(head, entry_bytes, table, append)
    }

    fn add_clusters(
        &mut self,
        inode: Inode,
        xattrs: &XattrBody,
        header: MapHeader,
        table: &mut dyn ExactSizeIterator<Item = ClusterIndex>,
    ) -> Result<Slot, ImageError> {
        let used = |algorithm: &&Algorithm| header.algorithms & 0xf == algorithm.number();
        self.algorithms |= Algorithm::ALL
            .iter()
            .find(used)
            .map_or(0, |used| used.bit());
        let mut head = [&inode.to_extended()[..], &xattrs.bytes].concat();
        head.resize(head.len().next_multiple_of(MAP_HEADER_BYTES), 0);
        head.extend_from_slice(&header.to_bytes());
        head.resize(head.len() + FULL_INDEX_GAP, 0);
        let append = |bytes: &mut Vec<u8>, index: ClusterIndex| {
            bytes.extend_from_slice(&index.to_bytes());
        };
        self.add_table(head, CLUSTER_INDEX_BYTES, table, append)
    }

    /// Writes an inode with a table after it.
    fn add_table<E>(
        &mut self,
        mut head: Vec<u8>,
        entry_bytes: usize,
        table: &mut dyn ExactSizeIterator<Item = E>,
        append: impl Fn(&mut Vec<u8>, E),
    ) -> Result<Slot, ImageError> {
        let bytes = head.len() as u64 + table.len() as u64 * entry_bytes as u64;
        if bytes <= BLOCK_BYTES as u64 {
            table.for_each(|entry| append(&mut head, entry));
            return self.records.add(&mut self.out, &head);
        }
        let slot = self.records.add_large(&mut self.out, bytes)?;
        // In pieces: the table of a large file can be large itself.
        for entry in table {
            append(&mut head, entry);
            if head.len() >= BLOCK_BYTES {
                self.out.append(&head)?;
                head.clear();
            }
        }
        self.out.append(&head)?;
        Ok(slot)
    }

    /// Writes an inode with what follows it.
    fn put(&mut self, inode: Inode, xattrs: &XattrBody, tail: &[u8]) -> Result<Slot, ImageError> {
        let record = [&inode.to_extended()[..], &xattrs.bytes, tail].concat();
        if record.len() <= BLOCK_BYTES {
            return self.records.add(&mut self.out, &record);
        }
        let slot = self.records.add_large(&mut self.out, record.len() as u64)?;
        self.out.append(&record)?;
        Ok(slot)
    }

    /// One more name for an inode.
    pub(crate) fn link(&mut self, slot: Slot) {
        self.links.entry(slot).or_default();
    }

    /// An inode without data.
    pub(super) fn inode(
        &mut self,
        file_type: FileType,
        attributes: &Attributes,
        xattrs: &XattrBody,
    ) -> Inode {
        self.inodes = self.inodes.wrapping_add(1);
        Inode {
            layout: Layout::FlatPlain,
            xattr_count: xattrs.count,
            mode: file_type.mode_bits() | (attributes.mode & 0o7777) as u16,
            size: 0,
            data: 0,
            ino: self.inodes,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: Some((attributes.mtime.seconds, attributes.mtime.nanoseconds)),
            links: 1,
        }
    }
}
