//! Pulling an image: the registry's streams into the store, layers side by side.
//!
//! Each layer goes through one pass: the download is kept as it comes (so that a cut pull goes on
//! where it was), hashed, decompressed, hashed again and unpacked. Nothing is visible under its
//! name before both digests were right. [`Fetch::Lazy`] is another matter: `lazy`.

mod layer;
mod lazy;

use std::cmp::Reverse;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use gamut_registry::{Client, Options, RegistryError, Resolved};
use gamut_spec::image::{
    ImageConfig, ImageError, Layer as LayerEntry, Manifest, MediaType, Platform,
};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind, digest::Digest};
use gamut_store::StoreError;
use gamut_store::blob::{Blob, BlobError};
use gamut_store::db::{Attestation, DbError, Image, KnownBlob};
use gamut_store::layer::{Layer, LayerError};
use thiserror::Error;

use self::layer::OneLayer;
pub(crate) use self::layer::Watched;
use crate::attestations;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::lazy_index::find::Indexes;
use crate::made::Recording;
use crate::registries::Registries;
use crate::trust::{Asked, Held};

/// What happens to one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerEvent {
    Waiting,
    /// It was here already.
    Exists,
    Downloading {
        done_bytes: u64,
        total_bytes: u64,
    },
    /// All bytes are here; the rest of the archive is being unpacked.
    Extracting,
    /// It can be used; its bytes come later.
    LaidOut,
    /// The registry has its index ([`crate::lazy_index`]).
    Indexed,
    Done,
}

/// How much of an image is fetched before it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// All of it.
    Whole,
    /// Of layers that have a table of contents no more than that ([`crate::filler`]).
    Lazy,
}

/// Who watches a pull; called from several threads.
pub trait PullEvents: Sync {
    /// `layer` is the first twelve digits of the blob's digest.
    fn event(&self, layer: &str, event: LayerEvent);
    /// Something that the user should know and that is no failure.
    fn warning(&self, text: &str);
}

/// Nobody watches.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl PullEvents for Unwatched {
    fn event(&self, _: &str, _: LayerEvent) {}
    fn warning(&self, _: &str) {}
}

/// What was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    pub image: Image,
    /// The digest that the name stood for.
    pub digest: Digest,
    pub freshness: Freshness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// The image was here already, under this name.
    UpToDate,
    Newer,
}

#[derive(Debug, Error)]
pub enum PullError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("layer {layer}: {source}")]
    Layer { layer: String, source: LayerError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the image is for {offered}, and {wanted} was asked for")]
    Platform {
        offered: Box<Platform>,
        wanted: Box<Platform>,
    },
    #[error("layer {layer}: {reason}")]
    Unfilled { layer: String, reason: String },
    #[error("another layer failed")]
    Abandoned,
}

impl Fault for PullError {
    fn kind(&self) -> Kind {
        match self {
            PullError::Registry(e) => e.kind(),
            PullError::Image(e) => e.kind(),
            PullError::Blob(e) => e.kind(),
            PullError::Layer { source, .. } => source.kind(),
            PullError::Store(e) => e.kind(),
            PullError::Platform { .. } => Kind::NotFound,
            PullError::Unfilled { .. } | PullError::Abandoned => Kind::Unavailable,
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            PullError::Registry(e) => e.hint(),
            PullError::Image(e) => e.hint(),
            PullError::Blob(e) => e.hint(),
            PullError::Layer { source, .. } => source.hint(),
            PullError::Store(e) => e.hint(),
            PullError::Platform { .. } => Some("give `--platform` only if the image has it".into()),
            PullError::Unfilled { .. } => Some(
                "pull again; if it happens again, remove the image and pull it without `--lazy`"
                    .into(),
            ),
            PullError::Abandoned => None,
        }
    }
}

/// Layers on their way at once; Docker's number.
const PARALLEL_LAYERS: usize = 3;

