//! Extended attributes: those beside the inode, and those that inodes share.

use std::collections::BTreeMap;

use super::{Image, Inode, ReadError, Source};
use crate::erofs::format::{
    NAME_BYTES, XATTR_ALIGN, XATTR_ENTRY_BYTES, XATTR_HEADER_BYTES, XATTR_LONG_PREFIX,
    XATTR_PREFIXES, XattrEntry, XattrHeader,
};

/// Most bytes of one inode's names and values. The VFS lists 64 KiB of names; an archive's header
/// holds a mebibyte.
const XATTRS_BYTES: usize = 1 << 20;

/// An extended attribute: its whole name and its value.
pub type Xattr = (Vec<u8>, Vec<u8>);

impl<S: Source> Image<S> {
    /// The extended attributes of an inode, by name. Like the kernel, this skips kinds of names that
    /// it does not know, and takes the first of two with the same name.
    pub fn xattrs(&self, inode: &Inode) -> Result<Vec<Xattr>, ReadError> {
        // A header alone is nothing either.
        if inode.xattr_bytes <= XATTR_HEADER_BYTES {
            return Ok(Vec::new());
        }
        let damaged = |what| ReadError::DamagedInode {
            nid: inode.nid,
            what,
        };
        let mut body = vec![0; inode.xattr_bytes];
        self.read_exact(&mut body, inode.xattr_start)?;
        let (shared, inline) = body
            .split_first_chunk()
            .and_then(|(header, rest)| {
                let count = usize::from(XattrHeader::from_bytes(header).shared_count);
                rest.split_at_checked(count * XATTR_ALIGN)
            })
            .ok_or(damaged("its shared xattrs do not fit beside it"))?;
        let mut found = Found::default();
        let mut rest = inline;
        while let Some(header) = rest.first_chunk() {
            let entry = XattrEntry::from_bytes(header);
            let (bytes, after) = rest
                .split_at_checked(entry.whole_bytes())
                .ok_or(damaged("an xattr does not fit beside it"))?;
            self.add(&mut found, entry, bytes).map_err(&damaged)?;
            rest = after;
        }
        let (ids, _) = shared.as_chunks();
        for id in ids {
            let id = u64::from(u32::from_le_bytes(*id));
            let start = self.geometry.xattr_start + id * XATTR_ALIGN as u64;
            let mut header = [0; XATTR_ENTRY_BYTES];
            self.read_exact(&mut header, start)?;
            let entry = XattrEntry::from_bytes(&header);
            let name_and_value = usize::from(entry.name_bytes) + usize::from(entry.value_bytes);
            let mut bytes = vec![0; XATTR_ENTRY_BYTES + name_and_value];
            self.read_exact(&mut bytes, start)?;
            self.add(&mut found, entry, &bytes).map_err(&damaged)?;
        }
        Ok(found.by_name.into_iter().collect())
    }

    /// `bytes` is the entry with its name and value.
    fn add(&self, found: &mut Found, entry: XattrEntry, bytes: &[u8]) -> Result<(), &'static str> {
        let Some((prefix, infix)) = self.prefix(entry.name_index) else {
            return Ok(());
        };
        let value = XATTR_ENTRY_BYTES + usize::from(entry.name_bytes);
        let name = [prefix, infix, &bytes[XATTR_ENTRY_BYTES..value]].concat();
        if name.len() > NAME_BYTES || name.contains(&0) {
            return Err("an xattr of it has an impossible name");
        }
        found.bytes += name.len() + usize::from(entry.value_bytes);
        if found.bytes > XATTRS_BYTES {
            return Err("it has more than a mebibyte of xattrs");
        }
        found
            .by_name
            .entry(name)
            .or_insert_with(|| bytes[value..][..usize::from(entry.value_bytes)].to_vec());
        Ok(())
    }

    /// What a name index stands for.
    fn prefix(&self, index: u8) -> Option<(&'static [u8], &[u8])> {
        let short = |index: u8| {
            XATTR_PREFIXES
                .iter()
                .find(|(known, _)| *known == index)
                .map(|(_, prefix)| *prefix)
        };
        match index & XATTR_LONG_PREFIX {
            0 => Some((short(index)?, &[])),
            _ => {
                let long = usize::from(index & !XATTR_LONG_PREFIX);
                let (base, infix) = self.geometry.prefixes.get(long)?;
                Some((short(*base)?, infix))
            }
        }
    }
}

/// What has been found of one inode.
#[derive(Default)]
struct Found {
    by_name: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of names and values, also of those that were there already.
    bytes: usize,
}
