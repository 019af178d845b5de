//! Making an image's indexes, and putting them beside it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use gamut_registry::{Client, Options, Subject};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Descriptor, Manifest, MediaType, Platform};
use gamut_spec::reference::Reference;
use gamut_store::blob::Blobs;
use gamut_store::lazy::{Index, LayerIndex, LazyError};
use gamut_store::unpack::LayerSource;

use super::{ARTIFACT_TYPE, IndexError, LAYER, LAYER_TYPE, WORTH_BYTES};
use crate::error::EngineError;
use crate::pull::{LayerEvent, PullEvents, Watched};
use crate::push::{Pushed, side_by_side};
use crate::referrers::EMPTY_TYPE;
use crate::registries::Registries;

/// What an artifact has for a configuration: OCI image spec, "Guidance for an empty descriptor".
const EMPTY: &[u8] = b"{}";

/// Reads the layers of an image in a registry, and puts their index beside it there. Nothing is kept here.
///
/// # Errors
/// [`IndexError`]; what the registry has got by then is its own to collect.
pub fn make(
    reference: &Reference,
    platform: &Platform,
    options: Options,
    events: &dyn PullEvents,
) -> Result<Pushed, EngineError> {
    let reference = &Registries::of_host()?.target(reference)?;
    let client = Client::new(options);
    Ok(Making {
        client: &client,
        reference,
        events,
    }
    .run(platform)?)
}

struct Making<'a> {
    client: &'a Client,
    reference: &'a Reference,
    events: &'a dyn PullEvents,
}

impl Making<'_> {
    fn run(&self, platform: &Platform) -> Result<Pushed, IndexError> {
        let (client, reference) = (self.client, self.reference);
        let resolved = client.resolve(reference, platform)?;
        let manifest = &resolved.manifest;
        let (config, _) = client.config(reference, &manifest.config)?;
        config.check_layers(manifest)?;
        let layers = manifest.image_layers()?;
        let layers = layers.iter().map(|layer| &layer.descriptor);
        let jobs: Vec<(&Descriptor, &Digest)> = layers.zip(&config.rootfs.diff_ids).collect();
        let indexed = side_by_side(&jobs, |(layer, diff_id), stop| {
            self.layer(layer, diff_id, stop)
        })?;
        let indexed: Vec<Descriptor> = indexed.into_iter().flatten().collect();
        let subject = resolved.documents.last().map(|last| &last.descriptor);
        match (indexed.is_empty(), subject) {
            (false, Some(subject)) => self.artifact(indexed, subject),
            _ => Err(IndexError::Nothing(reference.familiar())),
        }
    }

    /// The index of one layer, sent; `None`: it needs none, or can have none, which has been said.
    fn layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        stop: &AtomicBool,
    ) -> Result<Option<Descriptor>, IndexError> {
        let has_table = Index::of(|name| layer.annotation(name)).is_some();
        if has_table || layer.size < WORTH_BYTES {
            return Ok(None);
        }
        let short = layer.digest.short();
        let blob = self.client.blob(self.reference, layer, 0)?;
        let source = LayerSource {
            digest: &layer.digest,
            size_bytes: Some(layer.size),
            media_type: layer.media_type.as_str(),
            diff_id,
        };
        let blob = Watched::new(blob, &short, 0..layer.size, self.events, stop);
        let built = LayerIndex::build(&source, blob).and_then(|index| index.to_bytes());
        let bytes = match built {
            Ok(bytes) => bytes,
            Err(LazyError::Index(reason)) => {
                let warning = format!("layer {short} gets no index: {reason}");
                self.events.warning(&warning);
                return Ok(None);
            }
            Err(source) => {
                let layer = short;
                return Err(IndexError::Layer { layer, source });
            }
        };
        let mut index = self.send(LAYER_TYPE, &bytes)?;
        let about = (LAYER.to_owned(), layer.digest.to_string());
        index.annotations = Some(BTreeMap::from([about]));
        self.events.event(&short, LayerEvent::Indexed);
        Ok(Some(index))
    }

    /// Sends a blob, unless it is there.
    fn send(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, IndexError> {
        let (client, to) = (self.client, self.reference);
        let digest = Blobs::digest(bytes);
        let descriptor = Descriptor::new(MediaType::parse(media_type), digest, bytes.len() as u64);
        if !client.has_blob(to, &descriptor.digest)? {
            client.push_blob(to, &descriptor, &bytes)?;
        }
        Ok(descriptor)
    }

    fn artifact(
        &self,
        layers: Vec<Descriptor>,
        subject: &Descriptor,
    ) -> Result<Pushed, IndexError> {
        let (client, to) = (self.client, self.reference);
        let artifact = Manifest {
            schema_version: 2,
            media_type: Some(MediaType::OciManifest),
            artifact_type: Some(ARTIFACT_TYPE.to_owned()),
            config: self.send(EMPTY_TYPE, EMPTY)?,
            layers,
            subject: Some(subject.clone()),
            annotations: None,
        };
        // Cannot fail: there is nothing in it but text and numbers.
        let bytes = serde_json::to_vec(&artifact).unwrap_or_default();
        let put = client.push_by_digest(to, &MediaType::OciManifest, &bytes)?;
        let size = bytes.len() as u64;
        let mut descriptor = Descriptor::new(MediaType::OciManifest, put.digest, size);
        descriptor.artifact_type = Some(ARTIFACT_TYPE.to_owned());
        if put.subject == Subject::Ignored {
            client.note_referrer(to, &subject.digest, &descriptor)?;
        }
        Ok(Pushed { descriptor })
    }
}
