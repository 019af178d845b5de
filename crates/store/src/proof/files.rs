//! Two sets of files, compared: [`compare`].

use std::collections::HashMap;
use std::fmt;

use super::BUFFER_BYTES;
use crate::erofs::read::Xattr;
use crate::unpack::OpaqueXattr;

/// Why two sets of files are not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// Where, if at one file.
    path: Option<Vec<u8>>,
    what: String,
}

impl Difference {
    pub(super) fn at(path: &[u8], what: impl fmt::Display) -> Self {
        Self {
            path: Some(path.to_vec()),
            what: what.to_string(),
        }
    }

    pub(super) fn other(what: &impl fmt::Display) -> Self {
        Self {
            path: None,
            what: what.to_string(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => f.write_str(&self.what),
            Some(path) => write!(f, "`/{}`: {}", path.escape_ascii(), self.what),
        }
    }
}

/// What can be said of a name without reading its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// As in `stat(2)`, type and permissions.
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    /// `None`: nobody has given it one.
    pub(super) mtime: Option<(i64, u32)>,
    /// Of a regular file.
    pub(super) size_bytes: u64,
    pub(super) device: (u32, u32),
    /// Of a symbolic link.
    pub(super) target: Vec<u8>,
    /// As [`by_name`] has them.
    pub(super) xattrs: Vec<Xattr>,
    /// What it is one of the names of.
    pub(super) inode: u64,
    pub(super) links: u32,
}

impl Facts {
    /// What of them is not the same.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let times = self.mtime.zip(other.mtime);
        [
            (self.mode == other.mode, "it has another type or mode"),
            (self.owner == other.owner, "it has another owner"),
            (times.is_none_or(|(a, b)| a == b), "it has another time"),
            (self.size_bytes == other.size_bytes, "it has another length"),
            (self.device == other.device, "it is another device"),
            (self.target == other.target, "it leads elsewhere"),
            (
                self.xattrs == other.xattrs,
                "it has other extended attributes",
            ),
        ]
        .into_iter()
        .find_map(|(same, what)| (!same).then_some(what))
    }
}

/// A set of files: a tree, or an image.
pub(super) trait Files {
    /// A file that is open for reading.
    type Open;

    /// Calls `visit` with every name, as a path without a `/` before it; the root's is empty.
    fn names(&self, visit: impl FnMut(&[u8]) -> Result<(), Difference>) -> Result<(), Difference>;

    /// `None`: there is nothing of that name.
    fn facts(&self, path: &[u8]) -> Result<Option<Facts>, Difference>;

    /// Opens a regular file.
    fn open(&self, path: &[u8]) -> Result<Self::Open, Difference>;

    /// Fills `buffer` from `offset` on; there is as much.
    fn read(
        &self,
        path: &[u8],
        file: &Self::Open,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(), Difference>;
}

/// Looks whether `kept` has all that `made` has, as it is there, and nothing else.
pub(super) fn compare<M: Files, K: Files>(made: &M, kept: &K) -> Result<(), Difference> {
    let mut expected = 0_u64;
    // Which inode there an inode here is, of those of several names, and the other way round.
    let (mut there, mut here) = (HashMap::new(), HashMap::new());
    let mut buffers = [vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]];
    made.names(|path| {
        expected += 1;
        let own = made.facts(path)?.ok_or(Difference::at(path, VANISHED))?;
        let other = kept
            .facts(path)?
            .ok_or(Difference::at(path, "it is gone"))?;
        if let Some(what) = own.difference(&other) {
            return Err(Difference::at(path, what));
        }
        if is(own.mode, libc_mode::DIRECTORY) {
            return Ok(());
        }
        let seen = own.links > 1 || other.links > 1;
        let pair = (own.inode, other.inode);
        if seen {
            let known = *there.entry(pair.0).or_insert(pair.1);
            let back = *here.entry(pair.1).or_insert(pair.0);
            if (known, back) != (pair.1, pair.0) {
                return Err(Difference::at(path, "it is a name of another file"));
            }
        }
        match is(own.mode, libc_mode::FILE) {
            true => contents(made, kept, path, own.size_bytes, &mut buffers),
            false => Ok(()),
        }
    })?;
    let mut found = 0_u64;
    kept.names(|_| {
        found += 1;
        Ok(())
    })?;
    if found == expected {
        return Ok(());
    }
    kept.names(|path| match made.facts(path)? {
        Some(_) => Ok(()),
        None => Err(Difference::at(path, MORE)),
    })?;
    Err(Difference::other(&MORE))
}

/// Extended attributes by name, with one name for either mark of an opaque directory: which of them was
/// chosen is not recorded.
pub(super) fn by_name(mut xattrs: Vec<Xattr>) -> Vec<Xattr> {
    let [one, other] = [OpaqueXattr::User, OpaqueXattr::Trusted].map(OpaqueXattr::name);
    for (name, _) in &mut xattrs {
        if name == one.as_bytes() {
            *name = other.into();
        }
    }
    xattrs.sort();
    xattrs
}

const VANISHED: &str = "it vanished while it was looked at";
const MORE: &str = "there is more than there was in the archive";

/// Types of files: inode(7).
mod libc_mode {
    pub(super) const MASK: u32 = 0o170_000;
    pub(super) const DIRECTORY: u32 = 0o040_000;
    pub(super) const FILE: u32 = 0o100_000;
}

fn is(mode: u32, kind: u32) -> bool {
    mode & libc_mode::MASK == kind
}

fn contents<M: Files, K: Files>(
    made: &M,
    kept: &K,
    path: &[u8],
    size_bytes: u64,
    [left, right]: &mut [Vec<u8>; 2],
) -> Result<(), Difference> {
    if size_bytes == 0 {
        return Ok(());
    }
    let (own, other) = (made.open(path)?, kept.open(path)?);
    let mut at = 0;
    while at < size_bytes {
        let count = usize::try_from(size_bytes - at).map_or(left.len(), |n| n.min(left.len()));
        let (left, right) = (&mut left[..count], &mut right[..count]);
        made.read(path, &own, left, at)?;
        kept.read(path, &other, right, at)?;
        if left != right {
            return Err(Difference::at(path, "it has another content"));
        }
        at += count as u64;
    }
    Ok(())
}
