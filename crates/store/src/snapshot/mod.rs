//! What every snapshotter promises; [`suite`] holds it to that.
//!
//! - A **layer** is an immutable set of files: a tree, or an EROFS image ([`LayerRecord`]).
//! - An **image** is a list of layers, the bottom one first: what a layer has, or whites out,
//!   replaces what the layers below it have.
//! - A **root** belongs to one container. It shows its image's layers and takes the container's
//!   changes; no other root, and no layer, ever sees them.
//! - To **draw** a root is to say how it will be mounted; nothing is touched. To **prepare** it is
//!   to make the place for its changes. To **open** it is to say again how it is mounted: a stopped
//!   container has kept its changes.
//! - To **remove** a root is to delete its changes. It must not be mounted.
//!
//! A snapshotter mounts nothing itself. It says what to mount ([`RootMount`]), and the container
//! room mounts it inside the container's own mount namespace, so that no mount is left behind by
//! anybody's death.
//!
//! There are three ways to keep images ([`Driver`]) and two snapshotters: [`Overlay`] stacks trees
//! and EROFS images alike, [`Copy`] copies them and stacks nothing. So what one driver has pulled, every
//! other goes on with.

mod copy;
mod merged;
mod overlay;
mod roots;
pub mod suite;

use std::path::{Path, PathBuf};

use gamut_spec::{Fault, Kind};

pub use copy::Copy;
pub use merged::{MergedError, name as merged_name};
pub use overlay::Overlay;
pub(crate) use overlay::{BASE, MOUNT_POINTS};
pub(crate) use roots::check as check_id;
pub use roots::{Fresh, Roots};

pub use crate::tree::Usage;
pub use crate::unpack::RootAttributes;

use crate::erofs::read::ReadError;
use crate::file_error::FileError;
use crate::layer::{Form, LayerRecord};

/// How images are kept and containers' roots are made of them: Docker's storage driver. A store may
/// hold layers of several forms; a driver says which form new ones get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Layers are EROFS images, which overlayfs stacks.
    Erofs,
    /// Layers are trees of files, which overlayfs stacks.
    Overlay,
    /// Layers are trees of files, and every root is a copy of its own.
    Copy,
}

impl Driver {
    /// The best first.
    pub const ALL: [Self; 3] = [Self::Erofs, Self::Overlay, Self::Copy];

    /// As it is written on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Overlay => "overlay",
            Self::Copy => "copy",
        }
    }

    /// The driver of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }

    /// The form that new layers get.
    #[must_use]
    pub fn form(self) -> Form {
        match self {
            Self::Erofs => Form::Erofs,
            Self::Overlay | Self::Copy => Form::Directory,
        }
    }
}

/// Why a root could not be prepared, opened, measured or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text cannot be a container's id.
    #[error("`{0}` cannot name a root: 1 to 64 letters, digits, `_` and `-` can")]
    Id(String),
    /// The root is there already.
    #[error("container {0} has a root already")]
    Exists(String),
    /// There is no such root.
    #[error("container {0} has no root")]
    NotFound(String),
    /// A layer's EROFS image cannot be read.
    #[error("cannot copy the layer `{}`: {error}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        error: ReadError,
    },
    /// A lazy layer cannot be copied: some of it is not here.
    #[error("the layer {layer} cannot be copied before all of it is here")]
    NotWhole {
        /// Its short diff id.
        layer: String,
    },
    /// More layers than the kernel stacks.
    #[error("an image of {count} layers cannot be mounted: the kernel stacks {limit} at most")]
    TooManyLayers {
        /// Layers of the image.
        count: usize,
        /// Layers that overlayfs takes.
        limit: usize,
    },
}

impl Fault for SnapshotError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Id(_) => Kind::Invalid,
            Self::Exists(_) => Kind::Conflict,
            Self::NotWhole { .. } => Kind::Unavailable,
            Self::NotFound(_) => Kind::NotFound,
            Self::TooManyLayers { .. } => Kind::HostLacks,
            Self::Image { error, .. } => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Image { error, .. } => error.hint(),
            Self::NotWhole { .. } => Some("`gamut pull` of the image waits for the rest".into()),
            _ => None,
        }
    }
}

/// One thing that a root is stacked from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lower {
    /// A directory.
    Directory(PathBuf),
    /// An EROFS image: it has to be mounted first.
    Image(ErofsImage),
}

/// An EROFS image with the layers of one image, or one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErofsImage {
    /// What names its content, and so its mount: one component of a path.
    pub name: String,
    /// The image.
    pub file: PathBuf,
    /// Where files' data is if it is not in the image: the device slots, in order.
    pub devices: Vec<PathBuf>,
}

/// How a root is mounted. All paths are absolute if the store's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootMount {
    /// overlayfs's `lowerdir`, the top layer first. If there is none, nothing is stacked: `upper`
    /// is the whole root.
    pub lower: Vec<Lower>,
    /// overlayfs's `upperdir`: the container's changes.
    pub upper: PathBuf,
    /// overlayfs's `workdir`: its own, on the file system of `upper`.
    pub work: PathBuf,
}

/// A root as it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing {
    /// How it is mounted.
    pub mount: RootMount,
    /// What its root directory is like.
    pub(crate) root: RootAttributes,
    /// Layers that are copied into it, the bottom one first.
    pub(crate) copied: Vec<Copied>,
    pub(crate) place: Place,
}

/// Where a root's directories are in the container's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// Beside what others keep there.
    #[default]
    Beside,
    /// In a directory that holds nothing else.
    Apart,
}

/// A layer to be copied, by what holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Copied {
    Tree(PathBuf),
    /// An EROFS image.
    Image(PathBuf),
}

/// A way to keep roots. See the module for the words.
pub trait Snapshotter: std::fmt::Debug {
    /// Where its roots are.
    fn roots(&self) -> &Roots;

    /// Says what the root of container `id` will be, of `layers`, the bottom one first; an image
    /// may have none. Touches nothing.
    fn draw(&self, id: &str, layers: &[LayerRecord]) -> Result<Drawing, SnapshotError>;

    /// Makes the root of container `id`. A root of that id must not be there. On failure nothing is
    /// left behind.
    fn prepare(&self, id: &str, layers: &[LayerRecord]) -> Result<RootMount, SnapshotError> {
        let drawing = self.draw(id, layers)?;
        drawing.make()?;
        Ok(drawing.mount)
    }

    /// How to mount a root that has been prepared from the same layers.
    fn open(&self, id: &str, layers: &[LayerRecord]) -> Result<RootMount, SnapshotError> {
        let drawing = self.draw(id, layers)?;
        self.roots().find(id)?;
        Ok(drawing.mount)
    }
}

/// From the top layer down to the first that hides everything below it.
fn visible(layers: &[LayerRecord]) -> impl Iterator<Item = &LayerRecord> {
    let mut hidden = false;
    layers
        .iter()
        .rev()
        .take_while(move |layer| !std::mem::replace(&mut hidden, layer.opaque_root))
}

/// What the root directory of these layers is like.
fn root_of(layers: &[LayerRecord]) -> RootAttributes {
    /// The root directory of an image that says nothing of it.
    const UNSAID: RootAttributes = RootAttributes {
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    visible(layers)
        .find_map(|layer| layer.root)
        .unwrap_or(UNSAID)
}

/// A layer's tree or image below `layers`.
fn content(layers: &Path, layer: &LayerRecord) -> PathBuf {
    layers.join(&layer.directory).join(layer.form.content())
}
