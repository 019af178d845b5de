//! Giving a group to its workload, so that it can make groups of its own below it, and finding where
//! it went. Runtime specification, "Cgroup ownership"; cgroup-v2.rst, "Delegation".

use rustix::fs::{AtFlags, Uid};
use rustix::io::Errno;
use rustix::process::Pid;

use super::discover::Version;
use super::error::{Cause, CgroupError};
use super::group::Cgroup;

/// What the kernel says may be given; new in Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// "If the file does not exist, the runtime MUST fall back to using the following list."
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

impl Cgroup {
    /// Makes a user of the host own the group and those of its files that cannot widen its limits.
    /// Those of v1 stay: they cannot be given away safely.
    ///
    /// # Errors
    /// [`CgroupError::Write`].
    pub fn give_to(&self, owner: Uid) -> Result<(), CgroupError> {
        let Some(dir) = self.v2_dir()? else {
            return Ok(());
        };
        let failed = |path: String, errno| CgroupError::Write {
            path,
            value: format!("owner {}", owner.as_raw()),
            cause: Cause::Kernel(errno),
        };
        let empty = AtFlags::EMPTY_PATH;
        rustix::fs::chownat(dir.fd(), "", Some(owner), None, empty)
            .map_err(|errno| failed(dir.path().to_owned(), errno))?;
        let listed = std::fs::read_to_string(LIST).unwrap_or_else(|_| FALLBACK.to_owned());
        for file in listed.lines().filter(|name| !name.contains('/')) {
            match rustix::fs::chownat(dir.fd(), file, Some(owner), None, AtFlags::SYMLINK_NOFOLLOW)
            {
                // Controllers that the group has not got have no files.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(format!("{}/{file}", dir.path()), errno)),
            }
        }
        Ok(())
    }
    /// The group below this one that a process is in. `None`: it is in this one or elsewhere; or
    /// there are groups of version 1, which take processes at every level.
    ///
    /// # Errors
    /// A group that has gone meanwhile.
    pub fn below_of(&self, pid: Pid) -> Result<Option<Self>, CgroupError> {
        let [unified] = &self.hierarchies().mounted[..] else {
            return Ok(None);
        };
        let listed = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
        let text = std::fs::read_to_string(listed).unwrap_or_default();
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        let own = format!("{}/", unified.absolute(self.path()));
        let path = path.map(|path| format!("{}{path}", unified.mount_point));
        match path.as_ref().and_then(|path| path.strip_prefix(&own)) {
            Some(below) if unified.version == Version::V2 => {
                let path = format!("{}/{below}", self.path());
                Self::open(self.hierarchies(), &path).map(Some)
            }
            _ => Ok(None),
        }
    }
}
