//! What an image comes with: SBOMs, provenances and other statements about it. A pull keeps what the
//! registry has of them, as referrers or in the image's index (see [`crate::referrers`]), so that
//! `inspect` shows them without asking anybody.

use std::collections::BTreeMap;

use gamut_registry::{Client, Fetched, RegistryError, Resolved};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Descriptor, Document};
use gamut_spec::reference::Reference;
pub use gamut_store::db::Attestation;
use gamut_store::db::Image;
use gamut_store::{StoreError, blob::Blob};
use gamut_trust::statement::Statement;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::pull::PullEvents;
use crate::referrers::{Entries, Origin, PREDICATE_TYPE};
use crate::trust::Held;

/// Bytes of a document that is kept; larger ones stay in the registry.
pub const MAX_ATTESTATION_BYTES: u64 = 8 << 20;
/// Bytes of all of one image that are kept: they are in memory until its layers are there.
pub const MAX_ATTESTATIONS_BYTES: u64 = 16 << 20;
/// Artifacts of one image that are looked into.
const MAX_ARTIFACTS: usize = 64;
/// Documents of one image that are kept.
pub const MAX_ATTESTATIONS: usize = 32;

/// Documents that are a statement by themselves, and what they state.
const BARE: [(&str, &str); 6] = [
    ("application/spdx+json", "https://spdx.dev/Document"),
    ("text/spdx+json", "https://spdx.dev/Document"),
    ("text/spdx", "https://spdx.dev/Document"),
    (
        "application/vnd.cyclonedx+json",
        "https://cyclonedx.org/bom",
    ),
    ("application/vnd.cyclonedx+xml", "https://cyclonedx.org/bom"),
    ("application/vnd.syft+json", "https://syft.dev/bom"),
];
/// What statements are packed in, by the beginnings of their media types.
const PACKED: [&str; 3] = [
    "application/vnd.in-toto",
    "application/vnd.dsse.envelope",
    "application/vnd.dev.sigstore.bundle",
];

/// A document that was fetched.
#[derive(Debug)]
pub(crate) struct Found {
    document: Vec<u8>,
    row: Attestation,
}

/// Fetches what the registry has about an image that is being pulled. Nobody needs it to run the image:
/// what cannot be had is a warning.
pub(crate) fn fetch(
    client: &Client,
    from: &Reference,
    resolved: &Resolved,
    held: &Held<'_>,
    events: &dyn PullEvents,
) -> Vec<Found> {
    // A registry that hangs must not make the pull wait for what it does not need.
    let client = &client.once();
    let mut search = Search {
        client,
        from,
        held,
        events,
        index_is_signed: None,
        found: BTreeMap::new(),
        left_bytes: MAX_ATTESTATIONS_BYTES,
        left_artifacts: MAX_ARTIFACTS,
    };
    if let Err(error) = search.run(&resolved.documents) {
        events.warning(&format!("attestations: {error}"));
    }
    search.found.into_values().collect()
}

struct Search<'a> {
    client: &'a Client,
    from: &'a Reference,
    held: &'a Held<'a>,
    events: &'a dyn PullEvents,
    /// Whether whom the policy wants has signed the index, and so what is in it.
    index_is_signed: Option<bool>,
    found: BTreeMap<Digest, Found>,
    left_bytes: u64,
    left_artifacts: usize,
}

impl Search<'_> {
    fn run(&mut self, documents: &[Fetched]) -> Result<(), RegistryError> {
        let subject = documents.last().map(|last| &last.descriptor.digest);
        let mut entries = Entries::new(self.client, self.from);
        for document in documents {
            if let Document::Index(index) = &document.document {
                for (about, entry) in entries.of_index(index) {
                    if Some(&about) == subject {
                        self.artifact(&about, entry, Origin::Index)?;
                    }
                }
            }
        }
        for document in documents {
            let about = &document.descriptor.digest;
            for (artifact_type, entry) in entries.referring(about)? {
                if may_be(&artifact_type) {
                    self.artifact(about, &entry, Origin::Referrers)?;
                }
            }
        }
        Ok(())
    }

    /// The documents in an artifact.
    fn artifact(
        &mut self,
        subject: &Digest,
        entry: &Descriptor,
        origin: Origin,
    ) -> Result<(), RegistryError> {
        let Some(left) = self.left_artifacts.checked_sub(1) else {
            return Ok(());
        };
        self.left_artifacts = left;
        let fetched = self.client.manifest_at(self.from, entry)?;
        let Document::Manifest(manifest) = fetched.document else {
            return Ok(());
        };
        for layer in &manifest.layers {
            if is_document(layer.media_type.as_str())
                && !self.found.contains_key(&layer.digest)
                && self.found.len() < MAX_ATTESTATIONS
            {
                self.document(subject, layer, origin)?;
            }
        }
        Ok(())
    }

    fn document(
        &mut self,
        subject: &Digest,
        layer: &Descriptor,
        origin: Origin,
    ) -> Result<(), RegistryError> {
        let limit = MAX_ATTESTATION_BYTES.min(self.left_bytes);
        if layer.size > limit {
            let (digest, size) = (layer.digest.short(), layer.size);
            self.events.warning(&format!(
                "attestation {digest}: it has {size} bytes, and no more than {limit} can be kept"
            ));
            return Ok(());
        }
        let client = self.client;
        let document = client.document(self.from, layer, "attestation", limit)?;
        self.left_bytes -= layer.size;
        let row = Attestation {
            digest: layer.digest.clone(),
            media_type: layer.media_type.to_string(),
            size_bytes: layer.size,
            predicate_type: predicate_type(layer, &document),
            subject: subject.clone(),
            is_verified: self.is_verified(&document, subject, origin),
        };
        let found = Found { document, row };
        self.found.insert(layer.digest.clone(), found);
        Ok(())
    }

    fn is_verified(&mut self, document: &[u8], subject: &Digest, origin: Origin) -> bool {
        match origin {
            Origin::Referrers => self.held.vouches_for(document, subject),
            Origin::Index => {
                let held = self.held;
                *self
                    .index_is_signed
                    .get_or_insert_with(|| held.has_signed_index())
            }
        }
    }
}

