//! Media types of the OCI image specification (media-types.md) and of Docker's manifest
//! version 2, schema 2.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How a layer's tar is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What a blob claims to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MediaType {
    OciIndex,
    OciManifest,
    OciConfig,
    OciLayer(Compression),
    /// `nondistributable`: the content is elsewhere.
    OciForeignLayer(Compression),
    DockerIndex,
    DockerManifest,
    DockerConfig,
    DockerLayer(Compression),
    DockerForeignLayer,
    /// Schema 1, signed or not.
    DockerSchema1,
    /// Anything else, by its name.
    Other(String),
}

use Compression::{Gzip, None as Plain, Zstd};

/// Each type that has a name of its own here, and that name.
const NAMES: [(MediaType, &str); 17] = [
    (
        MediaType::OciIndex,
        "application/vnd.oci.image.index.v1+json",
    ),
    (
        MediaType::OciManifest,
        "application/vnd.oci.image.manifest.v1+json",
    ),
    (
        MediaType::OciConfig,
        "application/vnd.oci.image.config.v1+json",
    ),
    (
        MediaType::OciLayer(Plain),
        "application/vnd.oci.image.layer.v1.tar",
    ),
    (
        MediaType::OciLayer(Gzip),
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    (
        MediaType::OciLayer(Zstd),
        "application/vnd.oci.image.layer.v1.tar+zstd",
    ),
    (
        MediaType::OciForeignLayer(Plain),
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ),
    (
        MediaType::OciForeignLayer(Gzip),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ),
    (
        MediaType::OciForeignLayer(Zstd),
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ),
    (
        MediaType::DockerIndex,
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ),
    (
        MediaType::DockerManifest,
        "application/vnd.docker.distribution.manifest.v2+json",
    ),
    (
        MediaType::DockerConfig,
        "application/vnd.docker.container.image.v1+json",
    ),
    (
        MediaType::DockerLayer(Plain),
        "application/vnd.docker.image.rootfs.diff.tar",
    ),
    (
        MediaType::DockerLayer(Gzip),
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
    (
        MediaType::DockerLayer(Zstd),
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ),
    (
        MediaType::DockerForeignLayer,
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ),
    (
        MediaType::DockerSchema1,
        "application/vnd.docker.distribution.manifest.v1+json",
    ),
];

const SIGNED_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// What a client that wants an image accepts, as one `Accept` header.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

impl MediaType {
    /// Reads a `Content-Type` or a `mediaType`; parameters (`; charset=utf-8`) are dropped.
    pub fn parse(text: &str) -> MediaType {
        let essence = text.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(SIGNED_SCHEMA_1) {
            return MediaType::DockerSchema1;
        }
        NAMES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(essence))
            .map_or_else(
                || MediaType::Other(essence.to_owned()),
                |(media_type, _)| media_type.clone(),
            )
    }

    /// Its name, as it stands in a manifest.
    pub fn as_str(&self) -> &str {
        if let MediaType::Other(name) = self {
            return name;
        }
        NAMES
            .iter()
            .find(|(media_type, _)| media_type == self)
            .map_or("", |(_, name)| name)
    }

    /// An index or manifest list.
    pub fn is_index(&self) -> bool {
        matches!(self, MediaType::OciIndex | MediaType::DockerIndex)
    }

    /// A manifest of one image.
    pub fn is_manifest(&self) -> bool {
        matches!(self, MediaType::OciManifest | MediaType::DockerManifest)
    }

    /// For a layer that can be unpacked: how.
    pub fn layer_compression(&self) -> Option<Compression> {
        match self {
            MediaType::OciLayer(compression) | MediaType::DockerLayer(compression) => {
                Some(*compression)
            }
            _ => None,
        }
    }

    /// A layer whose content its registry has not got.
    pub fn is_foreign_layer(&self) -> bool {
        matches!(
            self,
            MediaType::OciForeignLayer(_) | MediaType::DockerForeignLayer
        )
    }

    /// Whether a configuration of this type describes a container image. Old registries handed out
    /// generic types, which Docker reads as images (distribution issue 1621).
    pub fn is_image_config(&self) -> bool {
        match self {
            MediaType::OciConfig | MediaType::DockerConfig => true,
            MediaType::Other(name) => matches!(
                name.as_str(),
                "" | "application/octet-stream" | "application/json" | "text/html"
            ),
            _ => false,
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(MediaType::parse(
            &<std::borrow::Cow<'de, str>>::deserialize(deserializer)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (media_type, name) in &NAMES {
            assert_eq!(MediaType::parse(name), *media_type);
            assert_eq!(media_type.as_str(), *name);
        }
        let other = MediaType::parse("application/vnd.cncf.helm.config.v1+json");
        assert_eq!(other.as_str(), "application/vnd.cncf.helm.config.v1+json");
        assert!(!other.is_image_config());
    }

    #[test]
    fn parameters_and_case_do_not_matter() {
        assert_eq!(
            MediaType::parse("Application/vnd.oci.image.index.v1+json; charset=utf-8"),
            MediaType::OciIndex
        );
        assert_eq!(MediaType::parse(SIGNED_SCHEMA_1), MediaType::DockerSchema1);
    }

    #[test]
    fn accept_names_exactly_the_four() {
        let accepted: Vec<MediaType> = ACCEPT_MANIFESTS
            .split(',')
            .map(|name| MediaType::parse(name.trim()))
            .collect();
        assert_eq!(accepted.len(), 4);
        assert!(accepted.iter().all(|t| t.is_index() || t.is_manifest()));
    }
}
