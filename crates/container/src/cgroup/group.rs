//! [`Cgroup`]: one group of ours in every hierarchy it needs, and how processes enter it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use super::controller::{Controller, ControllerSet};
use super::dir::Dir;
use super::discover::{Hierarchies, Hierarchy, Version};
use super::error::CgroupError;
use super::limits::Needs;
use super::{cause, cpuset};

/// A workload's control group: the same path in every hierarchy that it needs.
///
/// A group that a later operation needs (the v1 freezer, a limit added while running) is made
/// then, and the workload's processes are moved into it.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    hierarchies: Hierarchies,
    /// One for each of `hierarchies.mounted`.
    slots: Vec<Slot>,
}

/// What becomes of a group that is there when it is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Present {
    Refused,
    Taken,
}

/// The group in one hierarchy: unset until it is known to exist.
#[derive(Debug, Default)]
struct Slot {
    parent: OnceLock<Dir>,
    dir: OnceLock<Dir>,
}

impl Cgroup {
    /// Makes the group `path` (relative, such as `gamut/<id>`) in each hierarchy that `needs`
    /// asks for. On v2 the controllers are enabled from the top down to it. Groups above it are
    /// made where they are missing. If anything fails, what was made is removed again.
    ///
    /// # Errors
    /// [`CgroupError::Exists`] if there is such a group; [`CgroupError::Enable`] where v2 cannot
    /// share a controller out; [`CgroupError::Create`] for the rest.
    pub fn create(
        hierarchies: &Hierarchies,
        path: &str,
        needs: &Needs,
    ) -> Result<Self, CgroupError> {
        let group = Self::closed(hierarchies, path)?;
        if group.slots.is_empty() {
            return Err(CgroupError::NotMounted);
        }
        for index in needs.places(hierarchies) {
            let needs = needs.on(hierarchies.mounted[index].version);
            if let Err(error) = group.make(index, needs, Present::Refused) {
                group.unmake();
                return Err(error);
            }
        }
        Ok(group)
    }

    /// Opens the group `path`, wherever it exists.
    ///
    /// # Errors
    /// [`CgroupError::NotFound`] if no hierarchy has it.
    pub fn open(hierarchies: &Hierarchies, path: &str) -> Result<Self, CgroupError> {
        let group = Self::closed(hierarchies, path)?;
        let mut found = false;
        for index in 0..group.slots.len() {
            found |= group.existing(index)?.is_some();
        }
        if !found {
            let path = path.to_owned();
            return Err(CgroupError::NotFound { path });
        }
        Ok(group)
    }

