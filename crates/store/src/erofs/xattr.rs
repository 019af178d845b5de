//! Extended attributes as they follow an inode. One that two inodes have is written once more, into
//! the table of shared ones, and from then on is four bytes in each further inode.

use std::collections::HashMap;

use super::ImageError;
use super::format::{
    SHARED_XATTRS, XATTR_ALIGN, XATTR_HEADER_BYTES, XATTR_PREFIXES, XattrEntry, XattrHeader,
    xattr_count,
};
use crate::unpack::pax::Xattr;

/// Bytes of attributes that are remembered for sharing; those that come later stay inline.
const MEMORY_BYTES: usize = 4 << 20;

/// What follows an inode: header, ids of shared attributes, inline attributes. Empty for none.
#[derive(Debug, Clone, Default)]
pub(super) struct XattrBody {
    /// As on disk.
    pub(super) bytes: Vec<u8>,
    /// For `i_xattr_icount`.
    pub(super) count: u16,
}

/// When attributes are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// From the second time on.
    WhenRepeated,
    /// Always, for an inode that has little room.
    Always,
}

/// The attributes seen so far, and the table of the shared ones.
#[derive(Debug, Default)]
pub(super) struct SharedXattrs {
    /// By their form on disk; `None` until they come again, then their id.
    seen: HashMap<Vec<u8>, Option<u32>>,
    seen_bytes: usize,
    /// The table. Ids count it by [`XATTR_ALIGN`].
    pub(super) table: Vec<u8>,
}

impl SharedXattrs {
    /// What is to follow an inode with these attributes. Their names have known prefixes and their
    /// values fit; what does not is left out (see `rules`).
    pub(super) fn body(
        &mut self,
        xattrs: &[Xattr],
        sharing: Sharing,
    ) -> Result<XattrBody, ImageError> {
        let (mut ids, mut inline) = (Vec::new(), Vec::new());
        for entry in xattrs
            .iter()
            .filter_map(|(name, value)| encode(name, value))
        {
            match self
                .share(&entry, sharing)
                .filter(|_| ids.len() / 4 < SHARED_XATTRS)
            {
                Some(id) => ids.extend_from_slice(&id.to_le_bytes()),
                None => inline.extend_from_slice(&entry),
            }
        }
        if ids.is_empty() && inline.is_empty() {
            return Ok(XattrBody::default());
        }
        let header = XattrHeader {
            name_filter: 0,
            // At most `SHARED_XATTRS`.
            shared_count: (ids.len() / 4) as u8,
        };
        let bytes = [&header.to_bytes()[..], &ids, &inline].concat();
        let count = xattr_count(bytes.len() - XATTR_HEADER_BYTES).ok_or_else(|| {
            ImageError::limit(
                "bytes of extended attributes of one file",
                u16::MAX as usize * 4,
            )
        })?;
        Ok(XattrBody { bytes, count })
    }

    /// The id of an attribute that is, or now becomes, a shared one.
    fn share(&mut self, entry: &[u8], sharing: Sharing) -> Option<u32> {
        if let Some(Some(id)) = self.seen.get(entry) {
            return Some(*id);
        }
        let repeated = self.seen.contains_key(entry);
        let taken = entry.len() + size_of::<(Vec<u8>, Option<u32>)>();
        if !repeated && sharing == Sharing::WhenRepeated && self.seen_bytes + taken > MEMORY_BYTES {
            return None;
        }
        let id = match repeated || sharing == Sharing::Always {
            true => {
                let id = (self.table.len() / XATTR_ALIGN) as u32;
                self.table.extend_from_slice(entry);
                Some(id)
            }
            false => None,
        };
        if !repeated {
            self.seen_bytes += taken;
        }
        self.seen.insert(entry.to_vec(), id);
        id
    }
}

/// An entry with its name and value, padded. `None`: no kernel knows the prefix, or it is too long.
fn encode(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let (index, rest) = XATTR_PREFIXES.iter().find_map(|(index, prefix)| {
        let rest = name.strip_prefix(*prefix)?;
        let whole = prefix.ends_with(b".") || rest.is_empty();
        whole.then_some((*index, rest))
    })?;
    let entry = XattrEntry {
        name_bytes: u8::try_from(rest.len()).ok()?,
        name_index: index,
        value_bytes: u16::try_from(value.len()).ok()?,
    };
    let mut bytes = Vec::with_capacity(entry.whole_bytes());
    bytes.extend_from_slice(&entry.to_bytes());
    bytes.extend_from_slice(rest);
    bytes.extend_from_slice(value);
    bytes.resize(entry.whole_bytes(), 0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_shared_from_then_on() {
        let mut shared = SharedXattrs::default();
        let label: Vec<Xattr> = vec![(b"security.selinux".to_vec(), vec![b's'; 40])];
        let lengths = [(); 3].map(|()| {
            let body = shared.body(&label, Sharing::WhenRepeated).expect("a body");
            body.bytes.len()
        });
        assert_eq!(lengths, [12 + 52, 12 + 4, 12 + 4]);
        assert_eq!(shared.table.len(), 52);
        assert_eq!(shared.body(&[], Sharing::Always).expect("none").count, 0);
    }

    #[test]
    fn acl_names_are_prefixes_alone() {
        let entry = encode(b"system.posix_acl_access", b"v").expect("known");
        assert_eq!(entry, [0, 2, 1, 0, b'v', 0, 0, 0]);
        assert_eq!(encode(b"unknown.name", b""), None);
        assert_eq!(encode(b"system.posix_acl_accessible", b""), None);
    }
}
