//! An image, as `inspect` prints it.

use std::collections::BTreeMap;

use gamut_engine::images::ImageView;
use gamut_spec::image::ImageConfig;
use gamut_spec::reference::Reference;
use serde::Serialize;

use super::config::Config;
use super::{DRIVER, GraphDriver, time};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    id: String,
    repo_tags: Vec<String>,
    repo_digests: Vec<String>,
    parent: &'static str,
    comment: String,
    /// As the image says it.
    created: String,
    docker_version: &'static str,
    author: String,
    architecture: String,
    variant: String,
    os: String,
    os_version: String,
    size: u64,
    virtual_size: u64,
    graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    metadata: Metadata,
    config: Config,
    descriptor: Descriptor,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    r#type: &'static str,
    layers: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    last_tag_time: String,
}

/// The manifest, in the OCI image specification's own words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
}

impl Image {
    #[must_use]
    pub fn of(view: &ImageView, config: &ImageConfig) -> Self {
        let image = &view.image;
        let familiar = |names: &[String]| -> Vec<String> {
            names
                .iter()
                .map(|name| match name.parse::<Reference>() {
                    Ok(reference) => reference.familiar(),
                    Err(_) => name.clone(),
                })
                .collect()
        };
        let last_step = config.history.last();
        Self {
            id: image.id.to_string(),
            repo_tags: familiar(&view.tags),
            repo_digests: familiar(&view.digests),
            parent: "",
            comment: last_step
                .and_then(|step| step.comment.clone())
                .unwrap_or_default(),
            created: config.created.clone().unwrap_or_default(),
            docker_version: "",
            author: config.author.clone().unwrap_or_default(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone().unwrap_or_default(),
            os: config.os.clone(),
            os_version: config.os_version.clone().unwrap_or_default(),
            size: image.size_bytes,
            virtual_size: image.size_bytes,
            graph_driver: GraphDriver {
                data: BTreeMap::new(),
                name: DRIVER,
            },
            root_fs: RootFs {
                r#type: "layers",
                layers: image.layers.iter().map(ToString::to_string).collect(),
            },
            metadata: Metadata {
                last_tag_time: time(u64::try_from(image.pulled_ns).unwrap_or(0)),
            },
            config: Config::of_image(config),
            descriptor: Descriptor {
                media_type: image.manifest_media_type.clone(),
                digest: image.manifest_digest.to_string(),
            },
        }
    }
}
