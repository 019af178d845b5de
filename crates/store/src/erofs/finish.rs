//! The end of an image: directories, numbers of links, shared xattrs, and the first block.
//!
//! Directories need their parents' node ids and their children's, so all of them are given their
//! places first, from their sizes; then they are written in that order: the blocks of all, then the
//! inodes of all. The root is an exception: its node id has 16 bits, so its inode lies in the first
//! block, after the super block.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::clusters::{EXTENT_BLOCKS, EXTENT_BYTES};
use super::dirents::{Named, for_each_block, with_dots};
use super::format::{
    Algorithm, BLOCK_BITS, BLOCK_BYTES, COMPAT_MTIME, COMPAT_SB_CHKSUM, DEVICE_SLOT_BYTES,
    DeviceSlot, EXTENDED_BYTES, EXTENDED_LINKS_OFFSET, FileType, INCOMPAT_COMPR_CFGS,
    INCOMPAT_DEVICE_TABLE, INCOMPAT_ZERO_PADDING, Inode, Layout, MAGIC, SLOT_BYTES, SUPER_BYTES,
    SUPER_OFFSET, SuperBlock, lz4_configuration, super_checksum, zstd_configuration,
};
use super::image::ImageWriter;
use super::output::Output;
use super::records::Records;
use super::tree::{DirectoryId, Node, Tree};
use super::xattr::{Sharing, XattrBody};
use super::{ImageError, Written};
use crate::unpack::archive::Attributes;

/// Permission bits of a directory that is implied but has no entry, as Docker has it.
const IMPLIED_MODE: u32 = 0o755;

/// A directory with its place.
#[derive(Debug)]
struct Placed {
    id: DirectoryId,
    inode: Inode,
    xattrs: XattrBody,
    /// Where the inode begins, in bytes.
    at: u64,
}

impl Placed {
    /// Bytes of the inode and its xattrs.
    fn head_bytes(&self) -> usize {
        EXTENDED_BYTES + self.xattrs.bytes.len()
    }

    /// Bytes of entries that follow them.
    fn inline_bytes(&self) -> usize {
        match self.inode.layout {
            Layout::FlatInline => (self.inode.size % BLOCK_BYTES as u64) as usize,
            _ => 0,
        }
    }
}

/// The names of an image, in order.
#[derive(Debug)]
struct Names {
    order: Vec<u32>,
    starts: Vec<u32>,
}

impl Names {
    fn of(&self, directory: DirectoryId) -> &[u32] {
        let (start, end) = (
            self.starts[directory.index()],
            self.starts[directory.index() + 1],
        );
        &self.order[start as usize..end as usize]
    }
}

