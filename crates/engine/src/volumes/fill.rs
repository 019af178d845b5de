//! Volumes: directories of the host that outlive a container's root. A new one starts with what
//! the image has at its place.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::EngineError;

/// Makes the volume at `path`, with the content, owner and mode of `target` in the image whose
/// layers (the top one first) are given.
///
/// # Errors
/// [`EngineError::HostPath`].
pub(crate) fn make(path: &Path, layers: &[PathBuf], target: &Path) -> Result<(), EngineError> {
    let failed = |error: std::io::Error| EngineError::HostPath {
        path: path.display().to_string(),
        source: error,
    };
    // Filled under another name: a half-filled volume never has its own.
    let filling = path.with_extension(format!("part-{}", std::process::id()));
    match std::fs::remove_dir_all(&filling) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir_all(&filling).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let into = rustix::fs::open(&filling, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    let copied = open_in_image(layers, target).and_then(|from| match from {
        Some(from) => gamut_store::copy::onto(from.as_fd(), into.as_fd()),
        None => Ok(()),
    });
    copied.map_err(|errno| failed(errno.into()))?;
    match std::fs::rename(&filling, path) {
        // Another start was quicker with the same volume: its content is as good.
        Err(_) if path.exists() => std::fs::remove_dir_all(&filling).map_err(failed),
        other => other.map_err(failed),
    }
}

/// The directory `target` of the image, as its layers show it together; `None` if it has none.
fn open_in_image(layers: &[PathBuf], target: &Path) -> Result<Option<OwnedFd>, Errno> {
    let root = match layers {
        [] => return Ok(None),
        [only] => rustix::fs::open(
            only,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?,
        several => gamut_container::layers_view(several, gamut_container::Marks::ours())?,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(
        &root,
        target,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    ) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
