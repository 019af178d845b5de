//! Sealed layers: the kernel holds every block of a layer's EROFS image against a tree of hashes as it
//! is read, and what names the whole is in the layer's description. So neither a change of the file nor
//! another file in its place is ever seen by a container.
//!
//! - Under fs-verity the tree is the file system's. The digest is asked for before an image is mounted
//!   ([`crate::Store::check_seals`]).
//! - Under dm-verity the tree is a file beside the image, `layer.verity`, and both are mounted by way of a
//!   block device that has the hash of its top ([`Part`]).

mod tree;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use gamut_spec::digest::Digest;
use gamut_spec::{Fault, Kind};
use gamut_sys::fs_verity;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::file_error::FileError;
use crate::layer::{Form, LayerRecord, Layers};
use crate::pin::TemporaryDirectory;
use crate::snapshot::ErofsImage;
use crate::store::{Store, StoreError};

/// The tree of hashes inside a layer's directory.
const TREE: &str = "layer.verity";

/// How new layers are sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sealing {
    /// Not at all.
    #[default]
    None,
    /// EROFS images by fs-verity; trees not at all.
    FsVerity,
    /// EROFS images by dm-verity; trees not at all.
    DmVerity,
}

/// How a layer was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Seal {
    /// By the kernel's fs-verity.
    FsVerity {
        /// What the kernel says of the file.
        digest: Digest,
    },
    /// By the kernel's dm-verity, with the tree in `layer.verity`.
    DmVerity {
        /// The hash of the tree's top block.
        root: Digest,
        /// Blocks of 4096 bytes under the tree.
        blocks: u64,
    },
}

/// The seals of some layers, by the files of their images.
#[derive(Debug, Clone, Default)]
pub struct Seals(HashMap<PathBuf, Seal>);

impl Seals {
    /// Whether no layer is sealed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a layer is sealed by dm-verity.
    #[must_use]
    pub fn need_devices(&self) -> bool {
        let mut seals = self.0.values();
        seals.any(|seal| matches!(seal, Seal::DmVerity { .. }))
    }
}

/// A file that an EROFS image consists of.
#[derive(Debug)]
pub struct Part {
    /// The file.
    pub file: PathBuf,
    /// What its blocks are held against when it is a device under dm-verity.
    pub tree: Option<HashTree>,
}

/// A tree of hashes as dm-verity reads it: SHA-256 without salt or super block, from the file's beginning on.
#[derive(Debug)]
pub struct HashTree {
    /// The file with the tree.
    pub file: File,
    /// The hash of its top block.
    pub root: [u8; 32],
    /// Blocks of 4096 bytes under it.
    pub blocks: u64,
}

/// A layer that is not what was sealed, or cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was sealed, and is not any more: it is another file.
    #[error("layer {layer} was sealed by fs-verity, and its file is not")]
    Unsealed {
        /// The first digits of its diff id.
        layer: String,
    },
    /// It is sealed, and not what was sealed.
    #[error("layer {layer} was sealed as {recorded}, and is {actual}")]
    Broken {
        /// The first digits of its diff id.
        layer: String,
        /// What the description has.
        recorded: Digest,
        /// What the kernel says.
        actual: Digest,
    },
}

impl Fault for SealError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Unsealed { .. } | Self::Broken { .. } => Kind::Denied,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Unsealed { .. } | Self::Broken { .. } => Some(
                "somebody has changed it: `gamut system check --repair` takes it away, and pull fetches it again"
                    .into(),
            ),
        }
    }
}

/// Seals a file that nobody writes to any more, by fs-verity.
pub fn seal(path: &Path) -> Result<Seal, FileError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    match fs_verity::enable(file.as_fd()) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(FileError::at("seal", path)(errno)),
    }
    let digest = fs_verity::measure(file.as_fd()).map_err(FileError::at("measure", path))?;
    let digest = Digest::Sha256(digest);
    Ok(Seal::FsVerity { digest })
}

/// Makes the tree of hashes over the file at `path`, in the empty file `tree`.
pub fn hash_tree(path: &Path, tree: File) -> Result<HashTree, FileError> {
    let data = File::open(path).map_err(FileError::io("open", path))?;
    let made = tree::write(&data, &tree).map_err(FileError::io("hash", path))?;
    Ok(HashTree {
        file: tree,
        root: made.hash,
        blocks: made.blocks,
    })
}

/// Seals the image at `path`, beside which its tree goes.
pub(crate) fn seal_image(path: &Path, sealing: Sealing) -> Result<Option<Seal>, FileError> {
    match sealing {
        Sealing::None => Ok(None),
        Sealing::FsVerity => seal(path).map(Some),
        Sealing::DmVerity => {
            let beside = path.with_file_name(TREE);
            let mut options = File::options();
            let file = options
                .read(true)
                .write(true)
                .create_new(true)
                .open(&beside);
            let tree = hash_tree(path, file.map_err(FileError::io("make", &beside))?)?;
            Ok(Some(Seal::DmVerity {
                root: Digest::Sha256(tree.root),
                blocks: tree.blocks,
            }))
        }
    }
}

