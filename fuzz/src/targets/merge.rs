//! A layer's image that somebody else made, above and below an honest one: what the merge makes of it
//! can be read.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};

use gamut_store::erofs::Compression;
use gamut_store::erofs::format::FileType;
use gamut_store::erofs::merge::{MergeLayer, merge};
use gamut_store::erofs::read::{Image, Walk};
use rustix::fs::MemfdFlags;

use super::image::{read_all, set_checksum};
use super::layer::{Place, seeds};

/// The image comes first; its last byte says what else is known of the layer.
pub(super) fn run(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    set_checksum(&mut bytes);
    let Ok(hostile) = Image::open(&bytes[..]) else {
        return;
    };
    let (written, honest) = Place::new().image(&seeds().swap_remove(0), Compression::Lz4);
    written.expect("an honest archive");
    let honest = Image::open(&honest[..]).expect("our own image");
    let last = bytes.last().copied().unwrap_or_default();
    let layer = |image| MergeLayer {
        image,
        has_root: last & 1 != 0,
        opaque_root: last & 2 != 0,
        tag: [last; 64],
    };
    for layers in [
        [layer(&hostile), layer(&honest)],
        [layer(&honest), layer(&hostile)],
    ] {
        let file = memory();
        if merge(&layers, file.as_fd()).is_err() {
            continue;
        }
        let merged = content(file);
        let devices = layers.map(|layer| *layer.image.source()).to_vec();
        let merged = Image::open_with(&merged[..], devices).expect("our own image");
        let read = read_all(&merged);
        // What cannot be decompressed is the reader's business, not the merge's.
        if read_all(&hostile).is_ok() {
            read.expect("all of it can be read");
        }
        for visit in Walk::new(&merged).expect("our own image") {
            let inode = visit.expect("our own image").inode;
            let whiteout = inode.kind == FileType::CharacterDevice && inode.device == (0, 0);
            assert!(!whiteout, "a whiteout in what is merged");
        }
    }
}

/// An empty file in memory.
fn memory() -> OwnedFd {
    rustix::fs::memfd_create("image", MemfdFlags::CLOEXEC).expect("memory")
}

/// All of a file.
fn content(file: OwnedFd) -> Vec<u8> {
    let mut file = File::from(file);
    let mut bytes = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut bytes).expect("memory");
    bytes
}
