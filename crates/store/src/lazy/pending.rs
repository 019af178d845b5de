//! A layer that is not whole, opened to be filled.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use gamut_spec::digest::Digest;

use super::LazyError;
use super::chunk::{self, Chunk};
use super::fill::DIFFERS;
use super::layout::{Outline, lay_out};
use super::origin::{Document, Origin};
use super::part::{Unpacking, Windows};
use super::presence::{Presence, Written};
use super::toc::{Dialect, Toc};
use crate::erofs::Compression;
use crate::file_error::FileError;
use crate::layer::{Form, IMAGE, Layer, LayerError, LayerRecord, Layers, boot};
use crate::pin::TemporaryDirectory;
use crate::reproduce::RECORD;
use crate::unpack::{
    self, LayerSource, Target, UnpackError, UnpackOptions, UnpackProblem, Warnings,
};

const ORIGIN: &str = "lazy.json";
const CHUNKS: &str = "lazy-chunks";
const PRESENT: &str = "lazy-present";
const POINTS: &str = "lazy-points";
const UNTRUE: &str = "lazy-untrue";

/// Bytes of the blob that are asked for at least, where more is missing right after what is needed: a
/// request costs as much time as some of them, and neighbours are mostly wanted next.
const REQUEST_BYTES: u64 = 128 << 10;
/// Bytes between two chunks that are fetched with them rather than by another request.
const GAP_BYTES: u64 = 16 << 10;
/// Bytes of one request, beyond which another one is made.
const LARGE_REQUEST_BYTES: u64 = 4 << 20;

/// See the module.
#[derive(Debug)]
pub struct PendingLayer {
    layers: Layers,
    record: LayerRecord,
    directory: PathBuf,
    image: File,
    document: Document,
    chunks: Vec<Chunk>,
    present: Presence,
    windows: Windows,
    /// See [`PendingLayer::is_untrue`].
    untrue: AtomicBool,
}

/// What a layer that was not whole is now.
#[derive(Debug)]
pub enum Opened {
    /// It still lacks something.
    Pending(Box<PendingLayer>),
    /// It is whole: whoever filled it did not come to record it.
    Whole(LayerRecord),
    /// It is not there any more.
    Gone,
}

/// A part of the blob, and the chunks that are wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// In the blob.
    pub blob: Range<u64>,
    /// Places among the layer's chunks.
    pub chunks: Vec<usize>,
}

impl Layers {
    /// Lays a layer out from its table of contents, unless it is there already.
    ///
    /// # Errors
    /// What an unpacking of the same entries would fail with.
    pub fn lay_out(
        &self,
        diff_id: &Digest,
        origin: &Origin,
        mut toc: Toc,
        options: &UnpackOptions,
    ) -> Result<(Layer, Warnings), LazyError> {
        if let Some(layer) = self.get(diff_id)? {
            return Ok((layer, Warnings::default()));
        }
        // Data comes to where it is laid out, so it has the length that the table says.
        let options = &UnpackOptions {
            form: Form::Lazy,
            compression: Compression::None,
            ..options.clone()
        };
        let temporary = TemporaryDirectory::new(self.directory())?;
        let path = temporary.path();
        let dialect = toc.dialect;
        let points = std::mem::take(&mut toc.points);
        let content = crate::layer::make(options.form, temporary.as_fd(), &path)?;
        let write = unpack::write_options(diff_id, options);
        let outline = lay_out(toc, content.as_fd(), &write, &options.limits);
        let outline =
            outline.map_err(|refusal| LayerError::from(refusal.of_layer(&origin.digest)))?;
        let Outline {
            unpacked,
            chunks,
            entries,
        } = outline;
        let document = Document {
            origin: origin.clone(),
            dialect,
            entries,
        };
        document.write(&path.join(ORIGIN))?;
        chunk::write(&path.join(CHUNKS), &chunks)?;
        if dialect == Dialect::Gzip {
            Windows::write(&path.join(POINTS), &points)?;
        }
        Presence::create(&path.join(PRESENT), chunks.len(), &boot()?)?;
        Ok(self.publish(diff_id, temporary, unpacked, options)?)
    }

