//! Unpacked layers on disk: `layers/<first 16 digits of the diff id>/{fs, layer.json}`.
//!
//! A layer is unpacked under a temporary name and renamed when both of its digests have been
//! found right, so whatever has a final name is whole. It is trusted across a reboot only when the
//! database records it, which happens after the file system has been synced (see
//! [`crate::Store::record_image`]).

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_spec::digest::Digest;
use gamut_spec::{Fault, Kind};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::file_error::FileError;
use crate::pin::{self, Pin, TemporaryDirectory};
use crate::unpack::{
    self, LayerSource, RootAttributes, UnpackError, UnpackOptions, Unpacked, Warnings,
};

/// The tree of a layer inside its directory.
pub(crate) const TREE: &str = "fs";
/// The layer's description inside its directory.
const DESCRIPTION: &str = "layer.json";
/// Digits of the diff id that a layer's directory is named by; short names keep the list of lower
/// directories within what `mount(2)` takes in one page.
const SHORT_NAME: usize = 16;

/// Why a layer could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its data could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

impl Fault for LayerError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Unpack(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Unpack(error) => error.hint(),
        }
    }
}

/// What the store knows of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The name of its directory under `layers/`.
    pub directory: String,
    /// Bytes of its regular files.
    pub size_bytes: u64,
    /// Entries of its archive.
    pub entries: u64,
    /// What it says of the root directory, if anything.
    pub root: Option<RootAttributes>,
    /// It hides every layer below it.
    pub opaque_root: bool,
}

/// `layer.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    #[serde(flatten)]
    record: LayerRecord,
    /// The boot in which it was unpacked: until the next one the page cache vouches for it.
    boot: String,
}

/// A layer that is there and stays there while this lives.
#[derive(Debug)]
pub struct Layer {
    /// What is known of it.
    pub record: LayerRecord,
    /// It was unpacked since the machine was last started.
    pub(crate) since_boot: bool,
    _pin: Pin,
}

/// The layers of one store. A clone can go to another thread: several layers may be unpacked at
/// once.
#[derive(Debug, Clone)]
pub struct Layers {
    directory: PathBuf,
}

impl Layers {
    /// `directory` is `layers` under the store's root.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The directory that holds the layers.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The tree of a layer.
    pub fn tree(&self, record: &LayerRecord) -> PathBuf {
        self.directory.join(&record.directory).join(TREE)
    }

    /// The layer of a diff id, pinned; `None` when it is not there.
    pub fn get(&self, diff_id: &Digest) -> Result<Option<Layer>, LayerError> {
        let layers = pin::open_directory(&self.directory)?;
        for name in names(diff_id) {
            match self.read(layers.as_fd(), &name)? {
                Some(layer) if layer.record.diff_id == *diff_id => return Ok(Some(layer)),
                // Two diff ids with the same 64 first bits: the second has a longer name.
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Unpacks a layer, unless it is there already; then `bytes` is not read.
    pub fn unpack<R: Read + Send>(
        &self,
        source: &LayerSource<'_>,
        bytes: R,
        options: &UnpackOptions,
    ) -> Result<(Layer, Warnings), LayerError> {
        if let Some(layer) = self.get(source.diff_id)? {
            return Ok((layer, Warnings::default()));
        }
        let temporary = TemporaryDirectory::new(&self.directory)?;
        let path = temporary.path();
        let tree = make_tree(temporary.as_fd(), &path)?;
        let unpacked = unpack::unpack(source, bytes, tree.as_fd(), temporary.as_fd(), options)?;
        self.publish(source.diff_id, temporary, unpacked)
    }

    fn publish(
        &self,
        diff_id: &Digest,
        temporary: TemporaryDirectory,
        unpacked: Unpacked,
    ) -> Result<(Layer, Warnings), LayerError> {
        let directory = self.free_name(temporary.parent(), diff_id)?;
        let record = LayerRecord {
            diff_id: diff_id.clone(),
            directory: directory.clone(),
            size_bytes: unpacked.size_bytes,
            entries: unpacked.entries,
            root: unpacked.root,
            opaque_root: unpacked.opaque_root,
        };
        let description = Description {
            record,
            boot: boot()?,
        };
        let path = temporary.path().join(DESCRIPTION);
        // Cannot fail: there is nothing in it but text, numbers and truth values.
        let text = serde_json::to_vec(&description).expect("a description is JSON");
        std::fs::write(&path, text).map_err(FileError::io("write", &path))?;
        if let Some(pin) = temporary.publish(&directory)? {
            let layer = Layer {
                record: description.record,
                since_boot: true,
                _pin: pin,
            };
            return Ok((layer, unpacked.warnings));
        }
        // Another process was quicker with the same layer; ours is gone.
        match self.get(diff_id)? {
            Some(layer) => Ok((layer, unpacked.warnings)),
            None => Err(
                FileError::at("rename a directory to", &self.directory.join(&directory))(
                    Errno::EXIST,
                )
                .into(),
            ),
        }
    }

    /// The short name, or the long one where another diff id has the short one.
    fn free_name(&self, layers: BorrowedFd<'_>, diff_id: &Digest) -> Result<String, LayerError> {
        let [short, long] = names(diff_id);
        match self.read(layers, &short)? {
            Some(other) if other.record.diff_id != *diff_id => Ok(long),
            _ => Ok(short),
        }
    }

    /// The layer in the directory `name`, pinned. One whose description is torn has been through
    /// a power cut: it is removed, so that it can be unpacked again.
    fn read(&self, layers: BorrowedFd<'_>, name: &str) -> Result<Option<Layer>, LayerError> {
        let path = self.directory.join(name).join(DESCRIPTION);
        let Some(pin) =
            Pin::shared(layers, OsStr::new(name)).map_err(FileError::at("lock", &path))?
        else {
            return Ok(None);
        };
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            other => other.map_err(FileError::io("read", &path))?,
        };
        let Ok(description) = serde_json::from_slice::<Description>(&text) else {
            drop(pin);
            crate::gc::discard(layers, name).map_err(FileError::at("remove", &path))?;
            return Ok(None);
        };
        Ok(Some(Layer {
            since_boot: description.boot == boot()?,
            record: LayerRecord {
                directory: name.to_owned(),
                ..description.record
            },
            _pin: pin,
        }))
    }

    /// The diff id of the layer in the directory `name`, and whether this boot has unpacked it.
    /// `None` when its description is missing or damaged, as after a power cut.
    pub(crate) fn identify(&self, name: &str) -> Option<(Digest, bool)> {
        let text = std::fs::read(self.directory.join(name).join(DESCRIPTION)).ok()?;
        let description: Description = serde_json::from_slice(&text).ok()?;
        let since_boot = boot().is_ok_and(|boot| boot == description.boot);
        Some((description.record.diff_id, since_boot))
    }
}

fn names(diff_id: &Digest) -> [String; 2] {
    let long = diff_id.hex();
    [long[..SHORT_NAME].to_owned(), long]
}

/// The empty tree: nobody but root may walk into it, so no set-user-id program of an image is
/// within reach of the host's users; the directory above has mode 0700.
fn make_tree(parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, FileError> {
    rustix::fs::mkdirat(parent, TREE, Mode::RWXU)
        .map_err(FileError::at("make a directory in", path))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, TREE, flags, Mode::empty())
        .map_err(FileError::at("open a directory in", path))
}

/// The random identifier of this boot: random(4).
fn boot() -> Result<String, FileError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(FileError::io("read", path))?;
    Ok(text.trim().to_owned())
}
