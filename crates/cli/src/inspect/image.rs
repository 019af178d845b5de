//! An image, as `inspect` prints it.

use std::collections::BTreeMap;

use gamut_engine::attestations;
use gamut_engine::images::ImageView;
use gamut_engine::referrers::Referrer;
use gamut_engine::storage::Driver;
use gamut_spec::image::ImageConfig;
use gamut_spec::reference::Reference;
use serde::Serialize;

use super::config::Config;
use super::{GraphDriver, time};

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
    /// What is here of it: less than the size while a lazy pull goes on.
    present_size: u64,
    graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    root_fs: RootFs,
    metadata: Metadata,
    config: Config,
    descriptor: Descriptor,
    /// What it came with.
    attestations: Vec<Attestation>,
    /// Only if they were asked for: they are the registry's.
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers: Option<Vec<AboutImage>>,
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

/// An SBOM, a provenance: its document is here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attestation {
    /// The document's media type.
    r#type: String,
    digest: String,
    size: u64,
    predicate_type: String,
    subject: String,
    /// Signed, when it was pulled, by whom the policy wants.
    verified: bool,
}

/// A signature, an SBOM, an attestation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct AboutImage {
    artifact_type: String,
    digest: String,
    media_type: String,
    /// `referrer`, or `attestation` for one that is in the image's index.
    origin: &'static str,
    size: u64,
    /// The image's manifest, or its index.
    subject: String,
    annotations: BTreeMap<String, String>,
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
    pub fn of(view: &ImageView, config: &ImageConfig, driver: Driver, present_bytes: u64) -> Self {
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
            present_size: present_bytes,
            graph_driver: GraphDriver {
                data: BTreeMap::new(),
                name: driver.name(),
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
            attestations: Vec::new(),
            referrers: None,
        }
    }

    /// Adds what the image came with.
    pub fn set_attestations(&mut self, all: Vec<attestations::Attestation>) {
        let shown = |one: attestations::Attestation| Attestation {
            r#type: one.media_type,
            digest: one.digest.to_string(),
            size: one.size_bytes,
            predicate_type: one.predicate_type,
            subject: one.subject.to_string(),
            verified: one.is_verified,
        };
        self.attestations = all.into_iter().map(shown).collect();
    }

    /// Adds what the registry has about the image.
    pub fn set_referrers(&mut self, found: &[Referrer]) {
        let about = |found: &Referrer| AboutImage {
            artifact_type: found.artifact_type.clone(),
            digest: found.descriptor.digest.to_string(),
            media_type: found.descriptor.media_type.to_string(),
            origin: found.origin.as_str(),
            size: found.descriptor.size,
            subject: found.subject.to_string(),
            annotations: found.descriptor.annotations.clone().unwrap_or_default(),
        };
        self.referrers = Some(found.iter().map(about).collect());
    }
}