impl ImageWriter<'_> {
    /// Writes whatever is missing.
    pub(crate) fn finish(mut self) -> Result<Written, ImageError> {
        self.records.flush(&mut self.out)?;
        let (order, starts) = self.tree.sorted();
        let names = Names { order, starts };
        let (mut placed, inodes) = self.reach(&names)?;
        let mut listing = Listing {
            tree: &self.tree,
            records: &self.records,
            names,
            nids: vec![0; self.tree.directory_count()],
        };
        let configurations = configurations(self.algorithms);
        let root_at =
            (SUPER_OFFSET + SUPER_BYTES + configurations.len()).next_multiple_of(SLOT_BYTES);
        let first = u64::from(self.out.block()?);
        lay_out(&mut placed, &mut listing, first, root_at)?;
        write_blocks(&placed, &listing, &mut self.out)?;
        write_inodes(&placed, &listing, &mut self.out)?;
        let xattr_blkaddr = match self.shared.table.is_empty() {
            true => 0,
            false => {
                let block = self.out.block()?;
                self.out.append(&self.shared.table)?;
                block
            }
        };
        let mut superblock = SuperBlock {
            magic: MAGIC,
            feature_compat: COMPAT_SB_CHKSUM | COMPAT_MTIME,
            block_bits: BLOCK_BITS,
            root_nid: (root_at / SLOT_BYTES) as u16,
            inodes,
            blocks: self.out.block()?,
            xattr_blkaddr,
            uuid: self.options.uuid,
            feature_incompat: self.features,
            compression: self.algorithms,
            ..SuperBlock::default()
        };
        if self.algorithms != 0 {
            superblock.feature_incompat |= INCOMPAT_ZERO_PADDING | INCOMPAT_COMPR_CFGS;
        }
        self.out.flush()?;
        self.write_devices(&mut superblock)?;
        for (&slot, &count) in self.links.iter().filter(|(_, count)| **count > 1) {
            let at = self.records.nid(slot) * SLOT_BYTES as u64 + EXTENDED_LINKS_OFFSET as u64;
            self.out.patch(&count.to_le_bytes(), at)?;
        }
        let root = listing.record(&placed[0])?;
        let mut block = [0; BLOCK_BYTES];
        block[root_at..root_at + root.len()].copy_from_slice(&root);
        let rest = &mut block[SUPER_OFFSET + SUPER_BYTES..root_at];
        rest[..configurations.len()].copy_from_slice(&configurations);
        set_super(&mut block, superblock);
        self.out.patch(&block, 0)?;
        Ok(Written {
            blocks: superblock.blocks,
            inodes,
            metadata: self.records.into_runs(),
        })
    }

    /// The device table, if there is one.
    fn write_devices(&self, superblock: &mut SuperBlock) -> Result<(), ImageError> {
        if self.devices.is_empty() {
            return Ok(());
        }
        let table: Vec<u8> = self.devices.iter().flat_map(DeviceSlot::to_bytes).collect();
        superblock.feature_incompat |= INCOMPAT_DEVICE_TABLE;
        superblock.extra_devices = u16::try_from(self.devices.len())
            .map_err(|_| ImageError::limit("devices", u16::MAX))?;
        superblock.device_table = (BLOCK_BYTES / DEVICE_SLOT_BYTES) as u16;
        self.out.patch(&table, BLOCK_BYTES as u64)
    }

    /// All directories that can be reached, parents first, and the number of all inodes. Counts the
    /// names of inodes on the way.
    fn reach(&mut self, names: &Names) -> Result<(Vec<Placed>, u64), ImageError> {
        let (mut placed, mut pending) = (Vec::new(), vec![DirectoryId::ROOT]);
        let (mut others, mut further_names) = (0, 0);
        while let Some(id) = pending.pop() {
            let mut links = 2;
            // In reverse, so that they are taken from `pending` in order.
            for &entry in names.of(id).iter().rev() {
                match self.tree.entry(entry).1 {
                    Node::Directory(child) => {
                        links += 1;
                        pending.push(child);
                    }
                    Node::Other(_, slot) | Node::Whiteout(slot) => {
                        others += 1;
                        if let Some(count) = self.links.get_mut(&slot) {
                            further_names += u64::from(*count > 0);
                            *count += 1;
                        }
                    }
                    Node::Gone => {}
                }
            }
            placed.push(self.directory(id, links)?);
        }
        let inodes = placed.len() as u64 + others - further_names;
        Ok((placed, inodes))
    }

    /// A directory's inode, still without size and place.
    fn directory(&mut self, id: DirectoryId, links: u32) -> Result<Placed, ImageError> {
        let (attributes, opaque) = self.tree.take_attributes(id);
        let mut attributes = attributes.unwrap_or(Attributes {
            mode: IMPLIED_MODE,
            ..Attributes::default()
        });
        if opaque {
            let name = self.options.opaque.name().as_bytes().to_vec();
            attributes.xattrs.push((name, b"y".to_vec()));
        }
        let sharing = match id {
            DirectoryId::ROOT => Sharing::Always,
            _ => Sharing::WhenRepeated,
        };
        let xattrs = self.shared.body(&attributes.xattrs, sharing)?;
        let inode = self.inode(FileType::Directory, &attributes, &xattrs);
        Ok(Placed {
            id,
            inode: Inode { links, ..inode },
            xattrs,
            at: 0,
        })
    }
}

/// What directories are written from.
#[derive(Debug)]
struct Listing<'w> {
    tree: &'w Tree,
    records: &'w Records,
    names: Names,
    /// Of directories, by their ids.
    nids: Vec<u64>,
}

impl Listing<'_> {
    /// See [`for_each_block`].
    fn for_each_block(
        &self,
        directory: DirectoryId,
        visit: impl FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let entries = self.names.of(directory).iter().filter_map(|&entry| {
            let (name, node) = self.tree.entry(entry);
            let (file_type, nid) = match node {
                Node::Directory(id) => (FileType::Directory, self.nids[id.index()]),
                Node::Other(file_type, slot) => (file_type, self.records.nid(slot)),
                Node::Whiteout(slot) => (FileType::CharacterDevice, self.records.nid(slot)),
                Node::Gone => return None,
            };
            Some(Named {
                name,
                nid,
                file_type,
            })
        });
        let own = self.nids[directory.index()];
        let parent = self.nids[self.tree.parent(directory).index()];
        for_each_block(with_dots(entries, own, parent), visit)
    }

    /// An inode with its xattrs and, if it is inline, its last block.
    fn record(&self, directory: &Placed) -> Result<Vec<u8>, ImageError> {
        let mut record = directory.inode.to_extended().to_vec();
        record.extend_from_slice(&directory.xattrs.bytes);
        if directory.inline_bytes() > 0 {
            let mut last = Vec::new();
            self.for_each_block(directory.id, |block| {
                last.clear();
                last.extend_from_slice(block);
                Ok(())
            })?;
            record.extend_from_slice(&last);
        }
        Ok(record)
    }
}

