//! One store: the directories under one root, and the rules by which they and the database go
//! together.
//!
//! - Content first, then its row: blobs and layers are there, pinned and synced, before the image
//!   that needs them is recorded.
//! - A container's row first, then its directory; at the end the row goes first too. So a
//!   container directory without a row is a leftover, whoever finds it.
//! - What is deleted is renamed to `tmp-…` first, so that nothing half-deleted has a name.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use gamut_spec::digest::Digest;
use gamut_spec::{Fault, Kind};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::blob::{Blob, BlobError, Blobs};
use crate::db::{Db, DbError, Image};
use crate::erofs::format::Algorithm;
use crate::erofs::read::Image as ErofsImage;
use crate::file_error::FileError;
use crate::ingest::Ingests;
use crate::layer::{Form, Layer, LayerError, LayerRecord, Layers, TREE};
use crate::pin::{self, TemporaryDirectory};
use crate::seal::SealError;
use crate::share::ShareError;
use crate::snapshot::{
    BASE, Copy, Drawing, Driver, Lower, MOUNT_POINTS, MergedError, Overlay, RootAttributes, Roots,
    SnapshotError, Snapshotter,
};

/// Where the store is when nobody says otherwise.
pub const DEFAULT_ROOT: &str = "/var/lib/gamut";

/// Why an operation on the whole store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database refused.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A blob could not be used.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A layer could not be used.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A container's root could not be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// An image's layers could not be merged.
    #[error(transparent)]
    Merged(#[from] MergedError),
    /// A layer is not what was sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Files cannot be kept once.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The image to be recorded lacks a layer.
    #[error("image {} has the layer {}, which is not among those given", image.short(), layer.short())]
    LayerMissing {
        /// The image.
        image: Digest,
        /// The diff id.
        layer: Digest,
    },
}

impl StoreError {
    fn fault(&self) -> Option<&dyn Fault> {
        match self {
            Self::File(error) => Some(error),
            Self::Db(error) => Some(error),
            Self::Blob(error) => Some(error),
            Self::Layer(error) => Some(error),
            Self::Snapshot(error) => Some(error),
            Self::Merged(MergedError::File(error)) => Some(error),
            Self::Merged(MergedError::Merge(error)) => Some(error),
            Self::Seal(error) => Some(error),
            Self::Share(error) => Some(error),
            Self::LayerMissing { .. } => None,
        }
    }
}

impl Fault for StoreError {
    fn kind(&self) -> Kind {
        self.fault().map_or(Kind::Bug, Fault::kind)
    }

    fn hint(&self) -> Option<String> {
        self.fault().and_then(Fault::hint)
    }
}

/// See the module. One per process and thread; opening it is cheap.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    db: Db,
    blobs: Blobs,
    ingests: Ingests,
    layers: Layers,
    overlay: Overlay,
    copy: Copy,
}

