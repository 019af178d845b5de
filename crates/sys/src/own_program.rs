//! This program's own file, kept from those who run in a container: while a process of ours is on
//! its way to become their program, `/proc/self/exe` leads them to it, and root of a container
//! without a user namespace could write to it (CVE-2019-5736).

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::mount::{Change, Reach, attr, last_errno, set_attributes};
use crate::process::StringArray;

const OWN: &str = "/proc/self/exe";

/// This program's file on a read-only mount of its own that is attached nowhere, to be executed.
///
/// # Errors
/// `EPERM` without CAP_SYS_ADMIN: then the file is somebody else's to write; `ENOSYS` before Linux
/// 5.12.
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

/// Executes this program again from [`read_only`], with these words; returns if it runs from there
/// already. To be called before this process has done anything.
///
/// # Errors
/// As [`read_only`].
pub fn run_read_only(words: Vec<OsString>) -> Result<(), Errno> {
    let mounted = rustix::fs::statvfs(OWN)?;
    if mounted.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let file = read_only()?;
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
