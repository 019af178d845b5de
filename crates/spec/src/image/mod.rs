//! Images as documents: the OCI image specification 1.1 and Docker's image manifest version 2,
//! schema 2, read by the same types.
//!
//! - [`media_type`]: what a blob claims to be;
//! - [`manifest`]: [`Descriptor`], [`Manifest`], [`Index`], and [`Document`], which is either;
//! - [`platform`]: [`Platform`] and which of an index's images suits it;
//! - [`config`]: [`ImageConfig`], what the image says about running it; [`change`]: how `commit`
//!   and `import` change it;
//! - [`layout`]: images as files.
//!
//! Every one of them comes from a registry, so nothing is trusted: sizes and counts have limits,
//! a document that could be read two ways is refused. Unknown fields are passed over; whoever needs
//! the bytes as they were keeps the bytes.

pub mod change;
pub mod config;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod platform;
mod words;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use manifest::{Descriptor, Document, Index, Layer, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::{Platform, PlatformError};

use crate::digest::Digest;
use crate::fault::{Fault, Kind};

/// The largest manifest or index that is read, in bytes (the OCI distribution specification asks
/// registries to take at least this much and clients may expect no more).
pub const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// The largest image configuration that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 4 * 1024 * 1024;
/// How many indexes may lead to a manifest: an index, and an index in it.
pub const MAX_INDEX_DEPTH: usize = 2;
/// How many layers an image may have; overlayfs itself takes 500 lower directories.
pub const MAX_LAYERS: usize = 500;

/// Why a document is not an image that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("the {document} has {size} bytes, more than the {limit} that are allowed")]
    TooLarge {
        document: &'static str,
        size: u64,
        limit: u64,
    },
    #[error("the {document} is malformed: {source}")]
    Json {
        document: &'static str,
        source: serde_json::Error,
    },
    #[error("the manifest is ambiguous: {0}")]
    Ambiguous(&'static str),
    #[error("the image is in Docker's manifest schema 1, which is obsolete")]
    Schema1,
    #[error("the manifest's media type `{0}` is not one of an image")]
    ManifestType(String),
    #[error("this is not a container image: its configuration is of type `{0}`")]
    NotAnImage(String),
    #[error("layer {digest} is of type `{media_type}`, which cannot be unpacked")]
    LayerType { digest: Digest, media_type: String },
    #[error(
        "layer {digest} is of type `{media_type}`: its content is not in the registry (a foreign layer)"
    )]
    ForeignLayer { digest: Digest, media_type: String },
    #[error("the image has {0} layers, more than the {MAX_LAYERS} that are allowed")]
    TooManyLayers(usize),
    #[error("indexes are nested more than {MAX_INDEX_DEPTH} deep")]
    TooDeep,
    #[error("there is no image for {wanted}; there {}", listed(.available))]
    NoPlatform {
        wanted: Platform,
        available: Vec<Platform>,
    },
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("the configuration's rootfs is of type `{0}`, not `layers`")]
    RootFsType(String),
}

fn listed(available: &[Platform]) -> String {
    let mut names: Vec<String> = available.iter().map(Platform::to_string).collect();
    names.dedup();
    match names.as_slice() {
        [] => "are none at all".to_owned(),
        [one] => format!("is only {one}"),
        many => format!("are {}", many.join(", ")),
    }
}

impl Fault for ImageError {
    fn kind(&self) -> Kind {
        match self {
            ImageError::NoPlatform { .. } => Kind::NotFound,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ImageError::Schema1 => Some(
                "pull and push it again with a current Docker, or copy it with \
                 `skopeo copy --format v2s2`"
                    .into(),
            ),
            ImageError::NoPlatform { available, .. } => available
                .first()
                .map(|platform| format!("name another with `--platform {platform}`")),
            ImageError::ForeignLayer { .. } => {
                Some("this is how Windows base images are made; use a Linux image".into())
            }
            ImageError::NotAnImage(_) => {
                Some("the name may be that of a Helm chart, a plugin or another artifact".into())
            }
            _ => None,
        }
    }
}