    /// Opens a layer that is recorded as not being whole.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub fn open_pending(&self, record: &LayerRecord) -> Result<Opened, LazyError> {
        let directory = self.path(record);
        let Some(described) = self.identify(&record.directory) else {
            return Ok(Opened::Gone);
        };
        if described.record.diff_id != record.diff_id {
            return Ok(Opened::Gone);
        }
        if described.record.form != Form::Lazy {
            remove_traces(&directory);
            return Ok(Opened::Whole(described.record));
        }
        let path = directory.join(IMAGE);
        let image = File::options().read(true).write(true).open(&path);
        let image = image.map_err(FileError::io("open", &path))?;
        let chunks = chunk::read(&directory.join(CHUNKS))?;
        let boot = boot()?;
        let (present, written) = Presence::open(&directory.join(PRESENT), chunks.len(), &boot)?;
        let document = Document::read(&directory.join(ORIGIN))?;
        let untrue = AtomicBool::new(directory.join(UNTRUE).exists());
        let pending = PendingLayer {
            untrue,
            layers: self.clone(),
            record: record.clone(),
            windows: match document.dialect {
                Dialect::Gzip => Windows::open(&directory.join(POINTS))?,
                _ => Windows::default(),
            },
            document,
            directory,
            image,
            chunks,
            present,
        };
        if written == Written::Earlier {
            let gone = pending.damaged();
            pending.present.renew(&gone, &boot)?;
        }
        Ok(Opened::Pending(Box::new(pending)))
    }

    /// How much of a layer is there, in bytes; `None`: it is whole, or gone.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub fn present_bytes(&self, record: &LayerRecord) -> Result<Option<u64>, LazyError> {
        if record.form != Form::Lazy {
            return Ok(None);
        }
        match self.open_pending(record) {
            Ok(Opened::Pending(layer)) => Ok(Some(layer.present_bytes())),
            Ok(Opened::Whole(_) | Opened::Gone) => Ok(None),
            // It became whole meanwhile.
            Err(_) if self.is_whole(record) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_whole(&self, record: &LayerRecord) -> bool {
        self.identify(&record.directory)
            .is_none_or(|described| described.record.form != Form::Lazy)
    }
}

impl PendingLayer {
    /// What is recorded of it.
    #[must_use]
    pub fn record(&self) -> &LayerRecord {
        &self.record
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.document.origin
    }

    /// Its image's file.
    #[must_use]
    pub fn image(&self) -> &File {
        &self.image
    }