/// Gives each directory its size and its places: its blocks, from `first` on, and its inode; the root's is
/// at `root_at`.
fn lay_out(
    placed: &mut [Placed],
    listing: &mut Listing<'_>,
    first: u64,
    root_at: usize,
) -> Result<(), ImageError> {
    let mut next = first;
    for directory in &mut *placed {
        let (mut blocks, mut last) = (0, 0);
        // Node ids are not known yet, and have no influence on sizes.
        listing.for_each_block(directory.id, |block| {
            (blocks, last) = (blocks + 1, block.len());
            Ok(())
        })?;
        let room = match directory.id {
            DirectoryId::ROOT => BLOCK_BYTES - root_at,
            _ => BLOCK_BYTES,
        };
        if directory.id == DirectoryId::ROOT && directory.head_bytes() > room {
            return Err(ImageError::limit(
                "bytes of the root's attributes",
                room as u64,
            ));
        }
        directory.inode.size = (blocks - 1) * BLOCK_BYTES as u64 + last as u64;
        if directory.head_bytes() + last <= room {
            directory.inode.layout = Layout::FlatInline;
            blocks -= 1;
        }
        directory.inode.data =
            u32::try_from(next).map_err(|_| ImageError::limit("blocks in an image", u32::MAX))?;
        next += blocks;
    }
    let mut at = next * BLOCK_BYTES as u64;
    for directory in placed {
        if directory.id == DirectoryId::ROOT {
            directory.at = root_at as u64;
        } else {
            // An inode crosses the end of a block only if it is larger than one.
            let bytes = (directory.head_bytes() + directory.inline_bytes()) as u64;
            let room = at.next_multiple_of(BLOCK_BYTES as u64) - at;
            directory.at = if bytes > room { at + room } else { at };
            at = (directory.at + bytes).next_multiple_of(SLOT_BYTES as u64);
        }
        listing.nids[directory.id.index()] = directory.at / SLOT_BYTES as u64;
    }
    Ok(())
}

/// The blocks of directories, but for the inline ones.
fn write_blocks(
    placed: &[Placed],
    listing: &Listing<'_>,
    out: &mut Output<'_>,
) -> Result<(), ImageError> {
    for directory in placed {
        let mut left = directory.inode.size - directory.inline_bytes() as u64;
        if left > 0 {
            listing.for_each_block(directory.id, |block| {
                if left > 0 {
                    left = left.saturating_sub(BLOCK_BYTES as u64);
                    out.block()?;
                    out.append(block)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// The inodes of all directories but the root.
fn write_inodes(
    placed: &[Placed],
    listing: &Listing<'_>,
    out: &mut Output<'_>,
) -> Result<(), ImageError> {
    out.block()?;
    for directory in placed
        .iter()
        .filter(|directory| directory.id != DirectoryId::ROOT)
    {
        out.zeros(directory.at - out.position())?;
        out.append(&listing.record(directory)?)?;
    }
    Ok(())
}

/// Gives a finished image another UUID.
pub(crate) fn stamp(image: BorrowedFd<'_>, uuid: [u8; 16]) -> Result<(), Errno> {
    let mut block = [0; BLOCK_BYTES];
    let mut filled = 0;
    while filled < BLOCK_BYTES {
        match rustix::io::pread(image, &mut block[filled..], filled as u64)? {
            0 => return Err(Errno::UCLEAN),
            count => filled += count,
        }
    }
    let mut superblock = [0; SUPER_BYTES];
    superblock.copy_from_slice(&block[SUPER_OFFSET..SUPER_OFFSET + SUPER_BYTES]);
    let superblock = SuperBlock {
        uuid,
        ..SuperBlock::from_bytes(&superblock)
    };
    set_super(&mut block, superblock);
    let mut written = 0;
    while written < BLOCK_BYTES {
        written += rustix::io::pwrite(image, &block[written..], written as u64)?;
    }
    Ok(())
}

/// What the kernel has to know of each algorithm: follows the super block, in the order of their numbers.
fn configurations(algorithms: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    if algorithms & Algorithm::Lz4.bit() != 0 {
        bytes.extend(lz4_configuration(EXTENT_BLOCKS as u16));
    }
    if algorithms & Algorithm::Zstd.bit() != 0 {
        bytes.extend(zstd_configuration(EXTENT_BYTES.ilog2() as u8));
    }
    bytes
}

/// Puts the super block into the first block, the rest of which is there.
fn set_super(block: &mut [u8; BLOCK_BYTES], superblock: SuperBlock) {
    let place = SUPER_OFFSET..SUPER_OFFSET + SUPER_BYTES;
    block[place.clone()].copy_from_slice(&superblock.to_bytes());
    let superblock = SuperBlock {
        checksum: super_checksum(block),
        ..superblock
    };
    block[place].copy_from_slice(&superblock.to_bytes());
}
