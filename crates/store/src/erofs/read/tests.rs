//! Images that lie, one lie at a time. The image is made by hand: a root directory with `dir`, `file`
//! and `link`, each in a place of its own.

use super::{Follow, Image, ReadError, Walk};
use crate::erofs::format::{
    self, BLOCK_BYTES, Dirent, FileType, Inode, Layout, SUPER_OFFSET, SuperBlock,
};

const ROOT: u64 = 40;
const DIR: u64 = 44;
pub(super) const FILE: u64 = 56;
const LINK: u64 = 60;
/// Blocks of the sample: the super block with the inodes, a block of `file`.
const BLOCKS: usize = 2;

pub(super) fn inode(kind: FileType, layout: Layout, size: u64, data: u32) -> Inode {
    Inode {
        layout,
        xattr_count: 0,
        mode: kind.mode_bits() | 0o755,
        size,
        data,
        ino: 0,
        uid: 0,
        gid: 0,
        mtime: Some((0, 0)),
        links: 1,
    }
}

pub(super) fn put(image: &mut [u8], nid: u64, inode: &Inode, tail: &[u8]) {
    let at = nid as usize * format::SLOT_BYTES;
    let bytes = [&inode.to_extended()[..], tail].concat();
    image[at..at + bytes.len()].copy_from_slice(&bytes);
}

/// A directory block of these entries, without `.` and `..`, which the reader does not need.
fn directory(entries: &[(&str, u64, FileType)]) -> Vec<u8> {
    let mut offset = entries.len() * format::DIRENT_BYTES;
    let mut bytes = Vec::new();
    for (name, nid, kind) in entries {
        let dirent = Dirent {
            nid: *nid,
            name_offset: offset as u16,
            file_type: kind.number(),
        };
        bytes.extend(dirent.to_bytes());
        offset += name.len();
    }
    bytes.extend(entries.iter().flat_map(|(name, ..)| name.bytes()));
    bytes
}

fn put_directory(image: &mut [u8], nid: u64, entries: &[(&str, u64, FileType)]) {
    let bytes = directory(entries);
    let size = bytes.len() as u64;
    let inode = inode(FileType::Directory, Layout::FlatInline, size, 0);
    put(image, nid, &inode, &bytes);
}

pub(super) fn sample() -> Vec<u8> {
    let mut image = vec![0; BLOCKS * BLOCK_BYTES];
    put_directory(
        &mut image,
        ROOT,
        &[
            ("dir", DIR, FileType::Directory),
            ("file", FILE, FileType::File),
            ("link", LINK, FileType::Symlink),
        ],
    );
    put_directory(&mut image, DIR, &[("same", FILE, FileType::File)]);
    let file = inode(FileType::File, Layout::FlatPlain, 100, 1);
    put(&mut image, FILE, &file, &[]);
    let link = inode(FileType::Symlink, Layout::FlatInline, 8, 0);
    put(&mut image, LINK, &link, b"dir/same");
    image[BLOCK_BYTES..][..100].fill(b'x');
    set_super(&mut image, |_| ());
    image
}

pub(super) fn set_super(image: &mut [u8], change: impl FnOnce(&mut SuperBlock)) {
    let mut superblock = SuperBlock {
        magic: format::MAGIC,
        block_bits: format::BLOCK_BITS,
        root_nid: ROOT as u16,
        feature_incompat: format::INCOMPAT_CHUNKED_FILE,
        blocks: BLOCKS as u32,
        ..SuperBlock::default()
    };
    change(&mut superblock);
    image[SUPER_OFFSET..][..format::SUPER_BYTES].copy_from_slice(&superblock.to_bytes());
}

/// Everything that can be read of an image.
fn read_all(image: &[u8]) -> Result<usize, ReadError> {
    let image = Image::open(image)?;
    let mut names = 0;
    for visit in Walk::new(&image)? {
        let inode = visit?.inode;
        image.xattrs(&inode)?;
        if inode.kind == FileType::Symlink {
            image.link_target(&inode)?;
        }
        for extent in image.extents(&inode, 0) {
            extent?;
        }
        names += 1;
    }
    Ok(names)
}

