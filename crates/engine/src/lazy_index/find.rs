//! Finding the indexes of an image that is being pulled.

use std::collections::HashMap;
use std::sync::OnceLock;

use gamut_registry::Client;
use gamut_spec::digest::Digest;
use gamut_spec::image::{Descriptor, Document};
use gamut_spec::reference::Reference;
use gamut_store::lazy::{LayerIndex, MAX_INDEX_BYTES};

use super::{ARTIFACT_TYPE, LAYER, LAYER_TYPE};
use crate::trust::Held;

/// Artifacts of one image that are looked into.
const MAX_ARTIFACTS: usize = 8;

/// What there is beside an image; looked for when the first of its layers needs it.
pub(crate) struct Indexes<'a> {
    pub(crate) client: &'a Client,
    pub(crate) from: &'a Reference,
    /// As the image was asked for, and what is required of it.
    pub(crate) held: &'a Held<'a>,
    /// The image's manifest.
    pub(crate) subject: Option<&'a Digest>,
    pub(crate) found: OnceLock<Result<HashMap<Digest, Descriptor>, String>>,
}

impl Indexes<'_> {
    /// The index of a layer's blob.
    ///
    /// # Errors
    /// Why there is none that can be used.
    pub(crate) fn of(&self, layer: &Digest) -> Result<LayerIndex, String> {
        let found = self.found.get_or_init(|| self.look()).as_ref();
        let Some(descriptor) = found.map_err(Clone::clone)?.get(layer) else {
            return Err(
                "it has no table of contents (eStargz, zstd:chunked) and no index (`gamut image index`)"
                    .into(),
            );
        };
        let bytes = self
            .client
            .document(self.from, descriptor, "index", MAX_INDEX_BYTES)
            .map_err(|error| error.to_string())?;
        LayerIndex::parse(&bytes).map_err(|error| error.to_string())
    }

    /// By their layers.
    fn look(&self) -> Result<HashMap<Digest, Descriptor>, String> {
        let mut indexes = HashMap::new();
        let Some(subject) = self.subject else {
            return Ok(indexes);
        };
        let listed = self
            .client
            .referrers(self.from, subject, Some(ARTIFACT_TYPE))
            .map_err(|error| format!("its index cannot be looked for: {error}"))?;
        let mut untrusted = None;
        for listed in listed.iter().take(MAX_ARTIFACTS) {
            let fetched = self.client.manifest_at(self.from, listed);
            let fetched = fetched.map_err(|error| format!("its index: {error}"))?;
            let Document::Manifest(artifact) = fetched.document else {
                continue;
            };
            if artifact.subject.as_ref().map(|about| &about.digest) != Some(subject) {
                continue;
            }
            if let Err(reason) = self.held.trusts_beside(&listed.digest) {
                untrusted = Some(format!("its index cannot be trusted: {reason}"));
                continue;
            }
            for index in artifact.layers {
                let about = index.annotation(LAYER).and_then(|about| about.parse().ok());
                if let Some(about) = about.filter(|_| index.media_type.as_str() == LAYER_TYPE) {
                    indexes.entry(about).or_insert(index);
                }
            }
        }
        match untrusted.filter(|_| indexes.is_empty()) {
            Some(reason) => Err(reason),
            None => Ok(indexes),
        }
    }
}
