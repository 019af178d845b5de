//! Images made in memory: layers ([`Layer`]), and the manifest and config over them ([`ImageBuilder`]).
//! Every byte can be changed before it is pushed, for the tests of what a hostile registry sends.

mod builder;
mod layer;
mod layout;
mod seekable;

pub use builder::{ImageBuilder, Types};
pub use layer::{Compression, Layer};
pub use layout::{read_layout, write_layout};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Bytes with their OCI media type, known by their digest.
#[derive(Debug, Clone)]
pub struct Blob {
    pub media_type: String,
    /// `sha256:` and 64 hexadecimal digits. Of `bytes`, unless a test has lied on purpose.
    pub digest: String,
    pub bytes: Arc<Vec<u8>>,
    /// What a manifest says of it besides.
    pub annotations: Vec<(&'static str, String)>,
}

impl Blob {
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest(&bytes),
            bytes: Arc::new(bytes),
            annotations: Vec::new(),
        }
    }

    /// The OCI content descriptor of this blob.
    pub fn descriptor(&self) -> Value {
        let mut descriptor =
            json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()});
        for (name, value) in &self.annotations {
            descriptor["annotations"][name] = value.as_str().into();
        }
        descriptor
    }
}

/// A pushable image: what the tag names (a manifest or an index), the manifests below an index, and
/// the blobs (configs and layers).
#[derive(Debug, Clone)]
pub struct Image {
    pub top: Blob,
    pub manifests: Vec<Blob>,
    pub blobs: Vec<Blob>,
}

impl Image {
    /// An index over single images, each with its `os/architecture`.
    pub fn index(types: Types, entries: &[(&str, &Image)]) -> Self {
        let (media_type, descriptors) = (
            types.index(),
            entries.iter().map(|(platform, image)| {
                let (os, architecture) = platform.split_once('/').unwrap_or(("linux", platform));
                let mut descriptor = image.top.descriptor();
                descriptor["platform"] = json!({"os": os, "architecture": architecture});
                descriptor
            }),
        );
        let document = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": descriptors.collect::<Vec<_>>()});
        Self {
            top: Blob::new(media_type, document.to_string().into_bytes()),
            manifests: entries.iter().map(|(_, image)| image.top.clone()).collect(),
            blobs: entries
                .iter()
                .flat_map(|(_, image)| image.blobs.clone())
                .collect(),
        }
    }

    /// The config's digest, which is what Docker calls the image's ID. Of the first manifest's config.
    pub fn id(&self) -> &str {
        &self.blobs[0].digest
    }

    /// The layer blobs of a single image.
    pub fn layers(&self) -> &[Blob] {
        &self.blobs[1..]
    }
}

/// `sha256:<hex>` of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| {
        text + &format!("{byte:02x}")
    })
}
