//! What EROFS images in this store can have beyond being mounted: compression and seals. Tried whenever
//! somebody asks, and not with the storage driver: a start has no use for it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use gamut_container::erofs as image;
use gamut_store::erofs::{self, Compression};
use gamut_store::seal::{self, Part};
use rustix::fs::{Mode, OFlags};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::storage::{failed_at, trial_image};
use crate::{image_mounts, names};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageExtras {
    /// Compressions that cannot be had, and why.
    pub no_compression: Vec<(&'static str, String)>,
    /// Why layers cannot be sealed by fs-verity; `None`: they can.
    pub no_fs_verity: Option<String>,
    /// The same for dm-verity.
    pub no_dm_verity: Option<String>,
}

impl ImageExtras {
    /// Why EROFS images cannot be compressed so; `None`: they can.
    #[must_use]
    pub fn compression_lack(&self, compression: Compression) -> Option<String> {
        let wanted = compression.algorithm()?.name();
        let mut lacks = self.no_compression.iter();
        let lack = lacks.find(|(algorithm, _)| *algorithm == wanted);
        lack.map(|(_, reason)| reason.clone())
    }
}

impl Engine {
    /// Tries what images can have here.
    ///
    /// # Errors
    /// When nothing can be written to the store.
    pub fn image_extras(&self) -> Result<ImageExtras, EngineError> {
        let no_erofs = &self.storage()?.no_erofs;
        let scratch = self.store.scratch()?;
        let scratch = scratch.path();
        let mut no_compression = Vec::new();
        for (compression, algorithm) in erofs::empty::COMPRESSIONS {
            let reason = match no_erofs {
                Some(reason) => Some(reason.clone()),
                None => try_compression(&scratch, compression)?.err(),
            };
            no_compression.extend(reason.map(|reason| (algorithm.name(), reason)));
        }
        Ok(ImageExtras {
            no_compression,
            no_fs_verity: try_fs_verity(&scratch)?.err(),
            no_dm_verity: try_dm_verity(&scratch)?.err(),
        })
    }
}

/// Reads a compressed file by way of the kernel.
fn try_compression(
    scratch: &Path,
    compression: Compression,
) -> Result<Result<(), String>, EngineError> {
    let path = scratch.join("compressed.erofs");
    let file = File::create(&path).map_err(failed_at(&path))?;
    if let Err(error) = erofs::empty::write_compressed(&file, compression) {
        return Ok(Err(error.to_string()));
    }
    let tree = match image::mount(&path, &[]) {
        Ok((tree, _)) => tree,
        Err(errno) => return Ok(Err(format!("such an image cannot be mounted: {errno}"))),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut read = Vec::new();
    let found = rustix::fs::openat(&tree, erofs::empty::NAME, flags, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|found| File::from(found).read_to_end(&mut read));
    Ok(match found {
        Ok(_) if read == erofs::empty::content() => Ok(()),
        Ok(_) => Err("such a file is not read as it was written".to_owned()),
        Err(error) => Err(format!("such a file cannot be read: {error}")),
    })
}

/// Seals a file in the store.
fn try_fs_verity(scratch: &Path) -> Result<Result<(), String>, EngineError> {
    let path = scratch.join("sealed");
    std::fs::write(&path, "sealed").map_err(failed_at(&path))?;
    Ok(match seal::seal(&path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "a file cannot be sealed by fs-verity: {}",
            error.errno
        )),
    })
}

/// Mounts an image of two files in the store, each under a tree of hashes.
fn try_dm_verity(scratch: &Path) -> Result<Result<(), String>, EngineError> {
    if !Path::new("/dev/mapper/control").exists() {
        return Ok(Err("there is no device mapper (/dev/mapper/control)".into()));
    }
    let files = match trial_image(scratch)? {
        Ok(files) => files,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut parts = Vec::new();
    for file in files {
        let path = file.with_added_extension("verity");
        let mut options = File::options();
        let tree = options.read(true).write(true).create_new(true).open(&path);
        let tree = seal::hash_tree(&file, tree.map_err(failed_at(&path))?);
        match tree {
            Ok(tree) => parts.push(Part {
                file,
                tree: Some(tree),
            }),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    let name = || format!("gamut-trial-{}", &names::container_id()[..16]);
    let mounted = image::mount_checked(&image_mounts::checked(&parts), name);
    Ok(match mounted {
        Ok(_mounted) => Ok(()),
        Err(errno) => Err(format!(
            "an image under dm-verity cannot be mounted: {errno}"
        )),
    })
}
