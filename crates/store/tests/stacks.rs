//! The same layers as trees and as images, and what is made of both: an overlay, and a merged image.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use gamut_store::erofs::Compression;
use gamut_store::erofs::merge::{MergeError, MergeLayer, merge};
use gamut_store::erofs::read::Image;
use gamut_store::layer::{Form, Layer};
use gamut_store::unpack::UnpackOptions;

use crate::bench::Scratch;
use crate::listing::{Listing, Mounted, assert_same, mounted, of_directory, of_image, scratch};

/// The same layers as trees and as images, in a store each.
#[derive(Debug)]
pub(crate) struct Stacks {
    trees: Scratch,
    images: Scratch,
    layers: Vec<(Layer, Layer)>,
    compressed: bool,
}

impl Stacks {
    /// Layers of these archives, the bottom one first.
    pub(crate) fn new(tars: &[Vec<u8>]) -> Self {
        Self::compressed(tars, |_| Compression::None)
    }

    /// The same, each image's files compressed in its own way.
    pub(crate) fn compressed(tars: &[Vec<u8>], how: impl Fn(usize) -> Compression) -> Self {
        let (trees, images) = (Scratch::new(), Scratch::new());
        let layers = tars.iter().enumerate().map(|(number, tar)| {
            let unpack = |scratch: &Scratch, form| {
                let options = UnpackOptions {
                    form,
                    compression: how(number),
                    ..UnpackOptions::default()
                };
                let unpacked = scratch.unpack_with(tar, &options);
                unpacked.unwrap_or_else(|error| panic!("{error}")).0
            };
            (
                unpack(&trees, Form::Directory),
                unpack(&images, Form::Erofs),
            )
        });
        let layers = layers.collect();
        Self {
            trees,
            images,
            layers,
            compressed: (0..tars.len()).any(|number| how(number) != Compression::None),
        }
    }

    /// What overlayfs makes of the trees, without the root itself, which is the upper directory's.
    pub(crate) fn overlay(&self) -> Listing {
        let empty = scratch();
        let mut lower = Vec::new();
        for (tree, _) in self.layers.iter().rev() {
            lower.push(self.trees.store.layers().tree(&tree.record));
            if tree.record.opaque_root {
                break;
            }
        }
        // It wants two.
        lower.push(empty.path().to_owned());
        let options: Vec<_> = lower
            .iter()
            .map(|path| ("lowerdir+", path.as_path()))
            .collect();
        let mounted = Mounted::new("overlay", &options).expect("an overlay");
        without_root(of_directory(&mounted.path()))
    }

    pub(crate) fn image_paths(&self) -> Vec<PathBuf> {
        let layers = self.images.store.layers();
        let records = self.layers.iter().map(|(_, image)| &image.record);
        records.map(|record| layers.tree(record)).collect()
    }

    /// Writes the merged image.
    pub(crate) fn merged(&self, into: &Path) -> Result<(), MergeError> {
        let images: Vec<_> = self
            .image_paths()
            .iter()
            .map(|path| Image::open(File::open(path).expect("opened")).expect("an image"))
            .collect();
        let layers: Vec<_> = images
            .iter()
            .zip(&self.layers)
            .map(|(image, (_, layer))| MergeLayer {
                image,
                has_root: layer.record.root.is_some(),
                opaque_root: layer.record.opaque_root,
                tag: tag(layer),
            })
            .collect();
        let file = File::create(into).expect("a file");
        let written = merge(&layers, file.as_fd())?;
        let bytes = file.metadata().expect("looked at").len();
        assert_eq!(bytes, u64::from(written.blocks) * 4096);
        Ok(())
    }
}

/// The digits of the diff id.
fn tag(layer: &Layer) -> [u8; 64] {
    let digest = layer.record.diff_id.to_string();
    let digits = digest.rsplit(':').next().expect("digits").as_bytes();
    std::array::from_fn(|i| digits[i])
}

pub(crate) fn without_root(mut listing: Listing) -> Listing {
    listing.remove(&b""[..]);
    listing
}

/// Merges, and compares with overlayfs: as the kernel mounts it, and as our reader reads it.
pub(crate) fn compare(tars: &[Vec<u8>]) -> Listing {
    Stacks::new(tars).compare()
}

impl Stacks {
    /// See [`compare`].
    pub(crate) fn compare(&self) -> Listing {
        let stacks = self;
        let mut expected = stacks.overlay();
        let place = scratch();
        let merged = place.path().join("merged");
        stacks
            .merged(&merged)
            .unwrap_or_else(|error| panic!("{error}"));
        let devices = stacks.image_paths();
        let open = |path: &PathBuf| File::open(path).expect("opened");
        let files = devices.iter().map(open).collect();
        let image = Image::open_with(open(&merged), files).expect("an image");
        let read = without_root(of_image(&image));
        // What an archive implies has the time of unpacking in a tree, and none in an image.
        for (path, node) in &mut expected {
            if let Some(found) = read.get(path).filter(|found| found.mtime == (0, 0)) {
                node.mtime = found.mtime;
            }
        }
        assert_same(&expected, &read);
        // It would look for them in the merged image: erofs-utils 1.9.
        if self.compressed {
            eprintln!("fsck: skipped: fsck.erofs finds no compressed files on other devices");
        } else {
            fsck(&merged, &devices);
        }
        if let Some(mounted) = mounted(&merged, &devices) {
            assert_same(&read, &without_root(of_directory(&mounted.path())));
        }
        read
    }
}

fn fsck(image: &Path, devices: &[PathBuf]) {
    let options = devices
        .iter()
        .map(|path| format!("--device={}", path.display()));
    let output = Command::new("fsck.erofs")
        .arg("--extract")
        .args(options)
        .arg(image)
        .output();
    match output {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&said)
            );
        }
        Err(error) => eprintln!("fsck: skipped: fsck.erofs: {error}"),
    }
}