#[track_caller]
pub(super) fn refused(image: &[u8], message: &str) {
    let error = read_all(image).expect_err("refused").to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn the_sample_itself_is_read() {
    let sample = sample();
    assert_eq!(read_all(&sample).expect("read"), 5);
    let image = Image::open(&sample[..]).expect("an image");
    let file = image.resolve(b"link", Follow::Last).expect("followed");
    let mut bytes = [0; 200];
    assert_eq!(image.read_at(&file, &mut bytes, 0).expect("read"), 100);
    assert_eq!(bytes[..100], [b'x'; 100]);
}

#[test]
fn super_blocks_are_checked() {
    let mut image = sample();
    let mut with = |change: fn(&mut SuperBlock), message: &str| {
        set_super(&mut image, change);
        refused(&image, message);
    };
    with(|s| s.magic = 1, "not an EROFS image");
    with(|s| s.block_bits = 8, "block size");
    with(|s| s.block_bits = 63, "block size");
    with(|s| s.feature_incompat |= 0x80, "48-bit");
    with(|s| s.feature_incompat |= 0x8000, "0x8000");
    with(|s| s.directory_block_bits = 1, "directory block");
    with(|s| s.root_nid = 9999, "inode 9999: it lies past");
    with(|s| s.meta_blkaddr = u32::MAX, "it lies past");
    with(|s| s.build_time_nanoseconds = 1_000_000_000, "nanoseconds");
    with(|s| s.feature_compat = 1, "checksum");
    let devices = |s: &mut SuperBlock| {
        s.feature_incompat |= format::INCOMPAT_DEVICE_TABLE;
        s.extra_devices = u16::MAX;
        s.device_table = 1;
    };
    with(devices, "device table");
    let prefixes = |s: &mut SuperBlock| {
        s.feature_incompat |= format::INCOMPAT_XATTR_PREFIXES;
        s.xattr_prefixes = 1;
        s.xattr_prefix_start = u32::MAX;
    };
    with(prefixes, "xattr prefix");
    for length in [0, 1, SUPER_OFFSET, SUPER_OFFSET + format::SUPER_BYTES - 1] {
        refused(&sample()[..length], "not an EROFS image");
    }
}

#[test]
fn a_checksum_that_is_right_is_accepted() {
    let mut image = sample();
    set_super(&mut image, |s| s.feature_compat = format::COMPAT_SB_CHKSUM);
    let checksum = format::super_checksum(&image[..BLOCK_BYTES]);
    image[SUPER_OFFSET + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(read_all(&image).expect("read"), 5);
}

#[test]
fn directories_that_are_no_tree_are_refused() {
    let mut image = sample();
    put_directory(&mut image, DIR, &[("up", ROOT, FileType::Directory)]);
    refused(&image, "inode 40: it is a directory in two places");
    put_directory(&mut image, DIR, &[("self", DIR, FileType::Directory)]);
    refused(&image, "inode 44: it is a directory in two places");
    // Two directories of the same large block.
    let mut image = sample();
    let names: Vec<_> = (0..90).map(|n| format!("{n:030}")).collect();
    let entries: Vec<_> = names
        .iter()
        .map(|n| (&n[..], FILE, FileType::File))
        .collect();
    let block = directory(&entries);
    image[BLOCK_BYTES..][..block.len()].copy_from_slice(&block);
    let large = inode(
        FileType::Directory,
        Layout::FlatPlain,
        block.len() as u64,
        1,
    );
    put(&mut image, DIR, &large, &[]);
    assert_eq!(read_all(&image).expect("one of them"), 94);
    for nid in [64, 66, 68] {
        put(&mut image, nid, &large, &[]);
    }
    let shared = [("a", DIR), ("b", 64), ("c", 66), ("d", 68)];
    put_directory(
        &mut image,
        ROOT,
        &shared.map(|(name, nid)| (name, nid, FileType::Directory)),
    );
    refused(&image, "directories share their entries");
}

#[test]
fn names_and_entries_are_checked() {
    let mut image = sample();
    let long = "n".repeat(256);
    let mut with = |entries: &[(&str, u64, FileType)], message: &str| {
        put_directory(&mut image, DIR, entries);
        refused(&image, message);
    };
    let file = |name| (name, FILE, FileType::File);
    with(&[file("b"), file("a")], "not in order");
    with(&[file("a"), file("a")], "not in order");
    with(&[file("a/b")], "a name in it is none");
    with(&[file("")], "no number of entries");
    with(&[file(""), file("b")], "a name in it is none");
    with(&[file(&long)], "a name in it is none");
    with(&[file("a\0"), file("b")], "a name in it is none");
    with(&[("a", LINK, FileType::File)], "its type is not the one");
    with(&[("a", u64::MAX, FileType::File)], "it lies past");
    with(&[("a", 1 << 58, FileType::File)], "it lies past");
    // The first name's offset says how many entries there are.
    let start = DIR as usize * format::SLOT_BYTES + format::EXTENDED_BYTES;
    for (offset, message) in [
        (0_u16, "no number of entries"),
        (13, "no number of entries"),
        (24, "no number of entries"),
        (u16::MAX, "no number of entries"),
    ] {
        put_directory(&mut image, DIR, &[file("abcd")]);
        image[start + 8..][..2].copy_from_slice(&offset.to_le_bytes());
        refused(&image, message);
    }
}

#[test]
fn inodes_are_checked() {
    let mut image = sample();
    let mut with = |change: fn(&mut Inode), message: &str| {
        let mut file = inode(FileType::File, Layout::FlatPlain, 100, 1);
        change(&mut file);
        put(&mut image, FILE, &file, &[]);
        refused(&image, message);
    };
    with(|i| i.mode = 0, "its type is none");
    with(|i| i.size = 4097, "past the image's end");
    with(|i| i.size = u64::MAX, "its size is negative");
    with(|i| i.size = i64::MAX as u64, "past the image's end");
    with(|i| i.data = u32::MAX, "past the image's end");
    with(|i| i.mtime = Some((0, u32::MAX)), "nanoseconds");
    with(|i| i.xattr_count = u16::MAX, "its xattrs reach past");
    let inline = |i: &mut Inode| {
        i.layout = Layout::FlatInline;
        i.size = 4096;
    };
    with(inline, "crosses the end of a block");
}

#[test]
fn chunks_are_checked() {
    let mut image = sample();
    let mut with = |size: u64, format: u32, table: &[u8], message: &str| {
        let file = inode(FileType::File, Layout::ChunkBased, size, format);
        put(&mut image, FILE, &file, table);
        refused(&image, message);
    };
    with(100, 0x40, &[], "a chunk format");
    with(i64::MAX as u64, 0, &[], "its chunk table reaches past");
    with(1 << 32, 0x20, &[], "its chunk table reaches past");
    with(100, 0, &2_u32.to_le_bytes(), "past the end of a device");
    with(
        100,
        0,
        &(u32::MAX - 1).to_le_bytes(),
        "past the end of a device",
    );
    with(
        i64::MAX as u64,
        0x1f,
        &[0; 4],
        "its chunk table reaches past",
    );
    // A hole may be as large as it likes.
    let file = inode(FileType::File, Layout::ChunkBased, 1 << 43, 0x1f);
    put(&mut image, FILE, &file, &[0xff; 4]);
    assert_eq!(read_all(&image).expect("read"), 5);
}

#[test]
fn xattrs_are_checked() {
    let mut image = sample();
    let mut with = |count: u16, body: &[u8], message: &str| {
        let mut file = inode(FileType::File, Layout::FlatPlain, 0, 0);
        file.xattr_count = count;
        put(&mut image, 70, &file, body);
        put_directory(&mut image, DIR, &[("x", 70, FileType::File)]);
        refused(&image, message);
    };
    let header = |shared: u8| [0, 0, 0, 0, shared, 0, 0, 0, 0, 0, 0, 0];
    with(2, &header(2), "shared xattrs do not fit");
    with(2, &[&header(1)[..], &[0xff; 4]].concat(), "past its end");
    with(
        2,
        &[&header(0)[..], &[200, 1, 0, 0]].concat(),
        "does not fit beside it",
    );
    with(
        2,
        &[&header(0)[..], &[0, 1, 255, 255]].concat(),
        "does not fit beside it",
    );
    with(
        3,
        &[&header(0)[..], &[1, 1, 0, 0, 0, 0, 0, 0]].concat(),
        "an impossible name",
    );
    // Thirty times the same long one, which is 64 KiB in an image of eight.
    image.resize(100 << 10, 0);
    let long = 20 << 10;
    image[long..][..4].copy_from_slice(&[1, 1, 255, 255]);
    image[long + 4..][..1].fill(b'n');
    let ids = ((long / 4) as u32).to_le_bytes().repeat(30);
    let mut file = inode(FileType::File, Layout::FlatPlain, 0, 0);
    file.xattr_count = 31;
    put(&mut image, 70, &file, &[&header(30)[..], &ids].concat());
    refused(&image, "more than a mebibyte");
}

#[test]
fn links_are_checked() {
    let mut image = sample();
    for (size, target, message) in [
        (0, &b""[..], "an impossible length"),
        (8, b"dir\0same", "a zero byte"),
        (1 << 20, b"", "past the image's end"),
    ] {
        let layout = match size {
            8 => Layout::FlatInline,
            _ => Layout::FlatPlain,
        };
        let link = inode(FileType::Symlink, layout, size, 1);
        put(&mut image, LINK, &link, target);
        refused(&image, message);
    }
}

#[test]
fn an_image_cut_anywhere_is_an_error_or_smaller() {
    let sample = sample();
    for length in 0..sample.len() {
        // Whatever it says, it says it.
        let _ = read_all(&sample[..length]);
    }
}
