//! The files of an EROFS image.

use super::files::{Difference, Facts, Files, by_name};
use crate::erofs::format::FileType;
use crate::erofs::read::{Follow, Image, Inode, ReadError, Source, Walk};

/// See the module.
#[derive(Debug)]
pub(super) struct ImageFiles<S>(pub(super) Image<S>);

impl<S: Source> Files for ImageFiles<S> {
    type Open = Inode;

    fn names(
        &self,
        mut visit: impl FnMut(&[u8]) -> Result<(), Difference>,
    ) -> Result<(), Difference> {
        let failed = |error: ReadError| Difference::other(&error);
        for found in Walk::new(&self.0).map_err(failed)? {
            visit(&found.map_err(failed)?.path)?;
        }
        Ok(())
    }

    fn facts(&self, path: &[u8]) -> Result<Option<Facts>, Difference> {
        let failed = |error: ReadError| Difference::at(path, error);
        let inode = match self.0.resolve(path, Follow::Never) {
            Ok(inode) => inode,
            Err(ReadError::NotFound(_) | ReadError::NotADirectory(_)) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        Ok(Some(Facts {
            mode: u32::from(inode.kind.mode_bits()) | u32::from(inode.mode),
            owner: (inode.uid, inode.gid),
            mtime: Some(inode.mtime),
            size_bytes: match inode.kind {
                FileType::File => inode.size,
                _ => 0,
            },
            device: inode.device,
            target: match inode.kind {
                FileType::Symlink => self.0.link_target(&inode).map_err(failed)?,
                _ => Vec::new(),
            },
            xattrs: by_name(self.0.xattrs(&inode).map_err(failed)?),
            inode: inode.nid,
            links: inode.links,
        }))
    }

    fn open(&self, path: &[u8]) -> Result<Inode, Difference> {
        let inode = self.0.resolve(path, Follow::Never);
        inode.map_err(|error| Difference::at(path, error))
    }

    fn read(
        &self,
        path: &[u8],
        file: &Inode,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(), Difference> {
        match self.0.read_at(file, buffer, offset) {
            Ok(count) if count == buffer.len() => Ok(()),
            Ok(_) => Err(Difference::at(path, "it is shorter than it says")),
            Err(error) => Err(Difference::at(path, error)),
        }
    }
}
