//! Pulling an image: the registry's streams into the store, layers side by side.
//!
//! Each layer goes through one pass: the download is kept as it comes (so that a cut pull goes on
//! where it was), hashed, decompressed, hashed again and unpacked. Nothing is visible under its
//! name before both digests were right.

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use gamut_registry::{Client, Options, RegistryError};
use gamut_spec::image::{ImageConfig, ImageError, Layer as LayerEntry, Manifest, Platform};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind, digest::Digest};
use gamut_store::blob::BlobError;
use gamut_store::db::Image;
use gamut_store::ingest::Ingests;
use gamut_store::layer::{Layer, LayerError, Layers};
use gamut_store::unpack::{LayerSource, UnpackOptions};
use gamut_store::{Durability, StoreError};
use thiserror::Error;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::record::now_ns;

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
    Done,
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
            PullError::Abandoned => Kind::Unavailable,
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
        events: &dyn PullEvents,
    ) -> Result<Pulled, EngineError> {
        let client = Client::new(options);
        let resolved = client
            .resolve(reference, platform)
            .map_err(PullError::from)?;
        let named = resolved
            .documents
            .first()
            .map(|d| d.descriptor.digest.clone());
        let manifest = &resolved.manifest;
        let digest = named.unwrap_or_else(|| manifest.config.digest.clone());
        let (config, config_bytes) = client
            .config(reference, &manifest.config)
            .map_err(PullError::from)?;
        config.check_layers(manifest).map_err(PullError::from)?;
        let offered = config.platform();
        if !platform.accepts(&offered) {
            return Err(PullError::Platform {
                offered: Box::new(offered),
                wanted: Box::new(platform.clone()),
            }
            .into());
        }
        let names = reference_names(reference, &digest);
        if let Some(image) = self.known(&manifest.config.digest, &names)? {
            return Ok(Pulled {
                image,
                digest,
                freshness: Freshness::UpToDate,
            });
        }
        let layers = self.pull_layers(&client, reference, manifest, &config, events)?;
        let image = self.record(
            &resolved.documents,
            manifest,
            &config,
            &config_bytes,
            &layers,
            &names,
        )?;
        Ok(Pulled {
            image,
            digest,
            freshness: Freshness::Newer,
        })
    }

    /// The image, if it is here whole and has all these names.
    fn known(&self, id: &Digest, names: &[String]) -> Result<Option<Image>, EngineError> {
        let db = self.store.db();
        let Some(image) = db.image(id)? else {
            return Ok(None);
        };
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
        client: &Client,
        reference: &Reference,
        manifest: &Manifest,
        config: &ImageConfig,
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
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let failure = Mutex::new(None);
        let (ingests, layers) = (self.store.ingests(), self.store.layers());
        let work = || {
            while let Some(index) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (entry, diff_id) = jobs[*index];
                let one = OneLayer {
                    client,
                    reference,
                    entry,
                    diff_id,
                    ingests,
                    layers,
                    events,
                    stop: &stop,
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

    fn record(
        &mut self,
        documents: &[gamut_registry::Fetched],
        manifest: &Manifest,
        config: &ImageConfig,
        config_bytes: &[u8],
        layers: &[Layer],
        names: &[String],
    ) -> Result<Image, EngineError> {
        let mut blobs = Vec::new();
        for document in documents {
            blobs.push(
                self.store
                    .blobs()
                    .put_bytes(&document.bytes)
                    .map_err(PullError::from)?,
            );
        }
        blobs.push(
            self.store
                .blobs()
                .put_bytes(config_bytes)
                .map_err(PullError::from)?,
        );
        let last = documents.last();
        let created = config
            .created
            .as_deref()
            .and_then(|t| t.parse::<jiff::Timestamp>().ok());
        let image = Image {
            id: manifest.config.digest.clone(),
            manifest_digest: last.map_or_else(
                || manifest.config.digest.clone(),
                |d| d.descriptor.digest.clone(),
            ),
            manifest_media_type: last
                .map_or("", |d| d.descriptor.media_type.as_str())
                .to_owned(),
            config_media_type: manifest.config.media_type.as_str().to_owned(),
            layers: config.rootfs.diff_ids.clone(),
            size_bytes: layers.iter().map(|l| l.record.size_bytes).sum(),
            created_ns: created.map_or(0, |t| i64::try_from(t.as_nanosecond()).unwrap_or(0)),
            pulled_ns: i64::try_from(now_ns()).unwrap_or(i64::MAX),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.store
            .record_image(&image, &names, layers, &blobs, Durability::Process)?;
        Ok(image)
    }
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

/// One layer's way from the registry to the store.
struct OneLayer<'a> {
    client: &'a Client,
    reference: &'a Reference,
    entry: &'a LayerEntry,
    diff_id: &'a Digest,
    ingests: &'a Ingests,
    layers: &'a Layers,
    events: &'a dyn PullEvents,
    stop: &'a AtomicBool,
}

impl OneLayer<'_> {
    fn fetch(&self) -> Result<Layer, PullError> {
        let descriptor = &self.entry.descriptor;
        let short = descriptor.digest.short();
        let failed = |source| PullError::Layer {
            layer: short.clone(),
            source,
        };
        let ingest = self
            .ingests
            .resume(&descriptor.digest, Some(descriptor.size))?;
        let offset = ingest.offset();
        let body = self.client.blob(self.reference, descriptor, offset)?;
        let watched = Watched {
            body,
            short: &short,
            done_bytes: offset,
            total_bytes: descriptor.size,
            told_bytes: offset,
            events: self.events,
            stop: self.stop,
        };
        let mut tee = ingest.tee(watched)?;
        let source = LayerSource {
            digest: &descriptor.digest,
            size_bytes: Some(descriptor.size),
            media_type: descriptor.media_type.as_str(),
            diff_id: self.diff_id,
        };
        let unpacked = self
            .layers
            .unpack(&source, &mut tee, &UnpackOptions::default());
        match unpacked {
            Ok((layer, warnings)) => {
                for warning in &warnings.kept {
                    self.events.warning(&format!(
                        "layer {short}: {}: {}",
                        warning.entry, warning.what
                    ));
                }
                tee.discard()?;
                self.events.event(&short, LayerEvent::Done);
                Ok(layer)
            }
            Err(error) => {
                // Bytes that are wrong are of no use to the next try; a cut is.
                if matches!(error.kind(), Kind::Invalid | Kind::Denied) {
                    let _ = tee.discard();
                }
                Err(failed(error))
            }
        }
    }
}

/// The registry's stream, watched.
struct Watched<'a, R> {
    body: R,
    short: &'a str,
    done_bytes: u64,
    total_bytes: u64,
    told_bytes: u64,
    events: &'a dyn PullEvents,
    stop: &'a AtomicBool,
}

/// How much arrives between two events.
const EVENT_BYTES: u64 = 256 * 1024;

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(std::io::Error::other(PullError::Abandoned));
        }
        let length = self.body.read(buffer)?;
        self.done_bytes += length as u64;
        let (done_bytes, total_bytes) = (self.done_bytes, self.total_bytes);
        if length == 0 || done_bytes == total_bytes {
            self.events.event(self.short, LayerEvent::Extracting);
        } else if done_bytes - self.told_bytes >= EVENT_BYTES {
            self.told_bytes = done_bytes;
            self.events.event(
                self.short,
                LayerEvent::Downloading {
                    done_bytes,
                    total_bytes,
                },
            );
        }
        Ok(length)
    }
}
