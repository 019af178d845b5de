//! The group that is asked about reads: a new one, or that of a filler that is no more, from any process
//! that holds it.

use std::os::fd::{OwnedFd, RawFd};
use std::path::Path;

use gamut_sys::fanotify::Group;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

/// What `/proc/PID/fd/N` leads to.
const LINK: &str = "anon_inode:[fanotify]";

/// The group of a dead filler that watches any of the files with these inodes, if anybody holds it.
pub(super) fn find(inodes: &[u64]) -> Option<Group> {
    let processes = std::fs::read_dir("/proc").ok()?;
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find_map(|pid: i32| of_process(pid, inodes))
}

fn of_process(pid: i32, inodes: &[u64]) -> Option<Group> {
    let directory = Path::new("/proc").join(pid.to_string());
    for entry in std::fs::read_dir(directory.join("fd")).ok()?.flatten() {
        let is_group = std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == LINK);
        if !is_group {
            continue;
        }
        let info = std::fs::read_to_string(directory.join("fdinfo").join(entry.file_name()));
        let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
        if let (Ok(info), Some(number)) = (info, number)
            && watches(&info, inodes)
            && let Some(fd) = take(pid, number)
        {
            return Some(Group::from_fd(fd));
        }
    }
    None
}

/// Whether the lines of `fdinfo` (proc_pid_fdinfo(5)) are of a pre-content group that watches one of these.
fn watches(info: &str, inodes: &[u64]) -> bool {
    /// `FAN_CLASS_PRE_CONTENT`.
    const PRE_CONTENT: u64 = 0x8;
    /// The bits of classes.
    const CLASSES: u64 = 0xc;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut is_pre_content = false;
    for line in info.lines() {
        if let Some(flags) = line.strip_prefix("fanotify flags:") {
            let flags = flags.split(' ').next().and_then(hex).unwrap_or(0);
            is_pre_content = flags & CLASSES == PRE_CONTENT;
        }
        let inode = line.strip_prefix("fanotify ino:");
        let inode = inode.and_then(|rest| hex(rest.split(' ').next()?));
        if is_pre_content && inode.is_some_and(|inode| inodes.contains(&inode)) {
            return true;
        }
    }
    false
}

fn take(pid: i32, number: RawFd) -> Option<OwnedFd> {
    let process = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_known_by_what_it_watches() {
        let info = "pos:\t0\nflags:\t04002\nmnt_id:\t16\nino:\t1056\n\
                    fanotify flags:b event-flags:8000\n\
                    fanotify ino:4fb sdev:fe00001 mflags: 0 mask:100000 ignored_mask:0\n";
        assert!(watches(info, &[1, 0x4fb]));
        assert!(!watches(info, &[1]));
        let other_class = info.replace("flags:b", "flags:7");
        assert!(!watches(&other_class, &[0x4fb]));
        assert!(!watches("", &[1]));
    }
}
