//! Files that several layers have, kept once: where the file system lets files share their blocks (xfs,
//! btrfs), what is the same in two layers is stored in one place, whatever form either has.
//!
//! The kernel compares before it shares (ioctl_fideduperange(2)) and counts who uses a block. So no layer
//! depends on another: any of them may be removed, read or be running meanwhile, and a process that is
//! killed has shared less. Images and archives stay what they were, to the byte.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use gamut_spec::digest::{Algorithm, Digest};
use gamut_spec::{Fault, Kind};
use gamut_sys::dedupe::{Piece, dedupe};
use rustix::fs::{FileType as Type, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::erofs::format::{BLOCK_BYTES, FileType};
use crate::erofs::read::{Image, Inode, Place, Walk};
use crate::file_error::FileError;
use crate::hash::Hasher;
use crate::layer::{Form, Layer};
use crate::store::{Store, StoreError};
use crate::{pin, tree};

/// Bytes of one call: what btrfs does at once.
const CALL_BYTES: u64 = 16 << 20;
/// Bytes that are hashed at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What is kept once now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shared {
    /// Files whose blocks are another file's, too.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Layers that were looked at.
    pub layers: usize,
}

/// The file system cannot let files share their blocks.
#[derive(Debug, thiserror::Error)]
#[error("files cannot share their blocks on the file system of `{}`: {errno}", path.display())]
pub struct ShareError {
    path: std::path::PathBuf,
    errno: Errno,
}

impl Fault for ShareError {
    fn kind(&self) -> Kind {
        Kind::HostLacks
    }

    fn hint(&self) -> Option<String> {
        Some("xfs (made with reflink=1) and btrfs can; give `--root` a directory there".into())
    }
}

impl Store {
    /// Looks for files that are in several layers, or several times in one, and has them stored once.
    /// Files of less than a block are left as they are, as are those with holes.
    pub fn share_files(&self) -> Result<Shared, StoreError> {
        self.try_sharing()?;
        let mut layers = Vec::new();
        for record in self.db().layers()? {
            // Pinned: one that goes meanwhile is not looked at.
            if let Some(layer) = self.layers().get(&record.diff_id)? {
                layers.push(Opened::new(self, layer)?);
            }
        }
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for layer in &layers {
            layer.files(&mut |bytes, _| *counts.entry(bytes).or_default() += 1)?;
        }
        let mut candidates = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            layer.files(&mut |bytes, at| {
                if counts.get(&bytes).is_some_and(|&count| count > 1) {
                    candidates.push((bytes, number, at));
                }
            })?;
        }
        candidates.sort_by_key(|(bytes, number, _)| (*bytes, *number));
        let mut shared = Shared {
            layers: layers.len(),
            ..Shared::default()
        };
        let mut first: HashMap<Digest, Content<'_>> = HashMap::new();
        let mut present = 0;
        for (bytes, number, at) in &candidates {
            if *bytes != present {
                first.clear();
                present = *bytes;
            }
            // What cannot be read is not what it was: `verify` says so.
            let Some(content) = layers[*number].content(at) else {
                continue;
            };
            let Ok(digest) = content.digest(*bytes) else {
                continue;
            };
            match first.get(&digest) {
                Some(first) if first.share_with(&content, *bytes) => {
                    shared.files += 1;
                    shared.bytes += bytes;
                }
                Some(_) => {}
                None => {
                    first.insert(digest, content);
                }
            }
        }
        Ok(shared)
    }

    /// Tries it with two files of one block.
    fn try_sharing(&self) -> Result<(), StoreError> {
        let scratch = self.scratch()?;
        let make = |name: &str| {
            let path = scratch.path().join(name);
            let failed = |error| FileError::io("write", &path)(error);
            std::fs::write(&path, [1; BLOCK_BYTES]).map_err(failed)?;
            File::open(&path).map_err(FileError::io("open", &path))
        };
        let (one, other) = (make("one")?, make("other")?);
        let piece = |file| Piece { file, offset: 0 };
        match dedupe(piece(one.as_fd()), piece(other.as_fd()), BLOCK_BYTES as u64) {
            Ok(_) => Ok(()),
            Err(errno) => Err(StoreError::Share(ShareError {
                path: self.root().to_owned(),
                errno,
            })),
        }
    }
}

/// A layer whose files can be looked at.
struct Opened {
    form: Kept,
    _layer: Layer,
}

enum Kept {
    Tree(OwnedFd),
    Image(Box<Image<File>>),
    /// It cannot be read.
    Nothing,
}

/// Where a file is in its layer.
enum At {
    Path(Vec<u8>),
    Inode(u64),
}

