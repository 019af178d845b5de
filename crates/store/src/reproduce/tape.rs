//! The writer: what passes through the reader of an archive, except files' contents.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use zstd::stream::write::Encoder;

use super::aside::Aside;
use super::{
    BESIDE_INODE, COMPRESSED, END, GONE, IN_BLOCKS, IN_FILE, Kept, MAX_PATH_BYTES, MAX_RAW_BYTES,
    METADATA, RAW, RECORD,
};
use crate::tree;
use crate::unpack::UnpackProblem;

/// Headers of tar are mostly zeros and repetitions: the fastest level leaves a thirtieth of them.
const LEVEL: i32 = 1;

/// The record of one archive in the making. See the module above.
pub(crate) struct Tape<'d> {
    /// The layer's directory, and the record in it. `None`: nothing is to be recorded.
    layer: Option<(BorrowedFd<'d>, Encoder<'static, File>)>,
    /// Plain bytes that are still to be written.
    raw: Vec<u8>,
    /// The item being put together.
    item: Vec<u8>,
    /// Files that have been replaced; mostly there are none.
    aside: Option<Aside>,
}

impl std::fmt::Debug for Tape<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape")
            .field("aside", &self.aside)
            .finish_non_exhaustive()
    }
}

impl<'d> Tape<'d> {
    /// Begins a record in a layer's directory.
    pub(crate) fn new(directory: BorrowedFd<'d>) -> Result<Self, UnpackProblem> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, RECORD, flags, Mode::RUSR | Mode::WUSR)
            .map_err(UnpackProblem::at(WRITE))?;
        Ok(Self {
            layer: Some((
                directory,
                Encoder::new(File::from(file), LEVEL).map_err(failed)?,
            )),
            raw: Vec::with_capacity(MAX_RAW_BYTES),
            item: Vec::new(),
            aside: None,
        })
    }

    /// Of an archive that becomes no layer, nothing is recorded.
    pub(crate) fn off() -> Self {
        Self {
            layer: None,
            raw: Vec::new(),
            item: Vec::new(),
            aside: None,
        }
    }

    /// Bytes of the archive that are in no file.
    pub(crate) fn raw(&mut self, mut bytes: &[u8]) -> Result<(), UnpackProblem> {
        if self.layer.is_none() {
            return Ok(());
        }
        while !bytes.is_empty() {
            let count = bytes.len().min(MAX_RAW_BYTES - self.raw.len());
            self.raw.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if self.raw.len() == MAX_RAW_BYTES {
                self.flush_raw()?;
            }
        }
        Ok(())
    }

    /// The archive's next `length` bytes, and where they are kept.
    pub(crate) fn content(&mut self, kept: Kept<&[u8]>, length: u64) -> Result<(), UnpackProblem> {
        if length == 0 || self.layer.is_none() {
            return Ok(());
        }
        let offset = match kept {
            Kept::InFile(path, offset) => {
                self.begin_with_path(IN_FILE, path)?;
                offset
            }
            Kept::InBlocks(start) => {
                self.begin(IN_BLOCKS)?;
                start
            }
            Kept::BesideInode(start) => {
                self.begin(BESIDE_INODE)?;
                start
            }
            Kept::Compressed(inode) => {
                self.begin(COMPRESSED)?;
                inode
            }
        };
        number(&mut self.item, offset);
        number(&mut self.item, length);
        self.write_item()
    }

    /// The metadata of an EROFS image goes on at the block `at`, when there have been `before` blocks
    /// of it.
    pub(crate) fn metadata(&mut self, before: u32, at: u32) -> Result<(), UnpackProblem> {
        self.begin(METADATA)?;
        number(&mut self.item, before.into());
        number(&mut self.item, at.into());
        self.write_item()
    }

    /// `name` in `parent`, together `path`, is about to be removed: the contents in it, or of all
    /// files below it, are put aside.
    pub(crate) fn rescue(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
    ) -> Result<(), UnpackProblem> {
        let look = "look at what is replaced";
        let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(UnpackProblem::at(look)(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_size > 0 => self.put_aside(parent, name, path),
            FileType::Directory => self.rescue_below(parent, name, path),
            _ => Ok(()),
        }
    }

    fn rescue_below(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
    ) -> Result<(), UnpackProblem> {
        let look = "look at what is replaced";
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::openat(parent, name, flags, Mode::empty())
            .map_err(UnpackProblem::at(look))?;
        let mut files = Vec::new();
        tree::names(top.as_fd(), |below, stat| {
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::RegularFile && stat.st_size > 0 {
                files.push(below.to_vec());
            }
        })
        .map_err(UnpackProblem::at(look))?;
        for below in files {
            let whole = [path, b"/", &below].concat();
            let (directory, name) = split(&below);
            let directory =
                tree::open_beneath(top.as_fd(), directory).map_err(UnpackProblem::at(look))?;
            self.put_aside(directory.as_fd(), OsStr::from_bytes(name), &whole)?;
        }
        Ok(())
    }

    fn put_aside(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &[u8],
    ) -> Result<(), UnpackProblem> {
        let Some((directory, _)) = &self.layer else {
            return Ok(());
        };
        let aside = match &mut self.aside {
            Some(aside) => aside,
            none => none.insert(Aside::new(*directory).map_err(UnpackProblem::at(ASIDE))?),
        };
        aside.take(parent, name).map_err(UnpackProblem::at(ASIDE))?;
        self.begin_with_path(GONE, path)?;
        self.write_item()
    }

    /// Ends the record.
    pub(crate) fn finish(mut self) -> Result<(), UnpackProblem> {
        if let Some(aside) = &self.aside {
            aside.part_from_tree().map_err(UnpackProblem::at(ASIDE))?;
        }
        self.flush_raw()?;
        let Some((_, mut record)) = self.layer else {
            return Ok(());
        };
        record.write_all(&[END]).map_err(failed)?;
        record.finish().map(drop).map_err(failed)
    }

    fn write_item(&mut self) -> Result<(), UnpackProblem> {
        match &mut self.layer {
            Some((_, record)) => record.write_all(&self.item).map_err(failed),
            None => Ok(()),
        }
    }

    /// An item; what comes before it is written.
    fn begin(&mut self, tag: u8) -> Result<(), UnpackProblem> {
        self.flush_raw()?;
        self.item.clear();
        self.item.push(tag);
        Ok(())
    }

    fn begin_with_path(&mut self, tag: u8, path: &[u8]) -> Result<(), UnpackProblem> {
        if path.len() > MAX_PATH_BYTES {
            return Err(UnpackProblem::Limit {
                what: "bytes in a path",
                limit: MAX_PATH_BYTES as u64,
            });
        }
        self.begin(tag)?;
        number(&mut self.item, path.len() as u64);
        self.item.extend_from_slice(path);
        Ok(())
    }

    fn flush_raw(&mut self) -> Result<(), UnpackProblem> {
        if self.raw.is_empty() {
            return Ok(());
        }
        self.item.clear();
        self.item.push(RAW);
        number(&mut self.item, self.raw.len() as u64);
        self.item.extend_from_slice(&self.raw);
        self.raw.clear();
        self.write_item()
    }
}

const ASIDE: &str = "put a replaced file aside";
const WRITE: &str = "write the record of the archive";

fn failed(error: io::Error) -> UnpackProblem {
    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    UnpackProblem::at(WRITE)(errno)
}

/// LEB128.
fn number(item: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        item.push(value as u8 | 0x80);
        value >>= 7;
    }
    item.push(value as u8);
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
