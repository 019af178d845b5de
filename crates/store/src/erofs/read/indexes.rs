//! The indexes of a compressed file, full or compact, and how to go from one extent to the next. The rules
//! are those of the kernel's fs/erofs/zmap.c.

use super::compact::Pack;
use super::compressed::{Clusters, Form};
use super::data::Window;
use super::{Image, ReadError, Source};
use crate::erofs::format::{
    self, BLOCK_COUNT, CLUSTER_BYTES, ClusterIndex, EXTENT_BYTES, Head, MapHeader,
};

/// An extent that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Where in the file it begins and ends.
    pub(super) offset: u64,
    pub(super) end: u64,
    pub(super) head: Head,
    /// Its physical cluster.
    pub(super) block: u32,
    pub(super) blocks: u64,
}

/// All indexes of a file, in order. See [`Image::cluster_indexes`].
#[derive(Debug)]
pub(in crate::erofs) struct ClusterIndexes<'i, S> {
    pub(super) image: &'i Image<S>,
    pub(super) clusters: Clusters,
    pub(super) nid: u64,
    pub(super) size: u64,
    pub(super) window: Window,
    /// The logical cluster whose index comes next.
    pub(super) next: u64,
}

impl<S: Source> ClusterIndexes<'_, S> {
    /// What comes before them.
    pub(in crate::erofs) fn header(&self) -> MapHeader {
        MapHeader {
            advise: self.clusters.header.advise & !format::ADVISE_COMPACTED_2B,
            ..self.clusters.header
        }
    }

    /// Blocks of all physical clusters, as the inode says.
    pub(in crate::erofs) fn blocks(&self) -> u64 {
        self.clusters.blocks.into()
    }

    fn left(&self) -> u64 {
        self.size.div_ceil(1 << self.clusters.bits) - self.next
    }
}

impl<S: Source> Iterator for ClusterIndexes<'_, S> {
    type Item = Result<ClusterIndex, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left() == 0 {
            return None;
        }
        let mut lookup = Lookup {
            image: self.image,
            clusters: self.clusters,
            nid: self.nid,
            size: self.size,
            window: &mut self.window,
        };
        let index = lookup.index(self.next);
        self.next += 1;
        Some(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Beyond memory only if the image is.
        let left = usize::try_from(self.left()).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl<S: Source> ExactSizeIterator for ClusterIndexes<'_, S> {}

/// The indexes of one file while it is read.
#[derive(Debug)]
pub(super) struct Lookup<'l, S> {
    pub(super) image: &'l Image<S>,
    pub(super) clusters: Clusters,
    pub(super) nid: u64,
    pub(super) size: u64,
    /// What has been read of the indexes.
    pub(super) window: &'l mut Window,
}

