//! Manifests and indexes: OCI image specification 1.1 (manifest.md, image-index.md,
//! descriptor.md) and Docker's manifest version 2, schema 2, which share their fields.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Compression, ImageError, MAX_LAYERS, MAX_MANIFEST_BYTES, MediaType, Platform};
use crate::digest::Digest;

/// A pointer to content: what it is, how long, and what it hashes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default = "no_media_type")]
    pub media_type: MediaType,
    pub digest: Digest,
    /// Length of the content, bytes.
    pub size: u64,
    /// Only of an index's entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Of an index's entries: what sort of artifact the manifest is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// With what every descriptor has.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type,
            digest,
            size,
            platform: None,
            artifact_type: None,
            annotations: None,
        }
    }

    /// The value of an annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

fn no_media_type() -> MediaType {
    MediaType::Other(String::new())
}

/// One image: its configuration and its layers, the base first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What sort of artifact this is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    /// What this is about: it then is one of the subject's referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// One image for each of several platforms (Docker: a manifest list).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// What sort of artifact this is, if it is no image for several platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub manifests: Vec<Descriptor>,
    /// What this is about: it then is one of the subject's referrers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A layer that can be unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub descriptor: Descriptor,
    pub compression: Compression,
}

/// What a registry may answer when asked for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    Manifest(Box<Manifest>),
    Index(Box<Index>),
}

/// The fields that tell the documents apart, whatever their values are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Reads what a registry sent. `content_type` is the transport's word for it, which only counts
    /// where the document itself is silent: the document is covered by its digest, the header by
    /// nothing. A document that could be read as either is refused (CVE-2021-41190).
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Document, ImageError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ImageError::TooLarge {
                document: "manifest",
                size: bytes.len() as u64,
                limit: MAX_MANIFEST_BYTES,
            });
        }
        let outline: Outline = json("manifest", bytes)?;
        let told = outline.media_type.as_deref().map(MediaType::parse);
        let sent = content_type.map(MediaType::parse);
        if outline.schema_version == Some(1)
            || outline.fs_layers.is_some()
            || told == Some(MediaType::DockerSchema1)
        {
            return Err(ImageError::Schema1);
        }
        let of_image = outline.config.is_some() || outline.layers.is_some();
        if of_image && outline.manifests.is_some() {
            return Err(ImageError::Ambiguous(
                "it has the fields of a manifest and those of an index",
            ));
        }
        let media_type = match told {
            Some(told) => told,
            None => match sent {
                Some(sent) if sent.is_index() || sent.is_manifest() => sent,
                _ if outline.manifests.is_some() => MediaType::OciIndex,
                _ if of_image => MediaType::OciManifest,
                Some(other) => return Err(ImageError::ManifestType(other.to_string())),
                None => return Err(ImageError::ManifestType(String::new())),
            },
        };
        if media_type.is_index() && !of_image {
            json("index", bytes).map(|index| Document::Index(Box::new(index)))
        } else if media_type.is_manifest() && outline.manifests.is_none() {
            json("manifest", bytes).map(|manifest| Document::Manifest(Box::new(manifest)))
        } else if media_type.is_index() || media_type.is_manifest() {
            Err(ImageError::Ambiguous(
                "its media type and its fields differ",
            ))
        } else {
            Err(ImageError::ManifestType(media_type.to_string()))
        }
    }

    /// The type this document is of, by its own word or by its fields.
    pub fn media_type(&self) -> MediaType {
        match self {
            Document::Manifest(manifest) => manifest
                .media_type
                .clone()
                .unwrap_or(MediaType::OciManifest),
            Document::Index(index) => index.media_type.clone().unwrap_or(MediaType::OciIndex),
        }
    }
}

