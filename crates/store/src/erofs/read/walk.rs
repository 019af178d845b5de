//! Everything in an image, once.

use std::collections::HashSet;
use std::rc::Rc;

use super::{Entries, Image, Inode, ReadError, Source};
use crate::erofs::format::FileType;

/// Most bytes of a path: PATH_MAX. Archives have no longer ones.
const PATH_BYTES: usize = 4096;

/// A name that was come by.
#[derive(Debug)]
pub struct Visit {
    /// The path from the root, without a `/` before it; empty for the root.
    pub path: Vec<u8>,
    /// What it names. A file of several names is visited by each.
    pub inode: Inode,
}

/// Visits every name in an image: a directory before what is in it, its entries in order.
///
/// Directories that are entered twice, or that together have more bytes than the image, are no tree:
/// with them a small image could keep a reader busy for ever.
#[derive(Debug)]
pub struct Walk<'i, S> {
    image: &'i Image<S>,
    /// The root, until it has been visited.
    root: Option<Inode>,
    /// The directory whose entries are being visited, and its path.
    present: Option<(Rc<[u8]>, Entries<'i, S>)>,
    /// Directories that have been visited but not entered, the next one last; their parent's path and
    /// their name.
    pending: Vec<(Rc<[u8]>, Vec<u8>, Inode)>,
    guard: TreeGuard,
}

impl<'i, S: Source> Walk<'i, S> {
    /// Begins at the root.
    pub fn new(image: &'i Image<S>) -> Result<Self, ReadError> {
        Ok(Self {
            image,
            root: Some(image.root()?),
            present: None,
            pending: Vec::new(),
            guard: TreeGuard::new(image),
        })
    }

    fn enter(&mut self, path: Rc<[u8]>, directory: &Inode) -> Result<(), ReadError> {
        self.guard.enter(directory)?;
        self.present = Some((path, self.image.entries(directory)?));
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Visit>, ReadError> {
        if let Some(root) = self.root.take() {
            self.enter(Rc::default(), &root)?;
            let path = Vec::new();
            return Ok(Some(Visit { path, inode: root }));
        }
        loop {
            if let Some((parent, entries)) = &mut self.present {
                if let Some(entry) = entries.next().transpose()? {
                    let inode = self.image.typed_inode(entry.nid, entry.kind)?;
                    let path = join(parent, &entry.name)?;
                    if inode.kind == FileType::Directory {
                        let name = (parent.clone(), entry.name, inode.clone());
                        self.pending.push(name);
                    }
                    return Ok(Some(Visit { path, inode }));
                }
                self.present = None;
            }
            let Some((parent, name, directory)) = self.pending.pop() else {
                return Ok(None);
            };
            let path = join(&parent, &name)?;
            self.enter(path.into(), &directory)?;
        }
    }
}

impl<S: Source> Iterator for Walk<'_, S> {
    type Item = Result<Visit, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let visit = self.step();
        if visit.is_err() {
            // After an error there is nothing more to say.
            self.present = None;
            self.pending.clear();
        }
        visit.transpose()
    }
}

fn join(parent: &[u8], name: &[u8]) -> Result<Vec<u8>, ReadError> {
    let path = match parent {
        b"" => name.to_vec(),
        parent => [parent, b"/", name].concat(),
    };
    match path.len() {
        ..=PATH_BYTES => Ok(path),
        _ => Err(ReadError::Limit {
            what: "bytes in a path",
            limit: PATH_BYTES as u64,
        }),
    }
}

impl<S: Source> Image<S> {
    /// The inode of a number, if it is of the type that its directory says.
    pub(crate) fn typed_inode(&self, nid: u64, kind: FileType) -> Result<Inode, ReadError> {
        let inode = self.inode(nid)?;
        match inode.kind == kind {
            true => Ok(inode),
            false => Err(ReadError::DamagedInode {
                nid,
                what: "its type is not the one that its directory says",
            }),
        }
    }
}

/// Whether directories are a tree, as far as they have been entered.
#[derive(Debug)]
pub(crate) struct TreeGuard {
    entered: HashSet<u64>,
    /// Bytes that directories may still have.
    bytes: u64,
}

impl TreeGuard {
    pub(crate) fn new<S: Source>(image: &Image<S>) -> Self {
        Self {
            entered: HashSet::new(),
            bytes: image.size_bytes(),
        }
    }

    /// Asked before a directory's entries are read.
    pub(crate) fn enter(&mut self, directory: &Inode) -> Result<(), ReadError> {
        let damaged = |what| ReadError::DamagedInode {
            nid: directory.nid,
            what,
        };
        if !self.entered.insert(directory.nid) {
            return Err(damaged("it is a directory in two places"));
        }
        self.bytes = self
            .bytes
            .checked_sub(directory.size)
            .ok_or(damaged("directories share their entries"))?;
        Ok(())
    }
}