impl Store {
    /// Opens the store at `root`, making it where it is not there.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let state = root.join("state.db");
        // The directories are made before the database, so where that is, they are.
        if !state.exists() {
            make_directories(root)?;
        }
        let layers = root.join("layers");
        Ok(Self {
            db: Db::open(&state)?,
            blobs: Blobs::new(root.join("blobs/sha256")),
            ingests: Ingests::new(root.join("ingest")),
            layers: Layers::new(layers.clone()),
            overlay: Overlay::new(layers.clone(), root.join("containers")),
            copy: Copy::new(layers, root.join("containers")),
            root: root.to_owned(),
        })
    }

    /// The root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The state database, for reading.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The state database, for writing.
    pub fn db_mut(&mut self) -> &mut Db {
        &mut self.db
    }

    /// Manifests and configs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Downloads in progress.
    pub fn ingests(&self) -> &Ingests {
        &self.ingests
    }

    /// Unpacked layers. Most callers want [`Store::layer`], which knows which of them to trust.
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// What makes containers' roots.
    pub fn snapshots(&self, driver: Driver) -> &dyn Snapshotter {
        match driver {
            Driver::Erofs | Driver::Overlay => &self.overlay,
            Driver::Copy => &self.copy,
        }
    }

    /// Containers' roots, whatever made them.
    pub fn roots(&self) -> &Roots {
        self.overlay.roots()
    }

    /// The directory of a container, for whatever is kept beside its root.
    pub fn container_directory(&self, id: &str) -> PathBuf {
        self.root.join("containers").join(id)
    }

    /// A layer that can be relied on, pinned. One that a pull before the last start of the machine
    /// left without recording it cannot, since its files may never have reached the disk: it is
    /// removed, and `None` is the answer.
    pub fn layer(&self, diff_id: &Digest) -> Result<Option<Layer>, StoreError> {
        let Some(layer) = self.layers.get(diff_id)? else {
            return Ok(None);
        };
        if layer.since_boot || self.db.layer(diff_id)?.is_some() {
            return Ok(Some(layer));
        }
        let name = layer.record.directory.clone();
        drop(layer);
        self.discard_layer(diff_id, &name)?;
        Ok(None)
    }

    /// Flushes everything written so far to the disk.
    pub fn sync(&self) -> Result<(), StoreError> {
        let root = pin::open_directory(&self.root)?;
        rustix::fs::syncfs(&root).map_err(FileError::at("sync", &self.root))?;
        Ok(())
    }

    /// Records an image with its names, when all of its content is there. `layers` and `blobs` are
    /// its own; being pinned, they are still there. With [`Durability::Power`] the file system is
    /// flushed first, so that no power cut can leave a recorded image with torn files.
    pub fn record_image(
        &mut self,
        image: &Image,
        references: &[&str],
        layers: &[Layer],
        blobs: &[Blob],
        durability: Durability,
    ) -> Result<(), StoreError> {
        for diff_id in &image.layers {
            if !layers.iter().any(|layer| layer.record.diff_id == *diff_id) {
                return Err(StoreError::LayerMissing {
                    image: image.id.clone(),
                    layer: diff_id.clone(),
                });
            }
        }
        for digest in [&image.id, &image.manifest_digest] {
            if !blobs.iter().any(|blob| blob.digest == *digest) {
                return Err(BlobError::NotFound(digest.clone()).into());
            }
        }
        let records: Vec<_> = image
            .layers
            .iter()
            .filter_map(|id| layers.iter().find(|layer| layer.record.diff_id == *id))
            .map(|layer| layer.record.clone())
            .collect();
        self.merge(&records)?;
        if durability == Durability::Power {
            self.sync()?;
        }
        self.db.write::<_, DbError>(|transaction| {
            for layer in layers {
                transaction.put_layer(&layer.record)?;
            }
            transaction.put_image(image)?;
            references
                .iter()
                .try_for_each(|reference| transaction.tag(reference, &image.id))
        })?;
        Ok(())
    }

    /// Removes the whole directory of a container, its root included. To be called when its row is
    /// gone; one that is not there is success, and one that somebody has locked is left to a later
    /// repair.
    pub fn remove_container_directory(&self, id: &str) -> Result<(), StoreError> {
        crate::gc::remove_container_directory(&self.container_directory(id))
    }

    /// The layers of an image as a snapshotter wants them, if all of them are known.
    pub fn image_layers(&self, image: &Image) -> Result<Vec<LayerRecord>, StoreError> {
        let known = self.db.layers_of(&image.layers)?;
        let missing = image
            .layers
            .iter()
            .zip(known.iter().map(Some).chain(std::iter::repeat(None)))
            .find(|(wanted, found)| found.is_none_or(|found| found.diff_id != **wanted));
        match missing {
            Some((wanted, _)) => Err(DbError::not_found("layer", &wanted.to_string()).into()),
            None => Ok(known),
        }
    }

    /// Whether everything that a recorded image is made of is there.
    pub fn is_whole(&self, image: &Image) -> Result<bool, StoreError> {
        for blob in self.db.blobs_of(image)? {
            if self.blobs.get(&blob)?.is_none() {
                return Ok(false);
            }
        }
        let layers = self.db.layers_of(&image.layers)?;
        let is_there = |layer: &LayerRecord| self.layers.tree(layer).exists();
        Ok(layers.len() == image.layers.len() && layers.iter().all(is_there))
    }

    /// What shows an image of these layers, the top one first.
    pub fn stack(&self, layers: &[LayerRecord]) -> Vec<Lower> {
        self.overlay.stack(layers)
    }

    /// Says what the root of container `id` will be, over the directory `image` that shows all of an
    /// image, whose root directory is like `root`.
    pub fn draw_over(
        &self,
        id: &str,
        image: PathBuf,
        root: RootAttributes,
    ) -> Result<Drawing, SnapshotError> {
        let lower = vec![Lower::Directory(image)];
        self.overlay.draw_over(id, lower, root)
    }

    /// Makes the merged image of these layers, if they have one and it is not there.
    pub fn merge(&self, layers: &[LayerRecord]) -> Result<(), StoreError> {
        Ok(self.overlay.merge(layers)?)
    }

    /// Where merged images are.
    pub(crate) fn merged(&self) -> &Path {
        self.overlay.merged()
    }

    /// The names of all EROFS images that the images in the database are shown by.
    pub fn image_names(&self) -> Result<HashSet<String>, StoreError> {
        let mut names = HashSet::new();
        for image in self.db.images()? {
            names.extend(self.names_of(&image)?);
        }
        Ok(names)
    }

    /// The names of the EROFS images that an image is shown by.
    pub fn names_of(&self, image: &Image) -> Result<Vec<String>, StoreError> {
        // One that lacks a layer cannot be mounted.
        let layers = self.db.layers_of(&image.layers)?;
        let name = |lower| match lower {
            Lower::Image(image) => Some(image.name),
            Lower::Directory(_) => None,
        };
        Ok(self.stack(&layers).into_iter().filter_map(name).collect())
    }

    /// What the files of a layer are compressed with; nothing if it cannot be read.
    pub fn layer_algorithms(&self, layer: &LayerRecord) -> Vec<Algorithm> {
        let image = match layer.form {
            Form::Directory => None,
            Form::Erofs | Form::Lazy => File::open(self.layers.tree(layer)).ok(),
        };
        let image = image.and_then(|file| ErofsImage::open(file).ok());
        image.map_or_else(Vec::new, |image| image.algorithms().collect())
    }

    /// A new directory in the store that goes with the value.
    pub fn scratch(&self) -> Result<TemporaryDirectory, StoreError> {
        Ok(TemporaryDirectory::new(&self.root.join("containers"))?)
    }
}

