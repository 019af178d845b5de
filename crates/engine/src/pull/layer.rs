//! One layer's way from the registry to the store, whole.

use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use gamut_registry::Client;
use gamut_spec::digest::Digest;
use gamut_spec::image::Layer as LayerEntry;
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};
use gamut_store::ingest::{Ingest, Ingests};
use gamut_store::layer::{Layer, Layers};
use gamut_store::unpack::{LayerSource, UnpackOptions, Warnings};

use super::{Fetch, LayerEvent, PullError, PullEvents};
use crate::lazy_index::find::Indexes;

/// One layer's way from the registry to the store.
pub(super) struct OneLayer<'a> {
    pub(super) client: &'a Client,
    pub(super) reference: &'a Reference,
    pub(super) entry: &'a LayerEntry,
    pub(super) diff_id: &'a Digest,
    pub(super) ingests: &'a Ingests,
    pub(super) layers: &'a Layers,
    pub(super) options: &'a UnpackOptions,
    pub(super) events: &'a dyn PullEvents,
    pub(super) stop: &'a AtomicBool,
    pub(super) how: Fetch,
    pub(super) indexes: &'a Indexes<'a>,
}

impl OneLayer<'_> {
    pub(super) fn warn(&self, short: &str, warnings: &Warnings) {
        for warning in &warnings.kept {
            let text = format!("layer {short}: {}: {}", warning.entry, warning.what);
            self.events.warning(&text);
        }
    }

    pub(super) fn fetch(&self) -> Result<Layer, PullError> {
        if self.how == Fetch::Lazy
            && let Some(layer) = self.lay_out()?
        {
            return Ok(layer);
        }
        self.fetch_all()
    }

    /// What an earlier pull left may be torn, as by a power cut: then all of it is fetched again.
    fn fetch_all(&self) -> Result<Layer, PullError> {
        let descriptor = &self.entry.descriptor;
        let size_bytes = Some(descriptor.size);
        let begin = || self.ingests.resume(&descriptor.digest, size_bytes);
        let ingest = begin()?;
        let is_resumed = ingest.offset() > 0;
        match self.unpack(ingest) {
            Err(error) if is_resumed && are_bytes_wrong(&error) => self.unpack(begin()?),
            other => other,
        }
    }

    fn unpack(&self, ingest: Ingest) -> Result<Layer, PullError> {
        let descriptor = &self.entry.descriptor;
        let short = descriptor.digest.short();
        let offset = ingest.offset();
        let body = self.client.blob(self.reference, descriptor, offset)?;
        let part = offset..descriptor.size;
        let watched = Watched::new(body, &short, part, self.events, self.stop);
        let mut tee = ingest.tee(watched);
        let source = LayerSource {
            digest: &descriptor.digest,
            size_bytes: Some(descriptor.size),
            media_type: descriptor.media_type.as_str(),
            diff_id: self.diff_id,
        };
        match self.layers.unpack(&source, &mut tee, self.options) {
            Ok((layer, warnings)) => {
                self.warn(&short, &warnings);
                tee.discard()?;
                self.events.event(&short, LayerEvent::Done);
                Ok(layer)
            }
            Err(source) => {
                let layer = short.clone();
                let error = PullError::Layer { layer, source };
                if are_bytes_wrong(&error) {
                    let _ = tee.discard();
                }
                Err(error)
            }
        }
    }
}

/// Whether the bytes are of no use to the next try; those of a cut download are.
fn are_bytes_wrong(error: &PullError) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::Denied)
}

/// The registry's stream, watched.
pub(crate) struct Watched<'a, R> {
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

impl<'a, R> Watched<'a, R> {
    /// Of a `part` of a layer.
    pub(crate) fn new(
        body: R,
        short: &'a str,
        part: Range<u64>,
        events: &'a dyn PullEvents,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            body,
            short,
            done_bytes: part.start,
            total_bytes: part.end,
            told_bytes: part.start,
            events,
            stop,
        }
    }
}

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
