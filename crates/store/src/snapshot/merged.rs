//! Merged images: `merged/<chain id>`, the metadata of all layers of an image as one EROFS image, whose
//! files' data stays in the layers ([`crate::erofs::merge`]). One that is missing, or that a power cut
//! has torn, can be made again at any time.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use gamut_spec::digest::Digest;
use rustix::fs::Mode;
use rustix::io::Errno;

use super::visible;
use crate::erofs::merge::{MergeError, MergeLayer, merge};
use crate::erofs::read::Image;
use crate::file_error::FileError;
use crate::gc::chain_ids;
use crate::layer::{Form, LayerRecord};
use crate::pin;
use crate::tree;

/// Why layers could not be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergedError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A layer's image cannot be read, or the merged one not written.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// The layers that an image shows, the bottom one first, if they can be merged and are worth it: two or
/// more, all of them EROFS images.
pub(super) fn mergeable(layers: &[LayerRecord]) -> Option<Vec<&LayerRecord>> {
    let mut shown: Vec<_> = visible(layers).collect();
    shown.reverse();
    let all_images = shown.iter().all(|layer| layer.form != Form::Directory);
    (shown.len() > 1 && all_images).then_some(shown)
}

/// What names the merged image of the layers with these diff ids, the bottom one first: their chain
/// id. One layer has no merged image, and no layers have no name.
#[must_use]
pub fn name(diff_ids: &[Digest]) -> String {
    let chain = chain_ids(diff_ids);
    chain.last().map_or_else(String::new, |chain| chain.hex())
}

/// The same of the layers that an image shows.
pub(super) fn name_of(layers: &[&LayerRecord]) -> String {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    name(&diff_ids)
}

/// Makes the merged image `name` of these layers, whose images are in `files`, unless it is there.
pub(super) fn make(
    directory: &Path,
    name: &str,
    layers: &[&LayerRecord],
    files: &[PathBuf],
) -> Result<(), MergedError> {
    match rustix::fs::mkdir(directory, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(FileError::at("make the directory", directory)(errno).into()),
    }
    if directory.join(name).exists() {
        return Ok(());
    }
    let images = files
        .iter()
        .enumerate()
        .map(|(index, path)| {
            let file = File::open(path).map_err(FileError::io("open", path))?;
            Image::open(file).map_err(|error| {
                let layer = index + 1;
                MergedError::Merge(MergeError::Layer { layer, error })
            })
        })
        .collect::<Result<Vec<_>, MergedError>>()?;
    let parts: Vec<_> = layers
        .iter()
        .zip(&images)
        .map(|(layer, image)| MergeLayer {
            image,
            has_root: layer.root.is_some(),
            opaque_root: layer.opaque_root,
            tag: tag(layer),
        })
        .collect();
    let parent = pin::open_directory(directory)?;
    let failed = |action| FileError::at(action, directory);
    let (temporary, pin) =
        pin::temporary_file(parent.as_fd()).map_err(failed("make a temporary file in"))?;
    let written = merge(&parts, pin.as_fd()).map_err(MergedError::from);
    let renamed = written.and_then(|_| {
        let renamed = rustix::fs::renameat(&parent, &temporary, &parent, name);
        Ok(renamed.map_err(failed("rename a file in"))?)
    });
    if renamed.is_err() {
        // What cannot be removed now is a leftover that the next repair removes.
        let _ = tree::remove(parent.as_fd(), temporary.as_ref(), parent.as_fd());
    }
    renamed
}

/// The digits of the diff id, as far as they go.
fn tag(layer: &LayerRecord) -> [u8; 64] {
    let mut tag = [0; 64];
    let digits = layer.diff_id.hex();
    let length = digits.len().min(tag.len());
    tag[..length].copy_from_slice(&digits.as_bytes()[..length]);
    tag
}
