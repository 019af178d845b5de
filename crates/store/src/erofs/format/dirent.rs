//! Directory entries and the types they name.

use super::{DIRENT_BYTES, u16_at, u64_at};

/// What [`Dirent::file_type`] says: the numbers of the generic `FT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Character device.
    CharacterDevice,
    /// Block device.
    BlockDevice,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
    /// Symbolic link.
    Symlink,
}

impl FileType {
    /// Each type, its number in a directory entry, and its bits in an inode's mode (inode(7)).
    const ALL: [(Self, u8, u16); 7] = [
        (Self::File, 1, 0o100_000),
        (Self::Directory, 2, 0o040_000),
        (Self::CharacterDevice, 3, 0o020_000),
        (Self::BlockDevice, 4, 0o060_000),
        (Self::Fifo, 5, 0o010_000),
        (Self::Socket, 6, 0o140_000),
        (Self::Symlink, 7, 0o120_000),
    ];

    fn row(self) -> (Self, u8, u16) {
        Self::ALL[match self {
            Self::File => 0,
            Self::Directory => 1,
            Self::CharacterDevice => 2,
            Self::BlockDevice => 3,
            Self::Fifo => 4,
            Self::Socket => 5,
            Self::Symlink => 6,
        }]
    }

    /// The number in a directory entry.
    pub fn number(self) -> u8 {
        self.row().1
    }

    /// The bits in a mode.
    pub fn mode_bits(self) -> u16 {
        self.row().2
    }

    /// The type of a directory entry's number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|row| row.1 == number)
            .map(|row| row.0)
    }

    /// The type in an inode's mode.
    pub fn from_mode(mode: u16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|row| row.2 == mode & 0o170_000)
            .map(|row| row.0)
    }
}

/// `struct erofs_dirent`. The first one's `name_offset` says how many there are in the block; a name
/// ends where the next begins, the last one at a zero byte or with the block or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirent {
    /// The inode.
    pub nid: u64,
    /// Where the name begins in the block.
    pub name_offset: u16,
    /// [`FileType::number`].
    pub file_type: u8,
}

impl Dirent {
    /// As on disk.
    pub fn to_bytes(self) -> [u8; DIRENT_BYTES] {
        let mut bytes = [0; DIRENT_BYTES];
        bytes[..8].copy_from_slice(&self.nid.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.name_offset.to_le_bytes());
        bytes[10] = self.file_type;
        bytes
    }

    /// From disk.
    pub fn from_bytes(bytes: &[u8; DIRENT_BYTES]) -> Self {
        Self {
            nid: u64_at(bytes, 0),
            name_offset: u16_at(bytes, 8),
            file_type: bytes[10],
        }
    }
}
