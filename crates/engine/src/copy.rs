//! Copying from registry to registry, keeping nothing here: what the target lacks is mounted there,
//! or streamed through and checked on the way. Documents stay as they are, so digests do.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};

use gamut_registry::{Client, Content, Fetched, Mounted, Options, Relay, Subject};
use gamut_spec::digest::Digest;
use gamut_spec::image::{Descriptor, Document, ImageError, MAX_INDEX_DEPTH, Manifest, Platform};
use gamut_spec::reference::Reference;

use crate::error::EngineError;
use crate::push::{PushError, PushEvent, PushEvents, Pushed, side_by_side};
use crate::registries::Registries;
use crate::trust::{Asked, Held};

/// How much passes between two events.
const EVENT_BYTES: u64 = 256 * 1024;

/// What to copy of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The image for one platform.
    One(Platform),
    /// The index, with everything in it.
    All,
}

/// Copies `from` to `to`.
///
/// # Errors
/// [`PushError`]; what the target has got by then is its own to collect.
pub fn copy(
    from: &Reference,
    to: &Reference,
    which: &Which,
    options: Options,
    events: &dyn PushEvents,
) -> Result<Pushed, EngineError> {
    let registries = Registries::of_host()?;
    let reference = from;
    let from = &registries.target(from)?;
    let to = &registries.target(to)?;
    let client = Client::new(options);
    let copier = Copier {
        client: &client,
        to,
        events,
    };
    let documents = match which {
        Which::All => vec![client.manifest(from).map_err(PushError::from)?],
        Which::One(platform) => {
            let resolved = client.resolve(from, platform);
            resolved.map_err(PushError::from)?.documents
        }
    };
    let digests = documents.iter().map(|d| d.descriptor.digest.clone());
    let digests: Vec<Digest> = digests.collect();
    let asked = Asked {
        reference,
        from,
        digests: &digests,
    };
    Held::to(None, &client, asked)?.check()?;
    let fetched = documents.into_iter().last();
    let fetched = fetched.ok_or(PushError::NotAManifest)?;
    copier.document(from, &fetched, to, 0)?;
    Ok(Pushed {
        descriptor: fetched.descriptor,
    })
}

/// Brings documents, with all that they name, into one repository.
pub(crate) struct Copier<'a> {
    pub(crate) client: &'a Client,
    pub(crate) to: &'a Reference,
    pub(crate) events: &'a dyn PushEvents,
}

impl Copier<'_> {
    /// Brings a document of the repository `from` to `at`, and first what is in it.
    pub(crate) fn document(
        &self,
        from: &Reference,
        fetched: &Fetched,
        at: &Reference,
        depth: usize,
    ) -> Result<(), PushError> {
        let subject = match &fetched.document {
            Document::Manifest(manifest) => {
                self.blobs(from, manifest)?;
                &manifest.subject
            }
            Document::Index(index) => {
                if depth > MAX_INDEX_DEPTH {
                    return Err(ImageError::TooDeep.into());
                }
                for entry in &index.manifests {
                    self.entry(from, entry, depth + 1)?;
                }
                &index.subject
            }
        };
        let descriptor = &fetched.descriptor;
        let put = self
            .client
            .push_manifest(at, &descriptor.media_type, &fetched.bytes)?;
        if let (Some(subject), Subject::Ignored) = (subject, put.subject) {
            let referrer = referrer_of(fetched);
            self.client
                .note_referrer(self.to, &subject.digest, &referrer)?;
        }
        Ok(())
    }

    /// Brings what an index of the repository `from` names, unless it is there.
    pub(crate) fn entry(
        &self,
        from: &Reference,
        entry: &Descriptor,
        depth: usize,
    ) -> Result<(), PushError> {
        let at = self.to.with_digest(entry.digest.clone());
        if self.client.has_manifest(&at)? {
            return Ok(());
        }
        let fetched = self.client.manifest_at(from, entry)?;
        self.document(from, &fetched, &at, depth)
    }

    fn blobs(&self, from: &Reference, manifest: &Manifest) -> Result<(), PushError> {
        let mut seen = HashSet::new();
        let blobs: Vec<&Descriptor> = manifest
            .layers
            .iter()
            .chain([&manifest.config])
            .filter(|blob| seen.insert(&blob.digest))
            .collect();
        for blob in &blobs {
            self.events
                .event(&blob.digest.short(), PushEvent::Preparing);
        }
        side_by_side(&blobs, |blob, stop| {
            let event = self.blob(from, blob, stop)?;
            self.events.event(&blob.digest.short(), event);
            Ok::<_, PushError>(())
        })?;
        Ok(())
    }

    fn blob(
        &self,
        from: &Reference,
        blob: &Descriptor,
        stop: &AtomicBool,
    ) -> Result<PushEvent, PushError> {
        if blob.media_type.is_foreign_layer() {
            return Ok(PushEvent::Foreign);
        }
        if self.client.has_blob(self.to, &blob.digest)? {
            return Ok(PushEvent::Exists);
        }
        let source = from.repository();
        if from.registry() == self.to.registry()
            && self.client.mount_blob(self.to, &blob.digest, source)? == Mounted::Yes
        {
            return Ok(PushEvent::Mounted(source.to_owned()));
        }
        let content = Watched {
            relay: Relay::new(self.client, from, blob),
            blob,
            events: self.events,
            stop,
        };
        self.client.push_blob(self.to, blob, &content)?;
        Ok(PushEvent::Pushed)
    }
}

/// A document as a list of referrers has it: OCI distribution specification 1.1, "Listing
/// Referrers".
fn referrer_of(fetched: &Fetched) -> Descriptor {
    let (artifact_type, annotations) = match &fetched.document {
        Document::Manifest(manifest) => {
            let own = manifest.artifact_type.clone();
            let config = || Some(manifest.config.media_type.as_str().to_owned());
            (own.or_else(config), manifest.annotations.clone())
        }
        Document::Index(index) => (index.artifact_type.clone(), index.annotations.clone()),
    };
    Descriptor {
        artifact_type,
        annotations,
        ..fetched.descriptor.clone()
    }
}

/// A blob on its way through, watched.
struct Watched<'a> {
    relay: Relay<'a>,
    blob: &'a Descriptor,
    events: &'a dyn PushEvents,
    stop: &'a AtomicBool,
}

impl Content for Watched<'_> {
    fn read_from(&self, offset: u64) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(Passing {
            bytes: self.relay.read_from(offset)?,
            content: self,
            done_bytes: offset,
            told_bytes: offset,
        }))
    }
}

struct Passing<'a> {
    bytes: Box<dyn Read + 'a>,
    content: &'a Watched<'a>,
    done_bytes: u64,
    told_bytes: u64,
}

impl Read for Passing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let content = self.content;
        if content.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(PushError::Abandoned));
        }
        let count = self.bytes.read(buffer)?;
        self.done_bytes += count as u64;
        if self.done_bytes - self.told_bytes >= EVENT_BYTES {
            self.told_bytes = self.done_bytes;
            let event = PushEvent::Pushing {
                done_bytes: self.done_bytes,
                total_bytes: content.blob.size,
            };
            content.events.event(&content.blob.digest.short(), event);
        }
        Ok(count)
    }
}
