//! Images in an OCI image layout directory (OCI image spec, image-layout.md), so that they can be made
//! once and pushed anywhere.

use super::{Blob, Image};
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use std::{fs, sync::Arc};

const NAME: &str = "org.opencontainers.image.ref.name";

/// Writes a layout that holds `images`, each under its reference (`nginx:lab`).
pub fn write_layout(dir: &Path, images: &[(&str, Image)]) -> io::Result<()> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut entries = Vec::new();
    for (name, image) in images {
        for blob in image
            .blobs
            .iter()
            .chain(&image.manifests)
            .chain([&image.top])
        {
            fs::write(blobs.join(hex(&blob.digest)), blob.bytes.as_slice())?;
        }
        let mut descriptor = image.top.descriptor();
        descriptor["annotations"] = json!({ NAME: name });
        entries.push(descriptor);
    }
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "manifests": entries});
    fs::write(dir.join("index.json"), index.to_string())
}

/// Reads every named image of a layout.
pub fn read_layout(dir: &Path) -> io::Result<Vec<(String, Image)>> {
    let index = parse(&fs::read(dir.join("index.json"))?)?;
    let mut images = Vec::new();
    for entry in list(&index, "manifests") {
        let name = entry["annotations"][NAME]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let top = read_blob(dir, entry)?;
        let document = parse(&top.bytes)?;
        let mut image = Image {
            top,
            manifests: Vec::new(),
            blobs: Vec::new(),
        };
        let mut singles = vec![document.clone()];
        if document["manifests"].is_array() {
            singles.clear();
            for child in list(&document, "manifests") {
                let manifest = read_blob(dir, child)?;
                singles.push(parse(&manifest.bytes)?);
                image.manifests.push(manifest);
            }
        }
        for manifest in singles {
            image.blobs.push(read_blob(dir, &manifest["config"])?);
            for layer in list(&manifest, "layers") {
                image.blobs.push(read_blob(dir, layer)?);
            }
        }
        images.push((name, image));
    }
    Ok(images)
}

fn read_blob(dir: &Path, descriptor: &Value) -> io::Result<Blob> {
    let text = |field: &str| descriptor[field].as_str().unwrap_or_default().to_owned();
    let digest = text("digest");
    let bytes = fs::read(dir.join("blobs/sha256").join(hex(&digest)))?;
    Ok(Blob {
        media_type: text("mediaType"),
        digest,
        bytes: Arc::new(bytes),
        annotations: Vec::new(),
    })
}

fn parse(bytes: &[u8]) -> io::Result<Value> {
    serde_json::from_slice(bytes).map_err(io::Error::from)
}

fn list<'a>(document: &'a Value, field: &str) -> &'a [Value] {
    document[field].as_array().map_or(&[], Vec::as_slice)
}

fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}