impl<S: Source> Lookup<'_, S> {
    /// The extent that has the byte at `offset`.
    pub(super) fn find(&mut self, offset: u64) -> Result<Found, ReadError> {
        let bits = self.clusters.bits;
        let mut cluster = offset >> bits;
        let mut index = self.index(cluster)?;
        // One that begins after the byte is not its.
        let mut back = match index {
            ClusterIndex::Head { offset: at, .. } => {
                u64::from(u64::from(at) > offset & ((1 << bits) - 1))
            }
            ClusterIndex::Inside { back, .. } => distance(back),
        };
        while back > 0 {
            cluster = cluster
                .checked_sub(back)
                .filter(|first| ((offset >> bits) - first) << bits <= EXTENT_BYTES)
                .ok_or(self.damaged("an extent begins nowhere"))?;
            index = self.index(cluster)?;
            back = match index {
                ClusterIndex::Head { .. } => 0,
                ClusterIndex::Inside { back, .. } => distance(back),
            };
        }
        let ClusterIndex::Head {
            head,
            partial,
            offset: at,
            block,
        } = index
        else {
            return Err(self.damaged("an extent begins nowhere"));
        };
        if partial {
            return Err(ReadError::Unsupported("a file with deduplicated data"));
        }
        let begin = (cluster << bits) + u64::from(at);
        let end = self.end(cluster)?;
        if end <= offset || end - begin > EXTENT_BYTES {
            return Err(self.damaged("an extent has an impossible length"));
        }
        let blocks = self.blocks(head, cluster)?;
        let stored = blocks << self.image.geometry.block_bits;
        if stored > CLUSTER_BYTES || head == Head::Plain && end - begin > stored {
            return Err(self.damaged("a physical cluster has an impossible length"));
        }
        Ok(Found {
            offset: begin,
            end,
            head,
            block,
            blocks,
        })
    }

    /// Where the extent ends that begins in a cluster.
    fn end(&mut self, first: u64) -> Result<u64, ReadError> {
        let bits = self.clusters.bits;
        let mut cluster = first + 1;
        while cluster << bits < self.size && (cluster - first) << bits <= EXTENT_BYTES {
            match self.index(cluster)? {
                ClusterIndex::Head { offset, .. } => {
                    return Ok(self.size.min((cluster << bits) + u64::from(offset)));
                }
                ClusterIndex::Inside { ahead, .. } => cluster += u64::from(ahead.max(1)),
            }
        }
        Ok(self.size)
    }

    /// Blocks of the physical cluster of the extent that begins in a cluster: the next index says it, if
    /// it may be more than one.
    fn blocks(&mut self, head: Head, first: u64) -> Result<u64, ReadError> {
        let big = match head {
            Head::First => format::ADVISE_BIG_1,
            Head::Plain | Head::Second => format::ADVISE_BIG_2,
        };
        let one = 1 << (self.clusters.bits - u32::from(self.image.geometry.block_bits));
        if self.clusters.header.advise & big == 0 || (first + 1) << self.clusters.bits >= self.size
        {
            return Ok(one);
        }
        match self.index(first + 1)? {
            ClusterIndex::Head { .. } => Ok(one),
            ClusterIndex::Inside { back, .. } if back & BLOCK_COUNT != 0 && back != BLOCK_COUNT => {
                Ok(u64::from(back & !BLOCK_COUNT))
            }
            ClusterIndex::Inside { .. } => Err(self.damaged("a physical cluster has no length")),
        }
    }

    /// An index. All are within the image, for the inode has been checked.
    fn index(&mut self, cluster: u64) -> Result<ClusterIndex, ReadError> {
        let big = format::ADVISE_BIG_1 | format::ADVISE_BIG_2;
        let index = match self.clusters.form {
            Form::Full => {
                let at = self.clusters.start + cluster * format::CLUSTER_INDEX_BYTES as u64;
                ClusterIndex::from_bytes(&self.window.read(self.image, at)?)
            }
            Form::Compact { initial, short } => self.compact(cluster, initial, short)?,
        };
        match index {
            ClusterIndex::Head { offset, .. } if u32::from(offset) >> self.clusters.bits != 0 => {
                Err(self.damaged("an extent begins outside of its cluster"))
            }
            ClusterIndex::Inside { back, .. }
                if back & BLOCK_COUNT != 0 && self.clusters.header.advise & big == 0 =>
            {
                Err(self.damaged("a physical cluster may not be so large"))
            }
            index => Ok(index),
        }
    }

    fn compact(
        &mut self,
        cluster: u64,
        initial: u64,
        short: u64,
    ) -> Result<ClusterIndex, ReadError> {
        let start = self.clusters.start;
        let bits = self.clusters.bits;
        let big = self.clusters.header.advise & format::ADVISE_BIG_1 != 0;
        let short_start = start + initial * 4;
        let index = match cluster.checked_sub(initial) {
            Some(after) if after < short => {
                let at = short_start + after * 2;
                let pack = self.window.read::<32, _>(self.image, at & !31)?;
                Pack::new(&pack, bits, big).index((at % 32 / 2) as usize)
            }
            after => {
                let at = match after {
                    Some(after) => short_start + short * 2 + (after - short) * 4,
                    None => start + cluster * 4,
                };
                let pack = self.window.read::<8, _>(self.image, at & !7)?;
                Pack::new(&pack, bits, big).index((at % 8 / 4) as usize)
            }
        };
        index.ok_or(self.damaged("its compact indexes make no sense"))
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::DamagedInode {
            nid: self.nid,
            what,
        }
    }
}

/// How far before a logical cluster its extent begins, by its `back`.
fn distance(back: u16) -> u64 {
    match back & BLOCK_COUNT {
        0 => back.into(),
        _ => 1,
    }
}
