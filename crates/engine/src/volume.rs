//! Volumes: directories of the host that outlive a container's root. A new one starts with what
//! the image has at its place.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use crate::error::EngineError;

/// Makes the volume at `path`, with the content, owner and mode of `target` in the image whose
/// layers (bottom first) are given.
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
        Some(from) => copy_directory(&from, &into, 0),
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
        several => {
            let from_the_top: Vec<PathBuf> = several.iter().rev().cloned().collect();
            gamut_container::layers_view(&from_the_top)?
        }
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

/// No honest image is deeper.
const MAX_DEPTH: usize = 256;

fn copy_directory(from: &OwnedFd, into: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    let stat = rustix::fs::fstat(from)?;
    for entry in rustix::fs::Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from, into, name, depth)?;
    }
    rustix::fs::fchown(
        into,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(into, Mode::from_raw_mode(stat.st_mode))
}

fn copy_entry(
    from: &OwnedFd,
    into: &OwnedFd,
    name: &std::ffi::CStr,
    depth: usize,
) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            match rustix::fs::mkdirat(into, name, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let deeper = rustix::fs::openat(from, name, directory, Mode::empty())?;
            let target = rustix::fs::openat(into, name, directory, Mode::empty())?;
            return copy_directory(&deeper, &target, depth + 1);
        }
        FileType::Symlink => {
            let to = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(to.as_c_str(), into, name)?;
        }
        FileType::RegularFile => {
            let source = rustix::fs::openat(
                from,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = rustix::fs::openat(into, name, flags, Mode::from_raw_mode(0o600))?;
            std::io::copy(
                &mut std::fs::File::from(source),
                &mut std::fs::File::from(target.try_clone().map_err(|_| Errno::MFILE)?),
            )
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            rustix::fs::fchown(
                &target,
                Some(Uid::from_raw(stat.st_uid)),
                Some(Gid::from_raw(stat.st_gid)),
            )?;
            return rustix::fs::fchmod(&target, Mode::from_raw_mode(stat.st_mode));
        }
        kind => rustix::fs::mknodat(
            into,
            name,
            kind,
            Mode::from_raw_mode(stat.st_mode & 0o7777),
            stat.st_rdev,
        )?,
    }
    let owner = (
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    );
    rustix::fs::chownat(into, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
}
