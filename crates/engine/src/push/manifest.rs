//! The manifest that an image has where it was pushed: its own, or the same with other blobs.

use gamut_spec::image::{Compression, Descriptor, ImageError, Manifest, MediaType};
use serde_json::Value;

/// A manifest and its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Original {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Vec<u8>,
}

impl Original {
    /// The manifest with these layers, and its media type. With the layers that it has, it is
    /// the same to the byte; else whatever it says beside its layers stays.
    pub(crate) fn with_layers(
        &self,
        layers: &[Descriptor],
    ) -> Result<(Vec<u8>, MediaType), ImageError> {
        let media_type = self.manifest.media_type.clone();
        let media_type = media_type.unwrap_or(MediaType::OciManifest);
        let same = |(old, new): (&Descriptor, &Descriptor)| old.digest == new.digest;
        if self.manifest.layers.iter().zip(layers).all(same) {
            return Ok((self.bytes.clone(), media_type));
        }
        // Docker's own types have no word for zstd that everybody knows.
        let zstd =
            |layer: &Descriptor| layer.media_type.layer_compression() == Some(Compression::Zstd);
        let docker = media_type == MediaType::DockerManifest && !layers.iter().any(zstd);
        let malformed = |source| ImageError::Json {
            document: "manifest",
            source,
        };
        let mut document: Value = serde_json::from_slice(&self.bytes).map_err(malformed)?;
        let new: Result<Vec<Value>, _> = self
            .manifest
            .layers
            .iter()
            .zip(layers)
            .map(|(old, new)| serde_json::to_value(in_family(docker, old, new)))
            .collect();
        document["layers"] = Value::Array(new.map_err(malformed)?);
        let (media_type, config) = match docker {
            true => (MediaType::DockerManifest, MediaType::DockerConfig),
            false => (MediaType::OciManifest, MediaType::OciConfig),
        };
        document["mediaType"] = media_type.as_str().into();
        if self.manifest.config.media_type.is_image_config() {
            document["config"]["mediaType"] = config.as_str().into();
        }
        let bytes = serde_json::to_vec(&document).map_err(malformed)?;
        Ok((bytes, media_type))
    }
}

/// A layer's descriptor in the words of the manifest's family. What annotations said of another
/// blob, such as where its table of contents is, is not true of this one.
fn in_family(docker: bool, old: &Descriptor, new: &Descriptor) -> Descriptor {
    if new.media_type.is_foreign_layer() {
        return new.clone();
    }
    let packing = new.media_type.layer_compression();
    let packing = packing.unwrap_or(Compression::Gzip);
    Descriptor {
        media_type: match docker {
            true => MediaType::DockerLayer(packing),
            false => MediaType::OciLayer(packing),
        },
        annotations: match old.digest == new.digest {
            true => old.annotations.clone(),
            false => None,
        },
        ..new.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> gamut_spec::Digest {
        let hex = digit.to_string().repeat(64);
        format!("sha256:{hex}").parse().expect("a digest")
    }

    fn original(family: &str) -> Original {
        let layer = |digit| {
            format!(
                r#"{{"mediaType":"application/vnd.{family}","digest":"{}","size":9,
                    "annotations":{{"toc":"x"}}}}"#,
                digest(digit)
            )
        };
        let (manifest, config) = match family.starts_with("oci") {
            true => (MediaType::OciManifest, MediaType::OciConfig),
            false => (MediaType::DockerManifest, MediaType::DockerConfig),
        };
        let text = format!(
            r#"{{"schemaVersion":2, "mediaType":"{manifest}", "odd":[1],
                "config":{{"mediaType":"{config}","digest":"{}","size":3}},
                "layers":[{},{}],"annotations":{{"kept":"y"}}}}"#,
            digest('c'),
            layer('1'),
            layer('2')
        );
        Original {
            manifest: serde_json::from_str(&text).expect("a manifest"),
            bytes: text.into_bytes(),
        }
    }

    fn layers(original: &Original, packing: Compression) -> Vec<Descriptor> {
        let mut layers = original.manifest.layers.clone();
        layers[1] = Descriptor::new(MediaType::OciLayer(packing), digest('3'), 7);
        layers
    }

    #[test]
    fn the_same_layers_are_the_same_bytes() {
        let original = original("oci.image.layer.v1.tar+gzip");
        let (bytes, media_type) = original
            .with_layers(&original.manifest.layers)
            .expect("made");
        assert_eq!(
            (bytes, media_type),
            (original.bytes, MediaType::OciManifest)
        );
    }

    #[test]
    fn another_blob_changes_its_descriptor_only() {
        let original = original("docker.image.rootfs.diff.tar.gzip");
        let layers = layers(&original, Compression::Gzip);
        let (bytes, media_type) = original.with_layers(&layers).expect("made");
        assert_eq!(media_type, MediaType::DockerManifest);
        let text: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(text["odd"][0], 1);
        assert_eq!(text["annotations"]["kept"], "y");
        let manifest: Manifest = serde_json::from_slice(&bytes).expect("a manifest");
        assert_eq!(manifest.layers[0], original.manifest.layers[0]);
        let second = &manifest.layers[1];
        assert_eq!(second.media_type, MediaType::DockerLayer(Compression::Gzip));
        assert_eq!((&second.digest, second.size), (&digest('3'), 7));
        assert_eq!(second.annotations, None);
    }

    #[test]
    fn zstd_makes_an_oci_image_of_dockers() {
        let original = original("docker.image.rootfs.diff.tar.gzip");
        let layers = layers(&original, Compression::Zstd);
        let (bytes, media_type) = original.with_layers(&layers).expect("made");
        assert_eq!(media_type, MediaType::OciManifest);
        let manifest: Manifest = serde_json::from_slice(&bytes).expect("a manifest");
        assert_eq!(manifest.media_type, Some(MediaType::OciManifest));
        assert_eq!(manifest.config.media_type, MediaType::OciConfig);
        let types: Vec<_> = manifest
            .layers
            .iter()
            .map(|l| l.media_type.clone())
            .collect();
        let expected = [Compression::Gzip, Compression::Zstd].map(MediaType::OciLayer);
        assert_eq!(types, expected);
    }
}
