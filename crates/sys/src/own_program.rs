//! This program's own file, kept from those who run in a container: while a process of ours is on
//! its way to become their program, `/proc/self/exe` leads them to it, and root of a container
//! without a user namespace could write to it (CVE-2019-5736).

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::mount::{Change, Reach, attr, last_errno, set_attributes};
use crate::process::StringArray;
use crate::user_namespace;

const OWN: &str = "/proc/self/exe";

/// This program's file on a read-only mount of its own that is attached nowhere, to be executed.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN; `ENOSYS` before Linux 5.12.
pub fn read_only() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = rustix::mount::open_tree(CWD, OWN, flags)?;
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    set_attributes(file.as_fd(), Reach::One, &change)?;
    Ok(file)
}

/// Executes this program again from [`read_only`], with these words; or, for a user who may make no
/// mounts, from a sealed copy of the file in memory (memfd_create(2), fcntl(2) "File Sealing"), if it is
/// one that the user, or root of a user namespace of his, could write to. Returns if it runs from there
/// already. To be called before this process has done anything.
///
/// # Errors
/// As [`read_only`], and of memfd_create(2): `EACCES` where `vm.memfd_noexec` forbids to execute it.
pub fn run_protected(words: Vec<OsString>) -> Result<(), Errno> {
    let mounted = rustix::fs::statvfs(OWN)?;
    if mounted.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    match read_only() {
        Ok(file) => match execute(file.as_fd(), words)? {},
        Err(Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    // Somebody else's file that cannot be written is not in the container's hands, either.
    let owner = rustix::fs::stat(OWN)?.st_uid;
    let writable = rustix::fs::accessat(CWD, OWN, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    let foreign = owner != rustix::process::geteuid().as_raw()
        && (owner == UNMAPPED || owner == 0 && user_namespace::is_first() == Some(true));
    if foreign && !writable {
        return Ok(());
    }
    let file = rustix::fs::openat(CWD, OWN, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SEALS)) {
        return Ok(());
    }
    match execute(sealed_copy(file.as_fd())?.as_fd(), words)? {}
}

/// The owner of what no id of this user namespace owns (proc_sys_fs(5), overflowuid).
const UNMAPPED: u32 = 65534;
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

fn sealed_copy(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // MFD_EXEC is new in Linux 6.3.
    let copy = rustix::fs::memfd_create(c"gamut", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(c"gamut", flags))?;
    while rustix::fs::sendfile(&copy, file, None, 1 << 30)? > 0 {}
    rustix::fs::fcntl_add_seals(&copy, SEALS)?;
    Ok(copy)
}

/// Replaces this program.
fn execute(file: BorrowedFd<'_>, words: Vec<OsString>) -> Result<Infallible, Errno> {
    let c_strings = |words: Vec<OsString>| -> Result<StringArray, Errno> {
        let words = words.into_iter().map(|word| CString::new(word.into_vec()));
        let words: Result<Vec<_>, _> = words.collect();
        words.map(StringArray::new).map_err(|_| Errno::INVAL)
    };
    let args = c_strings(words)?;
    let variables = std::env::vars_os().map(|(name, value)| {
        let mut variable = name;
        variable.push("=");
        variable.push(value);
        variable
    });
    let env = c_strings(variables.collect())?;
    // SAFETY: the path is an empty C string, and both lists are C strings ended by a null pointer
    // (StringArray); execveat reads them and returns only when it fails.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(last_errno())
}
