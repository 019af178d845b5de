//! A layer's compressed stream becomes a directory, in one pass over the bytes.
//!
//! Two threads: `stream` reads, hashes, decompresses and hashes again; the caller's thread reads
//! the tar entries (`archive`) and places them (`place`). A bounded channel of buffers lies
//! between. Both digests are compared at the end; until then the directory has a temporary name.
//!
//! The archive is an attacker's. Nothing outside the layer's directory can be reached, because no
//! path is ever given to the kernel as a string with a directory in it, except to `openat2(2)`
//! with `RESOLVE_IN_ROOT` (see `directories`).

mod archive;
mod directories;
mod error;
mod header;
mod limits;
mod metadata;
mod pax;
mod place;
mod stream;
mod whiteout;

use std::io::Read;
use std::os::fd::BorrowedFd;

use gamut_spec::digest::Digest;

pub use error::{UnpackError, UnpackProblem};
pub use limits::Limits;
pub use metadata::{Warning, Warnings};
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
#[derive(Debug)]
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

/// Unpacks `bytes` into the empty directory `into`, and checks both digests.
///
/// `trash` is a directory on the same file system whose `tmp-` entries a repair removes.
pub(crate) fn unpack<R: Read + Send>(
    source: &LayerSource<'_>,
    bytes: R,
    into: BorrowedFd<'_>,
    trash: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let failed = |problem| UnpackError::new(source.digest, None, problem);
    stream::check_media_type(source.media_type).map_err(failed)?;
    let (chunks, sink) = stream::pipe();
    let limits = &options.limits;
    let (decoded, placed) = std::thread::scope(|scope| {
        let decoder = scope.spawn(move || stream::decode(source, bytes, limits, sink));
        let placed = place::archive(chunks, into, trash, options);
        match decoder.join() {
            Ok(decoded) => (decoded, placed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    judge(source, decoded, placed)
}

/// Both threads' results as one. What is wrong with the bytes comes first: it is the reason for
/// whatever is wrong with the archive.
fn judge(
    source: &LayerSource<'_>,
    decoded: Result<stream::Decoded, UnpackProblem>,
    placed: Result<Unpacked, place::Refusal>,
) -> Result<Unpacked, UnpackError> {
    let failed = |problem| UnpackError::new(source.digest, None, problem);
    let refused =
        |refusal: place::Refusal| UnpackError::new(source.digest, refusal.entry, refusal.problem);
    let decoded = match (decoded, placed) {
        // The decoder stopped because nobody took its output any more.
        (Err(UnpackProblem::Stopped), Err(refusal)) => return Err(refused(refusal)),
        (Err(problem), _) => return Err(failed(problem)),
        (Ok(decoded), placed) => (decoded, placed),
    };
    let (decoded, placed) = decoded;
    if decoded.digest != *source.digest {
        let actual = decoded.digest;
        return Err(failed(UnpackProblem::WrongDigest { actual }));
    }
    if decoded.diff_id != *source.diff_id {
        return Err(failed(UnpackProblem::WrongDiffId {
            expected: source.diff_id.clone(),
            actual: decoded.diff_id,
        }));
    }
    placed.map_err(refused)
}
