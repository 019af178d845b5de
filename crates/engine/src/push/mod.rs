//! Pushing an image: what the registry lacks of it, layers side by side, and its manifest last.
//!
//! Layers are kept unpacked, so one is packed again for a push, as a rule into other bytes than it
//! came in, and then the image has another manifest there. To keep the digest where that is
//! possible, the registry is asked first for the blobs in which the layer was ever seen: in the
//! repository itself, and to be taken out of another one of its own ([`layer`]).

mod layer;
mod manifest;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use gamut_registry::{Client, Options, RegistryError};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Compression, Descriptor, Document, ImageError, Manifest, MediaType};
use gamut_spec::reference::{Reference, ReferenceError};
use gamut_spec::{Fault, Kind};
use gamut_store::StoreError;
use gamut_store::blob::BlobError;
use gamut_store::db::{DbError, Image, KnownBlob};
use gamut_store::layer::LayerError;
use gamut_store::reproduce::ReproduceError;
use thiserror::Error;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::registries::Registries;
use layer::OneLayer;

/// What happens to one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushEvent {
    Preparing,
    /// It is packed again, so many of its uncompressed bytes.
    Packing {
        done_bytes: u64,
    },
    Pushing {
        done_bytes: u64,
        total_bytes: u64,
    },
    /// The repository had it.
    Exists,
    /// The registry has it from its repository of this name.
    Mounted(String),
    Pushed,
    /// Its content is elsewhere, and stays there.
    Foreign,
}

/// Who watches a push; called from several threads.
pub trait PushEvents: Sync {
    /// `layer` is the first twelve digits of the diff id.
    fn event(&self, layer: &str, event: PushEvent);
}

impl PushEvents for crate::pull::Unwatched {
    fn event(&self, _: &str, _: PushEvent) {}
}

/// How to push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// How layers are to be packed; else as they came, or with gzip.
    pub compression: Option<Compression>,
}

/// What a registry has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest, or the index.
    pub descriptor: Descriptor,
}

#[derive(Debug, Error)]
pub enum PushError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("layer {layer}: {source}")]
    Layer { layer: String, source: LayerError },
    #[error(transparent)]
    Reproduce(#[from] ReproduceError),
    #[error("cannot pack layer {layer}: {source}")]
    Pack {
        layer: String,
        source: std::io::Error,
    },
    #[error("layer {0} is still coming")]
    Unfilled(String),
    #[error("`{0}` has a digest: a push needs a tag")]
    ByDigest(String),
    #[error("there is no image with a tag in the repository `{0}`")]
    NoTags(String),
    #[error("the manifest of the image is not a manifest of an image")]
    NotAManifest,
    #[error("another layer failed")]
    Abandoned,
}

impl Fault for PushError {
    fn kind(&self) -> Kind {
        match self {
            PushError::Registry(e) => e.kind(),
            PushError::Image(e) => e.kind(),
            PushError::Reference(e) => e.kind(),
            PushError::Blob(e) => e.kind(),
            PushError::Store(e) => e.kind(),
            PushError::Layer { source, .. } => source.kind(),
            PushError::Reproduce(e) => e.kind(),
            PushError::Pack { .. } | PushError::Unfilled(_) | PushError::Abandoned => {
                Kind::Unavailable
            }
            PushError::ByDigest(_) | PushError::NotAManifest => Kind::Invalid,
            PushError::NoTags(_) => Kind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PushError::Registry(e) => e.hint(),
            PushError::Image(e) => e.hint(),
            PushError::Reference(e) => e.hint(),
            PushError::Blob(e) => e.hint(),
            PushError::Store(e) => e.hint(),
            PushError::Layer { source, .. } => source.hint(),
            PushError::Reproduce(e) => e.hint(),
            PushError::Unfilled(_) => Some("`gamut pull` waits for all of it".into()),
            PushError::ByDigest(_) | PushError::NoTags(_) => {
                Some("give it a name with `gamut tag`, and push that".into())
            }
            _ => None,
        }
    }
}

/// Layers on their way at once.
const PARALLEL_LAYERS: usize = 3;

impl Engine {
    /// Pushes the image `named` as `to`.
    ///
    /// # Errors
    /// [`PushError`]; what the registry has got by then is its own to collect.
    pub fn push(
        &mut self,
        named: &str,
        to: &Reference,
        options: PushOptions,
        registry: Options,
        events: &dyn PushEvents,
    ) -> Result<Pushed, EngineError> {
        let image = self.find_image(named)?;
        if to.digest().is_some() {
            return Err(PushError::ByDigest(to.familiar()).into());
        }
        let to = &Registries::of_host()?.target(to)?;
        let client = Client::new(registry);
        let content = self.push_content(&client, &image, to, options, events)?;
        let put = client
            .push_manifest(to, &content.media_type, &content.manifest)
            .map_err(PushError::from)?;
        self.note_push(&image, to, put.digest, content)
    }

