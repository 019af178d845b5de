//! Directories: blocks of entries that are sorted by name, each block with its names after them.

use std::cmp::Ordering;

use super::{Image, Inode, ReadError, Source};
use crate::erofs::format::{DIRENT_BYTES, Dirent, FileType, NAME_BYTES};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 255 bytes without `/` and zero bytes; never `.` or `..`.
    pub name: Vec<u8>,
    /// The inode's number.
    pub nid: u64,
    /// What the directory says that the inode is.
    pub kind: FileType,
}

/// The entries of a directory, in ascending order of their names. See [`Image::entries`].
#[derive(Debug)]
pub struct Entries<'i, S> {
    image: &'i Image<S>,
    directory: Inode,
    /// Where in the directory the next block begins.
    offset: u64,
    block: Block,
    /// The next entry of `block`.
    next: usize,
    /// The name of the entry before.
    last: Vec<u8>,
}

impl<S: Source> Image<S> {
    /// What is in a directory.
    pub fn entries(&self, directory: &Inode) -> Result<Entries<'_, S>, ReadError> {
        must_be_directory(directory)?;
        Ok(Entries {
            image: self,
            directory: directory.clone(),
            offset: 0,
            block: Block::default(),
            next: 0,
            last: Vec::new(),
        })
    }

    /// The inode of a name in a directory.
    pub fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<Option<Inode>, ReadError> {
        must_be_directory(directory)?;
        if matches!(name, b"" | b"." | b"..") {
            return Ok(None);
        }
        // The last block whose first name is not greater.
        let (mut low, mut high) = (0, directory.size.div_ceil(self.block_bytes()));
        while low < high {
            let middle = low + (high - low) / 2;
            let block = self.directory_block(directory, middle * self.block_bytes())?;
            let (first, _) = block.entry(0)?;
            if first <= name {
                if let Some(nid) = block.find(name)? {
                    return self.inode(nid).map(Some);
                }
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(None)
    }

    fn directory_block(&self, directory: &Inode, offset: u64) -> Result<Block, ReadError> {
        let length = (directory.size - offset).min(self.block_bytes());
        let mut bytes = vec![0; length as usize];
        self.read_at(directory, &mut bytes, offset)?;
        Block::new(bytes, directory.nid)
    }
}

fn must_be_directory(inode: &Inode) -> Result<(), ReadError> {
    match inode.kind {
        FileType::Directory => Ok(()),
        _ => Err(ReadError::DamagedInode {
            nid: inode.nid,
            what: "it is not a directory",
        }),
    }
}

/// One block of a directory.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    count: usize,
    nid: u64,
}

impl Block {
    fn new(bytes: Vec<u8>, nid: u64) -> Result<Self, ReadError> {
        let mut block = Self {
            bytes,
            count: 0,
            nid,
        };
        // The first name begins where the entries end, and so tells their number.
        let names = usize::from(block.dirent(0)?.name_offset);
        if names == 0 || !names.is_multiple_of(DIRENT_BYTES) || names >= block.bytes.len() {
            return Err(block.damaged("a block of it says no number of entries"));
        }
        block.count = names / DIRENT_BYTES;
        Ok(block)
    }

    fn damaged(&self, what: &'static str) -> ReadError {
        ReadError::DamagedInode {
            nid: self.nid,
            what,
        }
    }

    fn dirent(&self, at: usize) -> Result<Dirent, ReadError> {
        self.bytes
            .get(at * DIRENT_BYTES..)
            .and_then(<[u8]>::first_chunk)
            .map(Dirent::from_bytes)
            .ok_or_else(|| self.damaged("an entry of it is cut off"))
    }

    /// The name and the entry of a number below `count`.
    fn entry(&self, at: usize) -> Result<(&[u8], Dirent), ReadError> {
        let dirent = self.dirent(at)?;
        let end = match at + 1 < self.count {
            true => usize::from(self.dirent(at + 1)?.name_offset),
            false => self.bytes.len(),
        };
        let mut name = self
            .bytes
            .get(usize::from(dirent.name_offset)..end)
            .ok_or_else(|| self.damaged("a name in it lies outside of its block"))?;
        if at + 1 == self.count {
            let end = name.iter().position(|&byte| byte == 0);
            name = &name[..end.unwrap_or(name.len())];
        }
        if !(1..=NAME_BYTES).contains(&name.len()) || name.iter().any(|b| matches!(b, 0 | b'/')) {
            return Err(self.damaged("a name in it is none"));
        }
        Ok((name, dirent))
    }

    fn find(&self, name: &[u8]) -> Result<Option<u64>, ReadError> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, dirent) = self.entry(middle)?;
            match found.cmp(name) {
                Ordering::Equal => return Ok(Some(dirent.nid)),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}

impl<S: Source> Entries<'_, S> {
    fn read(&mut self) -> Result<Option<Entry>, ReadError> {
        loop {
            if self.next == self.block.count {
                if self.offset >= self.directory.size {
                    return Ok(None);
                }
                self.block = self.image.directory_block(&self.directory, self.offset)?;
                self.offset += self.block.bytes.len() as u64;
                self.next = 0;
            }
            let (name, dirent) = self.block.entry(self.next)?;
            self.next += 1;
            // Also what keeps blocks that are read again and again from having no end.
            if name <= self.last.as_slice() {
                return Err(self.block.damaged("its names are not in order"));
            }
            self.last.clear();
            self.last.extend_from_slice(name);
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = FileType::from_number(dirent.file_type)
                .ok_or_else(|| self.block.damaged("an entry of it has no known type"))?;
            return Ok(Some(Entry {
                name: name.to_vec(),
                nid: dirent.nid,
                kind,
            }));
        }
    }
}

impl<S: Source> Iterator for Entries<'_, S> {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.read();
        if entry.is_err() {
            // After an error there is nothing more to say.
            self.offset = self.directory.size;
            self.next = self.block.count;
        }
        entry.transpose()
    }
}