impl Layers {
    /// Whether the layer is sealed; an error if it should be and is not, or is not what was sealed.
    pub(crate) fn check_seal(&self, layer: &LayerRecord) -> Result<Option<Seal>, SealError> {
        if layer.form != Form::Erofs {
            return Ok(None);
        }
        // One whose description is damaged cannot be relied on for other reasons: `verify` says so.
        let known = self.identify(&layer.directory);
        let Some(seal) = known.and_then(|known| known.seal) else {
            return Ok(None);
        };
        let path = self.tree(layer);
        let Seal::FsVerity { digest: recorded } = &seal else {
            // Its blocks are checked when they are read.
            return Ok(Some(seal));
        };
        let file = File::open(&path).map_err(FileError::io("open", &path))?;
        let layer = layer.diff_id.short();
        let actual = match fs_verity::measure(file.as_fd()) {
            Ok(digest) => Digest::Sha256(digest),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOTTY) => {
                return Err(SealError::Unsealed { layer });
            }
            Err(errno) => return Err(FileError::at("measure", &path)(errno).into()),
        };
        match actual == *recorded {
            true => Ok(Some(seal)),
            false => Err(SealError::Broken {
                layer,
                recorded: recorded.clone(),
                actual,
            }),
        }
    }

    /// The same for who reads the image as a file: dm-verity would not look, so all of it is hashed.
    pub(crate) fn check_seal_of_file(&self, layer: &LayerRecord) -> Result<(), SealError> {
        let Some(Seal::DmVerity { root, .. }) = self.check_seal(layer)? else {
            return Ok(());
        };
        let scratch = TemporaryDirectory::new(self.directory())?;
        let path = scratch.path().join(TREE);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path);
        let made = hash_tree(
            &self.tree(layer),
            file.map_err(FileError::io("make", &path))?,
        )?;
        let beside = self.tree(layer).with_file_name(TREE);
        let read = |path: &Path| std::fs::read(path).map_err(FileError::io("read", path));
        let actual = Digest::Sha256(made.root);
        match actual == root && read(&path)? == read(&beside)? {
            true => Ok(()),
            false => Err(SealError::Broken {
                layer: layer.diff_id.short(),
                recorded: root,
                actual,
            }),
        }
    }
}

impl Store {
    /// Looks whether the layers that were sealed still are what they were, as far as that can be seen
    /// without reading them. What shows an image of sealed layers has to be made anew, because nothing is
    /// recorded of that.
    ///
    /// # Errors
    /// [`SealError`]: they must not be used.
    pub fn check_seals(&self, layers: &[LayerRecord]) -> Result<Seals, StoreError> {
        let mut seals = Seals::default();
        for layer in layers {
            if let Some(seal) = self.layers().check_seal(layer)? {
                seals.0.insert(self.layers().tree(layer), seal);
            }
        }
        Ok(seals)
    }

    /// The same for who reads images as files, without the kernel's help.
    ///
    /// # Errors
    /// [`SealError`]: they must not be used.
    pub fn check_sealed_files(&self, layers: &[LayerRecord]) -> Result<(), StoreError> {
        for layer in layers {
            self.layers().check_seal_of_file(layer)?;
        }
        Ok(())
    }

    /// Makes the merged image of sealed layers anew, if `image` is one, and seals it for as long as it is
    /// used: says what it is to be mounted from.
    pub fn sealed_parts(
        &self,
        image: &ErofsImage,
        layers: &[LayerRecord],
        seals: &Seals,
    ) -> Result<Vec<Part>, StoreError> {
        let is_merged = !image.devices.is_empty();
        let mut parts = Vec::new();
        if is_merged {
            match rustix::fs::unlink(&image.file) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(FileError::at("remove", &image.file)(errno).into()),
            }
            self.merge(layers)?;
            let tree = match seals.need_devices() {
                // A file without a name: it goes with its device.
                true => Some(hash_tree(&image.file, self.ingests().scratch()?)?),
                false => {
                    seal(&image.file)?;
                    None
                }
            };
            parts.push(Part {
                file: image.file.clone(),
                tree,
            });
        }
        let files = match is_merged {
            true => &image.devices[..],
            false => std::slice::from_ref(&image.file),
        };
        for file in files {
            let tree = match seals.0.get(file) {
                Some(Seal::DmVerity { root, blocks }) => Some(tree_of(file, root, *blocks)?),
                _ => None,
            };
            let file = file.clone();
            parts.push(Part { file, tree });
        }
        Ok(parts)
    }
}

fn tree_of(file: &Path, root: &Digest, blocks: u64) -> Result<HashTree, FileError> {
    let path = file.with_file_name(TREE);
    let file = File::open(&path).map_err(FileError::io("open", &path))?;
    let Digest::Sha256(root) = root else {
        return Err(FileError::at("read the seal of", &path)(Errno::INVAL));
    };
    Ok(HashTree {
        file,
        root: *root,
        blocks,
    })
}
