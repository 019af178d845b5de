//! Layers on disk: `layers/<first 16 digits of the diff id>/` with `layer.json` and, as its [`Form`]
//! says, the tree `fs/` or the image `layer.erofs`; and beside them what [`crate::reproduce`] needs.
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
use crate::seal::{self, Seal};
use crate::unpack::{
    self, LayerSource, RootAttributes, Target, UnpackError, UnpackOptions, Unpacked, Warnings,
};

/// The tree of a layer inside its directory.
pub(crate) const TREE: &str = "fs";
/// The EROFS image of a layer inside its directory.
pub(crate) const IMAGE: &str = "layer.erofs";
/// The layer's description inside its directory.
pub(crate) const DESCRIPTION: &str = "layer.json";
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

/// What a layer is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A tree of files: `fs/`.
    #[default]
    Directory,
    /// One EROFS file: `layer.erofs`.
    Erofs,
    /// The same, and some of its data is still to come ([`crate::lazy`]).
    Lazy,
}

impl Form {
    /// The word for it, in the database too.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Erofs => "erofs",
            Self::Lazy => "lazy",
        }
    }

    /// What of a layer's directory holds it: the tree or the image.
    pub(crate) fn content(self) -> &'static str {
        match self {
            Self::Directory => TREE,
            Self::Erofs | Self::Lazy => IMAGE,
        }
    }

    /// The form that has this [`Form::name`]; a tree, if there is none.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "erofs" => Self::Erofs,
            "lazy" => Self::Lazy,
            _ => Self::Directory,
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
    /// What it is on disk. A description from before there were several does not say.
    #[serde(default)]
    pub form: Form,
}

/// `layer.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Description {
    #[serde(flatten)]
    pub(crate) record: LayerRecord,
    /// The boot in which it was unpacked: until the next one the page cache vouches for it.
    boot: String,
    /// How its content was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seal: Option<Seal>,
}

impl Description {
    /// Whether this boot has unpacked the layer.
    pub(crate) fn is_since_boot(&self) -> bool {
        boot().is_ok_and(|boot| boot == self.boot)
    }
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

/// What came of [`Layers::unpack_new`].
#[derive(Debug)]
pub struct NewLayer {
    /// The layer.
    pub layer: Layer,
    /// What could not be kept of the archive.
    pub warnings: Warnings,
    /// Bytes of the uncompressed archive.
    pub tar_bytes: u64,
    /// Entries of it.
    pub entries: u64,
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

    /// What holds a layer: its tree, or its EROFS image.
    pub fn tree(&self, record: &LayerRecord) -> PathBuf {
        self.path(record).join(record.form.content())
    }

    /// The directory of a layer.
    pub(crate) fn path(&self, record: &LayerRecord) -> PathBuf {
        self.directory.join(&record.directory)
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
        let unpacked = self.fill(source, bytes, &temporary, options)?;
        self.publish(source.diff_id, temporary, unpacked, options)
    }

    /// Unpacks into an empty directory.
    pub(crate) fn fill<R: Read + Send>(
        &self,
        source: &LayerSource<'_>,
        bytes: R,
        directory: &TemporaryDirectory,
        options: &UnpackOptions,
    ) -> Result<Unpacked, LayerError> {
        let content = make(options.form, directory.as_fd(), &directory.path())?;
        let target = target(options.form, content.as_fd());
        Ok(unpack::unpack(
            source,
            bytes,
            target,
            directory.as_fd(),
            options,
        )?)
    }

    /// Unpacks a layer that is being made. What it is called follows from its bytes; one that is
    /// there already is given back instead.
    pub fn unpack_new<R: Read + Send>(
        &self,
        bytes: R,
        options: &UnpackOptions,
    ) -> Result<NewLayer, LayerError> {
        let temporary = TemporaryDirectory::new(&self.directory)?;
        let content = make(options.form, temporary.as_fd(), &temporary.path())?;
        let target = target(options.form, content.as_fd());
        let (unpacked, decoded) = unpack::unpack_new(bytes, target, temporary.as_fd(), options)?;
        let entries = unpacked.entries;
        let (layer, warnings) = self.publish(&decoded.diff_id, temporary, unpacked, options)?;
        Ok(NewLayer {
            layer,
            warnings,
            tar_bytes: decoded.tar_bytes,
            entries,
        })
    }

