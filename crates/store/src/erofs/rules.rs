//! Which extended attributes of an archive an image gets: those that Linux would set on such a file
//! (`setxattr(2)`, xattr(7), acl(5)). The kernel believes an image, so what it would refuse to set
//! has to be kept out: a broken ACL makes a file unreadable.

use rustix::io::Errno;

use super::format::{FileType, NAME_BYTES, XATTR_VALUE_BYTES};
use crate::unpack::archive::Attributes;
use crate::unpack::metadata::{is_overlayfs_own, overlayfs_own_dropped, xattr_not_set};

const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Takes out what Linux would not set, and does to the mode what setting an ACL does.
pub(super) fn apply(
    file_type: FileType,
    attributes: &mut Attributes,
    mut warn: impl FnMut(String),
) {
    let mut kept = std::mem::take(&mut attributes.xattrs);
    kept.retain(|(name, value)| {
        if is_overlayfs_own(name) {
            warn(overlayfs_own_dropped(name));
            return false;
        }
        match verdict(file_type, name, value) {
            Ok(Verdict::Keep) => true,
            Ok(Verdict::Nothing) => false,
            Ok(Verdict::Acl(acl)) if name == ACCESS_ACL => {
                attributes.mode = attributes.mode & !0o777 | acl.mode;
                acl.extended
            }
            Ok(Verdict::Acl(_)) => true,
            Err(errno) => {
                warn(xattr_not_set(name, errno));
                false
            }
        }
    });
    attributes.xattrs = kept;
}

/// What setting an attribute comes to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// It is removed: an ACL without entries.
    Nothing,
    Acl(Acl),
}

