//! Reading everything again: whether blobs and layers on disk still are what their digests say. Layers
//! are proven by making them again ([`crate::proof`]).

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use gamut_spec::digest::Digest;

use crate::blob::BlobError;
use crate::erofs::read::{Image, Walk};
use crate::file_error::FileError;
use crate::gc::discard;
use crate::layer::{Form, LayerRecord};
use crate::lazy::Opened;
use crate::pin;
use crate::seal::SealError;
use crate::store::{Store, StoreError};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte is right.
    Sound,
    /// It is there, as far as can be seen, and there is nothing to hold it against: it was unpacked by
    /// a version that kept no record of the archive.
    Unproven,
    /// It is not there.
    Missing,
    /// It is not what it was.
    Damaged(String),
}

impl Store {
    /// Reads a blob and holds it against its digest.
    pub fn verify_blob(&self, digest: &Digest) -> Result<Verdict, StoreError> {
        match self.blobs().read(digest) {
            Ok(_) => Ok(Verdict::Sound),
            Err(BlobError::NotFound(_)) => Ok(Verdict::Missing),
            Err(error @ BlobError::WrongDigest { .. }) => Ok(Verdict::Damaged(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a layer and holds it against its diff id.
    pub fn verify_layer(&self, layer: &LayerRecord) -> Result<Verdict, StoreError> {
        let path = self.layers().tree(layer);
        if !path.exists() {
            return Ok(Verdict::Missing);
        }
        let Some(known) = self.layers().identify(&layer.directory) else {
            return Ok(Verdict::Damaged("its description cannot be read".into()));
        };
        if known.record.diff_id != layer.diff_id {
            let text = format!("it is the layer {}", known.record.diff_id.short());
            return Ok(Verdict::Damaged(text));
        }
        if layer.form == Form::Lazy {
            return self.verify_pending(layer);
        }
        match self.layers().check_seal_of_file(layer) {
            Ok(_) => {}
            Err(SealError::File(error)) => return Err(error.into()),
            Err(error) => return Ok(Verdict::Damaged(error.to_string())),
        }
        let Some(pinned) = self.layers().get(&layer.diff_id)? else {
            return Ok(Verdict::Missing);
        };
        match (self.layers().prove(&pinned)?, layer.form) {
            (Verdict::Unproven, Form::Erofs) => walk(&path),
            (verdict, _) => Ok(verdict),
        }
    }

    /// What is there of a layer that is not whole can be proven: every chunk has a digest.
    fn verify_pending(&self, layer: &LayerRecord) -> Result<Verdict, StoreError> {
        match self.layers().open_pending(layer) {
            Ok(Opened::Pending(pending)) => Ok(match pending.verify() {
                0 => Verdict::Unproven,
                count => Verdict::Damaged(format!("{count} of its chunks are wrong")),
            }),
            Ok(Opened::Whole(_)) => walk(&self.layers().tree(layer)),
            Ok(Opened::Gone) => Ok(Verdict::Missing),
            Err(error) => Ok(Verdict::Damaged(error.to_string())),
        }
    }

    /// Removes a layer that is damaged, so that the next pull fetches it again. False: some process
    /// is using it.
    pub fn remove_damaged_layer(&mut self, layer: &LayerRecord) -> Result<bool, StoreError> {
        let path = self.layers().directory().to_owned();
        let layers = pin::open_directory(&path)?;
        let failed = |errno| FileError::at("remove", &path.join(&layer.directory))(errno);
        self.db_mut()
            .write(|transaction| transaction.forget_layer(&layer.diff_id))?;
        Ok(discard(layers.as_fd(), &layer.directory).map_err(failed)?)
    }

    /// The same for a manifest, a configuration or an attestation.
    pub fn remove_damaged_blob(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.blobs().directory().to_owned();
        let blobs = pin::open_directory(&path)?;
        let failed = |errno| FileError::at("remove", &self.blobs().path(digest))(errno);
        Ok(discard(blobs.as_fd(), &digest.hex()).map_err(failed)?)
    }
}

/// Reads all that an EROFS image says of its files: where that makes no sense, it is damaged. Their
/// content has nothing to be held against.
fn walk(path: &Path) -> Result<Verdict, StoreError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let image = match Image::open(file) {
        Ok(image) => image,
        Err(error) => return Ok(Verdict::Damaged(error.to_string())),
    };
    let walked = Walk::new(&image).and_then(|walk| {
        for visit in walk {
            image.xattrs(&visit?.inode)?;
        }
        Ok(())
    });
    Ok(match walked {
        Ok(()) => Verdict::Unproven,
        Err(error) => Verdict::Damaged(error.to_string()),
    })
}