impl Manifest {
    /// The layers, base first, once it is sure that this is an image and that each layer's content
    /// is in the registry in a form that can be unpacked.
    pub fn image_layers(&self) -> Result<Vec<Layer>, ImageError> {
        let config_type = &self.config.media_type;
        if !config_type.is_image_config() {
            return Err(ImageError::NotAnImage(config_type.to_string()));
        }
        if self.layers.len() > MAX_LAYERS {
            return Err(ImageError::TooManyLayers(self.layers.len()));
        }
        self.layers.iter().map(Layer::of).collect()
    }
}

impl Layer {
    fn of(descriptor: &Descriptor) -> Result<Layer, ImageError> {
        let media_type = &descriptor.media_type;
        match media_type.layer_compression() {
            Some(compression) => Ok(Layer {
                descriptor: descriptor.clone(),
                compression,
            }),
            None if media_type.is_foreign_layer() => Err(ImageError::ForeignLayer {
                digest: descriptor.digest.clone(),
                media_type: media_type.to_string(),
            }),
            None => Err(ImageError::LayerType {
                digest: descriptor.digest.clone(),
                media_type: media_type.to_string(),
            }),
        }
    }
}

impl Index {
    /// The entry that suits `wanted` best: the newest variant that runs there, and of equals the
    /// first. An entry that names no platform is taken if no other fits; it may be an index again.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, ImageError> {
        let candidates = || {
            self.manifests
                .iter()
                .filter(|entry| entry.media_type.is_index() || entry.media_type.is_manifest())
        };
        let named = |entry: &&Descriptor| {
            let platform = entry.platform.as_ref()?;
            wanted.rank(platform)
        };
        candidates()
            .filter(|entry| named(entry).is_some())
            .min_by_key(named)
            .or_else(|| candidates().find(|entry| entry.platform.is_none()))
            .ok_or_else(|| ImageError::NoPlatform {
                wanted: wanted.clone(),
                available: candidates()
                    .filter_map(|entry| entry.platform.clone())
                    .filter(|platform| !platform.is_unknown())
                    .collect(),
            })
    }
}

