//! Whether an image may be used: this host's policy (containers-policy.json(5)), held against what the
//! registry, or the place beside it, has of signatures.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use gamut_registry::{Client, DownloadError, Options, RegistryError, download};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Descriptor, Document};
use gamut_spec::reference::Reference;
use gamut_trust::lookaside::{self, Lookaside};
use gamut_trust::sigstore::Attached;
use gamut_trust::{
    Policy, PolicyError, Pulled, SIGNATURE_LIMIT_BYTES, SIGNATURES_LIMIT, SigstoreSignature,
    Source, TrustError,
};

use crate::record::now_ns;
use crate::referrers::EMPTY_TYPE;

/// Cosign's own form: a tag, whose layers are payloads.
const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
/// Sigstore's bundles, which refer to the image; a version follows.
const BUNDLE_TYPES: &str = "application/vnd.dev.sigstore.bundle";

/// Where the policy is.
#[must_use]
pub fn policy_path() -> Option<PathBuf> {
    let own = own_directory().map(|own| own.join("policy.json"));
    let system = PathBuf::from("/etc/containers/policy.json");
    [own, Some(system)]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
}

fn own_directory() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    Some(PathBuf::from(home).join(".config/containers"))
}

/// The policy: that of the named file, else this host's, else everything is accepted.
///
/// # Errors
/// [`PolicyError`]: one that is there and cannot be understood forbids everything.
pub fn policy(named: Option<&Path>) -> Result<Policy, PolicyError> {
    match named.map(Path::to_owned).or_else(policy_path) {
        Some(path) => Policy::read(&path),
        None => Ok(Policy::accepting()),
    }
}

/// Where simple signatures are: the user's own files go before the system's.
pub(crate) fn lookaside() -> Result<Lookaside, PolicyError> {
    let own = own_directory().map(|own| own.join("registries.d"));
    match own.filter(|own| own.exists()) {
        Some(own) => Lookaside::read(&own),
        None => Lookaside::read(Path::new(lookaside::DIRECTORY)),
    }
}

/// An image on its way here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// As it was asked for.
    pub(crate) reference: &'a Reference,
    /// Where it is: a mirror, perhaps.
    pub(crate) from: &'a Reference,
    /// Of its manifest and of the indexes above it.
    pub(crate) digests: &'a [Digest],
}

/// An image, held to a policy.
pub(crate) struct Held<'a> {
    policy: Policy,
    client: &'a Client,
    asked: Asked<'a>,
}

impl<'a> Held<'a> {
    /// To the policy of the named file, else to this host's.
    ///
    /// # Errors
    /// As [`policy`].
    pub(crate) fn to(
        policy_named: Option<&Path>,
        client: &'a Client,
        asked: Asked<'a>,
    ) -> Result<Self, TrustError> {
        Ok(Self {
            policy: policy(policy_named)?,
            client,
            asked,
        })
    }

    /// # Errors
    /// [`TrustError`]: it may not be used.
    pub(crate) fn check(&self) -> Result<(), TrustError> {
        self.check_of(self.asked.digests)
    }

    /// Whether what is required is fulfilled by the index alone that the image is in: then everything in
    /// it is vouched for. False if nothing is required.
    pub(crate) fn has_signed_index(&self) -> bool {
        let above = self.asked.digests.split_last().map(|(_, above)| above);
        let is_required = !self.policy.of_image(self.asked.reference).accepts_all();
        above.is_some_and(|above| is_required && !above.is_empty() && self.check_of(above).is_ok())
    }

    /// Whether a document beside the image may be used as if the image said it: signed as is required of
    /// the image, or anybody's if nothing is required and the image was asked for by a name that anybody's
    /// push changes as well.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn trusts_beside(&self, document: &Digest) -> Result<(), String> {
        let requires = !self.policy.of_image(self.asked.reference).accepts_all();
        if !requires && self.asked.reference.digest().is_some() {
            return Err("the image was asked for by its digest, which says nothing of it".into());
        }
        let checked = self.check_of(std::slice::from_ref(document));
        checked.map_err(|error| error.to_string())
    }

    /// Whether a statement about `subject` was signed by whom the policy wants.
    pub(crate) fn vouches_for(&self, document: &[u8], subject: &Digest) -> bool {
        let applying = self.policy.of_image(self.asked.reference);
        applying.vouches_for(document, std::slice::from_ref(subject))
    }

    fn check_of(&self, digests: &[Digest]) -> Result<(), TrustError> {
        let applying = self.policy.of_image(self.asked.reference);
        if applying.accepts_all() {
            return Ok(());
        }
        let source = Beside {
            client: self.client,
            asked: Asked {
                digests,
                ..self.asked
            },
        };
        let image = Pulled {
            reference: self.asked.reference,
            digests,
            now_s: now_ns() / 1_000_000_000,
        };
        applying.check(image, &source)
    }
}

/// Checks what comes by an archive, which has no signatures with it.
///
/// # Errors
/// [`TrustError`]: the policy wants some, or nothing that comes so.
pub(crate) fn check_archive(
    policy_named: Option<&Path>,
    transport: &str,
    name: &str,
) -> Result<(), TrustError> {
    let policy = policy(policy_named)?;
    let applying = policy.of_transport(transport);
    match applying.accepts_all() {
        true => Ok(()),
        false => Err(TrustError::Rejected {
            image: name.to_owned(),
            scope: applying.scope,
        }),
    }
}

