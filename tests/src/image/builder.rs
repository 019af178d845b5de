//! Manifest and config over layers, in OCI's or Docker's words.

use super::{Blob, Compression, Image, Layer};
use serde_json::{Value, json};

/// Which family of media types a document uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Types {
    /// OCI image specification 1.1, media-types.md.
    Oci,
    /// Docker's image manifest version 2, schema 2.
    Docker,
}

impl Types {
    pub(super) fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    pub(super) fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Oci, Compression::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (Self::Oci, Compression::Gzip | Compression::Estargz) => {
                "application/vnd.oci.image.layer.v1.tar+gzip"
            }
            // Docker has no word of its own for zstd; its tools write OCI's.
            (_, Compression::Zstd | Compression::ZstdChunked) => {
                "application/vnd.oci.image.layer.v1.tar+zstd"
            }
            (Self::Docker, Compression::Plain) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Docker, Compression::Gzip | Compression::Estargz) => {
                "application/vnd.docker.image.rootfs.diff.tar.gzip"
            }
        }
    }
}

/// A single image under construction: `ImageBuilder::new().layer(…).cmd(["true"]).build()`.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    types: Types,
    compression: Compression,
    architecture: String,
    config: Value,
    /// Packed blob and the digest of the archive inside.
    layers: Vec<(Blob, String)>,
}

impl Default for ImageBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageBuilder {
    /// OCI media types, gzip, this machine's architecture, an empty config.
    pub fn new() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            types: Types::Oci,
            compression: Compression::Gzip,
            architecture: architecture.to_owned(),
            config: json!({}),
            layers: Vec::new(),
        }
    }

    /// For what follows.
    pub fn types(mut self, types: Types) -> Self {
        self.types = types;
        self
    }

    /// For layers added after this.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    pub fn architecture(mut self, name: &str) -> Self {
        self.architecture = name.to_owned();
        self
    }

    pub fn layer(self, layer: Layer) -> Self {
        self.tar(&layer.into_tar())
    }

    /// A layer from the bytes of an archive, well-formed or not.
    pub fn tar(mut self, tar: &[u8]) -> Self {
        self.layers.push(self.compression.pack(tar, self.types));
        self
    }

    /// A field of the config's `config` object, such as `Env` or `ExposedPorts` (OCI image spec, config.md).
    pub fn config(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.config[field] = value.into();
        self
    }

    pub fn env(self, pairs: &[&str]) -> Self {
        self.config("Env", pairs)
    }

    pub fn cmd(self, words: &[&str]) -> Self {
        self.config("Cmd", words)
    }

    pub fn entrypoint(self, words: &[&str]) -> Self {
        self.config("Entrypoint", words)
    }

    pub fn build(self) -> Image {
        let diff_ids: Vec<_> = self.layers.iter().map(|(_, diff_id)| diff_id).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": self.config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": self.layers.iter().map(|_| json!({"created": "2026-01-01T00:00:00Z", "created_by": "lab-image"})).collect::<Vec<_>>(),
        });
        let config = Blob::new(self.types.config(), config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": self.types.manifest(), "config": config.descriptor(),
            "layers": self.layers.iter().map(|(blob, _)| blob.descriptor()).collect::<Vec<_>>(),
        });
        let mut blobs = vec![config];
        blobs.extend(self.layers.into_iter().map(|(blob, _)| blob));
        Image {
            top: Blob::new(self.types.manifest(), manifest.to_string().into_bytes()),
            manifests: Vec::new(),
            blobs,
        }
    }
}
