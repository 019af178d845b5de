//! For the fuzz targets only: the parts of unpacking without digests, compression and a store.

use std::io;
use std::os::fd::BorrowedFd;

use gamut_spec::digest::Algorithm;

use crate::erofs::{self, Compression, LayerSink};
use crate::hash::Hasher;
use crate::layer::Form;
use crate::reproduce::Reproduction;
use crate::reproduce::tape::Tape;
use crate::unpack::entries::{self, Refusal};
use crate::unpack::pax::PaxRecords;
use crate::unpack::{Limits, OpaqueXattr, UnpackOptions, UnpackProblem, Unpacked, place};

pub use crate::lazy::fuzzing as lazy;

/// Limits at which a small input stays small.
pub fn limits() -> Limits {
    Limits {
        unpacked_bytes: 1 << 20,
        entries: 1000,
        directory_memory_bytes: 1 << 20,
        ..Limits::default()
    }
}

/// Makes a plain tar into an EROFS image, in an empty file. `layer` is an empty directory, for the
/// record.
pub fn image(
    tar: &[u8],
    compression: Compression,
    file: BorrowedFd<'_>,
    layer: BorrowedFd<'_>,
) -> Result<Outcome, String> {
    let limits = limits();
    let options = erofs::WriteOptions {
        inline_bytes: erofs::INLINE_BYTES,
        memory_bytes: limits.directory_memory_bytes,
        image_bytes: 16 << 20,
        opaque: OpaqueXattr::Trusted,
        compression,
        uuid: [0; 16],
    };
    let write = || -> Result<_, Refusal> {
        let sink = LayerSink::new(file, &options).map_err(UnpackProblem::from)?;
        entries::read(tar, &limits, Tape::new(layer)?, sink)
    };
    write().map_or_else(refused, Outcome::of)
}

/// Unpacks a plain tar into an empty directory; `layer` is the one above.
pub fn tree(tar: &[u8], into: BorrowedFd<'_>, layer: BorrowedFd<'_>) -> Result<Outcome, String> {
    let options = UnpackOptions {
        limits: limits(),
        ..UnpackOptions::default()
    };
    let unpack = || -> Result<_, Refusal> {
        let tape = Tape::new(layer)?;
        let placer = place::Placer::new(into, layer, &options)?;
        entries::read(tar, &options.limits, tape, placer)
    };
    unpack().map_or_else(refused, Outcome::of)
}

/// Whether the archive that a layer was made of comes out of it again.
pub fn reproduce(tar: &[u8], form: Form, layer: BorrowedFd<'_>) -> Result<(), String> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(tar);
    let played = Reproduction::open(layer, form, &hasher.finish())
        .map_err(io::Error::from)
        .and_then(|mut reproduction| io::copy(&mut reproduction, &mut io::sink()));
    played.map(drop).map_err(|error| error.to_string())
}

/// Reads the records of an extended header.
pub fn pax(records: &[u8]) {
    let _ = PaxRecords::parse(records);
}

/// What unpacking an archive came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of regular files.
    pub size_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// There is an entry for the root.
    pub has_root: bool,
    /// It hides everything below it.
    pub opaque_root: bool,
    /// What could not be reproduced.
    pub warnings: u64,
}

impl Outcome {
    fn of(unpacked: Unpacked) -> Result<Self, String> {
        Ok(Self {
            size_bytes: unpacked.size_bytes,
            entries: unpacked.entries,
            has_root: unpacked.root.is_some(),
            opaque_root: unpacked.opaque_root,
            warnings: unpacked.warnings.count,
        })
    }
}

fn refused(refusal: Refusal) -> Result<Outcome, String> {
    Err(refusal.problem.to_string())
}