/// The signatures of an image, fetched when they are wanted.
struct Beside<'a> {
    client: &'a Client,
    asked: Asked<'a>,
}

impl Source for Beside<'_> {
    fn simple(&self) -> Result<Vec<Vec<u8>>, String> {
        let lookaside = lookaside().map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for digest in self.asked.digests {
            let Some(place) = lookaside.signatures_of(self.asked.reference, digest) else {
                continue;
            };
            for number in 1..=SIGNATURES_LIMIT {
                match fetch(&format!("{place}/signature-{number}"))? {
                    Some(signature) => found.push(signature),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    fn sigstore(&self) -> Result<Vec<SigstoreSignature>, String> {
        let mut found = Vec::new();
        for digest in self.asked.digests {
            let attached = self.attached(digest).map_err(|error| error.to_string())?;
            found.extend(attached);
            match self.bundles(digest) {
                Ok(bundles) => found.extend(bundles),
                // A registry that cannot list referrers may still have what is enough.
                Err(_) if !found.is_empty() => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        found.truncate(SIGNATURES_LIMIT);
        Ok(found)
    }
}

impl Beside<'_> {
    /// Cosign's own form: the tag `sha256-….sig`.
    fn attached(&self, digest: &Digest) -> Result<Vec<SigstoreSignature>, RegistryError> {
        let tag = format!("{}-{}.sig", digest.algorithm().as_str(), digest.hex());
        // The tag of a digest is one.
        let Ok(reference) = self.asked.from.with_tag(&tag) else {
            return Ok(Vec::new());
        };
        let manifest = match self.client.manifest(&reference) {
            Ok(fetched) => match fetched.document {
                Document::Manifest(manifest) => manifest,
                Document::Index(_) => return Ok(Vec::new()),
            },
            Err(RegistryError::ManifestUnknown { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let layers = manifest.layers.iter();
        let layers = layers.filter(|layer| layer.media_type.as_str() == PAYLOAD_TYPE);
        let mut found = Vec::new();
        for layer in layers.take(SIGNATURES_LIMIT) {
            let Some(signature) = layer.annotation(SIGNATURE) else {
                continue;
            };
            let text = |name: &str| layer.annotation(name).map(str::to_owned);
            if let Some(payload) = self.blob(&reference, layer)? {
                found.push(SigstoreSignature::Attached(Box::new(Attached {
                    payload,
                    signature: signature.to_owned(),
                    certificate: text(CERTIFICATE),
                    chain: text(CHAIN),
                    bundle: text(BUNDLE),
                })));
            }
        }
        Ok(found)
    }

    /// Bundles that refer to the image. The list cannot be asked for their type only: where a registry
    /// has no list, cosign 3 keeps one that says of each that it is empty.
    fn bundles(&self, digest: &Digest) -> Result<Vec<SigstoreSignature>, RegistryError> {
        let from = self.asked.from;
        let referrers = self.client.referrers(from, digest, None)?;
        let may_be = |referrer: &&Descriptor| match referrer.artifact_type.as_deref() {
            None | Some(EMPTY_TYPE) => true,
            Some(artifact_type) => artifact_type.starts_with(BUNDLE_TYPES),
        };
        let mut found = Vec::new();
        for referrer in referrers.iter().filter(may_be).take(SIGNATURES_LIMIT) {
            let fetched = self.client.manifest_at(from, referrer)?;
            let Document::Manifest(manifest) = fetched.document else {
                continue;
            };
            let layers = manifest.layers.iter();
            for layer in layers.filter(|layer| layer.media_type.as_str().starts_with(BUNDLE_TYPES))
            {
                let bundle = self.blob(from, layer)?;
                found.extend(bundle.map(SigstoreSignature::Bundle));
            }
        }
        Ok(found)
    }

    /// A small blob; `None` if it is not small, or not what its descriptor says.
    fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let what = "signature";
        match self
            .client
            .document(reference, descriptor, what, SIGNATURE_LIMIT_BYTES)
        {
            Ok(bytes) => Ok(Some(bytes)),
            Err(RegistryError::TooLarge { .. } | RegistryError::WrongDigest { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A file at a URL of the schemes file, http and https; `None` if it is not there.
fn fetch(url: &str) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: std::io::Error| format!("`{url}`: {error}");
    let stream: Box<dyn Read> = match url.strip_prefix("file://") {
        Some(path) => match File::open(path) {
            Ok(file) => Box::new(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        },
        None => match download(url, &Options::default()) {
            Ok(stream) => Box::new(stream),
            Err(DownloadError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        },
    };
    let mut bytes = Vec::new();
    let mut stream = stream.take(SIGNATURE_LIMIT_BYTES + 1);
    stream.read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > SIGNATURE_LIMIT_BYTES {
        false => Ok(Some(bytes)),
        true => Err(format!("`{url}` is longer than a signature can be")),
    }
}