/// Reads one document, named for the error.
pub(super) fn json<'a, T: Deserialize<'a>>(
    document: &'static str,
    bytes: &'a [u8],
) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Json { document, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str, more: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":3{more}}}"#)
    }

    fn manifest_of(config: &str, layer: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}],"odd":[1]}}"#,
            MediaType::DockerManifest,
            descriptor(config, ""),
            descriptor(layer, r#","urls":["http://evil/"]"#),
        )
    }

    fn entry(platform: &str) -> String {
        let (os, rest) = platform.split_once('/').unwrap();
        let (architecture, variant) = rest.split_once('/').unwrap_or((rest, ""));
        descriptor(
            "application/vnd.oci.image.manifest.v1+json",
            &format!(
                r#","platform":{{"os":"{os}","architecture":"{architecture}","variant":"{variant}"}}"#
            ),
        )
    }

    fn index_of(entries: &[String]) -> Index {
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entries.join(",")
        );
        match Document::parse(text.as_bytes(), None).unwrap() {
            Document::Index(index) => *index,
            Document::Manifest(_) => panic!("read as a manifest"),
        }
    }

    fn layers_of(config: &str, layer: &str) -> Result<Vec<Layer>, ImageError> {
        let text = manifest_of(config, layer);
        match Document::parse(text.as_bytes(), None).unwrap() {
            Document::Manifest(manifest) => manifest.image_layers(),
            Document::Index(_) => panic!("read as an index"),
        }
    }

    #[test]
    fn reads_layers_and_refuses_foreign_ones_by_name() {
        const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
        let layers =
            layers_of(CONFIG, "application/vnd.docker.image.rootfs.diff.tar.gzip").unwrap();
        assert_eq!(layers[0].compression, Compression::Gzip);
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let error = layers_of(CONFIG, foreign).unwrap_err();
        assert!(error.to_string().contains(foreign), "{error}");
        assert!(matches!(
            layers_of(CONFIG, "application/x-rar"),
            Err(ImageError::LayerType { .. })
        ));
        assert!(matches!(
            layers_of(
                "application/vnd.cncf.helm.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar"
            ),
            Err(ImageError::NotAnImage(_))
        ));
    }

    #[test]
    fn the_document_outweighs_the_header() {
        let text = manifest_of("application/vnd.oci.image.config.v1+json", "x/y");
        for header in [
            None,
            Some("text/plain"),
            Some("application/vnd.oci.image.index.v1+json"),
        ] {
            let document = Document::parse(text.as_bytes(), header).unwrap();
            assert_eq!(
                document.media_type(),
                MediaType::DockerManifest,
                "{header:?}"
            );
        }
    }

    #[test]
    fn refuses_documents_of_two_minds() {
        let both = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#,
            descriptor("a/b", "")
        );
        assert!(matches!(
            Document::parse(both.as_bytes(), None),
            Err(ImageError::Ambiguous(_))
        ));
        let liar = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
            MediaType::OciManifest
        );
        assert!(matches!(
            Document::parse(liar.as_bytes(), None),
            Err(ImageError::Ambiguous(_))
        ));
        let twice = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(matches!(
            Document::parse(twice.as_bytes(), None),
            Err(ImageError::Json { .. })
        ));
    }

    #[test]
    fn refuses_schema_1_with_a_hint() {
        for text in [
            r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#,
            r#"{"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}"#,
        ] {
            let error = Document::parse(text.as_bytes(), None).unwrap_err();
            assert!(matches!(error, ImageError::Schema1), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn refuses_garbage() {
        let huge = vec![b' '; MAX_MANIFEST_BYTES as usize + 1];
        assert!(matches!(
            Document::parse(&huge, None),
            Err(ImageError::TooLarge { .. })
        ));
        let deep = "[".repeat(100_000);
        for text in ["", "null", "<html>", "{}", r#"{"schemaVersion":2}"#, &deep] {
            assert!(Document::parse(text.as_bytes(), Some("text/html")).is_err());
        }
        let negative = manifest_of("a/b", "c/d").replace("\"size\":3", "\"size\":-3");
        assert!(Document::parse(negative.as_bytes(), None).is_err());
    }

    #[test]
    fn selects_by_platform() {
        let index = index_of(&[
            entry("unknown/unknown"),
            entry("linux/arm/v6"),
            entry("linux/arm/v7"),
            entry("linux/arm64/v8"),
            entry("linux/amd64"),
        ]);
        let pick = |text: &str| {
            let wanted: Platform = text.parse().unwrap();
            index
                .select(&wanted)
                .map(|entry| entry.platform.as_ref().unwrap().to_string())
        };
        assert_eq!(pick("linux/arm64").unwrap(), "linux/arm64/v8");
        assert_eq!(pick("linux/arm").unwrap(), "linux/arm/v7");
        assert_eq!(pick("linux/arm/v6").unwrap(), "linux/arm/v6");
        assert_eq!(pick("linux/amd64/v2").unwrap(), "linux/amd64");
        let error = pick("linux/s390x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no image for linux/s390x; there are linux/arm/v6, linux/arm/v7, \
             linux/arm64/v8, linux/amd64"
        );
        assert_eq!(error.kind(), crate::Kind::NotFound);
    }

    #[test]
    fn an_entry_without_platform_is_the_last_resort() {
        let bare = descriptor("application/vnd.oci.image.index.v1+json", "");
        let odd = descriptor("application/x-odd", "");
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let index = index_of(&[odd.clone(), bare.clone(), entry("linux/amd64")]);
        assert!(index.select(&amd64).unwrap().platform.is_some());
        let index = index_of(&[odd.clone(), bare, entry("linux/arm64")]);
        assert!(index.select(&amd64).unwrap().media_type.is_index());
        assert!(matches!(
            index_of(&[odd]).select(&amd64),
            Err(ImageError::NoPlatform { .. })
        ));
    }
}
