//! Recording images, however they came; and those that are made here, not pulled: by `commit`, `import`
//! and `load`. Their manifest is ours, and refers to layers by their uncompressed tars, unless the image
//! below knows better.

use gamut_spec::digest::Digest;
use gamut_spec::image::{Compression, Descriptor, ImageConfig, Manifest, MediaType};
use gamut_store::db::Image;
use gamut_store::layer::Layer;
use gamut_store::{Durability, StoreError};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::record::now_ns;

/// Which of the two families of media types an image gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// OCI image specification.
    #[default]
    Oci,
    /// Docker's image manifest version 2, schema 2.
    Docker,
}

impl ImageFormat {
    /// The manifest's media type.
    pub(crate) fn manifest(self) -> MediaType {
        match self {
            Self::Oci => MediaType::OciManifest,
            Self::Docker => MediaType::DockerManifest,
        }
    }

    /// The configuration's.
    pub(crate) fn config(self) -> MediaType {
        match self {
            Self::Oci => MediaType::OciConfig,
            Self::Docker => MediaType::DockerConfig,
        }
    }

    /// A layer's.
    pub(crate) fn layer(self, compression: Compression) -> MediaType {
        match self {
            Self::Oci => MediaType::OciLayer(compression),
            Self::Docker => MediaType::DockerLayer(compression),
        }
    }

    /// A layer as its uncompressed tar.
    pub(crate) fn plain_layer(self, diff_id: &Digest, tar_bytes: u64) -> Descriptor {
        Descriptor::new(self.layer(Compression::None), diff_id.clone(), tar_bytes)
    }
}

/// A manifest without ornaments.
pub(crate) fn manifest(
    format: ImageFormat,
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(format.manifest()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: None,
    }
}

/// A document as it is stored.
pub(crate) fn document(value: &impl serde::Serialize) -> Vec<u8> {
    // Cannot fail: there is nothing in our documents but texts, numbers, lists and maps of texts.
    serde_json::to_vec(value).unwrap_or_default()
}

/// All that an image is recorded with.
pub(crate) struct Recording<'a> {
    pub(crate) manifest: &'a [u8],
    pub(crate) manifest_type: MediaType,
    pub(crate) config: &'a [u8],
    pub(crate) config_type: MediaType,
    pub(crate) layers: Vec<Layer>,
    /// Canonical ones.
    pub(crate) names: Vec<String>,
}

impl Engine {
    /// Records an image whose layers are there. `config` must be what its bytes say.
    pub(crate) fn record_made(
        &mut self,
        config: &ImageConfig,
        recording: Recording<'_>,
    ) -> Result<Image, EngineError> {
        let blobs = self.store.blobs();
        let put = |bytes| blobs.put_bytes(bytes).map_err(StoreError::from);
        let (manifest_blob, config_blob) = (put(recording.manifest)?, put(recording.config)?);
        let created = config.created.as_deref();
        let created = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let image = Image {
            id: config_blob.digest.clone(),
            manifest_digest: manifest_blob.digest.clone(),
            manifest_media_type: recording.manifest_type.to_string(),
            config_media_type: recording.config_type.to_string(),
            layers: config.rootfs.diff_ids.clone(),
            size_bytes: recording.layers.iter().map(|l| l.record.size_bytes).sum(),
            created_ns: created.map_or(0, |t| i64::try_from(t.as_nanosecond()).unwrap_or(0)),
            pulled_ns: i64::try_from(now_ns()).unwrap_or(i64::MAX),
        };
        let names: Vec<&str> = recording.names.iter().map(String::as_str).collect();
        self.store.record_image(
            &image,
            &names,
            &recording.layers,
            &[manifest_blob, config_blob],
            Durability::Process,
        )?;
        Ok(image)
    }

    /// Records an image with a manifest that is made for it.
    pub(crate) fn record_new(
        &mut self,
        config: &ImageConfig,
        format: ImageFormat,
        entries: Vec<Descriptor>,
        layers: Vec<Layer>,
        names: Vec<String>,
    ) -> Result<Image, EngineError> {
        let config_bytes = document(config);
        let config_digest = self.store.blobs().put_bytes(&config_bytes);
        let config_digest = config_digest.map_err(StoreError::from)?;
        let manifest = manifest(
            format,
            Descriptor::new(
                format.config(),
                config_digest.digest.clone(),
                config_bytes.len() as u64,
            ),
            entries,
        );
        let recording = Recording {
            manifest: &document(&manifest),
            manifest_type: format.manifest(),
            config: &config_bytes,
            config_type: format.config(),
            layers,
            names,
        };
        self.record_made(config, recording)
    }
}

/// The time now as configurations have it: RFC 3339.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}