/// What a recorded image survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process, at any instant.
    Process,
    /// A power cut too, for the time that writing everything back takes.
    Power,
}

/// Only root may look into layers and roots, where images' set-user-id programs lie.
pub(crate) fn make_directories(root: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(root).map_err(FileError::io("make the directory", root))?;
    let private = Mode::RWXU;
    for name in [
        "blobs",
        "blobs/sha256",
        "ingest",
        "containers",
        "layers",
        "layers/base",
        "merged",
        "volumes",
    ] {
        make_directory(&root.join(name), private)?;
    }
    let base = root.join("layers").join(BASE).join(TREE);
    make_directory(&base, Mode::from_raw_mode(0o755))?;
    for (name, kind, mode) in MOUNT_POINTS {
        let (path, mode) = (base.join(name), Mode::from_raw_mode(mode));
        match kind {
            FileType::Directory => make_directory(&path, mode)?,
            _ => make_file(&path, mode)?,
        }
    }
    Ok(())
}

fn make_file(path: &Path, mode: Mode) -> Result<(), FileError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, mode)
        .map(drop)
        .map_err(FileError::at("make the file", path))
}

fn make_directory(path: &Path, mode: Mode) -> Result<(), FileError> {
    match rustix::fs::mkdir(path, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(FileError::at("make the directory", path)(errno)),
    }
}
