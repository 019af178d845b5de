//! Taking a group away, with the groups that the workload made below it.

use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::dir::Dir;
use super::error::CgroupError;
use super::group::Cgroup;
use super::processes::processes_of;
use super::tree;

/// A task leaves its group a moment after its parent has seen it die. The pauses grow from the
/// first by doubling up to the longest, until all together took this long.
const FIRST_PAUSE: Duration = Duration::from_micros(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_millis(500);

impl Cgroup {
    /// Removes the group from every hierarchy, whoever made it there, with all groups below it.
    /// A group that isn't there is no error. Nothing is killed: see [`Self::kill_all`].
    ///
    /// # Errors
    /// [`CgroupError::Remove`] if processes still live in it; what could be removed is gone.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let mut first_error = None;
        let mut patience = PATIENCE;
        let (above, name) = self.split_path();
        for (index, hierarchy) in self.hierarchies().mounted.iter().enumerate() {
            let removed = match self.opened_parent(index) {
                Some(parent) => remove_group(parent, name, &mut patience),
                None => match Dir::open_existing(hierarchy.absolute(above)) {
                    Ok(Some(parent)) => remove_group(&parent, name, &mut patience),
                    Ok(None) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = removed {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }
}

fn remove_group(parent: &Dir, name: &str, patience: &mut Duration) -> Result<(), CgroupError> {
    let mut pause = FIRST_PAUSE;
    let mut attempt = 0;
    let last = loop {
        let last = match parent.remove_child(name) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
            Err(errno) => errno,
        };
        if last != Errno::BUSY && last != Errno::NOTEMPTY {
            break last;
        }
        remove_below(parent, name)?;
        if attempt > 0 {
            if patience.is_zero() {
                break last;
            }
            std::thread::sleep(pause);
            *patience = patience.saturating_sub(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        attempt += 1;
    };
    let processes = match parent.existing_child(name)? {
        Some(dir) => processes_of(&dir)?,
        None => return Ok(()),
    };
    Err(CgroupError::Remove {
        path: format!("{}/{name}", parent.path()),
        errno: last,
        processes,
    })
}

/// Removes what can be removed below the group `name`.
fn remove_below(parent: &Dir, name: &str) -> Result<(), CgroupError> {
    let Some(group) = parent.existing_child(name)? else {
        return Ok(());
    };
    let leave = |above: &std::os::fd::OwnedFd, child: &str| match rustix::fs::unlinkat(
        above,
        child,
        AtFlags::REMOVEDIR,
    ) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV | Errno::BUSY | Errno::NOTEMPTY) => Ok(()),
        Err(errno) => Err(errno),
    };
    tree::walk(group.fd(), |_| Ok(()), leave).map_err(|errno| CgroupError::Remove {
        path: group.path().to_owned(),
        errno,
        processes: Vec::new(),
    })
}
