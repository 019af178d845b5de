//! Why layers could not be merged.

use gamut_spec::{Fault, Kind};

use super::super::ImageError;
use super::super::read::ReadError;

/// Layers that could not be merged. Layers are counted from 1, the bottom one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A layer's image could not be read.
    #[error("layer {layer}: {error}")]
    Layer {
        /// Which.
        layer: usize,
        /// What is wrong with it.
        error: ReadError,
    },
    /// A layer's image is of a form that cannot be pointed into.
    #[error("layer {layer}: {what} cannot be merged")]
    Form {
        /// Which.
        layer: usize,
        /// What it has.
        what: &'static str,
    },
    /// More layers than chunks can name devices.
    #[error("an image of {count} layers cannot be merged: EROFS has {limit} devices at most")]
    TooManyLayers {
        /// Layers.
        count: usize,
        /// Devices.
        limit: usize,
    },
    /// The merged image could not be written.
    #[error(transparent)]
    Write(#[from] ImageError),
}

impl Fault for MergeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Layer { error, .. } => error.kind(),
            Self::Form { .. } | Self::TooManyLayers { .. } => Kind::Invalid,
            Self::Write(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Layer { error, .. } => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Form { .. } | Self::TooManyLayers { .. } => None,
        }
    }
}
