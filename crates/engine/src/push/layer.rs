//! One layer's way into a repository: found there, mounted from another one, or sent.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use gamut_registry::{Client, Content, Mounted};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Compression, Descriptor, MediaType};
use gamut_spec::reference::Reference;
use gamut_store::db::KnownBlob;
use gamut_store::ingest::Ingests;
use gamut_store::layer::{Form, Layer, Layers};
use gamut_store::pack::{self, Packed};
use gamut_store::reproduce::ReproduceError;

use super::{PushError, PushEvent, PushEvents};

/// Blobs of one layer that a registry is asked for before it is sent one.
const CANDIDATES: usize = 4;
/// Repositories that one blob is tried to be mounted from.
const MOUNTS: usize = 4;
/// How much passes between two events.
const EVENT_BYTES: u64 = 256 * 1024;

/// What is known of the layer.
pub(super) struct OneLayer<'a> {
    pub(super) client: &'a Client,
    pub(super) to: &'a Reference,
    pub(super) diff_id: &'a Digest,
    /// As the image's manifest has it.
    pub(super) descriptor: &'a Descriptor,
    pub(super) known: Vec<KnownBlob>,
    pub(super) compression: Option<Compression>,
    pub(super) layers: &'a Layers,
    pub(super) ingests: &'a Ingests,
    pub(super) events: &'a dyn PushEvents,
}

impl OneLayer<'_> {
    pub(super) fn push(&self, stop: &AtomicBool) -> Result<Descriptor, PushError> {
        let (descriptor, event) = self.bring(stop)?;
        self.events.event(&self.diff_id.short(), event);
        Ok(descriptor)
    }

    fn bring(&self, stop: &AtomicBool) -> Result<(Descriptor, PushEvent), PushError> {
        if self.descriptor.media_type.is_foreign_layer() {
            return Ok((self.descriptor.clone(), PushEvent::Foreign));
        }
        let candidates = self.candidates();
        for candidate in &candidates {
            if self.client.has_blob(self.to, &candidate.digest)? {
                return Ok((candidate.clone(), PushEvent::Exists));
            }
        }
        for candidate in &candidates {
            if let Some(from) = self.mount(&candidate.digest)? {
                return Ok((candidate.clone(), PushEvent::Mounted(from)));
            }
        }
        let compression = self.packing();
        let packed = self.pack(compression, stop)?;
        let media_type = MediaType::OciLayer(compression);
        let descriptor = Descriptor::new(media_type, packed.digest.clone(), packed.size_bytes);
        if self.client.has_blob(self.to, &descriptor.digest)? {
            return Ok((descriptor, PushEvent::Exists));
        }
        if let Some(from) = self.mount(&descriptor.digest)? {
            return Ok((descriptor, PushEvent::Mounted(from)));
        }
        let content = Watched {
            packed: &packed,
            layer: self,
            stop,
        };
        self.client.push_blob(self.to, &descriptor, &content)?;
        Ok((descriptor, PushEvent::Pushed))
    }

    /// The forms in which the layer may be there: the image's own first, then those seen elsewhere,
    /// the nearest first.
    fn candidates(&self) -> Vec<Descriptor> {
        let mut known: Vec<&KnownBlob> = self.known.iter().collect();
        known.sort_by_key(|blob| self.distance(blob));
        let elsewhere = known.into_iter().map(|blob| {
            Descriptor::new(
                blob.media_type.clone(),
                blob.digest.clone(),
                blob.size_bytes,
            )
        });
        let mut candidates: Vec<Descriptor> = Vec::new();
        for candidate in [self.descriptor.clone()].into_iter().chain(elsewhere) {
            let packing = candidate.media_type.layer_compression();
            let suits = self
                .compression
                .is_none_or(|wanted| packing == Some(wanted));
            if suits && candidates.iter().all(|c| c.digest != candidate.digest) {
                candidates.push(candidate);
            }
        }
        candidates.truncate(CANDIDATES);
        candidates
    }

    /// 0: the repository itself, 1: its registry, 2: another.
    fn distance(&self, blob: &KnownBlob) -> u8 {
        match blob.repository.split_once('/') {
            Some((registry, path)) if registry == self.to.registry() => {
                u8::from(path != self.to.repository())
            }
            _ => 2,
        }
    }

    /// Has the registry take the blob from a repository of its own in which it was seen.
    fn mount(&self, digest: &Digest) -> Result<Option<String>, PushError> {
        let there = |blob: &&KnownBlob| blob.digest == *digest && self.distance(blob) == 1;
        for blob in self.known.iter().filter(there).take(MOUNTS) {
            if let Some((_, from)) = blob.repository.split_once('/')
                && self.client.mount_blob(self.to, digest, from)? == Mounted::Yes
            {
                return Ok(Some(from.to_owned()));
            }
        }
        Ok(None)
    }

    /// What came plain from a registry goes plain to the next, because that keeps its digest.
    fn packing(&self) -> Compression {
        let original = self.descriptor.media_type.layer_compression();
        let known = self
            .known
            .iter()
            .any(|blob| blob.digest == self.descriptor.digest);
        match (self.compression, original) {
            (Some(wanted), _) => wanted,
            (None, Some(Compression::Zstd)) => Compression::Zstd,
            (None, Some(Compression::None)) if known => Compression::None,
            _ => Compression::Gzip,
        }
    }

    fn pack(&self, compression: Compression, stop: &AtomicBool) -> Result<Packed, PushError> {
        let short = self.diff_id.short();
        let layer = self.layer()?;
        let tar = Packing {
            tar: self.layers.reproduce(&layer)?,
            layer: self,
            stop,
            done_bytes: 0,
            told_bytes: 0,
        };
        let file = self.ingests.scratch()?;
        pack::pack(tar, compression, file).map_err(|source| {
            match source.downcast::<ReproduceError>() {
                Ok(error) => error.into(),
                Err(_) if stop.load(Ordering::Relaxed) => PushError::Abandoned,
                Err(source) => PushError::Pack {
                    layer: short,
                    source,
                },
            }
        })
    }

    fn layer(&self) -> Result<Layer, PushError> {
        let found = self.layers.get(self.diff_id);
        let found = found.map_err(|source| PushError::Layer {
            layer: self.diff_id.short(),
            source,
        })?;
        match found {
            Some(layer) if layer.record.form == Form::Lazy => {
                Err(PushError::Unfilled(self.diff_id.short()))
            }
            Some(layer) => Ok(layer),
            None => Err(ReproduceError::NoRecord(self.diff_id.clone()).into()),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other(PushError::Abandoned)
}

/// A layer's tar on its way into the packer, watched.
struct Packing<'a, R> {
    tar: R,
    layer: &'a OneLayer<'a>,
    stop: &'a AtomicBool,
    done_bytes: u64,
    told_bytes: u64,
}

