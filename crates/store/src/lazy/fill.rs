//! The whole archive, read into an image that has been laid out from its table of contents: files are
//! met in the same order, so the next chunks are the next file's.

use std::io::BufRead;

use super::LazyError;
use super::pending::PendingLayer;
use super::summary::Summary;
use crate::reproduce::Kept;
use crate::reproduce::tape::Tape;
use crate::unpack::UnpackProblem;
use crate::unpack::archive::{Archive, Attributes, EntryKind};
use crate::unpack::entries::{Marks, Place, Refusal, Sink};
use crate::unpack::metadata::Warnings;

/// The archive is not what it was said to be.
pub(super) const DIFFERS: UnpackProblem =
    UnpackProblem::Archive("it is not what the layer's table of contents says");

/// See the module.
#[derive(Debug)]
pub(crate) struct FillSink<'l> {
    layer: &'l PendingLayer,
    summary: Summary,
    /// The chunk that comes next.
    next: usize,
    /// A chunk's bytes, until they have been verified.
    bytes: Vec<u8>,
    size_bytes: u64,
    /// It is known not to be what an index said: it is read on, to know whether it is the right archive.
    differs: bool,
}

impl<'l> FillSink<'l> {
    pub(crate) fn new(layer: &'l PendingLayer) -> Self {
        Self {
            layer,
            summary: Summary::new(layer.dialect()),
            next: 0,
            bytes: Vec::new(),
            size_bytes: 0,
            differs: false,
        }
    }

    /// The archive is not what was said. If the image's manifest vouches for that, it is over.
    fn differ(&mut self) -> Result<(), UnpackProblem> {
        self.differs = true;
        match self.layer.dialect().is_vouched_for() {
            true => Err(DIFFERS),
            false => Ok(()),
        }
    }

    fn file(
        &mut self,
        bytes: u64,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem> {
        self.size_bytes += bytes;
        let mut left = bytes;
        while left > 0 && !self.differs {
            let chunk = self.layer.chunks().get(self.next);
            let Some(chunk) = chunk.filter(|chunk| u64::from(chunk.length) <= left) else {
                return self.differ();
            };
            left -= u64::from(chunk.length);
            archive
                .tape()
                .content(Kept::InBlocks(chunk.at), chunk.length.into())?;
            self.bytes.clear();
            archive.data_run(chunk.length.into(), &mut |piece: &[u8]| {
                self.bytes.extend_from_slice(piece);
                Ok(())
            })?;
            match self.layer.put(self.next, &self.bytes) {
                Ok(()) => self.next += 1,
                Err(LazyError::File(error)) => {
                    return Err(UnpackProblem::at("fill the image")(error.errno));
                }
                Err(_) => self.differ()?,
            }
        }
        Ok(())
    }
}

impl Marks for FillSink<'_> {
    fn root(&mut self, attributes: Attributes) -> Result<(), UnpackProblem> {
        self.summary.root(&attributes);
        Ok(())
    }

    fn hide(&mut self, place: Place<'_>) -> Result<(), UnpackProblem> {
        self.summary.hide(place.parent, place.name);
        Ok(())
    }

    fn hide_all(&mut self, path: &[u8]) -> Result<(), UnpackProblem> {
        self.summary.hide(path, b"");
        Ok(())
    }
}

impl Sink for FillSink<'_> {
    fn place(
        &mut self,
        place: Place<'_>,
        kind: EntryKind,
        attributes: Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem> {
        let bytes = match &kind {
            // Tables of contents have no holes.
            EntryKind::File { sparse: Some(_) } => return self.differ(),
            EntryKind::File { sparse: None } => archive.data_bytes(),
            _ => 0,
        };
        self.summary.add(place.path, &kind, bytes, &attributes);
        self.file(bytes, archive)
    }

    fn finish(self, _: &mut Tape<'_>) -> Result<(u64, Warnings), Refusal> {
        let is_less = self.next < self.layer.chunks().len();
        if self.differs || is_less || self.summary.finish() != *self.layer.entries() {
            return Err(DIFFERS.into());
        }
        // What could not be reproduced was said when the image was laid out.
        Ok((self.size_bytes, Warnings::default()))
    }
}
