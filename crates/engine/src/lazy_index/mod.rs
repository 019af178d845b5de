//! Indexes of an image's layers, kept beside the image: from them layers can be pulled lazily that have no
//! table of contents themselves ([`gamut_store::lazy::LayerIndex`]).
//!
//! They are an artifact that refers to the image's manifest (OCI image spec 1.1, "Guidelines for artifact
//! usage"): each of its layers is the index of one layer of the image, which an annotation names. [`make`]
//! puts it into the registry, [`find`] has a pull find it.
//!
//! **Nothing that the image says vouches for it.** Whoever may push to the repository may put one there, as
//! he may move its tags; so a pull by a tag uses it, and a pull by a digest, or under a policy that
//! requires signatures, only one that is signed as the policy requires of the image.

pub(crate) mod find;
mod make;

use gamut_registry::RegistryError;
use gamut_spec::image::ImageError;
use gamut_spec::{Fault, Kind};
use gamut_store::lazy::LazyError;
use thiserror::Error;

pub use make::make;

/// The artifact.
pub const ARTIFACT_TYPE: &str = "application/vnd.gamut.lazy-index.v1";
/// The index of one layer.
pub const LAYER_TYPE: &str = "application/vnd.gamut.lazy-index.layer.v1+zstd";
/// Of an index: the digest of its layer's blob.
pub const LAYER: &str = "vnd.gamut.lazy-index.layer";
/// Bytes of a layer that are not worth asking for its table of contents.
pub(crate) const WORTH_BYTES: u64 = 128 << 10;

/// Why an image has got no index.
#[derive(Debug, Error)]
pub enum IndexError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("layer {layer}: {source}")]
    Layer { layer: String, source: LazyError },
    #[error("`{0}` has no layer that could have an index")]
    Nothing(String),
    #[error("another layer failed")]
    Abandoned,
}

impl Fault for IndexError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Layer { source, .. } => source.kind(),
            Self::Nothing(_) => Kind::Invalid,
            Self::Abandoned => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint(),
            Self::Image(error) => error.hint(),
            // What the source says is for who pulls.
            Self::Layer { .. } | Self::Abandoned => None,
            Self::Nothing(_) => Some(
                "eStargz and zstd:chunked need none; for zstd, `gamut push --compression zstd` \
                 makes layers that can have one"
                    .into(),
            ),
        }
    }
}
