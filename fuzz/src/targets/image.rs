//! An EROFS image that somebody else made: everything in it is read.

use gamut_store::erofs::Compression;
use gamut_store::erofs::format::{
    self, BLOCK_BYTES, FileType, SUPER_BYTES, SUPER_OFFSET, SuperBlock, super_checksum,
};
use gamut_store::erofs::read::{Extent, Follow, Image, Inode, ReadError, Walk};

use super::layer::{self, COMPRESSIONS, Place};

/// Bytes of a file that are read at its beginning and at its end.
const READ_BYTES: usize = 10_000;

/// The checksum is made right first: it is no hurdle for an attacker.
pub(super) fn run(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    set_checksum(&mut bytes);
    let Ok(image) = Image::open(&bytes[..]) else {
        return;
    };
    let _ = read_all(&image);
    for path in [
        &b"a/b/../link"[..],
        b"/absolute",
        b"dir/same/.",
        b"many/1/",
        b"\xff",
    ] {
        let _ = image.resolve(path, Follow::Last);
    }
}

/// Reads everything, or up to the first thing that is wrong. What the image says of itself must not
/// contradict what reading gives.
pub(super) fn read_all(image: &Image<&[u8]>) -> Result<(), ReadError> {
    let mut names = 0_u64;
    for visit in Walk::new(image)? {
        let visit = visit?;
        names += 1;
        assert!(
            names <= image.size_bytes() / 12 + 1,
            "more names than have room"
        );
        let inode = &visit.inode;
        for (name, value) in image.xattrs(inode)? {
            assert!(name.len() <= 255 && value.len() <= 0xffff);
        }
        match inode.kind {
            FileType::File => read_file(image, inode)?,
            FileType::Symlink => {
                let target = image.link_target(inode)?;
                assert_eq!(target.len() as u64, inode.size);
            }
            FileType::Directory => {
                // All of them first: names that are not in order are found out on the way only.
                let entries: Vec<_> = image.entries(inode)?.collect::<Result<_, _>>()?;
                for entry in entries {
                    let found = image.lookup(inode, &entry.name)?;
                    assert!(
                        found.is_some_and(|inode| inode.nid == entry.nid),
                        "{entry:?}"
                    );
                }
            }
            _ => assert_eq!(inode.size, 0),
        }
    }
    Ok(())
}

fn read_file(image: &Image<&[u8]>, inode: &Inode) -> Result<(), ReadError> {
    let mut end = 0;
    for extent in image.extents(inode, 0) {
        let Extent { offset, length, .. } = extent?;
        assert!(offset == end && length > 0, "a gap at {end}");
        end += length;
    }
    assert_eq!(end, inode.size);
    let mut buffer = vec![0; READ_BYTES];
    for offset in [0, inode.size.saturating_sub(READ_BYTES as u64 - 7)] {
        let count = image.read_at(inode, &mut buffer, offset)?;
        assert_eq!(count as u64, (inode.size - offset).min(READ_BYTES as u64));
    }
    Ok(())
}

/// Our own images, compressed in each way.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let tars = layer::seeds();
    let all = COMPRESSIONS
        .iter()
        .flat_map(|how| tars.iter().map(move |tar| (how, tar)));
    let image = |(how, tar): (&Compression, &Vec<u8>)| Place::new().image(tar, *how).1;
    all.map(image).collect()
}

/// Puts the right checksum into a super block that has one.
pub(super) fn set_checksum(bytes: &mut [u8]) {
    let Some(raw) = bytes
        .get(SUPER_OFFSET..)
        .and_then(<[u8]>::first_chunk::<SUPER_BYTES>)
    else {
        return;
    };
    let superblock = SuperBlock::from_bytes(raw);
    if superblock.feature_compat & format::COMPAT_SB_CHKSUM == 0 || bytes.len() < BLOCK_BYTES {
        return;
    }
    let checksum = super_checksum(&bytes[..BLOCK_BYTES]);
    bytes[SUPER_OFFSET + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
}
