//! The names that can be seen when layers lie on top of each other, by overlayfs's rules (kernel
//! documentation, overlayfs, "Directories" and "whiteouts and opaque directories").

use std::collections::HashMap;
use std::iter::Peekable;

use super::super::format::{FileType, device_number};
use super::super::image::{Content, ImageWriter};
use super::super::read::{Entries, Entry, Image, Inode, ReadError, Source, TreeGuard, Xattr};
use super::super::records::Slot;
use super::super::tree::{DirectoryId, Node};
use super::{MergeError, MergeLayer, data};
use crate::unpack::archive::Attributes;
use crate::unpack::metadata::is_overlayfs_own;
use crate::unpack::pax::Time;

/// A layer, as its device's number: 1 is the bottom one.
type Number = u16;

/// A directory that is still to be read: its id in the merged image, and where it lies in the layers
/// that have it, the top one first.
type Pending = (DirectoryId, Vec<(Number, u64)>);

/// See the module.
#[derive(Debug)]
pub(super) struct Merge<'m, 'i, 'f, S> {
    layers: &'m [MergeLayer<'i, S>],
    guards: Vec<TreeGuard>,
    writer: &'m mut ImageWriter<'f>,
    /// Inodes of several names that have been added.
    linked: HashMap<(Number, u64), Slot>,
    pending: Vec<Pending>,
}

/// What a name is in the layers that have it, the top one first.
type Found = Vec<(Number, Entry)>;

/// The entries of one layer's directory.
type Listed<'i, S> = (Number, Peekable<Entries<'i, S>>);

impl<'m, 'i, 'f, S: Source> Merge<'m, 'i, 'f, S> {
    pub(super) fn new(layers: &'m [MergeLayer<'i, S>], writer: &'m mut ImageWriter<'f>) -> Self {
        let guards = layers.iter().map(|layer| TreeGuard::new(layer.image));
        Self {
            layers,
            guards: guards.collect(),
            writer,
            linked: HashMap::new(),
            pending: Vec::new(),
        }
    }

    /// Adds everything; the writer has then to be finished.
    pub(super) fn run(mut self) -> Result<(), MergeError> {
        self.root()?;
        while let Some((id, places)) = self.pending.pop() {
            self.directory(id, &places)?;
        }
        Ok(())
    }

    /// The root is in all layers. Whether it is opaque the layer's record says, since overlayfs does
    /// not look for marks there; its attributes are those of the top layer that gives it any.
    fn root(&mut self) -> Result<(), MergeError> {
        let mut places = Vec::new();
        let mut has_attributes = false;
        // There are no more layers than a number can count.
        let numbers = 1..=self.layers.len() as Number;
        for (number, layer) in numbers.zip(self.layers).rev() {
            let root = layer.image.root().map_err(failed(number))?;
            if layer.has_root && !has_attributes {
                has_attributes = true;
                let xattrs = layer.image.xattrs(&root).map_err(failed(number))?;
                let attributes = attributes(&root, xattrs);
                self.writer
                    .tree
                    .set_attributes(DirectoryId::ROOT, attributes)?;
            }
            places.push((number, root.nid));
            if layer.opaque_root {
                break;
            }
        }
        self.pending.push((DirectoryId::ROOT, places));
        Ok(())
    }

    /// One directory of the merged image: its attributes, if it is not the root, and its entries.
    fn directory(&mut self, id: DirectoryId, places: &[(Number, u64)]) -> Result<(), MergeError> {
        let mut listed = Vec::new();
        for &(number, nid) in places {
            let image = self.image(number);
            let inode = image.typed_inode(nid, FileType::Directory);
            let inode = inode.map_err(failed(number))?;
            self.guards[usize::from(number) - 1]
                .enter(&inode)
                .map_err(failed(number))?;
            let entries = image.entries(&inode).map_err(failed(number))?;
            let is_top = listed.is_empty();
            listed.push((number, entries.peekable()));
            if id == DirectoryId::ROOT {
                continue;
            }
            let xattrs = image.xattrs(&inode).map_err(failed(number))?;
            let opaque = xattrs.iter().any(is_opaque);
            if is_top {
                let attributes = attributes(&inode, xattrs);
                self.writer.tree.set_attributes(id, attributes)?;
            }
            if opaque {
                break;
            }
        }
        self.entries(id, listed)
    }

    fn entries(
        &mut self,
        directory: DirectoryId,
        mut listed: Vec<Listed<'i, S>>,
    ) -> Result<(), MergeError> {
        let first = self.pending.len();
        while let Some((name, found)) = next_name(&mut listed)? {
            // Never empty: the name is somebody's.
            let Some((number, entry)) = found.first() else {
                continue;
            };
            if entry.kind == FileType::Directory {
                let id = self.writer.tree.make_directory(directory, &name)?;
                // Whatever is no directory hides what is below it.
                let places = found
                    .iter()
                    .take_while(|(_, entry)| entry.kind == FileType::Directory)
                    .map(|(number, entry)| (*number, entry.nid))
                    .collect();
                self.pending.push((id, places));
            } else if let Some(slot) = self.file(*number, entry)? {
                let node = Node::Other(entry.kind, slot);
                self.writer.tree.put(directory, &name, node)?;
            }
        }
        // The last one is taken first.
        self.pending[first..].reverse();
        Ok(())
    }

    /// Anything but a directory; `None` for a whiteout.
    fn file(&mut self, number: Number, entry: &Entry) -> Result<Option<Slot>, MergeError> {
        let image = self.image(number);
        let inode = image
            .typed_inode(entry.nid, entry.kind)
            .map_err(failed(number))?;
        if inode.kind == FileType::CharacterDevice && inode.device == (0, 0) {
            return Ok(None);
        }
        let key = (number, inode.nid);
        if inode.links > 1
            && let Some(&slot) = self.linked.get(&key)
        {
            self.writer.link(slot);
            return Ok(Some(slot));
        }
        let xattrs = image.xattrs(&inode).map_err(failed(number))?;
        let attributes = attributes(&inode, xattrs);
        let slot = match inode.kind {
            FileType::File => data::add(self.writer, image, number, &inode, &attributes)?,
            FileType::Symlink => {
                let target = image.link_target(&inode).map_err(failed(number))?;
                let content = Content::Inline(&target);
                self.writer.add(inode.kind, &attributes, content)?
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                // What was read from 12 and 20 bits fits into them.
                let device = device_number(inode.device.0, inode.device.1).unwrap_or_default();
                let content = Content::Device(device);
                self.writer.add(inode.kind, &attributes, content)?
            }
            _ => self.writer.add(inode.kind, &attributes, Content::Empty)?,
        };
        if inode.links > 1 {
            self.linked.insert(key, slot);
        }
        Ok(Some(slot))
    }

    fn image(&self, number: Number) -> &'i Image<S> {
        self.layers[usize::from(number) - 1].image
    }
}