fn verdict(file_type: FileType, name: &[u8], value: &[u8]) -> Result<Verdict, Errno> {
    if name.len() > NAME_BYTES {
        return Err(Errno::RANGE);
    }
    if value.len() > XATTR_VALUE_BYTES {
        return Err(Errno::TOOBIG);
    }
    if name == ACCESS_ACL || name == DEFAULT_ACL {
        return match file_type {
            FileType::Symlink => Err(Errno::OPNOTSUPP),
            FileType::Directory => acl(value),
            _ if name == DEFAULT_ACL => Err(Errno::ACCESS),
            _ => acl(value),
        };
    }
    let (class, rest) = match name.iter().position(|&byte| byte == b'.') {
        Some(dot) => name.split_at(dot + 1),
        None => (name, &b""[..]),
    };
    match class {
        b"user." | b"trusted." | b"security." if rest.is_empty() => Err(Errno::INVAL),
        b"user." if !matches!(file_type, FileType::File | FileType::Directory) => Err(Errno::PERM),
        b"security." if rest == b"capability" && !is_capability(value) => Err(Errno::INVAL),
        b"user." | b"trusted." | b"security." => Ok(Verdict::Keep),
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// `struct vfs_cap_data` of revision 2 or 3: linux/capability.h. Others cannot be set any more.
fn is_capability(value: &[u8]) -> bool {
    let revision = value.get(3);
    matches!((value.len(), revision), (20, Some(2)) | (24, Some(3)))
}

/// What an ACL says, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Acl {
    /// The nine permission bits that it comes to.
    mode: u32,
    /// It says more than those.
    extended: bool,
}

/// Reads `struct posix_acl_xattr_header` and its entries (linux/posix_acl_xattr.h), which are in
/// the order of their tags. Order, qualifiers and the mask are checked as the kernel does
/// (`posix_acl_valid`).
fn acl(value: &[u8]) -> Result<Verdict, Errno> {
    if value.is_empty() {
        return Ok(Verdict::Nothing);
    }
    let Some((&[2, 0, 0, 0], entries)) = value.split_first_chunk() else {
        let old = value.len() >= 4;
        return Err(if old { Errno::OPNOTSUPP } else { Errno::INVAL });
    };
    let (entries, []) = entries.as_chunks::<8>() else {
        return Err(Errno::INVAL);
    };
    if entries.is_empty() {
        return Ok(Verdict::Nothing);
    }
    let mut acl = Acl {
        mode: 0,
        extended: false,
    };
    // The tag that comes before, and whether a mask is missing.
    let (mut last, mut needs_mask) = (0, false);
    for entry in entries {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        let qualifier = [entry[4], entry[5], entry[6], entry[7]];
        let repeats = tag == last && matches!(tag, USER | GROUP);
        let in_order = match tag {
            USER_OBJ => last == 0,
            USER => last == USER_OBJ,
            GROUP_OBJ => matches!(last, USER_OBJ | USER),
            GROUP => last == GROUP_OBJ,
            MASK => matches!(last, GROUP_OBJ | GROUP),
            OTHER => last == MASK || (matches!(last, GROUP_OBJ | GROUP) && !needs_mask),
            _ => false,
        };
        if permissions > 7 || !(in_order || repeats) {
            return Err(Errno::INVAL);
        }
        let bits = u32::from(permissions);
        match tag {
            USER_OBJ => acl.mode |= bits << 6,
            GROUP_OBJ => acl.mode |= bits << 3,
            MASK => acl.mode = acl.mode & !0o70 | bits << 3,
            OTHER => acl.mode |= bits,
            _ if qualifier == [0xff; 4] => return Err(Errno::INVAL),
            _ => needs_mask = true,
        }
        acl.extended |= !matches!(tag, USER_OBJ | GROUP_OBJ | OTHER);
        last = tag;
    }
    match last {
        OTHER => Ok(Verdict::Acl(acl)),
        _ => Err(Errno::INVAL),
    }
}

/// Tags of ACL entries: linux/posix_acl.h.
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn an_acl_is_what_the_kernel_takes_for_one() {
        let none = u32::MAX;
        let minimal = [(1, 6, none), (4, 4, none), (0x20, 0, none)];
        let expected = Acl {
            mode: 0o640,
            extended: false,
        };
        assert_eq!(acl(&written(&minimal)), Ok(Verdict::Acl(expected)));
        let masked = [
            (1, 7, none),
            (2, 6, 1000),
            (2, 4, 1001),
            (4, 5, none),
            (0x10, 4, none),
            (0x20, 1, none),
        ];
        let expected = Acl {
            mode: 0o741,
            extended: true,
        };
        assert_eq!(acl(&written(&masked)), Ok(Verdict::Acl(expected)));
        assert_eq!(acl(&written(&[])), Ok(Verdict::Nothing));
        let wrong: [&[(u16, u16, u32)]; 6] = [
            &minimal[..2],
            &[(1, 8, none), (4, 4, none), (0x20, 0, none)],
            &[(4, 4, none), (1, 6, none), (0x20, 0, none)],
            &[(1, 6, none), (2, 6, 1000), (4, 4, none), (0x20, 0, none)],
            &[
                (1, 6, none),
                (2, 6, none),
                (4, 4, none),
                (0x10, 7, none),
                (0x20, 0, none),
            ],
            &[(1, 6, none), (1, 6, none), (4, 4, none), (0x20, 0, none)],
        ];
        for entries in wrong {
            assert_eq!(acl(&written(entries)), Err(Errno::INVAL), "{entries:?}");
        }
        assert_eq!(acl(b"\x02\0\0\0xyz"), Err(Errno::INVAL));
        assert_eq!(acl(b"\x01\0\0\0"), Err(Errno::OPNOTSUPP));
    }

    #[test]
    fn attributes_depend_on_what_has_them() {
        let of = |file_type, name: &str| verdict(file_type, name.as_bytes(), b"");
        assert_eq!(of(FileType::File, "user.a"), Ok(Verdict::Keep));
        assert_eq!(of(FileType::Symlink, "user.a"), Err(Errno::PERM));
        assert_eq!(of(FileType::Symlink, "trusted.a"), Ok(Verdict::Keep));
        assert_eq!(of(FileType::File, "trusted."), Err(Errno::INVAL));
        assert_eq!(of(FileType::File, "unknown.a"), Err(Errno::OPNOTSUPP));
        assert_eq!(
            of(FileType::File, "system.posix_acl_default"),
            Err(Errno::ACCESS)
        );
        assert_eq!(of(FileType::File, "security.capability"), Err(Errno::INVAL));
    }
}
