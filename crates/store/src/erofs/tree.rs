//! What stays in memory while an image is written: names and what they stand for. Names lie one
//! after another in one buffer, an entry takes some thirty bytes more, and is found by a hash of its
//! directory and name. Nothing is taken out: what is replaced loses its meaning, and what was below
//! a replaced directory can no longer be reached.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::ImageError;
use super::format::{FileType, NAME_BYTES};
use super::records::Slot;
use crate::unpack::archive::Attributes;

/// A directory: its place among all that were ever made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DirectoryId(u32);

impl DirectoryId {
    /// The root.
    pub(crate) const ROOT: Self = Self(0);

    /// Counted from zero.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory.
    Directory(DirectoryId),
    /// Anything else.
    Other(FileType, Slot),
    /// Character device 0/0.
    Whiteout(Slot),
    /// Nothing any more.
    Gone,
}

#[derive(Debug)]
struct Entry {
    directory: DirectoryId,
    name_at: u32,
    name_bytes: u8,
    node: Node,
}

/// A directory without its entries.
#[derive(Debug)]
struct Directory {
    parent: DirectoryId,
    /// `None`: implied by what is in it.
    attributes: Option<Attributes>,
    /// It hides what lies below it in lower layers.
    opaque: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    names: Vec<u8>,
    entries: Vec<Entry>,
    /// Open addressing: an entry's place and one, or zero. The size is a power of two.
    table: Vec<u32>,
    hash: RandomState,
    directories: Vec<Directory>,
    /// Where a symbolic link leads: beginning and end among the names.
    targets: HashMap<Slot, (u32, u32)>,
    /// Bytes of attributes of directories.
    attribute_bytes: usize,
    limit_bytes: usize,
}

impl Tree {
    pub(super) fn new(limit_bytes: usize) -> Self {
        let root = Directory {
            parent: DirectoryId::ROOT,
            attributes: None,
            opaque: false,
        };
        Self {
            names: Vec::new(),
            entries: Vec::new(),
            table: vec![0; 1024],
            hash: RandomState::new(),
            directories: vec![root],
            targets: HashMap::new(),
            attribute_bytes: 0,
            // Places among the names have 32 bits.
            limit_bytes: limit_bytes.min(u32::MAX as usize),
        }
    }

    /// What a name stands for.
    pub(crate) fn get(&self, directory: DirectoryId, name: &[u8]) -> Node {
        match self.search(directory, name) {
            Ok(entry) => self.entries[entry].node,
            Err(_) => Node::Gone,
        }
    }

    /// Gives a name its meaning, whatever it stood for. Names are checked by the caller.
    pub(crate) fn put(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        node: Node,
    ) -> Result<(), ImageError> {
        debug_assert!((1..=NAME_BYTES).contains(&name.len()));
        match self.search(directory, name) {
            Ok(entry) => self.entries[entry].node = node,
            Err(free) => {
                let name_at = self.names.len() as u32;
                self.names.extend_from_slice(name);
                self.entries.push(Entry {
                    directory,
                    name_at,
                    name_bytes: name.len() as u8,
                    node,
                });
                self.table[free] = self.entries.len() as u32;
                self.check_memory()?;
                if self.entries.len() * 3 > self.table.len() * 2 {
                    self.grow();
                }
            }
        }
        Ok(())
    }

    /// A new, implied directory of that name.
    pub(crate) fn make_directory(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
    ) -> Result<DirectoryId, ImageError> {
        let id = DirectoryId(self.directories.len() as u32);
        self.directories.push(Directory {
            parent,
            attributes: None,
            opaque: false,
        });
        self.put(parent, name, Node::Directory(id))?;
        Ok(id)
    }

    /// What a directory gets in the end, in place of what was said before.
    pub(crate) fn set_attributes(
        &mut self,
        directory: DirectoryId,
        attributes: Attributes,
    ) -> Result<(), ImageError> {
        let xattrs = attributes.xattrs.iter();
        self.attribute_bytes += xattrs
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
        self.directories[directory.index()].attributes = Some(attributes);
        self.check_memory()
    }

    /// Marks a directory as hiding what lies below it.
    pub(crate) fn set_opaque(&mut self, directory: DirectoryId) {
        self.directories[directory.index()].opaque = true;
    }

    /// Remembers where a symbolic link leads.
    pub(super) fn set_target(&mut self, link: Slot, target: &[u8]) -> Result<(), ImageError> {
        let start = self.names.len() as u32;
        self.names.extend_from_slice(target);
        self.targets.insert(link, (start, self.names.len() as u32));
        self.check_memory()
    }

    /// Where a symbolic link leads.
    pub(crate) fn target(&self, link: Slot) -> &[u8] {
        let range = self.targets.get(&link);
        range.map_or(b"", |&(start, end)| {
            &self.names[start as usize..end as usize]
        })
    }

