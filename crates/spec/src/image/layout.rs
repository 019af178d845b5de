//! Images as files: the OCI image layout 1.0 (OCI image specification, image-layout.md), and
//! `manifest.json`, the description of Docker's archives (`docker save`; moby,
//! image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format").
//!
//! Since Docker 25 one archive is both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::json;
use super::{Descriptor, ImageError, MAX_LAYERS, MAX_MANIFEST_BYTES};
use crate::digest::Digest;
use crate::reference::Reference;

/// Says that a directory or archive is an OCI layout.
pub const LAYOUT_FILE: &str = "oci-layout";
/// The whole content of [`LAYOUT_FILE`].
pub const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The index of an OCI layout.
pub const INDEX_FILE: &str = "index.json";
/// The description of Docker's archive, a list of [`ArchiveImage`]; of skopeo's `dir:`, a manifest.
pub const ARCHIVE_FILE: &str = "manifest.json";
/// Names to the top layer of each image: what Docker read before 1.10.
pub const REPOSITORIES_FILE: &str = "repositories";
/// An index entry's tag, or whatever name its writer gave it.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// An index entry's whole name, as containerd and Docker write it.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// Where a layout has a blob.
pub fn blob_file(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// The name that an index entry says it has, if that is a whole one: a tag alone names no image.
pub fn entry_name(entry: &Descriptor) -> Option<Reference> {
    let annotations = entry.annotations.as_ref()?;
    let name = |key: &str| annotations.get(key)?.parse::<Reference>().ok();
    let is_whole = |text: &&String| text.contains(['/', ':']);
    name(IMAGE_NAME).or_else(|| {
        annotations
            .get(REF_NAME)
            .filter(is_whole)
            .and_then(|_| name(REF_NAME))
    })
}

/// One image of Docker's archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ArchiveImage {
    /// The file of its configuration.
    pub config: String,
    /// Its names, as people write them.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The files of its layers, the base first: tars, which may be compressed.
    pub layers: Vec<String>,
    /// What the layers' files are, by diff id; since Docker 23.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layer_sources: BTreeMap<Digest, Descriptor>,
}

impl ArchiveImage {
    /// Reads `manifest.json`.
    pub fn parse_list(bytes: &[u8]) -> Result<Vec<ArchiveImage>, ImageError> {
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(ImageError::TooLarge {
                document: "manifest.json",
                size: bytes.len() as u64,
                limit: MAX_MANIFEST_BYTES,
            });
        }
        let images: Vec<ArchiveImage> = json("manifest.json", bytes)?;
        match images.iter().find(|image| image.layers.len() > MAX_LAYERS) {
            Some(image) => Err(ImageError::TooManyLayers(image.layers.len())),
            None => Ok(images),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn entry(annotations: &str) -> Descriptor {
        let text = format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{DIGEST}",
                "size":1,"annotations":{annotations}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_entry_has_a_name_where_it_says_all_of_it() {
        let name = |annotations| entry_name(&entry(annotations)).map(|name| name.to_string());
        let whole = "docker.io/library/debian:12";
        assert_eq!(
            name(
                r#"{"io.containerd.image.name":"docker.io/library/debian:12",
                     "org.opencontainers.image.ref.name":"12"}"#
            )
            .as_deref(),
            Some(whole)
        );
        assert_eq!(
            name(r#"{"org.opencontainers.image.ref.name":"debian:12"}"#).as_deref(),
            Some(whole)
        );
        assert_eq!(
            name(r#"{"org.opencontainers.image.ref.name":"latest"}"#),
            None
        );
        assert_eq!(name("{}"), None);
    }

    #[test]
    fn dockers_description_is_read_and_written() {
        let text = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l/layer.tar"]}]"#;
        let images = ArchiveImage::parse_list(text.as_bytes()).unwrap();
        assert_eq!(images[0].config, "c.json");
        assert_eq!(serde_json::to_string(&images).unwrap(), text);
        assert_eq!(
            blob_file(&DIGEST.parse().unwrap()),
            format!("blobs/sha256/{}", &DIGEST[7..])
        );
    }
}