impl Engine {
    /// Pulls `reference` for `platform`.
    ///
    /// # Errors
    /// [`PullError`]; what was downloaded is kept for the next try, nothing else is.
    pub fn pull(
        &mut self,
        reference: &Reference,
        platform: &Platform,
        options: Options,
        fetch: Fetch,
        events: &dyn PullEvents,
    ) -> Result<Pulled, EngineError> {
        let client = Client::new(options);
        let (from, resolved) = resolve(&client, reference, platform, events)?;
        let documents = resolved.documents.iter();
        let digests: Vec<Digest> = documents.map(|d| d.descriptor.digest.clone()).collect();
        let asked = Asked {
            reference,
            from: &from,
            digests: &digests,
        };
        let held = Held::to(self.policy.as_deref(), &client, asked)?;
        held.check()?;
        let manifest = &resolved.manifest;
        let named = digests.first();
        let digest = named.unwrap_or(&manifest.config.digest).clone();
        let (config, config_bytes) = configuration(&client, &from, manifest, platform)?;
        let names = reference_names(reference, &digest);
        if let Some(image) = self.known(&manifest.config.digest, &names)? {
            self.settle_layers(&image, manifest, fetch, events)?;
            self.tell_of_image("pull", &image.id, &reference.familiar());
            return Ok(Pulled {
                image,
                digest,
                freshness: Freshness::UpToDate,
            });
        }
        // Beside the layers: it costs as many round trips as there are documents.
        let (layers, found) = std::thread::scope(|scope| {
            let about = || attestations::fetch(&client, &from, &resolved, &held, events);
            let about = scope.spawn(about);
            let indexes = Indexes {
                client: &client,
                from: &from,
                held: &held,
                subject: digests.last(),
                found: OnceLock::new(),
            };
            let layers = self.pull_layers(&indexes, manifest, &config, fetch, events);
            let found = about.join();
            layers.map(|layers| (layers, found.unwrap_or_default()))
        })?;
        let kept = self.keep_attestations(&found)?;
        let last = resolved.documents.last();
        let image = self.record_made(
            &config,
            Recording {
                // Of the indexes above it nothing is kept: nothing here would read them.
                manifest: last.map_or(&[][..], |last| &last.bytes),
                manifest_type: last.map_or(MediaType::OciManifest, |last| {
                    last.descriptor.media_type.clone()
                }),
                config: &config_bytes,
                config_type: manifest.config.media_type.clone(),
                layers,
                names,
            },
        )?;
        self.note(&image, kept, reference, manifest)?;
        self.settle_layers(&image, manifest, fetch, events)?;
        self.tell_of_image("pull", &image.id, &reference.familiar());
        Ok(Pulled {
            image,
            digest,
            freshness: Freshness::Newer,
        })
    }

