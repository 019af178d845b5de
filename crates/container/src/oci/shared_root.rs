//! The root of a container that has no mount namespace of its own: it lies in that of the runtime, or in
//! one that is joined by its path, where the bundle has it. What was mounted there goes with the container.
//! Runtime specification, "Namespaces": one that is not listed is inherited.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use gamut_sys::process::{self, namespace};
use oci_spec::runtime::Spec;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::check;
use super::error::OciError;
use super::record::Record;

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): never given twice, as that of older kernels may be.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The id of the mount that the root is going to be, if it is to lie among the mounts of others; known
/// before it is there.
pub(super) fn id(spec: &Spec, root: BorrowedFd<'_>) -> Result<Option<u64>, OciError> {
    if check::own_mounts(spec) {
        return Ok(None);
    }
    let failed = |errno: Errno| OciError::io("look at", Path::new("the root"), errno.into());
    mount_id(root, Path::new("")).map(Some).map_err(failed)
}

fn mount_id(directory: BorrowedFd<'_>, path: &Path) -> Result<u64, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::MNT_ID | UNIQUE;
    rustix::fs::statx(directory, path, flags, wanted).map(|stat| stat.stx_mnt_id)
}

/// Takes away what is mounted for a container in the mount namespace of others. What is not there is gone;
/// so is all that was in a namespace which has ended.
pub(super) fn unmount(record: &Record) -> Result<(), OciError> {
    let Some(id) = record.shared_root else {
        return Ok(());
    };
    let rootfs = record.rootfs();
    let done = match check::mounts_of(&record.spec) {
        None => detach(&rootfs, id),
        Some(namespace) => in_thread(namespace.to_owned(), rootfs.clone(), id),
    };
    done.map_err(|errno| OciError::io("unmount", &rootfs, errno.into()))
}

fn detach(rootfs: &Path, id: u64) -> Result<(), Errno> {
    match mount_id(CWD, rootfs) {
        Ok(there) if there == id => {
            rustix::mount::unmount(rootfs, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        }
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// In a thread, with which the way into the namespace ends: setns(2) takes the root and the directory of who
/// comes along.
fn in_thread(namespace: PathBuf, rootfs: PathBuf, id: u64) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = match rustix::fs::open(&namespace, flags, Mode::empty()) {
        Ok(namespace) => namespace,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let work = || {
        // Brings a root and a directory of its own.
        process::unshare(namespace::MOUNT)?;
        process::join(namespace.as_fd(), namespace::MOUNT)?;
        detach(&rootfs, id)
    };
    match std::thread::scope(|scope| scope.spawn(work).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
