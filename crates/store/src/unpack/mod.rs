//! A layer's compressed stream becomes a tree of files or an EROFS image, in one pass over the bytes.
//!
//! Three threads (`stream`): one reads and hashes, one decompresses, and the caller's hashes again, reads
//! the tar entries (`archive`, `entries`) and places them (`place`, [`crate::erofs`]). A bounded
//! channel of buffers lies between two. Both digests are compared at the end; until then the layer has a
//! temporary name.
//!
//! The archive is an attacker's. Nothing outside a tree's directory can be reached, because no
//! path is ever given to the kernel as a string with a directory in it, except to `openat2(2)`
//! with `RESOLVE_IN_ROOT` (see `directories`).

pub(crate) mod archive;
mod directories;
pub(crate) mod entries;
mod error;
pub(crate) mod header;
mod limits;
pub(crate) mod metadata;
pub(crate) mod pax;
pub(crate) mod place;
pub(crate) mod sparse;
mod stream;
mod whiteout;

use std::io::{BufRead, Read};
use std::os::fd::BorrowedFd;
use std::thread::ScopedJoinHandle;

use gamut_spec::digest::Digest;

use crate::erofs::{self, Compression, LayerSink, WriteOptions};
use crate::hash::Hasher;
use crate::layer::Form;
use crate::lazy::{FillSink, PendingLayer};
use crate::reproduce::tape::Tape;
use crate::seal::Sealing;
use entries::Refusal;
use stream::Format;

pub(crate) use archive::{Archive, Attributes, EntryKind};
pub(crate) use entries::{Place, clean};
pub use error::{UnpackError, UnpackProblem};
pub(crate) use header::BLOCK_BYTES;
pub use limits::Limits;
pub use metadata::{Warning, Warnings};
pub(crate) use pax::{Time, Xattr};
pub(crate) use place::write_file;
pub use whiteout::OpaqueXattr;

/// A layer as manifest and config describe it.
#[derive(Debug, Clone)]
pub struct LayerSource<'a> {
    /// The digest of the bytes as they come (the manifest's descriptor).
    pub digest: &'a Digest,
    /// Their number, where the descriptor is trusted to say it.
    pub size_bytes: Option<u64>,
    /// The descriptor's media type. It must be a layer's; how the bytes are compressed is read
    /// from their beginning, as Docker, containerd and Podman do.
    pub media_type: &'a str,
    /// The digest of the uncompressed tar (the config's `rootfs.diff_ids`).
    pub diff_id: &'a Digest,
}

/// How to unpack.
#[derive(Debug, Clone, Default)]
pub struct UnpackOptions {
    /// What an archive may ask of this host.
    pub limits: Limits,
    /// How an opaque directory is marked.
    pub opaque: OpaqueXattr,
    /// What the layer becomes.
    pub form: Form,
    /// What is done to files' data in an EROFS image.
    pub compression: Compression,
    /// How it is sealed then.
    pub sealing: Sealing,
}

/// The owner and mode of the root directory, where a layer's archive has an entry for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RootAttributes {
    /// Permission bits, at most 0o7777.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// What came out of an archive.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    /// Bytes of regular files.
    pub(crate) size_bytes: u64,
    /// Entries of the archive.
    pub(crate) entries: u64,
    /// See [`RootAttributes`].
    pub(crate) root: Option<RootAttributes>,
    /// Whether the layer hides everything below it.
    pub(crate) opaque_root: bool,
    /// What could not be reproduced.
    pub(crate) warnings: Warnings,
}

