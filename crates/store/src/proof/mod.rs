//! The proof of a layer: its archive is put together again from what is kept of it, which must hash to
//! the diff id, and is unpacked once more; what comes out must be what is there. So no digest of a tree
//! or an image has to be kept, nothing is paid for it in a pull, and a change of anything is found: of
//! contents, names, attributes, and of what lies there besides.
//!
//! It takes room for a second copy of the layer, while it lasts.

mod files;
mod image;
mod tree;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::erofs::read::Image;
use crate::file_error::FileError;
use crate::layer::{Form, Layer, LayerError, Layers};
use crate::pin::{self, TemporaryDirectory};
use crate::reproduce::ReproduceError;
use crate::unpack::{LayerSource, OpaqueXattr, UnpackOptions, UnpackProblem, Unpacked};
use crate::verify::Verdict;
use files::{Difference, compare};
use image::ImageFiles;
use tree::TreeFiles;

/// Bytes that are compared at once.
const BUFFER_BYTES: usize = 256 << 10;
/// How far a file system's clock may be behind the system's: a tick, and much more.
const CLOCK: Duration = Duration::from_secs(1);
/// What is reproduced.
const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

impl Layers {
    /// See the module.
    pub(crate) fn prove(&self, layer: &Layer) -> Result<Verdict, LayerError> {
        let record = &layer.record;
        let archive = match self.reproduce(layer) {
            Ok(archive) => archive,
            Err(ReproduceError::NoRecord(_)) => return Ok(Verdict::Unproven),
            Err(ReproduceError::File(error)) => return Err(error.into()),
            Err(error) => return Ok(Verdict::Damaged(error.to_string())),
        };
        let source = LayerSource {
            digest: &record.diff_id,
            size_bytes: None,
            media_type: MEDIA_TYPE,
            diff_id: &record.diff_id,
        };
        let options = UnpackOptions {
            form: record.form,
            opaque: OpaqueXattr::ours(),
            ..UnpackOptions::default()
        };
        let began = SystemTime::now().duration_since(UNIX_EPOCH);
        let began = began.unwrap_or_default().saturating_sub(CLOCK);
        let temporary = TemporaryDirectory::new(self.directory())?;
        let unpacked = match self.fill(&source, archive, &temporary, &options) {
            Ok(unpacked) => unpacked,
            Err(LayerError::Unpack(error)) => {
                return match *error.problem {
                    UnpackProblem::NoSpace | UnpackProblem::System { .. } => {
                        Err(LayerError::Unpack(error))
                    }
                    // What the archive is put together from is not there any more.
                    UnpackProblem::Stream(reason) => Ok(Verdict::Damaged(reason)),
                    _ => Ok(Verdict::Damaged(error.to_string())),
                };
            }
            Err(error) => return Err(error),
        };
        if !is_as_recorded(layer, &unpacked) {
            let text = "what is recorded of it is not what its archive says";
            return Ok(Verdict::Damaged(text.into()));
        }
        let made = temporary.path().join(record.form.content());
        let kept = self.tree(record);
        let difference = match record.form {
            Form::Erofs | Form::Lazy => images(&made, &kept)?,
            Form::Directory => trees(&made, &kept, began)?,
        };
        Ok(match difference {
            None => Verdict::Sound,
            Some(difference) => Verdict::Damaged(difference.to_string()),
        })
    }
}

fn is_as_recorded(layer: &Layer, unpacked: &Unpacked) -> bool {
    let record = &layer.record;
    record.size_bytes == unpacked.size_bytes
        && record.entries == unpacked.entries
        && record.root == unpacked.root
        && record.opaque_root == unpacked.opaque_root
}

/// Images are compared byte by byte. Another version of the writer may have made other bytes of the same
/// archive: then what they show is.
fn images(made: &Path, kept: &Path) -> Result<Option<Difference>, FileError> {
    let open = |path: &Path| File::open(path).map_err(FileError::io("open", path));
    let (made_file, kept_file) = (open(made)?, open(kept)?);
    match same_bytes(&made_file, &kept_file) {
        Ok(true) => return Ok(None),
        Ok(false) => {}
        // A disk that fails, or a seal that is broken.
        Err(error) => return Ok(Some(Difference::other(&error))),
    }
    let own = Image::open(made_file).map_err(|error| Difference::other(&error));
    let other = Image::open(kept_file).map_err(|error| Difference::other(&error));
    Ok(match (own, other) {
        (Ok(own), Ok(other)) => compare(&ImageFiles(own), &ImageFiles(other)).err(),
        (Err(difference), _) | (_, Err(difference)) => Some(difference),
    })
}

/// Directories that no entry of the archive speaks of, and whiteouts, have the time at which they were
/// made: such times, not before `began`, are no difference.
fn trees(made: &Path, kept: &Path, began: Duration) -> Result<Option<Difference>, FileError> {
    let (made, kept) = (pin::open_directory(made)?, pin::open_directory(kept)?);
    let made = TreeFiles::new(made.as_fd()).made_since(began);
    Ok(compare(&made, &TreeFiles::new(kept.as_fd())).err())
}

fn same_bytes(left: &File, right: &File) -> std::io::Result<bool> {
    if left.metadata()?.len() != right.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (left, right);
    let mut buffers = [vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]];
    let [own, other] = &mut buffers;
    loop {
        let count = fill(&mut left, own)?;
        if fill(&mut right, other)? != count || own[..count] != other[..count] {
            return Ok(false);
        }
        if count < own.len() {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
