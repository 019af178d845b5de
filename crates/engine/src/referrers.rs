//! What a registry has about an image beside the image: signatures, SBOMs, attestations. Some refer
//! to it (OCI 1.1 referrers), some are entries of its index, as BuildKit makes them
//! (<https://docs.docker.com/build/metadata/attestations/attestation-storage/>).

use gamut_registry::{Client, Options, RegistryError};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Descriptor, Document, Index, Platform};
use gamut_spec::reference::Reference;

use crate::error::EngineError;
use crate::registries::Registries;

/// BuildKit's annotations of an index's entry.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const ATTESTATION: &str = "attestation-manifest";
/// Of an attestation's layer: what it says.
pub(crate) const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// What an artifact has for a configuration if it has none; lists that clients keep (cosign 3 does) may
/// have it for the type of the artifact.
pub(crate) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// Attestations of one index, or artifacts of one list, that are looked into.
const MAX_ATTESTATIONS: usize = 64;

/// Something about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    /// What it is about: the image's manifest, or its index.
    pub subject: Digest,
    /// Its own manifest.
    pub descriptor: Descriptor,
    /// What it is: an artifact type, or an attestation's predicate type.
    pub artifact_type: String,
    pub origin: Origin,
}

/// Where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Referrers,
    Index,
}

impl Origin {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Referrers => "referrer",
            Origin::Index => "attestation",
        }
    }
}

/// What the registry has about `reference`, and about its image for `platform`; of one artifact
/// type only, if there is one.
///
/// # Errors
/// When the registry does not answer, or does not have the image.
pub fn referrers(
    reference: &Reference,
    platform: &Platform,
    artifact_type: Option<&str>,
    options: Options,
) -> Result<Vec<Referrer>, EngineError> {
    let reference = &Registries::of_host()?.target(reference)?;
    let client = Client::new(options);
    let top = client.manifest(reference)?;
    let mut entries = Entries::new(&client, reference);
    let mut subjects = vec![top.descriptor.digest];
    let mut found = Vec::new();
    if let Document::Index(index) = &top.document {
        // An index may well have nothing for this machine.
        let own = index.select(platform).ok();
        subjects.extend(own.map(|entry| entry.digest.clone()));
        found = attestations(&client, reference, &entries, index)?;
    }
    for subject in subjects {
        for (artifact_type, descriptor) in entries.referring(&subject)? {
            found.push(Referrer {
                subject: subject.clone(),
                descriptor,
                artifact_type,
                origin: Origin::Referrers,
            });
        }
    }
    found.retain(|referrer| artifact_type.is_none_or(|wanted| referrer.artifact_type == wanted));
    Ok(found)
}

/// What a registry lists about images of one repository.
pub(crate) struct Entries<'a> {
    client: &'a Client,
    reference: &'a Reference,
    /// How many artifacts may still be looked into.
    left: usize,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(client: &'a Client, reference: &'a Reference) -> Self {
        Self {
            client,
            reference,
            left: MAX_ATTESTATIONS,
        }
    }

    /// The attestations in an index, and what each is about.
    pub(crate) fn of_index<'i>(
        &self,
        index: &'i Index,
    ) -> impl Iterator<Item = (Digest, &'i Descriptor)> + use<'i> {
        let entries = index.manifests.iter();
        let entries = entries.filter(|entry| entry.annotation(REFERENCE_TYPE) == Some(ATTESTATION));
        entries
            .take(MAX_ATTESTATIONS)
            .filter_map(|entry| Some((entry.annotation(REFERENCE_DIGEST)?.parse().ok()?, entry)))
    }

    /// What refers to a document, with what it is.
    pub(crate) fn referring(
        &mut self,
        subject: &Digest,
    ) -> Result<Vec<(String, Descriptor)>, RegistryError> {
        // All of them: whether the list has the right types is seen only below.
        let listed = self.client.referrers(self.reference, subject, None)?;
        let typed = listed.into_iter();
        typed
            .map(|descriptor| Ok((self.type_of(&descriptor)?, descriptor)))
            .collect()
    }

    /// What an artifact is: by the list, or, where that does not tell, by itself.
    fn type_of(&mut self, descriptor: &Descriptor) -> Result<String, RegistryError> {
        match descriptor.artifact_type.as_deref() {
            Some(told) if told != EMPTY_TYPE => return Ok(told.to_owned()),
            told if self.left == 0 => return Ok(told.unwrap_or_default().to_owned()),
            _ => self.left -= 1,
        }
        let fetched = self.client.manifest_at(self.reference, descriptor)?;
        Ok(match fetched.document {
            Document::Manifest(manifest) => manifest
                .artifact_type
                .unwrap_or_else(|| manifest.config.media_type.to_string()),
            Document::Index(index) => index.artifact_type.unwrap_or_default(),
        })
    }
}

/// Those that are in the index: one for each statement of an attestation.
fn attestations(
    client: &Client,
    reference: &Reference,
    entries: &Entries<'_>,
    index: &Index,
) -> Result<Vec<Referrer>, RegistryError> {
    let mut found = Vec::new();
    for (subject, entry) in entries.of_index(index) {
        let fetched = client.manifest_at(reference, entry)?;
        let Document::Manifest(manifest) = fetched.document else {
            continue;
        };
        found.extend(manifest.layers.iter().map(|layer| {
            Referrer {
                subject: subject.clone(),
                descriptor: entry.clone(),
                artifact_type: layer
                    .annotation(PREDICATE_TYPE)
                    .unwrap_or(layer.media_type.as_str())
                    .to_owned(),
                origin: Origin::Index,
            }
        }));
    }
    Ok(found)
}