/// What the entries become.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'t> {
    /// A tree, in an empty directory.
    Tree(BorrowedFd<'t>),
    /// An EROFS image, in an empty file.
    Image(BorrowedFd<'t>),
    /// An EROFS image that has been laid out, and lacks data.
    Pending(&'t PendingLayer),
}

/// The digests of a stream that was read to its end.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    /// Bytes of the uncompressed archive.
    pub(crate) tar_bytes: u64,
}

/// Unpacks `bytes` and checks both digests.
///
/// `layer` is the directory that the target is in: the record of the archive goes there
/// ([`crate::reproduce`]), and a repair removes its `tmp-` entries.
pub(crate) fn unpack<R: Read + Send>(
    source: &LayerSource<'_>,
    bytes: R,
    target: Target<'_>,
    layer: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let failed = |problem| UnpackError::new(source.digest, None, problem);
    stream::check_media_type(source.media_type).map_err(failed)?;
    let (decoded, placed) = run(source, bytes, target, layer, options)?;
    if decoded.digest != *source.digest {
        let actual = decoded.digest;
        return Err(failed(UnpackProblem::WrongDigest { actual }));
    }
    // One that was refused has not been read to its end.
    let unpacked = placed
        .map_err(|refusal| UnpackError::new(source.digest, refusal.entry, refusal.problem))?;
    if decoded.diff_id != *source.diff_id {
        return Err(failed(UnpackProblem::WrongDiffId {
            expected: source.diff_id.clone(),
            actual: decoded.diff_id,
        }));
    }
    Ok(unpacked)
}

/// Unpacks a layer that is being made, whose digests nobody knows yet, and says what they are.
pub(crate) fn unpack_new<R: Read + Send>(
    bytes: R,
    target: Target<'_>,
    layer: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<(Unpacked, Decoded), UnpackError> {
    let nobody = Digest::Sha256([0; 32]);
    let source = LayerSource {
        digest: &nobody,
        size_bytes: None,
        media_type: "",
        diff_id: &nobody,
    };
    let (decoded, placed) =
        run(&source, bytes, target, layer, options).map_err(UnpackError::unnamed)?;
    let placed = placed
        .map_err(|refusal| UnpackError::new(&nobody, refusal.entry, refusal.problem).unnamed())?;
    if let Target::Image(file) = target {
        // The image is called after the diff id, which was not known when it was written.
        let stamped = erofs::stamp(file, erofs::uuid(&decoded.diff_id));
        let problem = UnpackProblem::at("name the image");
        stamped.map_err(|errno| UnpackError::new(&nobody, None, problem(errno)).unnamed())?;
    }
    Ok((placed, decoded))
}

/// The three threads, to the end of the stream. What is wrong with the bytes comes first: it is the
/// reason for whatever is wrong with the archive.
fn run<R: Read + Send>(
    source: &LayerSource<'_>,
    bytes: R,
    target: Target<'_>,
    layer: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<(Decoded, Result<Unpacked, Refusal>), UnpackError> {
    let failed = |problem| UnpackError::new(source.digest, None, problem);
    let (format, bytes) = Format::of(bytes).map_err(failed)?;
    // A plain tar is its own diff id; hashing it once is enough.
    let algorithm = source.diff_id.algorithm();
    let hash_once = format == Format::Plain && algorithm == source.digest.algorithm();
    let (compressed, compressed_sink) = stream::pipe(None);
    let (mut chunks, sink) = stream::pipe((!hash_once).then(|| Hasher::new(algorithm)));
    let limits = &options.limits;
    let (fetched, decoded, placed, tar) = std::thread::scope(|scope| {
        let fetcher = scope.spawn(move || stream::fetch(source, bytes, compressed_sink));
        let decoder = scope.spawn(move || stream::decode(format, compressed, limits, sink));
        let placed = place(&mut chunks, source, target, layer, options);
        // Whoever failed takes no more: that ends the decoder, and so the fetcher.
        let tar = chunks.finish();
        (joined(fetcher), joined(decoder), placed, tar)
    });
    let digest = match (decoded, fetched) {
        // Of what has come, all was right: why no more came is known to who fetched it.
        (Ok(()) | Err(UnpackProblem::Truncated { .. }), Err(problem)) => {
            return Err(failed(problem));
        }
        (Ok(()), Ok(digest)) => digest,
        // It stopped because nobody took its output any more.
        (Err(UnpackProblem::Stopped), _) if let Err(refusal) = placed => {
            return Err(UnpackError::new(
                source.digest,
                refusal.entry,
                refusal.problem,
            ));
        }
        (Err(problem), _) => return Err(failed(problem)),
    };
    let (tar_bytes, diff_id) = tar;
    let decoded = Decoded {
        diff_id: diff_id.unwrap_or_else(|| digest.clone()),
        digest,
        tar_bytes,
    };
    Ok((decoded, placed))
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Makes the entries of an archive what they are to be.
fn place(
    chunks: impl BufRead,
    source: &LayerSource<'_>,
    target: Target<'_>,
    layer: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<Unpacked, Refusal> {
    let limits = &options.limits;
    let tape = Tape::new(layer)?;
    match target {
        Target::Tree(into) => {
            let placer = place::Placer::new(into, layer, options)?;
            entries::read(chunks, limits, tape, placer)
        }
        Target::Image(file) => {
            let sink = LayerSink::new(file, &write_options(source.diff_id, options));
            let sink = sink.map_err(UnpackProblem::from)?;
            entries::read(chunks, limits, tape, sink)
        }
        Target::Pending(layer) => entries::read(chunks, limits, tape, FillSink::new(layer)),
    }
}

/// How a layer's image is written.
pub(crate) fn write_options(diff_id: &Digest, options: &UnpackOptions) -> WriteOptions {
    WriteOptions {
        inline_bytes: erofs::INLINE_BYTES,
        memory_bytes: options.limits.directory_memory_bytes,
        image_bytes: options.limits.unpacked_bytes,
        opaque: options.opaque,
        compression: options.compression,
        uuid: erofs::uuid(diff_id),
    }
}
