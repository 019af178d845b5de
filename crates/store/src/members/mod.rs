//! The files of an image's archive by their names: `load`.
//!
//! An archive is a tar file, which is read where it lies; a stream or a compressed file, which is
//! kept in a nameless temporary file first; or a directory. Whatever it is, it is a stranger's: no
//! name in it ever becomes a path of the host. Of a tar, names are keys of a map, and links in it
//! are looked up in the same map; in a directory they are opened by `openat2(2)` with
//! `RESOLVE_BENEATH` and without links.

mod error;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gamut_spec::Digest;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub use error::MembersError;

use crate::decompress::{Format, decompressed, peek};
use crate::file_error::FileError;
use crate::hash::Hasher;
use crate::reproduce::tape::Tape;
use crate::unpack::{Archive, EntryKind, Limits, UnpackProblem};

/// Members of one archive: several for each layer of thousands of images.
pub const MEMBERS_LIMIT: usize = 1 << 17;
/// Bytes of all members' names.
pub const NAMES_LIMIT_BYTES: usize = 16 << 20;
/// How many links one name may lead through.
const LINKS_LIMIT: usize = 8;

/// An open archive. A clone can go to another thread.
#[derive(Debug, Clone)]
pub struct Members {
    source: Arc<Source>,
}

#[derive(Debug)]
enum Source {
    Tar {
        file: File,
        members: HashMap<Vec<u8>, Place>,
    },
    Directory {
        directory: OwnedFd,
        path: PathBuf,
    },
}

/// Where a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Data {
        offset: u64,
        size_bytes: u64,
    },
    /// It is another one: Docker once saved layers that two images share as links.
    Link(Vec<u8>),
}

/// One file, as a reader.
#[derive(Debug)]
pub struct Member {
    source: Arc<Source>,
    /// Of a directory's member.
    file: Option<File>,
    offset: u64,
    left: u64,
}