/// The first name that is left, and what it is in the layers that have it, the top one first.
fn next_name<S: Source>(
    listed: &mut [Listed<'_, S>],
) -> Result<Option<(Vec<u8>, Found)>, MergeError> {
    let mut least: Option<&[u8]> = None;
    for (_, entries) in listed.iter_mut() {
        // An error comes out below.
        let name = match entries.peek() {
            Some(Ok(entry)) => entry.name.as_slice(),
            Some(Err(_)) => b"",
            None => continue,
        };
        if least.is_none_or(|least| name < least) {
            least = Some(name);
        }
    }
    let Some(name) = least.map(<[u8]>::to_vec) else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for (number, entries) in listed {
        let next = entries.next_if(|entry| match entry {
            Ok(entry) => entry.name == name,
            Err(_) => true,
        });
        if let Some(entry) = next {
            found.push((*number, entry.map_err(failed(*number))?));
        }
    }
    Ok(Some((name, found)))
}

fn failed(number: Number) -> impl FnOnce(ReadError) -> MergeError {
    move |error| MergeError::Layer {
        layer: number.into(),
        error,
    }
}

/// What an inode has, but for what overlayfs keeps in xattrs.
fn attributes(inode: &Inode, mut xattrs: Vec<Xattr>) -> Attributes {
    xattrs.retain(|(name, _)| !is_overlayfs_own(name));
    Attributes {
        mode: inode.mode.into(),
        uid: inode.uid,
        gid: inode.gid,
        mtime: Time {
            seconds: inode.mtime.0,
            nanoseconds: inode.mtime.1,
        },
        xattrs,
    }
}

fn is_opaque((name, value): &Xattr) -> bool {
    let mark = matches!(
        name.as_slice(),
        b"trusted.overlay.opaque" | b"user.overlay.opaque"
    );
    mark && value == b"y"
}
