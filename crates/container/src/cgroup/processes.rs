//! The processes of a group, those of groups below it included: listing, moving and killing.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::controller::Controller;
use super::dir::Dir;
use super::error::CgroupError;
use super::group::{Cgroup, attach_to, is_gone};
use super::tree;

/// How long [`Cgroup::kill_all`] waits for killed processes to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How often moving is repeated for processes that were forked meanwhile.
const GATHER_ROUNDS: usize = 100;

impl Cgroup {
    /// The ids of the workload's processes as this process's pid namespace numbers them, groups
    /// that the workload made itself included; sorted. A group that is gone has none.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        match self.reference()? {
            Some(dir) => processes_of(dir),
            None => Ok(Vec::new()),
        }
    }

    /// Kills every process of the group with SIGKILL and waits until they are gone. Frozen ones
    /// are thawed for that. Forking doesn't escape it.
    ///
    /// # Errors
    /// [`CgroupError::Unkillable`] if some are left after ten seconds.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        if let Some(dir) = self.v2_dir()? {
            // cgroup.kill is new in Linux 5.14.
            match dir.try_write("cgroup.kill", b"1") {
                // Or somebody else has removed the group.
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
                Err(_) => dir.write("cgroup.kill", "1")?,
            }
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        let mut pause = Duration::from_micros(20);
        for round in 0.. {
            let Some(dir) = self.reference()? else {
                return Ok(());
            };
            let doomed = processes_of(dir)?;
            if doomed.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(CgroupError::Unkillable {
                    path: dir.path().to_owned(),
                    survivors: doomed,
                });
            }
            if round == 1 {
                self.forbid_forks()?;
            }
            kill(dir, &doomed)?;
            if round == 0 {
                // A process that the v1 freezer holds dies when it is thawed. If that fails, the
                // wait for its end says so.
                let _ = self.thaw();
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Nobody in the group can fork any more, so that killing comes to an end.
    fn forbid_forks(&self) -> Result<(), CgroupError> {
        match self.dir(Controller::Pids)? {
            Some((_, dir)) => match dir.write("pids.max", "0") {
                Err(error) if error.is_missing_file() => Ok(()),
                written => written,
            },
            None => Ok(()),
        }
    }

    /// Moves all processes of the workload into `dir`, a group of ours in another hierarchy.
    pub(super) fn gather(&self, dir: &Dir) -> Result<(), CgroupError> {
        let mut stragglers = Vec::new();
        for _ in 0..GATHER_ROUNDS {
            let Some(reference) = self.reference_other_than(dir)? else {
                return Ok(());
            };
            let inside = processes_of(dir)?;
            stragglers = processes_of(reference)?;
            stragglers.retain(|pid| inside.binary_search(pid).is_err());
            if stragglers.is_empty() {
                return Ok(());
            }
            for &pid in &stragglers {
                match attach_to(dir, pid) {
                    Err(error) if is_gone(&error) => {}
                    attached => attached?,
                }
            }
        }
        Err(CgroupError::Attach {
            pid: stragglers.first().copied().unwrap_or(0),
            path: dir.path().to_owned(),
            cause: super::error::Cause::Kernel(Errno::AGAIN),
        })
    }

    fn reference_other_than(&self, dir: &Dir) -> Result<Option<&Dir>, CgroupError> {
        if let Some(reference) = self.reference()?
            && reference.path() != dir.path()
        {
            return Ok(Some(reference));
        }
        let mut others = self.opened().map(|(_, other)| other);
        Ok(others.find(|other| other.path() != dir.path()))
    }
}

/// Sends SIGKILL to those of `doomed` that are still in the group. A process id may have been
/// given to a stranger since the list was read, so each is pinned by a pidfd first, and only
/// what a second reading still shows is signalled.
fn kill(dir: &Dir, doomed: &[i32]) -> Result<(), CgroupError> {
    // A chunk is far below every limit of open files.
    for chunk in doomed.chunks(128) {
        let mut pinned = Vec::with_capacity(chunk.len());
        for &pid in chunk {
            let Some(valid) = Pid::from_raw(pid) else {
                continue;
            };
            match rustix::process::pidfd_open(valid, PidfdFlags::empty()) {
                Ok(fd) => pinned.push((pid, fd)),
                Err(Errno::SRCH | Errno::INVAL) => {}
                Err(errno) => return Err(signal_error(dir, pid, errno)),
            }
        }
        let still = processes_of(dir)?;
        for (pid, fd) in pinned {
            if still.binary_search(&pid).is_err() {
                continue;
            }
            match rustix::process::pidfd_send_signal(&fd, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(signal_error(dir, pid, errno)),
            }
        }
    }
    Ok(())
}

fn signal_error(dir: &Dir, pid: i32, errno: Errno) -> CgroupError {
    let path = dir.path().to_owned();
    CgroupError::Signal { path, pid, errno }
}

/// The processes of `dir` and of every group below it, sorted.
pub(super) fn processes_of(dir: &Dir) -> Result<Vec<i32>, CgroupError> {
    let mut found = Vec::new();
    match dir.read_all("cgroup.procs") {
        Ok(text) => parse(&text, &mut found),
        // The group has been removed.
        Err(CgroupError::Read {
            errno: Errno::NOENT | Errno::NODEV,
            ..
        }) => return Ok(found),
        Err(error) => return Err(error),
    }
    let enter = |group: &OwnedFd| {
        match read_text(group, "cgroup.procs") {
            Ok(text) => parse(&text, &mut found),
            // Gone, or threaded: then the domain above lists its processes.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
        Ok(())
    };
    tree::walk(dir.fd(), enter, |_, _| Ok(()))
        .map_err(|errno| dir.read_error("cgroup.procs", errno))?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Process 0 is one that our pid namespace cannot name.
fn parse(text: &str, found: &mut Vec<i32>) {
    let pids = text.lines().filter_map(|line| line.trim().parse().ok());
    found.extend(pids.filter(|&pid: &i32| pid > 0));
}

fn read_text(group: &OwnedFd, file: &str) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(group, file, flags, Mode::empty())?;
    let mut bytes = Vec::with_capacity(1024);
    while rustix::io::retry_on_intr(|| {
        rustix::io::read(&fd, rustix::buffer::spare_capacity(&mut bytes))
    })? > 0
    {
        bytes.reserve(4096);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
