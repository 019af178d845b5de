//! What all entries of a layer say, as one digest: the table of contents is believed before the archive
//! has been seen, and afterwards must have said the same.

use gamut_spec::digest::{Algorithm, Digest};

use super::toc::Dialect;
use crate::hash::Hasher;
use crate::unpack::archive::{Attributes, EntryKind};

/// See the module.
#[derive(Debug)]
pub(super) struct Summary {
    hasher: Hasher,
    dialect: Dialect,
}

impl Summary {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            hasher: Hasher::new(Algorithm::Sha256),
            dialect,
        }
    }

    /// An entry that is neither a whiteout nor the root. `bytes` are a file's.
    pub(super) fn add(
        &mut self,
        path: &[u8],
        kind: &EntryKind,
        bytes: u64,
        attributes: &Attributes,
    ) {
        let nothing = &b""[..];
        let (tag, target, number) = match kind {
            EntryKind::File { .. } => (b'-', nothing, bytes),
            EntryKind::Directory => (b'd', nothing, 0),
            EntryKind::Symlink { target } => (b'l', &target[..], 0),
            EntryKind::Hardlink { target } => (b'h', &target[..], 0),
            EntryKind::CharacterDevice { major, minor } => (b'c', nothing, join(*major, *minor)),
            EntryKind::BlockDevice { major, minor } => (b'b', nothing, join(*major, *minor)),
            EntryKind::Fifo => (b'p', nothing, 0),
        };
        self.text(&[tag]);
        self.text(path);
        self.text(target);
        self.number(number);
        // A further name has nothing of its own.
        if tag != b'h' {
            self.attributes(attributes);
        }
    }

    /// The root.
    pub(super) fn root(&mut self, attributes: &Attributes) {
        self.text(b"/");
        self.attributes(attributes);
    }

    /// A whiteout, of everything if it has no name.
    pub(super) fn hide(&mut self, path: &[u8], name: &[u8]) {
        self.text(b"w");
        self.text(path);
        self.text(name);
    }

    pub(super) fn finish(self) -> Digest {
        self.hasher.finish()
    }

    fn attributes(&mut self, attributes: &Attributes) {
        self.number(attributes.mode.into());
        self.number(attributes.uid.into());
        self.number(attributes.gid.into());
        let (seconds, nanoseconds) = self.dialect.time(attributes.mtime);
        self.number(seconds.cast_unsigned());
        self.number(nanoseconds.into());
        let mut xattrs: Vec<_> = attributes.xattrs.iter().collect();
        xattrs.sort();
        self.number(xattrs.len() as u64);
        for (name, value) in xattrs {
            self.text(name);
            self.text(value);
        }
    }

    /// With its length, so that no two texts run together.
    fn text(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hasher.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_le_bytes());
    }
}

fn join(major: u32, minor: u32) -> u64 {
    u64::from(major) << 32 | u64::from(minor)
}