impl Members {
    /// Opens the archive at a path: a directory or a file. What has to be kept is kept in
    /// `temporary`, a directory, without a name.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn open(path: &Path, temporary: &Path) -> Result<Self, MembersError> {
        let failed = |errno| FileError::at("open", path)(errno);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Self {
                source: Arc::new(Source::Directory {
                    directory: file,
                    path: path.to_owned(),
                }),
            }),
            FileType::RegularFile => {
                let mut file = File::from(file);
                let (format, _) = peek(&file).map_err(MembersError::Stream)?;
                file.rewind().map_err(MembersError::Stream)?;
                match format {
                    Format::Plain => Self::of_tar(file),
                    _ => Self::of_stream(file, temporary),
                }
            }
            _ => Self::of_stream(File::from(file), temporary),
        }
    }

    /// Reads an archive to its end, keeping it in the directory `temporary`, without a name.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn of_stream(stream: impl Read + Send, temporary: &Path) -> Result<Self, MembersError> {
        let (format, stream) = peek(stream).map_err(MembersError::Stream)?;
        let stream = decompressed(format, stream).map_err(MembersError::Stream)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::open(temporary, flags, mode)
            .map_err(FileError::at("make a temporary file in", temporary))?;
        let mut file = File::from(file);
        let limit = Limits::default().unpacked_bytes;
        let copied = io::copy(&mut stream.take(limit + 1), &mut file);
        match copied {
            Ok(bytes) if bytes > limit => {
                return Err(MembersError::Limit {
                    what: "bytes of uncompressed data",
                    limit,
                });
            }
            Ok(_) => {}
            Err(error) if error.raw_os_error().is_some() => {
                return Err(FileError::io("write to a file in", temporary)(error).into());
            }
            Err(error) => return Err(MembersError::Stream(error)),
        }
        file.rewind().map_err(MembersError::Stream)?;
        Self::of_tar(file)
    }

    /// Learns where everything in a tar file is. Data is skipped, not read.
    fn of_tar(file: File) -> Result<Self, MembersError> {
        let size_bytes = file.metadata().map_err(MembersError::Stream)?.len();
        let limits = Limits::default();
        let input = BufReader::new(file.try_clone().map_err(MembersError::Stream)?);
        let mut archive = Archive::new(input, &limits, Tape::off());
        let mut members = HashMap::new();
        let mut names_bytes = 0;
        while let Some(entry) = archive.next().map_err(MembersError::Archive)? {
            let Ok(name) = crate::unpack::clean(&entry.path) else {
                continue;
            };
            names_bytes += name.len();
            over(members.len() >= MEMBERS_LIMIT, "files", MEMBERS_LIMIT)?;
            over(
                names_bytes > NAMES_LIMIT_BYTES,
                "bytes of names",
                NAMES_LIMIT_BYTES,
            )?;
            let place = match entry.kind {
                EntryKind::File { sparse: None } => {
                    let (input, length) = archive.take_data();
                    let offset = input.stream_position().map_err(MembersError::Stream)?;
                    let end = offset.checked_add(length).filter(|&end| end <= size_bytes);
                    let Some(_) = end else {
                        let what = "it ends in the middle of a file";
                        return Err(MembersError::Archive(UnpackProblem::Archive(what)));
                    };
                    let skip = i64::try_from(length).unwrap_or(i64::MAX);
                    input.seek_relative(skip).map_err(MembersError::Stream)?;
                    Place::Data {
                        offset,
                        size_bytes: length,
                    }
                }
                EntryKind::Symlink { target } => Place::Link(beside(&name, &target)),
                EntryKind::Hardlink { target } => Place::Link(beside(b"", &target)),
                _ => continue,
            };
            members.insert(name, place);
        }
        Ok(Self {
            source: Arc::new(Source::Tar { file, members }),
        })
    }

    /// Whether it is a directory, and no archive.
    pub fn is_directory(&self) -> bool {
        matches!(*self.source, Source::Directory { .. })
    }

    /// The file of this name; `None` if there is none.
    ///
    /// # Errors
    /// [`MembersError`].
    pub fn get(&self, name: &str) -> Result<Option<Member>, MembersError> {
        match &*self.source {
            Source::Tar { members, .. } => {
                let Ok(name) = crate::unpack::clean(name.as_bytes()) else {
                    return Ok(None);
                };
                let found = follow(members, name);
                Ok(found.map(|(offset, size_bytes)| Member {
                    source: Arc::clone(&self.source),
                    file: None,
                    offset,
                    left: size_bytes,
                }))
            }
            Source::Directory { directory, path } => {
                // O_NONBLOCK: opening whatever has that name must not wait.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                let file = rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve);
                let path = path.join(name);
                let file = match file {
                    Ok(file) => file,
                    Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                    Err(errno) => return Err(FileError::at("open", &path)(errno).into()),
                };
                let stat = rustix::fs::fstat(&file).map_err(FileError::at("look at", &path))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Ok(None);
                }
                Ok(Some(Member {
                    source: Arc::clone(&self.source),
                    file: Some(File::from(file)),
                    offset: 0,
                    left: u64::try_from(stat.st_size).unwrap_or(0),
                }))
            }
        }
    }

    /// The whole of a document, if it is what its digest says.
    ///
    /// # Errors
    /// As [`Members::read`], and [`MembersError::WrongDigest`].
    pub fn read_verified(
        &self,
        name: &str,
        expected: &Digest,
        limit_bytes: u64,
    ) -> Result<Vec<u8>, MembersError> {
        let content = self.read(name, limit_bytes)?;
        let actual = Hasher::of(expected.algorithm(), &content);
        match actual == *expected {
            true => Ok(content),
            false => Err(MembersError::WrongDigest {
                name: name.to_owned(),
                expected: expected.clone(),
                actual,
            }),
        }
    }

    /// The whole of a document.
    ///
    /// # Errors
    /// [`MembersError::NotFound`], [`MembersError::TooLarge`].
    pub fn read(&self, name: &str, limit_bytes: u64) -> Result<Vec<u8>, MembersError> {
        let missing = || MembersError::NotFound(name.to_owned());
        let mut member = self.get(name)?.ok_or_else(missing)?;
        if member.left > limit_bytes {
            return Err(MembersError::TooLarge {
                name: name.to_owned(),
                size_bytes: member.left,
                limit_bytes,
            });
        }
        let mut content = Vec::new();
        member
            .read_to_end(&mut content)
            .map_err(MembersError::Stream)?;
        Ok(content)
    }
}

impl Member {
    /// Bytes that are left to read; at first, its size.
    pub fn size_bytes(&self) -> u64 {
        self.left
    }

    /// How many bytes [`Member::decompressed`] gives: of a compressed one, all are read for that.
    ///
    /// # Errors
    /// When it cannot be read, or goes on past what a layer may have.
    pub fn plain_bytes(self) -> io::Result<u64> {
        let size_bytes = self.left;
        let (format, stream) = peek(self)?;
        if format == Format::Plain {
            return Ok(size_bytes);
        }
        let limit = Limits::default().unpacked_bytes;
        let stream = decompressed(format, stream)?;
        match io::copy(&mut stream.take(limit + 1), &mut io::sink())? {
            bytes if bytes > limit => Err(io::ErrorKind::FileTooLarge.into()),
            bytes => Ok(bytes),
        }
    }

    /// What it was before it was compressed, if it is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn decompressed(self) -> io::Result<Box<dyn Read + Send>> {
        let (format, stream) = peek(self)?;
        decompressed(format, stream)
    }
}