    /// The directory that has this one.
    pub(crate) fn parent(&self, directory: DirectoryId) -> DirectoryId {
        self.directories[directory.index()].parent
    }

    /// What a directory gets, and whether it is opaque; to be asked once.
    pub(super) fn take_attributes(&mut self, directory: DirectoryId) -> (Option<Attributes>, bool) {
        let directory = &mut self.directories[directory.index()];
        (directory.attributes.take(), directory.opaque)
    }

    /// Directories, those that cannot be reached any more included.
    pub(super) fn directory_count(&self) -> usize {
        self.directories.len()
    }

    /// All entries that stand for something, sorted by directory and name; and for each directory,
    /// where its entries begin among them, with one more for the end.
    pub(super) fn sorted(&self) -> (Vec<u32>, Vec<u32>) {
        let there = |&entry: &u32| self.entries[entry as usize].node != Node::Gone;
        let mut order: Vec<u32> = (0..self.entries.len() as u32).filter(there).collect();
        let directory = |entry: u32| self.entries[entry as usize].directory;
        order.sort_unstable_by(|&a, &b| {
            let by_name = || self.name(a).cmp(self.name(b));
            directory(a).cmp(&directory(b)).then_with(by_name)
        });
        let mut starts = Vec::with_capacity(self.directories.len() + 1);
        let mut at = 0;
        for id in 0..self.directories.len() as u32 {
            starts.push(at as u32);
            at += order[at..]
                .iter()
                .take_while(|&&entry| directory(entry).0 == id)
                .count();
        }
        starts.push(at as u32);
        (order, starts)
    }

    /// The name and meaning of an entry from [`Tree::sorted`].
    pub(super) fn entry(&self, entry: u32) -> (&[u8], Node) {
        (self.name(entry), self.entries[entry as usize].node)
    }

    fn name(&self, entry: u32) -> &[u8] {
        let entry = &self.entries[entry as usize];
        let start = entry.name_at as usize;
        &self.names[start..start + usize::from(entry.name_bytes)]
    }

    /// The entry of a name, or the free place in the table where it would go.
    fn search(&self, directory: DirectoryId, name: &[u8]) -> Result<usize, usize> {
        let mut at = self.hash.hash_one((directory.0, name)) as usize & (self.table.len() - 1);
        loop {
            let Some(entry) = self.table[at].checked_sub(1) else {
                return Err(at);
            };
            if self.entries[entry as usize].directory == directory && self.name(entry) == name {
                return Ok(entry as usize);
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        let mask = self.table.len() - 1;
        for entry in 0..self.entries.len() as u32 {
            let key = (self.entries[entry as usize].directory.0, self.name(entry));
            let mut at = self.hash.hash_one(key) as usize & mask;
            while self.table[at] != 0 {
                at = (at + 1) & mask;
            }
            self.table[at] = entry + 1;
        }
    }

    fn check_memory(&self) -> Result<(), ImageError> {
        let taken = self.names.len()
            + self.attribute_bytes
            + self.entries.len() * (size_of::<Entry>() + 2 * size_of::<u32>())
            + self.directories.len() * size_of::<Directory>()
            + self.targets.len() * size_of::<(Slot, u32, u32)>();
        match taken > self.limit_bytes {
            true => {
                let what = "bytes of names and of directories' attributes";
                Err(ImageError::limit(what, self.limit_bytes))
            }
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_after_the_table_has_grown() {
        let mut tree = Tree::new(1 << 20);
        let made: Vec<_> = (0..5000)
            .map(|i| {
                let name = format!("{i}");
                tree.make_directory(DirectoryId::ROOT, name.as_bytes())
                    .expect("made")
            })
            .collect();
        for (i, id) in made.iter().enumerate() {
            let name = format!("{i}");
            assert_eq!(
                tree.get(DirectoryId::ROOT, name.as_bytes()),
                Node::Directory(*id)
            );
            assert_eq!(tree.get(*id, name.as_bytes()), Node::Gone);
        }
        tree.put(DirectoryId::ROOT, b"7", Node::Gone).expect("put");
        let (order, starts) = tree.sorted();
        assert_eq!((order.len(), starts[1]), (4999, 4999));
        let names: Vec<_> = order.iter().map(|&entry| tree.entry(entry).0).collect();
        assert!(names.is_sorted());
    }

    #[test]
    fn memory_is_limited() {
        let mut tree = Tree::new(10_000);
        let refused = (0..1000).find(|i| {
            let name = format!("{i}");
            tree.make_directory(DirectoryId::ROOT, name.as_bytes())
                .is_err()
        });
        assert!(refused.is_some_and(|i| i < 200));
    }
}