    /// Remembers what the image came with and, for a push, where the layers' blobs are.
    fn note(
        &mut self,
        image: &Image,
        kept: Vec<(Blob, Attestation)>,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<(), EngineError> {
        let repository = reference.name();
        let layers = manifest.layers.iter().zip(&image.layers);
        // The blobs are pinned until they are the image's.
        let (_pinned, attestations): (Vec<Blob>, Vec<Attestation>) = kept.into_iter().unzip();
        self.store.db_mut().write::<_, DbError>(|transaction| {
            transaction.put_attestations(&image.id, &attestations)?;
            for (descriptor, diff_id) in layers {
                transaction.put_known_blob(&KnownBlob {
                    diff_id: diff_id.clone(),
                    digest: descriptor.digest.clone(),
                    size_bytes: descriptor.size,
                    media_type: descriptor.media_type.clone(),
                    repository: repository.clone(),
                })?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The image, if it is here whole and has all these names.
    fn known(&self, id: &Digest, names: &[String]) -> Result<Option<Image>, EngineError> {
        let db = self.store.db();
        let Some(image) = db.image(id)? else {
            return Ok(None);
        };
        // As after `system check --repair`.
        if !self.store.is_whole(&image)? {
            return Ok(None);
        }
        for name in names {
            if db
                .image_by_reference(name)?
                .is_none_or(|other| other.id != *id)
            {
                return Ok(None);
            }
        }
        Ok(Some(image))
    }

    fn pull_layers(
        &self,
        indexes: &Indexes<'_>,
        manifest: &Manifest,
        config: &ImageConfig,
        fetch: Fetch,
        events: &dyn PullEvents,
    ) -> Result<Vec<Layer>, EngineError> {
        let entries = manifest.image_layers().map_err(PullError::from)?;
        let jobs: Vec<(&LayerEntry, &Digest)> =
            entries.iter().zip(&config.rootfs.diff_ids).collect();
        let results: Mutex<Vec<Option<Layer>>> = Mutex::new(jobs.iter().map(|_| None).collect());
        let mut waiting = Vec::new();
        for (index, (entry, diff_id)) in jobs.iter().enumerate() {
            let short = entry.descriptor.digest.short();
            if let Some(layer) = self.store.layer(diff_id)? {
                events.event(&short, LayerEvent::Exists);
                put(&results, index, layer);
            } else {
                events.event(&short, LayerEvent::Waiting);
                waiting.push(index);
            }
        }
        // The largest first, or at the end it keeps one processor busy alone.
        waiting.sort_by_key(|&index| Reverse(jobs[index].0.descriptor.size));
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let failure = Mutex::new(None);
        let (ingests, layers) = (self.store.ingests(), self.store.layers());
        let options = self.unpack_options()?;
        let fetch = self.possible(fetch, !waiting.is_empty(), events)?;
        let work = || {
            while let Some(index) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (entry, diff_id) = jobs[*index];
                let one = OneLayer {
                    client: indexes.client,
                    reference: indexes.from,
                    indexes,
                    entry,
                    diff_id,
                    ingests,
                    layers,
                    options: &options,
                    events,
                    stop: &stop,
                    how: fetch,
                };
                match one.fetch() {
                    Ok(layer) => put(&results, *index, layer),
                    Err(error) => {
                        // The first failure is the reason of all.
                        if !stop.swap(true, Ordering::SeqCst) {
                            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        }
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_LAYERS.min(waiting.len()) {
                scope.spawn(work);
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error.into());
        }
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(results.into_iter().flatten().collect())
    }
}

/// The image's configuration, if it is for the platform and fits the manifest.
fn configuration(
    client: &Client,
    from: &Reference,
    manifest: &Manifest,
    platform: &Platform,
) -> Result<(ImageConfig, Vec<u8>), PullError> {
    let (config, bytes) = client.config(from, &manifest.config)?;
    config.check_layers(manifest)?;
    let offered = config.platform();
    match platform.accepts(&offered) {
        true => Ok((config, bytes)),
        false => Err(PullError::Platform {
            offered: Box::new(offered),
            wanted: Box::new(platform.clone()),
        }),
    }
}

/// What the name stands for, and where that was found: at a mirror, as this host may say, or in the
/// registry.
fn resolve(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    events: &dyn PullEvents,
) -> Result<(Reference, Resolved), EngineError> {
    let sources = Registries::of_host()?.sources(reference)?;
    let (last, mirrors) = sources.split_last().unwrap_or((reference, &[]));
    for mirror in mirrors {
        match client.resolve(mirror, platform) {
            Ok(resolved) => return Ok((mirror.clone(), resolved)),
            Err(error) => events.warning(&format!("mirror {}: {error}", mirror.name())),
        }
    }
    let resolved = client.resolve(last, platform).map_err(PullError::from)?;
    Ok((last.clone(), resolved))
}

fn put(results: &Mutex<Vec<Option<Layer>>>, index: usize, layer: Layer) {
    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = results.get_mut(index) {
        *slot = Some(layer);
    }
}

/// The names that the image gets: its tag, and the digest that it was pulled by or stood for.
fn reference_names(reference: &Reference, digest: &Digest) -> Vec<String> {
    let mut names = vec![format!("{}@{digest}", reference.name())];
    if reference.digest().is_none()
        && let Some(tag) = reference.tag()
    {
        names.push(format!("{}:{tag}", reference.name()));
    }
    names
}