impl Opened {
    fn new(store: &Store, layer: Layer) -> Result<Self, FileError> {
        let path = store.layers().tree(&layer.record);
        let form = match layer.record.form {
            Form::Directory => Kept::Tree(pin::open_directory(&path)?),
            // It has holes that are not its content.
            Form::Lazy => Kept::Nothing,
            Form::Erofs => {
                let file = File::open(&path).map_err(FileError::io("open", &path))?;
                Image::open(file).map_or(Kept::Nothing, |image| Kept::Image(Box::new(image)))
            }
        };
        Ok(Self {
            form,
            _layer: layer,
        })
    }

    /// Calls `visit` with every regular file of a block and more: its bytes, and where it is.
    fn files(&self, visit: &mut dyn FnMut(u64, At)) -> Result<(), FileError> {
        match &self.form {
            Kept::Nothing => Ok(()),
            Kept::Tree(top) => tree::walk(top.as_fd(), |path, stat| {
                let bytes = u64::try_from(stat.st_size).unwrap_or(0);
                let is_file = Type::from_raw_mode(stat.st_mode) == Type::RegularFile;
                if is_file && bytes >= BLOCK_BYTES as u64 {
                    visit(bytes, At::Path(path.to_vec()));
                }
            })
            .map_err(FileError::at("list", Path::new("a layer's tree"))),
            Kept::Image(image) => {
                let mut seen = std::collections::HashSet::new();
                // An image that is damaged ends early here.
                let found = Walk::new(image).into_iter().flatten().map_while(Result::ok);
                for inode in found.map(|visit| visit.inode) {
                    let again = inode.links > 1 && !seen.insert(inode.nid);
                    if inode.kind == FileType::File && inode.size >= BLOCK_BYTES as u64 && !again {
                        visit(inode.size, At::Inode(inode.nid));
                    }
                }
                Ok(())
            }
        }
    }

    fn content(&self, at: &At) -> Option<Content<'_>> {
        match (&self.form, at) {
            (Kept::Tree(top), At::Path(path)) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                let path = std::ffi::OsStr::from_bytes(path);
                let file = rustix::fs::openat2(top, path, flags, Mode::empty(), resolve).ok()?;
                Some(Content::File(file.into()))
            }
            (Kept::Image(image), At::Inode(nid)) => {
                let inode = image.inode(*nid).ok()?;
                Some(Content::Blocks {
                    image: image.source(),
                    start: in_one_run(image, &inode)?,
                })
            }
            _ => None,
        }
    }
}

/// Where the data of a file in one run of blocks begins.
fn in_one_run(image: &Image<File>, inode: &Inode) -> Option<u64> {
    let first = image.extents(inode, 0).next()?.ok()?;
    match first.place {
        Place::Blocks { device: 0, start } if first.length == inode.size => Some(start),
        _ => None,
    }
}

/// A file's bytes: a file of their own, or blocks of an image, with zeros up to the last one's end.
enum Content<'l> {
    File(File),
    Blocks { image: &'l File, start: u64 },
}

impl Content<'_> {
    fn piece(&self) -> Piece<'_> {
        match self {
            Self::File(file) => Piece {
                file: file.as_fd(),
                offset: 0,
            },
            Self::Blocks { image, start } => Piece {
                file: image.as_fd(),
                offset: *start,
            },
        }
    }

    fn digest(&self, bytes: u64) -> std::io::Result<Digest> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; BUFFER_BYTES];
        let (file, start) = match self {
            Self::File(file) => (file, 0),
            Self::Blocks { image, start } => (*image, *start),
        };
        let mut at = 0;
        while at < bytes {
            let room = usize::try_from(bytes - at).map_or(buffer.len(), |n| n.min(buffer.len()));
            file.read_exact_at(&mut buffer[..room], start + at)?;
            hasher.update(&buffer[..room]);
            at += room as u64;
        }
        Ok(hasher.finish())
    }

    /// Whether all of it, but for the end where a file's and an image's differ, is stored once now.
    fn share_with(&self, other: &Self, bytes: u64) -> bool {
        let block = BLOCK_BYTES as u64;
        let length = match (self, other) {
            (Self::File(_), Self::File(_)) => bytes,
            (Self::Blocks { .. }, Self::Blocks { .. }) => bytes.next_multiple_of(block),
            _ => bytes - bytes % block,
        };
        let (first, second) = (self.piece(), other.piece());
        let mut at = 0;
        while at < length {
            let now = CALL_BYTES.min(length - at);
            // Sealed, or of another file system's limits: it stays as it is.
            match dedupe(first.further(at), second.further(at), now) {
                Ok(0) | Err(_) => return false,
                Ok(done) => at += done,
            }
        }
        true
    }
}