/// Whether an artifact of this type may hold a statement.
fn may_be(artifact_type: &str) -> bool {
    let artifact_type = artifact_type.to_ascii_lowercase();
    const WORDS: [&str; 7] = [
        "in-toto",
        "dsse",
        "sigstore.bundle",
        "spdx",
        "cyclonedx",
        "syft",
        "sbom",
    ];
    WORDS.iter().any(|word| artifact_type.contains(word))
}

fn is_document(media_type: &str) -> bool {
    BARE.iter().any(|(bare, _)| *bare == media_type)
        || PACKED.iter().any(|packed| media_type.starts_with(packed))
}

/// What a document says that it states, or else what is said of it.
fn predicate_type(layer: &Descriptor, document: &[u8]) -> String {
    let media_type = layer.media_type.as_str();
    if let Some((_, stated)) = BARE.iter().find(|(bare, _)| *bare == media_type) {
        return (*stated).to_owned();
    }
    match Statement::unpack(document) {
        Some(statement) => statement.predicate_type,
        None => layer
            .annotation(PREDICATE_TYPE)
            .unwrap_or_default()
            .to_owned(),
    }
}

impl Engine {
    /// Keeps documents in the store: while the values live, and then if they are an image's.
    pub(crate) fn keep_attestations(
        &self,
        found: &[Found],
    ) -> Result<Vec<(Blob, Attestation)>, StoreError> {
        let keep = |found: &Found| {
            let blobs = self.store.blobs();
            let size_bytes = Some(found.row.size_bytes);
            let blob = blobs.put(&found.row.digest, size_bytes, found.document.as_slice())?;
            Ok((blob, found.row.clone()))
        };
        found.iter().map(keep).collect()
    }

    /// What an image came with.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn attestations(&self, image: &Image) -> Result<Vec<Attestation>, EngineError> {
        Ok(self.store.db().attestations(&image.id)?)
    }

    /// The documents that an image came with of one type: a predicate type, a media type, or a word that
    /// is in one of them, such as `spdx`. Of a signed one, what was signed.
    ///
    /// # Errors
    /// [`EngineError::NoAttestation`], or a blob that is damaged.
    pub fn attestation(&self, image: &Image, kind: &str) -> Result<Vec<Vec<u8>>, EngineError> {
        let all = self.attestations(image)?;
        let wanted = kind.to_ascii_lowercase();
        let is_wanted = |one: &&Attestation| {
            let types = [&one.predicate_type, &one.media_type];
            types
                .iter()
                .any(|t| t.to_ascii_lowercase().contains(&wanted))
        };
        let matching: Vec<&Attestation> = all.iter().filter(is_wanted).collect();
        if matching.is_empty() {
            let mut there: Vec<String> = all.into_iter().map(|one| one.predicate_type).collect();
            there.dedup();
            return Err(EngineError::NoAttestation {
                image: image.id.short(),
                kind: kind.to_owned(),
                there,
            });
        }
        let read = |one: &Attestation| -> Result<Vec<u8>, EngineError> {
            let document = self.store.blobs().read(&one.digest);
            let document = document.map_err(StoreError::from)?;
            Ok(match Statement::unpack(&document) {
                Some(statement) => statement.text,
                None => document,
            })
        };
        matching.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_known_by_their_types() {
        assert!(may_be("application/vnd.in-toto+json"));
        assert!(may_be("example/SBOM.v1"));
        assert!(!may_be("application/vnd.oci.image.config.v1+json"));
        assert!(is_document("application/spdx+json"));
        assert!(is_document("application/vnd.dev.sigstore.bundle.v0.3+json"));
        assert!(!is_document("application/vnd.oci.image.layer.v1.tar+gzip"));
        let of = |media_type: &str, annotations: &str, document: &str| {
            let layer = format!(
                r#"{{"mediaType": "{media_type}", "digest": "sha256:{}", "size": 2, "annotations": {annotations}}}"#,
                "0".repeat(64)
            );
            predicate_type(&serde_json::from_str(&layer).unwrap(), document.as_bytes())
        };
        assert_eq!(
            of("application/spdx+json", "{}", "{}"),
            "https://spdx.dev/Document"
        );
        let annotations = r#"{"in-toto.io/predicate-type": "a"}"#;
        let statement = r#"{"_type": "https://in-toto.io/Statement/v1", "predicateType": "b"}"#;
        let media_type = "application/vnd.in-toto+json";
        assert_eq!(of(media_type, annotations, statement), "b");
        assert_eq!(of(media_type, annotations, "no JSON"), "a");
        assert_eq!(of(media_type, "{}", "no JSON"), "");
    }
}
