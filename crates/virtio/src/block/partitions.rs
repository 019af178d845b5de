//! A GUID partition table, made up; UEFI Specification 2.10, 5.3. Every number in it follows from the
//! sizes, so the same files are the same disk each time.

use super::SECTOR_BYTES;

/// The most partitions of one disk: what a table of the usual size holds.
pub const PARTITIONS_MAX: usize = 128;

/// Where partitions begin: multiples of this, as partitioning tools have it.
const ALIGNMENT_BYTES: u64 = 1 << 20;
/// A partition is a whole number of these: the block of a file system in it may be so large.
const BLOCK_BYTES: u64 = 4096;
const ENTRY_BYTES: usize = 128;
const ENTRIES_BYTES: usize = PARTITIONS_MAX * ENTRY_BYTES;
const ENTRIES_SECTORS: u64 = ENTRIES_BYTES as u64 / SECTOR_BYTES;
const HEADER_BYTES: usize = 92;
/// The type "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4, as it is stored.
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];
/// Attributes: not for writing, as the type above defines it.
const READ_ONLY: u64 = 1 << 60;

/// Where a partition's file is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    /// The file's; the partition is rounded up to whole blocks.
    pub(super) size_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Table {
    partitions: Vec<Place>,
    disk_sectors: u64,
}

impl Table {
    /// For 1 to [`PARTITIONS_MAX`] files of these sizes.
    pub(super) fn new(sizes: &[u64]) -> Self {
        let mut end: u64 = 0;
        let partitions = sizes.iter().map(|&size_bytes| {
            let start = end.max(1).next_multiple_of(ALIGNMENT_BYTES);
            end = start + size_bytes.next_multiple_of(BLOCK_BYTES);
            Place { start, size_bytes }
        });
        let partitions = partitions.collect();
        // The copy of the table, in whole blocks.
        let tail = (ENTRIES_SECTORS + 1) * SECTOR_BYTES;
        let disk_bytes = (end + tail).next_multiple_of(BLOCK_BYTES);
        Self {
            partitions,
            disk_sectors: disk_bytes / SECTOR_BYTES,
        }
    }

    pub(super) fn partitions(&self) -> &[Place] {
        &self.partitions
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_sectors * SECTOR_BYTES
    }

    /// The first sectors: for tools that know no GPT, then header and entries.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut head = self.protective_record();
        let entries = self.entries();
        head.extend(self.header(1, self.disk_sectors - 1, 2, &entries));
        head.extend(entries);
        head
    }

    /// Where [`Table::tail`] is.
    pub(super) fn tail_start(&self) -> u64 {
        (self.disk_sectors - 1 - ENTRIES_SECTORS) * SECTOR_BYTES
    }

    /// The last sectors: the copies of entries and header.
    pub(super) fn tail(&self) -> Vec<u8> {
        let mut tail = self.entries();
        let entries_at = self.disk_sectors - 1 - ENTRIES_SECTORS;
        let header = self.header(self.disk_sectors - 1, 1, entries_at, &tail);
        tail.extend(header);
        tail
    }

    /// 5.2.3: one partition of a type that nobody touches, over all of the disk.
    fn protective_record(&self) -> Vec<u8> {
        let mut record = vec![0; SECTOR_BYTES as usize];
        let sectors = u32::try_from(self.disk_sectors - 1).unwrap_or(u32::MAX);
        record[447..450].copy_from_slice(&[0x00, 0x02, 0x00]);
        record[450..454].copy_from_slice(&[0xee, 0xff, 0xff, 0xff]);
        record[454..458].copy_from_slice(&1_u32.to_le_bytes());
        record[458..462].copy_from_slice(&sectors.to_le_bytes());
        record[510..].copy_from_slice(&[0x55, 0xaa]);
        record
    }

    /// 5.3.2, as one sector. The table's own sector, the other's, and where the entries are that it sums up.
    fn header(&self, own: u64, other: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(SECTOR_BYTES as usize);
        header.extend(b"EFI PART");
        header.extend(0x1_0000_u32.to_le_bytes());
        header.extend((HEADER_BYTES as u32).to_le_bytes());
        // Its checksum, which is made with zeroes here.
        header.extend([0; 8]);
        let first_usable = 2 + ENTRIES_SECTORS;
        let last_usable = self.disk_sectors - 2 - ENTRIES_SECTORS;
        for sector in [own, other, first_usable, last_usable] {
            header.extend(sector.to_le_bytes());
        }
        header.extend(guid(0));
        header.extend(entries_at.to_le_bytes());
        header.extend((PARTITIONS_MAX as u32).to_le_bytes());
        header.extend((ENTRY_BYTES as u32).to_le_bytes());
        header.extend(crc32fast::hash(entries).to_le_bytes());
        let sum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        header.resize(SECTOR_BYTES as usize, 0);
        header
    }

    /// 5.3.3.
    fn entries(&self) -> Vec<u8> {
        let mut entries = Vec::with_capacity(ENTRIES_BYTES);
        for (place, number) in self.partitions.iter().zip(1..) {
            let first = place.start / SECTOR_BYTES;
            let sectors = place.size_bytes.next_multiple_of(BLOCK_BYTES) / SECTOR_BYTES;
            entries.extend(LINUX);
            entries.extend(guid(number));
            for value in [first, first + sectors - 1, READ_ONLY] {
                entries.extend(value.to_le_bytes());
            }
            // No name.
            entries.extend([0; 72]);
        }
        entries.resize(ENTRIES_BYTES, 0);
        entries
    }
}

/// Of the disk (0), or of a partition: version 8 of RFC 9562, whose bits mean what their maker says.
fn guid(number: u32) -> [u8; 16] {
    let mut guid = *b"gamut\0\0\x80\x80disk\0\0\0";
    guid[12..].copy_from_slice(&number.to_be_bytes());
    guid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_aligned_and_do_not_meet() {
        let table = Table::new(&[1, 5 << 20, 4096]);
        let starts: Vec<_> = table.partitions().iter().map(|p| p.start).collect();
        assert_eq!(starts, [1 << 20, 2 << 20, 7 << 20]);
        assert_eq!(table.head().len(), 34 * 512);
        assert_eq!(table.tail().len(), 33 * 512);
        assert_eq!(table.tail_start() + 33 * 512, table.disk_bytes());
        assert!(table.tail_start() >= (7 << 20) + 4096);
        assert!(table.disk_bytes().is_multiple_of(4096));
    }
}
