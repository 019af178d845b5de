//! A layer becomes an image: the entries of its archive, by the rules that the unpacker of trees has
//! from the kernel. A path's directories are found among the names in memory; a symbolic link among
//! them is read as if the layer's root were `/`, and only if all it leads through is there.

mod hole;

use std::io::BufRead;
use std::num::NonZero;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::clusters::Press;
use super::format::{FileType, NAME_BYTES, device_number};
use super::image::{Content, ImageWriter};
use super::records::Slot;
use super::sparse::Cut;
use super::tree::{DirectoryId, Node};
use super::{ImageError, WriteOptions, Written, rules};
use crate::reproduce::Kept;
use crate::reproduce::tape::Tape;
use crate::unpack::UnpackProblem;
use crate::unpack::archive::{Archive, Attributes, EntryKind};
use crate::unpack::entries::{Marks, Place, Refusal, Sink, clean};
use crate::unpack::metadata::Warnings;
use crate::unpack::sparse::Sparse;

/// Symbolic links that one path may lead through: path_resolution(7).
const LINKS: usize = 40;
/// Bytes of a symbolic link's target, at most: symlink(2) counts a zero byte in `PATH_MAX`.
const TARGET_BYTES: usize = 4095;
/// What is said of a hard link that leads nowhere.
const NO_TARGET: &str = "its target is no file of this layer";

/// See the module.
#[derive(Debug)]
pub(crate) struct LayerSink<'f> {
    image: ImageWriter<'f>,
    /// The directory that was found last, and its path: neighbours in an archive share theirs.
    known: (Vec<u8>, DirectoryId),
    /// A small file's data, before its inode.
    small: Vec<u8>,
    size_bytes: u64,
    warnings: Warnings,
}

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
}

impl<'f> LayerSink<'f> {
    /// An image in the empty file `file`.
    ///
    /// # Errors
    /// For want of memory.
    pub(crate) fn new(file: BorrowedFd<'f>, options: &WriteOptions) -> Result<Self, ImageError> {
        let threads = std::thread::available_parallelism();
        let mut image = ImageWriter::new(file, options);
        image.compress(threads.map_or(1, NonZero::get))?;
        Ok(Self {
            image,
            known: (Vec::new(), DirectoryId::ROOT),
            small: Vec::new(),
            size_bytes: 0,
            warnings: Warnings::default(),
        })
    }