    /// The path of its image.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(IMAGE)
    }

    /// Whether it still has its place in the store.
    #[must_use]
    pub fn is_there(&self) -> bool {
        let open = self.image.metadata();
        let named = std::fs::metadata(self.path());
        match (open, named) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    /// Whether its blob has been read to the end and is not what an index said of it. Nothing that has
    /// been laid out from that index is to be read any more.
    #[must_use]
    pub fn is_untrue(&self) -> bool {
        self.untrue.load(Ordering::Acquire)
    }

    /// In the order of the image.
    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.document.dialect
    }

    pub(super) fn entries(&self) -> &Digest {
        &self.document.entries
    }

    /// Bytes of files that are there.
    #[must_use]
    pub fn present_bytes(&self) -> u64 {
        let present = self.chunks.iter().enumerate();
        let present = present.filter(|(index, _)| self.present.has(*index));
        present.map(|(_, chunk)| u64::from(chunk.length)).sum()
    }

    /// Whether a chunk is there.
    #[must_use]
    pub fn has(&self, chunk: usize) -> bool {
        self.present.has(chunk)
    }

    /// The chunks that are missing of a part of the image.
    #[must_use]
    pub fn missing(&self, place: &Range<u64>) -> Vec<usize> {
        let first = self
            .chunks
            .partition_point(|chunk| chunk.place().end <= place.start);
        let within = |index: &usize| {
            let chunk = self.chunks.get(*index);
            chunk.is_some_and(|chunk| chunk.at < place.end)
        };
        let missing = |index: &usize| !self.present.has(*index);
        (first..).take_while(within).filter(missing).collect()
    }

    /// How to have chunks, which are given in order, with few requests.
    #[must_use]
    pub fn requests(&self, wanted: &[usize]) -> Vec<Request> {
        let mut requests: Vec<Request> = Vec::new();
        for &index in wanted {
            for before in self.on_the_way(index) {
                let is_asked = |last: &Request| last.chunks.last().is_some_and(|&l| l >= before);
                if !requests.last().is_some_and(is_asked) {
                    self.add(&mut requests, before);
                }
            }
            self.add(&mut requests, index);
        }
        // What comes right after is had along, if that is not much.
        if let (Some(last), Some(&index)) = (requests.last(), wanted.last())
            && last.blob.end - last.blob.start < REQUEST_BYTES
        {
            let count = requests.len();
            let limit = last.blob.start + REQUEST_BYTES;
            let missing = (index + 1..self.chunks.len()).filter(|&index| !self.present.has(index));
            for index in missing {
                let blob = &self.chunks[index].blob;
                let close = requests.last().is_some_and(|last| {
                    blob.end <= limit && blob.start >= last.blob.start && follows(last, blob)
                });
                if !close {
                    break;
                }
                self.add(&mut requests, index);
            }
            requests.truncate(count);
        }
        requests
    }

    /// The missing chunks that come out of the blob before another one, of the same part: they cost nothing.
    fn on_the_way(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let part = self.chunks.get(index).map(|chunk| chunk.blob.start);
        let is_same = |chunk: &Chunk| Some(chunk.blob.start) == part;
        let before = self.chunks.get(..index).unwrap_or_default();
        let first = index
            - before
                .iter()
                .rev()
                .take_while(|chunk| is_same(chunk))
                .count();
        (first..index).filter(|&before| !self.present.has(before))
    }

    fn add(&self, requests: &mut Vec<Request>, index: usize) {
        let Some(chunk) = self.chunks.get(index) else {
            return;
        };
        match requests.last_mut() {
            Some(last) if follows(last, &chunk.blob) => {
                last.blob.end = last.blob.end.max(chunk.blob.end);
                last.chunks.push(index);
            }
            _ => requests.push(Request {
                blob: chunk.blob.clone(),
                chunks: vec![index],
            }),
        }
    }

    /// Takes what a request has brought.
    ///
    /// # Errors
    /// [`LazyError::Damaged`], [`LazyError::WrongDigest`]: nothing of that chunk has been written.
    pub fn supply(&self, request: &Request, bytes: &[u8]) -> Result<(), LazyError> {
        let mut part: Option<(u64, Unpacking<'_>)> = None;
        for &index in &request.chunks {
            let Some(chunk) = self.chunks.get(index) else {
                continue;
            };
            let start = chunk.blob.start;
            // Several chunks may be in one part; one that goes back in it begins it again.
            let reader = match &mut part {
                Some((begun, reader)) if *begun == start && reader.done <= chunk.inner => reader,
                _ => {
                    let at = start.checked_sub(request.blob.start);
                    let at = at.and_then(|at| usize::try_from(at).ok());
                    let stored = at.and_then(|at| bytes.get(at..));
                    let stored = stored.ok_or_else(|| LazyError::Damaged("it is short".into()))?;
                    let boundary = self.windows.boundary(start)?;
                    let reader = Unpacking::new(self.dialect(), boundary.as_ref(), stored)?;
                    &mut part.insert((start, reader)).1
                }
            };
            self.put(index, &reader.take(chunk.inner, chunk.length)?)?;
        }
        Ok(())
    }

    /// Writes a chunk, if its bytes are right.
    pub(super) fn put(&self, index: usize, bytes: &[u8]) -> Result<(), LazyError> {
        let Some(chunk) = self.chunks.get(index) else {
            return Ok(());
        };
        chunk.check(bytes)?;
        if self.present.has(index) {
            return Ok(());
        }
        let written = self.image.write_all_at(bytes, chunk.at);
        written.map_err(FileError::io("write", &self.path()))?;
        Ok(self.present.set(index)?)
    }

    /// Reads the whole blob, and fills in what is missing. With the last byte the layer is whole, and
    /// what is recorded of it is to be replaced by what is returned. To be done by one at a time.
    ///
    /// # Errors
    /// [`LazyError::Layer`]: the blob, or the archive in it, is not the right one, or ends early. What
    /// was right has been kept.
    pub fn fill<R: Read + Send>(
        &self,
        bytes: R,
        options: &UnpackOptions,
    ) -> Result<LayerRecord, LazyError> {
        if self.is_untrue() {
            return Err(LazyError::Untrue);
        }
        let origin = self.origin();
        let source = LayerSource {
            digest: &origin.digest,
            size_bytes: Some(origin.size_bytes),
            media_type: &origin.media_type,
            diff_id: &self.record.diff_id,
        };
        let scratch = TemporaryDirectory::new(&self.directory)?;
        let target = Target::Pending(self);
        let unpacked = unpack::unpack(&source, bytes, target, scratch.as_fd(), options);
        unpacked.map_err(|error| self.judged(error))?;
        self.image
            .sync_data()
            .map_err(FileError::io("sync", &self.path()))?;
        let (from, to) = (scratch.path().join(RECORD), self.directory.join(RECORD));
        std::fs::rename(&from, &to).map_err(FileError::io("rename", &from))?;
        let record = LayerRecord {
            form: Form::Erofs,
            ..self.record.clone()
        };
        self.layers.redescribe(&record)?;
        Ok(record)
    }

    /// Remembers that an index has not told the truth.
    fn judged(&self, error: UnpackError) -> LazyError {
        let differs = matches!((&*error.problem, DIFFERS),
            (UnpackProblem::Archive(what), UnpackProblem::Archive(differs)) if *what == differs);
        if !differs || self.dialect().is_vouched_for() {
            return LayerError::from(error).into();
        }
        self.untrue.store(true, Ordering::Release);
        let path = self.directory.join(UNTRUE);
        match File::create(&path).map_err(FileError::io("write", &path)) {
            Ok(_) => LazyError::Untrue,
            Err(error) => error.into(),
        }
    }

    /// Takes away what only a layer that is not whole needs; to be called when it has been recorded as
    /// whole.
    pub fn finish(&self) {
        remove_traces(&self.directory);
    }

    /// Chunks that are said to be there, and are not what they should be.
    fn damaged(&self) -> Vec<usize> {
        let mut bytes = Vec::new();
        let is_damaged = |(index, chunk): &(usize, &Chunk)| {
            if !self.present.has(*index) {
                return false;
            }
            bytes.resize(chunk.length as usize, 0);
            let read = self.image.read_exact_at(&mut bytes, chunk.at);
            read.is_err() || chunk.check(&bytes).is_err()
        };
        let chunks = self.chunks.iter().enumerate();
        chunks.filter(is_damaged).map(|(index, _)| index).collect()
    }

    /// Reads every chunk that is there; gives how many are not what they should be.
    #[must_use]
    pub fn verify(&self) -> usize {
        self.damaged().len()
    }
}

impl AsFd for PendingLayer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.image.as_fd()
    }
}

/// What is there only until the layer is whole. What cannot be removed is of no harm.
fn remove_traces(directory: &Path) {
    for name in [ORIGIN, CHUNKS, PRESENT, POINTS, UNTRUE] {
        let _ = std::fs::remove_file(directory.join(name));
    }
}

/// Whether a part of the blob is better had with a request than by another one.
fn follows(request: &Request, blob: &Range<u64>) -> bool {
    let gap = blob.start.saturating_sub(request.blob.end);
    blob.start >= request.blob.start
        && gap <= GAP_BYTES
        && (request.blob.contains(&blob.start)
            || blob.end - request.blob.start <= LARGE_REQUEST_BYTES)
}