    pub(crate) fn publish(
        &self,
        diff_id: &Digest,
        temporary: TemporaryDirectory,
        unpacked: Unpacked,
        options: &UnpackOptions,
    ) -> Result<(Layer, Warnings), LayerError> {
        let directory = self.free_name(temporary.parent(), diff_id)?;
        let record = LayerRecord {
            diff_id: diff_id.clone(),
            directory: directory.clone(),
            size_bytes: unpacked.size_bytes,
            entries: unpacked.entries,
            root: unpacked.root,
            opaque_root: unpacked.opaque_root,
            form: options.form,
        };
        let seal = match options.form {
            Form::Erofs => seal::seal_image(&temporary.path().join(IMAGE), options.sealing)?,
            // The data of a lazy one is still to come.
            Form::Directory | Form::Lazy => None,
        };
        let description = Description {
            record,
            boot: boot()?,
            seal,
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

    /// Replaces what is said of a layer that is there.
    pub(crate) fn redescribe(&self, record: &LayerRecord) -> Result<(), FileError> {
        let description = Description {
            record: record.clone(),
            boot: boot()?,
            seal: None,
        };
        let path = self.path(record).join(DESCRIPTION);
        let new = path.with_extension("json-new");
        // Cannot fail: there is nothing in it but text, numbers and truth values.
        let text = serde_json::to_vec(&description).expect("a description is JSON");
        std::fs::write(&new, text).map_err(FileError::io("write", &new))?;
        std::fs::rename(&new, &path).map_err(FileError::io("rename", &new))
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

    /// What is said of the layer in the directory `name`. `None` when its description is missing or
    /// damaged, as after a power cut.
    pub(crate) fn identify(&self, name: &str) -> Option<Description> {
        let text = std::fs::read(self.directory.join(name).join(DESCRIPTION)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

fn names(diff_id: &Digest) -> [String; 2] {
    let long = diff_id.hex();
    [long[..SHORT_NAME].to_owned(), long]
}

/// Content that was made empty, to be filled.
fn target(form: Form, content: BorrowedFd<'_>) -> Target<'_> {
    match form {
        Form::Directory => Target::Tree(content),
        Form::Erofs | Form::Lazy => Target::Image(content),
    }
}

/// The empty tree, or the empty file of an image. Nobody but root may walk into it, so no set-user-id
/// program of an image is within reach of the host's users; the directory above has mode 0700.
pub(crate) fn make(form: Form, parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, FileError> {
    let name = form.content();
    let made = match form {
        Form::Directory => rustix::fs::mkdirat(parent, name, Mode::RWXU).and_then(|()| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        }),
        Form::Erofs | Form::Lazy => {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        }
    };
    made.map_err(FileError::at("make a layer in", path))
}

/// The random identifier of this boot: random(4).
pub(crate) fn boot() -> Result<String, FileError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(FileError::io("read", path))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hasher;
    use gamut_spec::digest::Algorithm;

    /// Nothing tells a layer that was made here from the same layer pulled elsewhere.
    #[test]
    fn a_new_layer_is_the_same_as_a_pulled_one() {
        let mut tar = ::tar::Builder::new(Vec::new());
        let mut header = ::tar::Header::new_ustar();
        header.set_size(5);
        header.set_mode(0o644);
        tar.append_data(&mut header, "d/f", &b"hello"[..])
            .expect("written");
        let tar = tar.into_inner().expect("finished");
        let digest = Hasher::of(Algorithm::Sha256, &tar);
        for form in [Form::Directory, Form::Erofs] {
            let options = UnpackOptions {
                form,
                ..UnpackOptions::default()
            };
            let source = LayerSource {
                digest: &digest,
                size_bytes: None,
                media_type: "application/vnd.oci.image.layer.v1.tar",
                diff_id: &digest,
            };
            let (one, two) = (
                tempfile::tempdir().expect("a directory"),
                tempfile::tempdir().expect("a directory"),
            );
            let pulled = Layers::new(one.path().to_owned());
            let (old, _) = pulled
                .unpack(&source, tar.as_slice(), &options)
                .expect("unpacked");
            let made = Layers::new(two.path().to_owned());
            let new = made.unpack_new(tar.as_slice(), &options).expect("unpacked");
            assert_eq!(new.layer.record, old.record);
            assert_eq!((new.tar_bytes, new.entries), (tar.len() as u64, 1));
            if form == Form::Erofs {
                let bytes = |layers: &Layers, layer: &Layer| {
                    std::fs::read(layers.tree(&layer.record)).expect("read")
                };
                assert!(bytes(&pulled, &old) == bytes(&made, &new.layer));
            }
        }
    }
}