    /// The directory at a cleaned path.
    fn at(&mut self, path: &[u8], missing: Missing) -> Result<DirectoryId, UnpackProblem> {
        if path == self.known.0 {
            return Ok(self.known.1);
        }
        let mut at = DirectoryId::ROOT;
        for name in path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            check_name(name, "open its directory")?;
            at = match (self.image.tree.get(at, name), missing) {
                (Node::Directory(id), _) => id,
                (Node::Gone, Missing::Make) => self.image.tree.make_directory(at, name)?,
                (Node::Gone, Missing::Refuse) => return Err(UnpackProblem::Unsafe(NO_TARGET)),
                // It hides what the whiteout hid.
                (Node::Whiteout(_), Missing::Make) => {
                    let id = self.image.tree.make_directory(at, name)?;
                    self.image.tree.set_opaque(id);
                    id
                }
                (Node::Other(FileType::Symlink, link), _) => {
                    self.follow(at, link).ok_or(UnpackProblem::Unsafe(
                        "its path leads through a symbolic link that is no directory of this layer",
                    ))?
                }
                (Node::Whiteout(_) | Node::Other(..), _) => {
                    return Err(UnpackProblem::Unsafe(
                        "its path leads through a file that is no directory",
                    ));
                }
            };
        }
        self.known.0.clear();
        self.known.0.extend_from_slice(path);
        self.known.1 = at;
        Ok(at)
    }

    /// The directory that a symbolic link in `at` leads to, as `openat2(2)` with `RESOLVE_IN_ROOT`
    /// finds it.
    fn follow(&self, mut at: DirectoryId, link: Slot) -> Option<DirectoryId> {
        let tree = &self.image.tree;
        let begin = |at, target: &[u8]| match target.first() {
            Some(b'/') => DirectoryId::ROOT,
            _ => at,
        };
        let mut links = 1;
        // What is still to be walked, the next part last.
        let mut pending = vec![tree.target(link)];
        at = begin(at, tree.target(link));
        while let Some(path) = pending.pop() {
            let (name, rest) = match path.iter().position(|&byte| byte == b'/') {
                Some(slash) => (&path[..slash], &path[slash + 1..]),
                None => (path, &b""[..]),
            };
            if !rest.is_empty() {
                pending.push(rest);
            }
            at = match name {
                b"" | b"." => at,
                b".." => tree.parent(at),
                name => match tree.get(at, name) {
                    Node::Directory(id) => id,
                    Node::Other(FileType::Symlink, link) if links < LINKS => {
                        links += 1;
                        pending.push(tree.target(link));
                        begin(at, tree.target(link))
                    }
                    _ => return None,
                },
            };
        }
        Some(at)
    }

    /// Gives a name its meaning. Whatever may have been known by way of the old one is forgotten.
    fn name(
        &mut self,
        directory: DirectoryId,
        name: &[u8],
        node: Node,
    ) -> Result<(), UnpackProblem> {
        match self.image.tree.get(directory, name) {
            Node::Directory(_) | Node::Other(FileType::Symlink, _) => {
                self.known = (Vec::new(), DirectoryId::ROOT);
            }
            _ => {}
        }
        Ok(self.image.tree.put(directory, name, node)?)
    }

    fn file(
        &mut self,
        sparse: Option<Sparse>,
        attributes: &Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<Slot, UnpackProblem> {
        let bytes = sparse
            .as_ref()
            .map_or(archive.data_bytes(), |sparse| sparse.real_bytes);
        self.size_bytes += bytes;
        if bytes <= self.image.options.inline_bytes as u64 {
            return self.small_file(bytes, sparse.as_ref(), attributes, archive);
        }
        if let Some(sparse) = sparse {
            return self.sparse_file(&sparse, attributes, archive);
        }
        if let Some(press) = self.image.press.take() {
            return self.compressed_file(press, attributes, archive);
        }
        let first = self.image.out.block()?;
        let kept = Kept::InBlocks(self.image.out.position());
        archive.tape().content(kept, bytes)?;
        archive.data(|piece| Ok(self.image.out.append(piece)?))?;
        let content = Content::Blocks { first, bytes };
        Ok(self.image.add(FileType::File, attributes, content)?)
    }

    /// A file whose data is compressed on the way.
    fn compressed_file(
        &mut self,
        mut press: Press,
        attributes: &Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<Slot, UnpackProblem> {
        let bytes = archive.data_bytes();
        press.begin(&mut self.image.out)?;
        archive.data(|piece| Ok(press.add(&mut self.image.out, piece)?))?;
        let pressed = press.end(&mut self.image.out)?;
        let (slot, kept) = self.image.add_pressed(attributes, &pressed)?;
        self.image.press = Some(press);
        archive.tape().content(kept, bytes)?;
        Ok(slot)
    }

    /// A file of few bytes, with zeros where a sparse one has holes.
    fn small_file(
        &mut self,
        bytes: u64,
        sparse: Option<&Sparse>,
        attributes: &Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<Slot, UnpackProblem> {
        self.small.clear();
        let whole = [(0, bytes)];
        let runs = sparse.map_or(&whole[..], |sparse| &sparse.runs);
        for &(offset, length) in runs {
            // No more than `bytes`, which are few.
            self.small.resize(offset as usize, 0);
            archive.data_run(length, &mut |piece: &[u8]| {
                self.small.extend_from_slice(piece);
                Ok(())
            })?;
        }
        self.small.resize(bytes as usize, 0);
        let (slot, kept) = self
            .image
            .add_with_data(FileType::File, attributes, &self.small)?;
        for &(offset, length) in runs {
            archive.tape().content(kept.further(offset), length)?;
        }
        Ok(slot)
    }

    fn sparse_file(
        &mut self,
        sparse: &Sparse,
        attributes: &Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<Slot, UnpackProblem> {
        let cut = Cut::of(sparse);
        let out = &mut self.image.out;
        let first = out.block()?;
        let mut runs = sparse
            .runs
            .iter()
            .filter(|(_, length)| *length > 0)
            .peekable();
        for stretch in &cut.stretches {
            // Where in the file.
            let mut at = stretch.chunk * cut.chunk_bytes();
            let end = (at + stretch.count * cut.chunk_bytes()).min(sparse.real_bytes);
            while let Some(&(offset, length)) = runs.next_if(|(offset, _)| *offset < end) {
                out.zeros(offset - at)?;
                archive
                    .tape()
                    .content(Kept::InBlocks(out.position()), length)?;
                archive.data_run(length, &mut |piece: &[u8]| Ok(out.append(piece)?))?;
                at = offset + length;
            }
            out.zeros(end - at)?;
        }
        let content = match &cut.stretches[..] {
            // All of it is there: an ordinary file, which older kernels read too.
            [only] if only.count == cut.chunks => Content::Blocks {
                first,
                bytes: sparse.real_bytes,
            },
            _ => Content::Chunks {
                bytes: sparse.real_bytes,
                format: cut.bits,
                table: &mut cut.table(first),
            },
        };
        Ok(self.image.add(FileType::File, attributes, content)?)
    }

    /// A further name for a file of this layer. The target's last component is not followed.
    fn hardlink(
        &mut self,
        directory: DirectoryId,
        place: Place<'_>,
        target: &[u8],
    ) -> Result<(), UnpackProblem> {
        let target = clean(target)?;
        let target = Place::new(&target);
        if target.name.is_empty() {
            return Err(UnpackProblem::Archive("a hard link has no target"));
        }
        let from = self.at(target.parent, Missing::Refuse)?;
        let node = self.image.tree.get(from, target.name);
        let slot = match node {
            Node::Other(_, slot) | Node::Whiteout(slot) => slot,
            Node::Directory(_) => return Err(UnpackProblem::Unsafe("a hard link to a directory")),
            Node::Gone => return Err(UnpackProblem::Unsafe(NO_TARGET)),
        };
        if self.image.tree.get(directory, place.name) == node {
            return Ok(());
        }
        self.name(directory, place.name, Node::Gone)?;
        // The target may have been in the directory that has just been replaced.
        let from = self.at(target.parent, Missing::Refuse)?;
        if self.image.tree.get(from, target.name) != node {
            return Err(UnpackProblem::Unsafe(NO_TARGET));
        }
        self.image.link(slot);
        self.name(directory, place.name, node)
    }

    fn directory(
        &mut self,
        parent: DirectoryId,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<(), UnpackProblem> {
        let before = self.image.tree.get(parent, name);
        let id = match before {
            Node::Directory(id) => id,
            _ => {
                self.name(parent, name, Node::Gone)?;
                self.image.tree.make_directory(parent, name)?
            }
        };
        if let Node::Whiteout(_) = before {
            self.image.tree.set_opaque(id);
        }
        Ok(self.image.tree.set_attributes(id, attributes)?)
    }

    fn symlink(&mut self, target: &[u8], attributes: Attributes) -> Result<Node, UnpackProblem> {
        if target.is_empty() {
            return Err(UnpackProblem::Archive("a symbolic link has no target"));
        }
        if target.len() > TARGET_BYTES {
            return Err(UnpackProblem::at("make the symbolic link")(
                Errno::NAMETOOLONG,
            ));
        }
        // Linux has no other mode for one.
        let attributes = Attributes {
            mode: 0o777,
            ..attributes
        };
        let slot = self
            .image
            .add(FileType::Symlink, &attributes, Content::Inline(target))?;
        self.image.tree.set_target(slot, target)?;
        Ok(Node::Other(FileType::Symlink, slot))
    }

    fn device(
        &mut self,
        file_type: FileType,
        (major, minor): (u32, u32),
        attributes: &Attributes,
    ) -> Result<Node, UnpackProblem> {
        let number = device_number(major, minor)
            .ok_or(Errno::INVAL)
            .map_err(UnpackProblem::at("make the device"))?;
        let slot = self
            .image
            .add(file_type, attributes, Content::Device(number))?;
        Ok(match (file_type, number) {
            (FileType::CharacterDevice, 0) => Node::Whiteout(slot),
            _ => Node::Other(file_type, slot),
        })
    }

    /// The attributes that an entry gets.
    fn ruled(
        &mut self,
        file_type: FileType,
        mut attributes: Attributes,
        path: &[u8],
    ) -> Attributes {
        let warnings = &mut self.warnings;
        rules::apply(file_type, &mut attributes, |what| {
            warnings.add(path, || what)
        });
        attributes
    }

    /// Anything but the root and whiteouts; `file` adds a file's inode.
    pub(crate) fn put(
        &mut self,
        place: Place<'_>,
        kind: EntryKind,
        attributes: Attributes,
        file: impl FnOnce(&mut Self, Option<Sparse>, &Attributes) -> Result<Slot, UnpackProblem>,
    ) -> Result<(), UnpackProblem> {
        let parent = self.at(place.parent, Missing::Make)?;
        check_name(place.name, "make it")?;
        let node = match kind {
            EntryKind::File { sparse } => {
                let attributes = self.ruled(FileType::File, attributes, place.path);
                Node::Other(FileType::File, file(self, sparse, &attributes)?)
            }
            EntryKind::Directory => {
                let attributes = self.ruled(FileType::Directory, attributes, place.path);
                return self.directory(parent, place.name, attributes);
            }
            EntryKind::Symlink { target } => {
                let attributes = self.ruled(FileType::Symlink, attributes, place.path);
                self.symlink(&target, attributes)?
            }
            EntryKind::Hardlink { target } => return self.hardlink(parent, place, &target),
            EntryKind::CharacterDevice { major, minor } => {
                let file_type = FileType::CharacterDevice;
                let attributes = self.ruled(file_type, attributes, place.path);
                self.device(file_type, (major, minor), &attributes)?
            }
            EntryKind::BlockDevice { major, minor } => {
                let attributes = self.ruled(FileType::BlockDevice, attributes, place.path);
                self.device(FileType::BlockDevice, (major, minor), &attributes)?
            }
            EntryKind::Fifo => {
                let attributes = self.ruled(FileType::Fifo, attributes, place.path);
                let slot = self
                    .image
                    .add(FileType::Fifo, &attributes, Content::Empty)?;
                Node::Other(FileType::Fifo, slot)
            }
        };
        self.name(parent, place.name, node)
    }

    /// The archive is at its end. Gives the bytes of regular files, what could not be reproduced,
    /// and what the image came to.
    pub(crate) fn finish_image(self) -> Result<(u64, Warnings, Written), UnpackProblem> {
        let (size_bytes, warnings) = (self.size_bytes, self.warnings);
        Ok((size_bytes, warnings, self.image.finish()?))
    }
}

impl Marks for LayerSink<'_> {
    fn root(&mut self, attributes: Attributes) -> Result<(), UnpackProblem> {
        let attributes = self.ruled(FileType::Directory, attributes, b"");
        Ok(self
            .image
            .tree
            .set_attributes(DirectoryId::ROOT, attributes)?)
    }

    fn hide(&mut self, place: Place<'_>) -> Result<(), UnpackProblem> {
        let parent = self.at(place.parent, Missing::Make)?;
        check_name(place.name, "make the whiteout")?;
        match self.image.tree.get(parent, place.name) {
            Node::Gone => {
                let attributes = Attributes::default();
                let content = Content::Device(0);
                let slot = self
                    .image
                    .add(FileType::CharacterDevice, &attributes, content)?;
                self.name(parent, place.name, Node::Whiteout(slot))
            }
            Node::Directory(id) => {
                self.image.tree.set_opaque(id);
                Ok(())
            }
            Node::Whiteout(_) | Node::Other(..) => Ok(()),
        }
    }

    fn hide_all(&mut self, path: &[u8]) -> Result<(), UnpackProblem> {
        let id = self.at(path, Missing::Make)?;
        self.image.tree.set_opaque(id);
        Ok(())
    }
}

impl Sink for LayerSink<'_> {
    fn place(
        &mut self,
        place: Place<'_>,
        kind: EntryKind,
        attributes: Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem> {
        self.put(place, kind, attributes, |sink, sparse, attributes| {
            sink.file(sparse, attributes, archive)
        })
    }

    fn finish(self, tape: &mut Tape<'_>) -> Result<(u64, Warnings), Refusal> {
        let (size_bytes, warnings, written) = self.finish_image()?;
        for (before, at) in written.metadata {
            tape.metadata(before, at)?;
        }
        Ok((size_bytes, warnings))
    }
}

fn check_name(name: &[u8], action: &'static str) -> Result<(), UnpackProblem> {
    match name.len() > NAME_BYTES {
        true => Err(UnpackProblem::at(action)(Errno::NAMETOOLONG)),
        false => Ok(()),
    }
}
