//! One layer: a tar archive built entry by entry, honest or not.

use super::{Blob, digest, seekable};
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// How a layer's bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Gzip,
    Zstd,
    /// gzip with a table of contents.
    Estargz,
    /// zstd with a table of contents.
    ZstdChunked,
}

/// A tar archive under construction. Entries are written exactly as told, in order.
pub struct Layer {
    tar: Builder<Vec<u8>>,
    /// Of the files so far. A hard link's entry repeats its file's mode: unpackers apply it to both names.
    modes: HashMap<String, u32>,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "Layer({} bytes)", self.tar.get_ref().len())
    }
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    pub fn new() -> Self {
        Self {
            tar: Builder::new(Vec::new()),
            modes: HashMap::new(),
        }
    }

    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, "", content.as_ref())
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, "", &[])
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, target, &[])
    }

    pub fn hardlink(self, path: &str, target: &str) -> Self {
        let mode = self.modes.get(target).copied().unwrap_or(0o644);
        self.entry(EntryType::Link, path, mode, target, &[])
    }

    /// Hides `path` of the layers below (OCI image spec, layer.md, "Whiteouts").
    pub fn whiteout(self, path: &str) -> Self {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let separator = if dir.is_empty() { "" } else { "/" };
        self.file(&format!("{dir}{separator}.wh.{name}"), 0o644, "")
    }

    /// Hides everything that the layers below have in `dir`.
    pub fn opaque(self, dir: &str) -> Self {
        self.file(&format!("{dir}/.wh..wh..opq"), 0o644, "")
    }

    /// A file with one extended attribute, as a PAX record of the kind `SCHILY.xattr.NAME`.
    pub fn file_with_xattr(mut self, path: &str, name: &str, value: &[u8]) -> Self {
        let key = format!("SCHILY.xattr.{name}");
        self.tar
            .append_pax_extensions([(key.as_str(), value)])
            .expect("writing to memory");
        self.file(path, 0o644, "marked")
    }

    /// An entry of any kind under any name, `../` and absolute ones included: up to 100 bytes, unchecked.
    pub fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        link: &str,
        content: &[u8],
    ) -> Self {
        self.modes.insert(path.to_owned(), mode);
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.tar
            .append(&header, content)
            .expect("writing to memory");
        self
    }

    /// A device node.
    pub fn device(mut self, path: &str, kind: EntryType, major: u32, minor: u32) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o666);
        header.set_size(0);
        header
            .set_device_major(major)
            .expect("a GNU header has devices");
        header
            .set_device_minor(minor)
            .expect("a GNU header has devices");
        header.set_cksum();
        self.tar
            .append(&header, io::empty())
            .expect("writing to memory");
        self
    }

    /// Everything below `tree`, with owners, times, hard links and file capabilities. In an overlayfs upper
    /// directory, what marks a deletion there becomes an OCI whiteout.
    pub fn tree(mut self, tree: &Path) -> io::Result<Self> {
        let mut links = HashMap::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(dir) = waiting.pop() {
            let mut names: Vec<_> = fs::read_dir(tree.join(&dir))?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<Result<_, _>>()?;
            names.sort();
            for name in names {
                let path = dir.join(name);
                if self.append_from(tree, &path, &mut links)? {
                    waiting.push(path);
                }
            }
        }
        Ok(self)
    }

    /// Appends one path of a tree; true if it is a directory.
    fn append_from(
        &mut self,
        tree: &Path,
        path: &Path,
        links: &mut HashMap<(u64, u64), PathBuf>,
    ) -> io::Result<bool> {
        let source = tree.join(path);
        let meta = fs::symlink_metadata(&source)?;
        let kind = meta.file_type();
        let mut header = Header::new_gnu();
        header.set_metadata(&meta);
        if kind.is_char_device() && meta.rdev() == 0 {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            self.tar.append_data(
                &mut header,
                path.with_file_name(format!(".wh.{name}")),
                io::empty(),
            )?;
        } else if kind.is_dir() {
            self.tar.append_data(&mut header, path, io::empty())?;
            if xattr(&source, "trusted.overlay.opaque").as_deref() == Some(b"y") {
                let mut header = Header::new_gnu();
                header.set_mode(0o644);
                self.tar
                    .append_data(&mut header, path.join(".wh..wh..opq"), io::empty())?;
            }
        } else if kind.is_symlink() {
            self.tar
                .append_link(&mut header, path, fs::read_link(&source)?)?;
        } else if let Some(first) = links.get(&(meta.dev(), meta.ino())) {
            header.set_entry_type(EntryType::Link);
            header.set_size(0);
            self.tar.append_link(&mut header, path, first)?;
        } else if kind.is_file() {
            if let Some(caps) = xattr(&source, "security.capability") {
                self.tar.append_pax_extensions([(
                    "SCHILY.xattr.security.capability",
                    caps.as_slice(),
                )])?;
            }
            self.tar
                .append_data(&mut header, path, fs::File::open(&source)?.take(meta.len()))?;
            if meta.nlink() > 1 {
                links.insert((meta.dev(), meta.ino()), path.to_owned());
            }
        }
        Ok(kind.is_dir())
    }

    /// The finished archive, not compressed.
    pub fn into_tar(self) -> Vec<u8> {
        self.tar.into_inner().expect("writing to memory")
    }
}

impl Compression {
    /// Packs a tar archive into a blob, and gives the digest of what that unpacks to.
    pub(super) fn pack(self, tar: &[u8], types: super::Types) -> (Blob, String) {
        let seekable = match self {
            Self::Estargz => Some(seekable::estargz(tar)),
            Self::ZstdChunked => Some(seekable::zstd_chunked(tar)),
            _ => None,
        };
        if let Some(packed) = seekable {
            let mut blob = Blob::new(types.layer(self), packed.bytes);
            blob.annotations = packed.annotations;
            return (blob, packed.diff_id);
        }
        let bytes = match self {
            Self::Plain => tar.to_vec(),
            Self::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::new(4));
                gzip.write_all(tar)
                    .and_then(|()| gzip.finish())
                    .expect("writing to memory")
            }
            _ => zstd::encode_all(tar, 3).expect("writing to memory"),
        };
        (Blob::new(types.layer(self), bytes), digest(tar))
    }
}

/// An extended attribute's value, if it is there and not longer than 256 bytes.
fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}