impl Read for Member {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        // At a place, not at the descriptor's: several threads may read at once.
        let count = match (&self.file, &*self.source) {
            (Some(file), _) | (None, Source::Tar { file, .. }) => {
                file.read_at(buffer, self.offset)?
            }
            (None, Source::Directory { .. }) => 0,
        };
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

fn over(is_over: bool, what: &'static str, limit: usize) -> Result<(), MembersError> {
    match is_over {
        false => Ok(()),
        true => Err(MembersError::Limit {
            what,
            limit: limit as u64,
        }),
    }
}

/// What a link in the archive leads to: names only, nothing is looked up. A link that leads up and
/// out leads to nothing.
fn beside(name: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = match target.first() {
        Some(b'/') => Vec::new(),
        _ => {
            let directory = crate::unpack::Place::new(name).parent;
            let parts = directory.split(|&byte| byte == b'/');
            parts.filter(|part| !part.is_empty()).collect()
        }
    };
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn follow(members: &HashMap<Vec<u8>, Place>, mut name: Vec<u8>) -> Option<(u64, u64)> {
    for _ in 0..LINKS_LIMIT {
        match members.get(&name)? {
            Place::Data { offset, size_bytes } => return Some((*offset, *size_bytes)),
            Place::Link(target) => name.clone_from(target),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{EntryKind as Packed, TarWriter};
    use crate::unpack::Attributes;
    use std::io::Write;

    fn archive() -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        let plain = Attributes {
            mode: 0o644,
            ..Attributes::default()
        };
        tar.file(b"./a/layer.tar", b"the first", &plain)
            .expect("written");
        tar.entry(b"b/layer.tar", Packed::Symlink(b"../a/layer.tar"), &plain)
            .expect("written");
        tar.entry(b"c", Packed::Hardlink(b"a/layer.tar"), &plain)
            .expect("written");
        tar.entry(b"loop", Packed::Symlink(b"loop"), &plain)
            .expect("written");
        tar.entry(b"out", Packed::Symlink(b"../../../etc/passwd"), &plain)
            .expect("written");
        tar.file(b"manifest.json", b"[]", &plain).expect("written");
        tar.finish().expect("finished")
    }

    fn text(members: &Members, name: &str) -> Option<String> {
        let mut member = members.get(name).expect("looked up")?;
        let mut text = String::new();
        member.read_to_string(&mut text).expect("read");
        Some(text)
    }

    #[test]
    fn members_are_found_in_files_and_streams_plain_and_compressed() {
        let directory = tempfile::tempdir().expect("a directory");
        let plain = archive();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("compressed");
        let packings = [
            plain.clone(),
            gzip.finish().expect("compressed"),
            zstd::stream::encode_all(plain.as_slice(), 1).expect("compressed"),
        ];
        for bytes in packings {
            let path = directory.path().join("archive");
            std::fs::write(&path, &bytes).expect("written");
            for members in [
                Members::open(&path, directory.path()).expect("opened"),
                Members::of_stream(bytes.as_slice(), directory.path()).expect("read"),
            ] {
                for name in ["a/layer.tar", "b/layer.tar", "c", "./a//layer.tar"] {
                    assert_eq!(text(&members, name).as_deref(), Some("the first"), "{name}");
                }
                assert_eq!(members.read("manifest.json", 2).expect("read"), b"[]");
                for name in ["loop", "out", "none", "../a/layer.tar", "a"] {
                    assert_eq!(text(&members, name), None, "{name}");
                }
                let large = members.read("manifest.json", 1).expect_err("refused");
                assert!(matches!(large, MembersError::TooLarge { .. }), "{large}");
            }
        }
        let left = std::fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(left, 1, "nothing but the archive");
    }

    #[test]
    fn a_directory_is_not_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let inside = directory.path().join("in");
        std::fs::create_dir_all(inside.join("blobs")).expect("made");
        std::fs::write(inside.join("blobs/x"), "x").expect("written");
        std::fs::write(directory.path().join("secret"), "s").expect("written");
        std::os::unix::fs::symlink("../secret", inside.join("link")).expect("linked");
        let members = Members::open(&inside, directory.path()).expect("opened");
        assert_eq!(text(&members, "blobs/x").as_deref(), Some("x"));
        assert_eq!(text(&members, "blobs"), None);
        assert!(members.get("link").is_err());
        assert!(members.get("../secret").is_err());
    }

    #[test]
    fn a_cut_archive_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let bytes = archive();
        for length in [100, 512 + 4, 700] {
            let cut = Members::of_stream(&bytes[..length], directory.path());
            assert!(matches!(cut, Err(MembersError::Archive(_))), "{length}");
        }
    }
}
