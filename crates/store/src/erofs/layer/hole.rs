//! Files of lazy layers: their data comes later.

use super::LayerSink;
use crate::erofs::format::FileType;
use crate::erofs::image::Content;
use crate::erofs::records::Slot;

use crate::unpack::UnpackProblem;
use crate::unpack::archive::Attributes;

impl LayerSink<'_> {
    /// A file whose data comes later, and where in the image it goes: whole blocks, left out.
    pub(crate) fn hole(
        &mut self,
        bytes: u64,
        attributes: &Attributes,
    ) -> Result<(Slot, u64), UnpackProblem> {
        self.size_bytes += bytes;
        if bytes == 0 {
            let slot = self.image.add(FileType::File, attributes, Content::Empty)?;
            return Ok((slot, 0));
        }
        let first = self.image.out.block()?;
        let at = self.image.out.position();
        self.image.out.leave_out(bytes)?;
        let content = Content::Blocks { first, bytes };
        Ok((self.image.add(FileType::File, attributes, content)?, at))
    }
}
