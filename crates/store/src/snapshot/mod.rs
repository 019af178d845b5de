//! What every snapshotter promises; [`suite`] holds it to that.
//!
//! - A **layer** is an unpacked, immutable set of files ([`LayerRecord`]).
//! - An **image** is a list of layers, the bottom one first: what a layer has, or whites out,
//!   replaces what the layers below it have.
//! - A **root** belongs to one container. It shows its image's layers and takes the container's
//!   changes; no other root, and no layer, ever sees them.
//! - To **prepare** a root is to make the place for its changes. To **open** it is to say again how
//!   it is mounted: a stopped container has kept its changes.
//! - To **remove** a root is to delete its changes. It must not be mounted.
//!
//! A snapshotter mounts nothing itself. It says what to mount ([`OverlayMount`]), and the
//! container room mounts it inside the container's own mount namespace, so that no mount is left
//! behind by anybody's death.

mod overlay;
pub mod suite;

use std::path::PathBuf;

use gamut_spec::{Fault, Kind};

pub(crate) use overlay::{BASE, MOUNT_POINTS, check as check_id};
pub use overlay::{Fresh, Overlay, make};

pub use crate::tree::Usage;
pub use crate::unpack::RootAttributes;

use crate::file_error::FileError;
use crate::layer::LayerRecord;

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
            Self::NotFound(_) => Kind::NotFound,
            Self::TooManyLayers { .. } => Kind::HostLacks,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            _ => None,
        }
    }
}

/// An overlayfs mount: kernel documentation, overlayfs. All paths are absolute if the store's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayMount {
    /// `lowerdir`, the top layer first; never empty.
    pub lower: Vec<PathBuf>,
    /// `upperdir`: the container's changes.
    pub upper: PathBuf,
    /// `workdir`: overlayfs's own, on the file system of `upper`.
    pub work: PathBuf,
}

/// A way to keep roots. See the module for the words.
pub trait Snapshotter: std::fmt::Debug {
    /// Makes the root of container `id` from `layers`, the bottom one first; an image may have
    /// none. A root of that id must not be there. On failure nothing is left behind.
    fn prepare(&self, id: &str, layers: &[LayerRecord]) -> Result<OverlayMount, SnapshotError>;

    /// How to mount a root that has been prepared from the same layers.
    fn open(&self, id: &str, layers: &[LayerRecord]) -> Result<OverlayMount, SnapshotError>;

    /// Deletes a root with its changes. One that is not there is success: a removal that was cut
    /// short is finished by another.
    fn remove(&self, id: &str) -> Result<(), SnapshotError>;

    /// What a root's changes take on disk; its layers are not counted.
    fn usage(&self, id: &str) -> Result<Usage, SnapshotError>;

    /// The ids of all roots, in no particular order.
    fn list(&self) -> Result<Vec<String>, SnapshotError>;
}
