//! Binds of what another process has mounted: `/proc/PID/root/…`. open_tree(2) copies only what is in the
//! caller's own mount namespace, so it is called from within the other's.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use gamut_sys::process::{self, namespace};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::bind::Bind;
use super::target::Kind;

/// The process, and the path as that sees it.
pub(super) fn of(source: &Path) -> Option<(i32, PathBuf)> {
    let below = source.strip_prefix("/proc").ok()?;
    let mut parts = below.components();
    let Some(Component::Normal(process)) = parts.next() else {
        return None;
    };
    let process = process.to_str()?.parse().ok()?;
    match parts.next() {
        Some(Component::Normal(word)) if word == "root" => {}
        _ => return None,
    }
    Some((process, Path::new("/").join(parts.as_path())))
}

/// In a thread, with which the way into the namespace ends: setns(2) takes the root and the directory of who
/// comes along.
pub(super) fn copy(bind: &Bind, process: i32, path: &CStr) -> Result<(OwnedFd, Kind), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(format!("/proc/{process}/ns/mnt"), flags, Mode::empty())?;
    let work = || {
        // Brings a root and a directory of its own.
        process::unshare(namespace::MOUNT)?;
        process::join(theirs.as_fd(), namespace::MOUNT)?;
        bind.of(CWD, path)
    };
    match std::thread::scope(|scope| scope.spawn(work).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_of_processes_are_elsewhere() {
        let seen = |path: &str| of(Path::new(path));
        assert_eq!(seen("/proc/12/root/dev/shm"), Some((12, "/dev/shm".into())));
        assert_eq!(seen("/proc/12/root"), Some((12, "/".into())));
        for own in [
            "/proc/self/root/x",
            "/proc/12/cwd",
            "/proc",
            "/dev/shm",
            "proc/1/root",
        ] {
            assert_eq!(seen(own), None, "{own}");
        }
    }
}
