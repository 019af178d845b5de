//! A table of contents becomes an image without data. Every file has blocks of its own, small ones too:
//! what is beside an inode is read with it, and would have to be there first.

use std::os::fd::BorrowedFd;

use super::chunk::Chunk;
use super::summary::Summary;
use super::toc::{Piece, Toc};
use crate::erofs::{LayerSink, WriteOptions};
use crate::unpack::archive::{Attributes, EntryKind};
use crate::unpack::entries::{Marks, Place, Refusal, dispatch};
use crate::unpack::{Limits, UnpackProblem, Unpacked};
use gamut_spec::digest::Digest;

/// What came of it.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) unpacked: Unpacked,
    /// In the order of the image.
    pub(super) chunks: Vec<Chunk>,
    /// See [`Summary`].
    pub(super) entries: Digest,
}

/// Writes the image of all that `toc` has into an empty file.
pub(super) fn lay_out(
    toc: Toc,
    file: BorrowedFd<'_>,
    options: &WriteOptions,
    limits: &Limits,
) -> Result<Outline, Refusal> {
    let mut drawing = Drawing {
        sink: LayerSink::new(file, options).map_err(UnpackProblem::from)?,
        chunks: Vec::new(),
        summary: Summary::new(toc.dialect),
    };
    let mut unpacked = Unpacked::default();
    for entry in toc.entries {
        let (bytes, pieces) = (entry.bytes, entry.pieces);
        check(&entry.entry.path, limits)?;
        dispatch(
            entry.entry,
            limits,
            &mut drawing,
            &mut unpacked,
            |drawing, place, kind, attributes| drawing.put(place, kind, attributes, bytes, pieces),
        )?;
    }
    let (size_bytes, warnings, _) = drawing.sink.finish_image()?;
    Ok(Outline {
        unpacked: Unpacked {
            size_bytes,
            warnings,
            ..unpacked
        },
        chunks: drawing.chunks,
        entries: drawing.summary.finish(),
    })
}

fn check(path: &[u8], limits: &Limits) -> Result<(), Refusal> {
    match path.len() > limits.path_bytes {
        true => Err(UnpackProblem::Limit {
            what: "bytes in a path",
            limit: limits.path_bytes as u64,
        }
        .into()),
        false => Ok(()),
    }
}

#[derive(Debug)]
struct Drawing<'f> {
    sink: LayerSink<'f>,
    chunks: Vec<Chunk>,
    summary: Summary,
}

impl Drawing<'_> {
    fn put(
        &mut self,
        place: Place<'_>,
        kind: EntryKind,
        attributes: Attributes,
        bytes: u64,
        pieces: Vec<Piece>,
    ) -> Result<(), UnpackProblem> {
        self.summary.add(place.path, &kind, bytes, &attributes);
        let chunks = &mut self.chunks;
        self.sink
            .put(place, kind, attributes, |sink, _, attributes| {
                let (slot, mut at) = sink.hole(bytes, attributes)?;
                for piece in pieces {
                    let length = piece.length;
                    chunks.push(Chunk {
                        blob: piece.blob,
                        inner: piece.inner,
                        at,
                        length,
                        digest: piece.digest,
                    });
                    at += u64::from(length);
                }
                Ok(slot)
            })
    }
}

impl Marks for Drawing<'_> {
    fn root(&mut self, attributes: Attributes) -> Result<(), UnpackProblem> {
        self.summary.root(&attributes);
        self.sink.root(attributes)
    }

    fn hide(&mut self, place: Place<'_>) -> Result<(), UnpackProblem> {
        self.summary.hide(place.parent, place.name);
        self.sink.hide(place)
    }

    fn hide_all(&mut self, path: &[u8]) -> Result<(), UnpackProblem> {
        self.summary.hide(path, b"");
        self.sink.hide_all(path)
    }
}