    /// Pushes the image with this id by its digest, for a list that names it.
    pub(crate) fn push_untagged(
        &mut self,
        client: &Client,
        id: &Digest,
        to: &Reference,
        options: PushOptions,
        events: &dyn PushEvents,
    ) -> Result<Descriptor, EngineError> {
        let image = self.find_image(&id.to_string())?;
        let content = self.push_content(client, &image, to, options, events)?;
        let put = client
            .push_by_digest(to, &content.media_type, &content.manifest)
            .map_err(PushError::from)?;
        let pushed = self.note_push(&image, to, put.digest, content)?;
        Ok(pushed.descriptor)
    }

    /// Pushes everything but the manifest.
    fn push_content(
        &self,
        client: &Client,
        image: &Image,
        to: &Reference,
        options: PushOptions,
        events: &dyn PushEvents,
    ) -> Result<Sent, EngineError> {
        let original = self.manifest_of(image)?;
        let layers = self.push_layers(client, image, &original.manifest, to, options, events)?;
        let config = self.store.blobs().read(&image.id);
        let config = config.map_err(PushError::from)?;
        if !client.has_blob(to, &image.id).map_err(PushError::from)? {
            client
                .push_blob(to, &original.manifest.config, &config.as_slice())
                .map_err(PushError::from)?;
        }
        let rebuilt = original.with_layers(&layers);
        let (manifest, media_type) = rebuilt.map_err(PushError::from)?;
        Ok(Sent {
            layers,
            manifest,
            media_type,
        })
    }

    /// The names by which `push --all-tags` pushes: all tags of a repository.
    ///
    /// # Errors
    /// [`PushError::NoTags`].
    pub fn tags_of(&self, repository: &Reference) -> Result<Vec<Reference>, EngineError> {
        let prefix = format!("{}:", repository.name());
        let tags = self.store.db().tags()?;
        let tags: Vec<Reference> = tags
            .iter()
            .filter(|tag| tag.reference.starts_with(&prefix))
            .filter_map(|tag| tag.reference.parse().ok())
            .collect();
        match tags.is_empty() {
            true => Err(PushError::NoTags(repository.familiar_name()).into()),
            false => Ok(tags),
        }
    }

    /// The image's manifest as it came.
    pub(crate) fn manifest_of(&self, image: &Image) -> Result<manifest::Original, PushError> {
        let bytes = self.store.blobs().read(&image.manifest_digest)?;
        match Document::parse(&bytes, Some(&image.manifest_media_type))? {
            Document::Manifest(manifest) if manifest.layers.len() == image.layers.len() => {
                Ok(manifest::Original {
                    manifest: *manifest,
                    bytes,
                })
            }
            _ => Err(PushError::NotAManifest),
        }
    }

    fn push_layers(
        &self,
        client: &Client,
        image: &Image,
        manifest: &Manifest,
        to: &Reference,
        options: PushOptions,
        events: &dyn PushEvents,
    ) -> Result<Vec<Descriptor>, EngineError> {
        let mut jobs = Vec::new();
        for (diff_id, descriptor) in image.layers.iter().zip(&manifest.layers) {
            events.event(&diff_id.short(), PushEvent::Preparing);
            jobs.push(OneLayer {
                client,
                to,
                diff_id,
                descriptor,
                known: self.store.db().known_blobs(diff_id)?,
                compression: options.compression,
                layers: self.store.layers(),
                ingests: self.store.ingests(),
                events,
            });
        }
        Ok(side_by_side(&jobs, |job, stop| job.push(stop))?)
    }

    /// The image has a name by digest there, and its layers' blobs are known.
    fn note_push(
        &mut self,
        image: &Image,
        to: &Reference,
        digest: Digest,
        sent: Sent,
    ) -> Result<Pushed, EngineError> {
        let repository = to.name();
        let name = format!("{repository}@{digest}");
        self.store.db_mut().write::<_, DbError>(|transaction| {
            transaction.tag(&name, &image.id)?;
            for (diff_id, blob) in image.layers.iter().zip(&sent.layers) {
                transaction.put_known_blob(&KnownBlob {
                    diff_id: diff_id.clone(),
                    digest: blob.digest.clone(),
                    size_bytes: blob.size,
                    media_type: blob.media_type.clone(),
                    repository: repository.clone(),
                })?;
            }
            Ok(())
        })?;
        let size = sent.manifest.len() as u64;
        Ok(Pushed {
            descriptor: Descriptor::new(sent.media_type, digest, size),
        })
    }
}

/// An image whose content is there, and whose manifest is to follow.
struct Sent {
    layers: Vec<Descriptor>,
    manifest: Vec<u8>,
    media_type: MediaType,
}

/// Does all jobs on a few threads, and gives their results in order. The first failure stops the
/// others, who are told by the flag, and is the reason of all.
pub(crate) fn side_by_side<J: Sync, T: Send, E: Send>(
    jobs: &[J],
    work: impl Fn(&J, &AtomicBool) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let results: Mutex<Vec<Option<T>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    let worker = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { return };
            match work(job, &stop) {
                Ok(value) => {
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results[index] = Some(value);
                }
                Err(error) => {
                    if !stop.swap(true, Ordering::SeqCst) {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_LAYERS.min(jobs.len()) {
            scope.spawn(worker);
        }
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(results.into_iter().flatten().collect())
}