    /// The names of the groups below `path` in any hierarchy, sorted: what is left over, for
    /// repair.
    ///
    /// # Errors
    /// A directory that cannot be read; one that isn't there is empty.
    pub fn list(hierarchies: &Hierarchies, path: &str) -> Result<Vec<String>, CgroupError> {
        let mut names = Vec::new();
        for hierarchy in &hierarchies.mounted {
            if let Some(dir) = Dir::open_existing(hierarchy.absolute(path))? {
                names.append(&mut dir.children()?);
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    pub(super) fn closed(hierarchies: &Hierarchies, path: &str) -> Result<Self, CgroupError> {
        check_path(path)?;
        Ok(Self {
            path: path.to_owned(),
            hierarchies: hierarchies.clone(),
            slots: hierarchies
                .mounted
                .iter()
                .map(|_| Slot::default())
                .collect(),
        })
    }

    /// The path given to [`Self::create`].
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The directory of the v2 group for clone3's `CLONE_INTO_CGROUP`: the child then starts in
    /// it. `None`: there is no v2 group.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        let v2 = self.hierarchies.mounted.len().checked_sub(1)?;
        if self.hierarchies.mounted[v2].version != Version::V2 {
            return None;
        }
        self.slots[v2].dir.get().map(Dir::fd)
    }

    /// Open files for the v1 groups. A new child that has a single thread writes the one byte
    /// `0` to each, before exec, and is in them; these are the `tasks` files, for moving the
    /// calling thread spares the kernel a lock whose grace period can take 10 ms and more.
    /// Together with [`Self::clone_into`] that is all groups.
    ///
    /// # Errors
    /// [`CgroupError::Open`].
    pub fn attach_files(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let mut files = Vec::with_capacity(self.slots.len());
        for (hierarchy, dir) in self.opened() {
            if hierarchy.version == Version::V1 {
                let file = dir.open_file("tasks", OFlags::WRONLY).map_err(|errno| {
                    let path = format!("{}/tasks", dir.path());
                    CgroupError::Open { path, errno }
                })?;
                files.push(file);
            }
        }
        Ok(files)
    }

    /// Moves a process with all its threads into the group. It costs a grace period of the
    /// kernel now and then; prefer [`Self::attach_files`] and [`Self::clone_into`] for a process
    /// that is just being made.
    ///
    /// # Errors
    /// [`CgroupError::Attach`].
    pub fn attach(&self, pid: Pid) -> Result<(), CgroupError> {
        for (_, dir) in self.opened() {
            attach_to(dir, pid.as_raw_nonzero().get())?;
        }
        Ok(())
    }

    /// The group that does `controller`'s work, if it exists.
    pub(super) fn dir(
        &self,
        controller: Controller,
    ) -> Result<Option<(Version, &Dir)>, CgroupError> {
        let Some(index) = self.hierarchies.index_of(controller) else {
            return Ok(None);
        };
        let version = self.hierarchies.mounted[index].version;
        Ok(self.existing(index)?.map(|dir| (version, dir)))
    }

    /// As [`Self::dir`], but a group or controller that isn't there yet is made, and the
    /// workload's processes moved into it. `None`: the host has no such controller.
    pub(super) fn ensure(
        &self,
        controller: Controller,
    ) -> Result<Option<(Version, &Dir)>, CgroupError> {
        let Some(index) = self.hierarchies.index_of(controller) else {
            return Ok(None);
        };
        let version = self.hierarchies.mounted[index].version;
        if let Some(dir) = self.existing(index)? {
            if version == Version::V2 && controller.v2_name().is_some() {
                self.enable(index, ControllerSet::of(&[controller]))?;
            }
            return Ok(Some((version, dir)));
        }
        let populated = self.reference()?.is_some();
        let needs = ControllerSet::of(&[controller]);
        let dir = self.make(index, needs, Present::Refused)?;
        if populated {
            self.gather(dir)?;
        }
        Ok(Some((version, dir)))
    }

    /// The v2 group, if there is one.
    pub(super) fn v2_dir(&self) -> Result<Option<&Dir>, CgroupError> {
        let v2 = self
            .hierarchies
            .mounted
            .iter()
            .position(|hierarchy| hierarchy.version == Version::V2);
        match v2 {
            Some(index) => self.existing(index),
            None => Ok(None),
        }
    }

    /// The group whose processes are all of the workload's.
    pub(super) fn reference(&self) -> Result<Option<&Dir>, CgroupError> {
        let preferred = [Controller::Pids, Controller::Memory, Controller::Devices];
        for controller in preferred {
            if let Some((_, dir)) = self.dir(controller)? {
                return Ok(Some(dir));
            }
        }
        for index in 0..self.slots.len() {
            if let Some(dir) = self.existing(index)? {
                return Ok(Some(dir));
            }
        }
        Ok(None)
    }

    pub(super) fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// The groups that are known to exist.
    pub(super) fn opened(&self) -> impl Iterator<Item = (&Hierarchy, &Dir)> {
        let slots = self.hierarchies.mounted.iter().zip(&self.slots);
        slots.filter_map(|(hierarchy, slot)| Some((hierarchy, slot.dir.get()?)))
    }

    /// The open directory above the group in hierarchy `index`, if this process opened it.
    pub(super) fn opened_parent(&self, index: usize) -> Option<&Dir> {
        self.slots[index].parent.get()
    }

    /// The last component of the path, and what stands before it (perhaps empty).
    pub(super) fn split_path(&self) -> (&str, &str) {
        let (above, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        (above, name)
    }

    pub(super) fn existing(&self, index: usize) -> Result<Option<&Dir>, CgroupError> {
        let slot = &self.slots[index];
        if let Some(dir) = slot.dir.get() {
            return Ok(Some(dir));
        }
        let path = self.hierarchies.mounted[index].absolute(&self.path);
        Ok(Dir::open_existing(path)?.map(|dir| slot.dir.get_or_init(|| dir)))
    }

    /// Has the group `below` in the place of this one, in one hierarchy that has this one.
    pub(super) fn descend(&mut self, index: usize, below: &str) -> Result<(), CgroupError> {
        if self.existing(index)?.is_none() {
            return Ok(());
        }
        let path = format!("{}/{below}", self.path);
        let found = Dir::open_existing(self.hierarchies.mounted[index].absolute(&path))?;
        let dir = found.ok_or(CgroupError::NotFound { path })?;
        self.slots[index].dir = OnceLock::from(dir);
        Ok(())
    }

    pub(super) fn make(
        &self,
        index: usize,
        needs: ControllerSet,
        present: Present,
    ) -> Result<&Dir, CgroupError> {
        let hierarchy = &self.hierarchies.mounted[index];
        let slot = &self.slots[index];
        let (above, name) = self.split_path();
        let parent = match Dir::open_existing(hierarchy.absolute(above))? {
            // Somebody may have made a cpuset above ours and left it empty.
            Some(parent) if !is_v1_cpuset(hierarchy) => parent,
            _ => make_path(hierarchy, above)?,
        };
        if hierarchy.version == Version::V2 {
            enable_down_to(hierarchy, above, &parent, needs)?;
        }
        let dir = match (parent.make_child(name), present) {
            (Err(CgroupError::Exists { .. }), Present::Taken) => parent.child(name)?,
            (made, _) => made?,
        };
        let parent = slot.parent.get_or_init(|| parent);
        let dir = slot.dir.get_or_init(|| dir);
        inherit(hierarchy, parent, dir)?;
        Ok(dir)
    }

    /// Makes sure that v2 controllers are enabled for the group.
    pub(super) fn enable(&self, index: usize, wanted: ControllerSet) -> Result<(), CgroupError> {
        let hierarchy = &self.hierarchies.mounted[index];
        let (above, _) = self.split_path();
        let parent = match self.slots[index].parent.get() {
            Some(parent) => parent,
            None => {
                let opened = Dir::open(hierarchy.absolute(above))?;
                self.slots[index].parent.get_or_init(|| opened)
            }
        };
        enable_down_to(hierarchy, above, parent, wanted)
    }

    /// Takes back what [`Self::create`] made; the groups are empty.
    fn unmake(&self) {
        let (_, name) = self.split_path();
        for slot in &self.slots {
            if let (Some(parent), Some(_)) = (slot.parent.get(), slot.dir.get()) {
                // Best effort on the way to reporting the first error; repair finds the rest.
                let _ = parent.remove_child(name);
            }
        }
    }
}

/// Writes one process id to `cgroup.procs`.
pub(super) fn attach_to(dir: &Dir, pid: i32) -> Result<(), CgroupError> {
    match dir.try_write("cgroup.procs", pid.to_string().as_bytes()) {
        Ok(()) => Ok(()),
        Err(errno) => Err(CgroupError::Attach {
            pid,
            path: dir.path().to_owned(),
            cause: cause::of_attach(errno),
        }),
    }
}

/// Makes every missing group of `path` and opens the last.
fn make_path(hierarchy: &Hierarchy, path: &str) -> Result<Dir, CgroupError> {
    let mut dir = Dir::open(hierarchy.absolute(""))?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let child = match dir.make_child(name) {
            // Somebody else may be making it at this moment.
            Err(CgroupError::Exists { .. }) => dir.child(name)?,
            made => made?,
        };
        inherit(hierarchy, &dir, &child)?;
        dir = child;
    }
    Ok(dir)
}

/// A new v1 cpuset has no CPUs and no memory nodes, and takes no process before it has.
fn inherit(hierarchy: &Hierarchy, parent: &Dir, child: &Dir) -> Result<(), CgroupError> {
    if is_v1_cpuset(hierarchy) {
        cpuset::inherit(parent, child)?;
    }
    Ok(())
}

fn is_v1_cpuset(hierarchy: &Hierarchy) -> bool {
    hierarchy.version == Version::V1 && hierarchy.controllers.contains(Controller::Cpuset)
}

/// Enables the controllers of `wanted` that the hierarchy has for the children of `parent`, and
/// for that in every group above it. In the usual case one read shows that all is done.
fn enable_down_to(
    hierarchy: &Hierarchy,
    above: &str,
    parent: &Dir,
    wanted: ControllerSet,
) -> Result<(), CgroupError> {
    let wanted = wanted.intersection(hierarchy.controllers);
    if wanted.is_empty() || missing(parent, wanted)?.is_empty() {
        return Ok(());
    }
    let mut dir = Dir::open(hierarchy.absolute(""))?;
    enable_in(&dir, wanted)?;
    for name in above.split('/').filter(|name| !name.is_empty()) {
        dir = dir.child(name)?;
        enable_in(&dir, wanted)?;
    }
    Ok(())
}

fn missing(dir: &Dir, wanted: ControllerSet) -> Result<ControllerSet, CgroupError> {
    let mut buffer = [0; 4096];
    let enabled = dir.read("cgroup.subtree_control", &mut buffer)?;
    Ok(wanted.difference(ControllerSet::from_v2_names(enabled)))
}

fn enable_in(dir: &Dir, wanted: ControllerSet) -> Result<(), CgroupError> {
    let missing = missing(dir, wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let words: Vec<String> = missing
        .iter()
        .filter_map(|controller| Some(format!("+{}", controller.v2_name()?)))
        .collect();
    let failed = |controllers, errno| {
        Err(CgroupError::Enable {
            controllers,
            path: dir.path().to_owned(),
            cause: cause::of_enable(errno),
        })
    };
    // All or none are enabled.
    match dir.try_write("cgroup.subtree_control", words.join(" ").as_bytes()) {
        Ok(()) => return Ok(()),
        // It lies with the group. Enabling some of them would succeed and turn it into a
        // threaded one.
        Err(errno @ (Errno::BUSY | Errno::OPNOTSUPP)) => return failed(missing, errno),
        Err(_) => {}
    }
    // It lies with a controller; one by one shows with which.
    for (controller, word) in missing.iter().zip(&words) {
        if let Err(errno) = dir.try_write("cgroup.subtree_control", word.as_bytes()) {
            return failed(ControllerSet::of(&[controller]), errno);
        }
    }
    Ok(())
}

/// A relative path of plain names.
pub(super) fn check_path(path: &str) -> Result<(), CgroupError> {
    let problem = if path.is_empty() {
        "it is empty"
    } else if path.starts_with('/') {
        "it must be relative"
    } else if path.len() > 1024 || path.split('/').any(|name| name.len() > 255) {
        "it is too long"
    } else if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        "it has an empty component, `.` or `..`"
    } else if path.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(CgroupError::InvalidPath {
        path: path.to_owned(),
        problem,
    })
}

/// Whether a failed attach only means that the process has ended meanwhile.
pub(super) fn is_gone(error: &CgroupError) -> bool {
    matches!(
        error,
        CgroupError::Attach {
            cause: super::error::Cause::NoProcess,
            ..
        } | CgroupError::Signal {
            errno: Errno::SRCH,
            ..
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        for path in [
            "",
            "/a",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\nb",
            &"x".repeat(256),
        ] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        for path in ["a", "gamut/0123", "gamut/a.b-c_d"] {
            assert!(check_path(path).is_ok(), "{path:?}");
        }
    }
}