impl<R: Read> Read for Packing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let count = self.tar.read(buffer)?;
        self.done_bytes += count as u64;
        if self.done_bytes - self.told_bytes >= EVENT_BYTES {
            self.told_bytes = self.done_bytes;
            let done_bytes = self.done_bytes;
            let event = PushEvent::Packing { done_bytes };
            self.layer.events.event(&self.layer.diff_id.short(), event);
        }
        Ok(count)
    }
}

/// A packed layer on its way to the registry, watched.
struct Watched<'a> {
    packed: &'a Packed,
    layer: &'a OneLayer<'a>,
    stop: &'a AtomicBool,
}

impl Content for Watched<'_> {
    fn read_from(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(Sending {
            bytes: self.packed.read_from(offset),
            content: self,
            done_bytes: offset,
            told_bytes: offset,
        }))
    }
}

struct Sending<'a, R> {
    bytes: R,
    content: &'a Watched<'a>,
    done_bytes: u64,
    told_bytes: u64,
}

impl<R: Read> Read for Sending<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.content.stop.load(Ordering::Relaxed) {
            return Err(stopped());
        }
        let count = self.bytes.read(buffer)?;
        self.done_bytes += count as u64;
        if self.done_bytes - self.told_bytes >= EVENT_BYTES {
            self.told_bytes = self.done_bytes;
            let event = PushEvent::Pushing {
                done_bytes: self.done_bytes,
                total_bytes: self.content.packed.size_bytes,
            };
            let layer = self.content.layer;
            layer.events.event(&layer.diff_id.short(), event);
        }
        Ok(count)
    }
}
