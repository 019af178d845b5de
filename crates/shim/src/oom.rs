//! Who was killed for want of memory: the kernel counts it per control group, and wakes us when the count
//! may have changed. `memory.events` on version 2 (`Documentation/admin-guide/cgroup-v2.rst`), an eventfd
//! on `memory.oom_control` on version 1 (`cgroup-v1/memory.rst`, "OOM Control").

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, epoll};

use crate::stats::{Version, host_version};

/// Marks the epoll data of a watch.
pub const TOKEN: u64 = 1 << 62;

/// One container's count.
#[derive(Debug)]
struct Watch {
    container: String,
    /// Where `oom_kill` stands.
    counter: File,
    /// Version 1 only: what becomes readable.
    event: Option<OwnedFd>,
    seen: u64,
}

/// All that are watched.
#[derive(Debug)]
pub struct Watches {
    epoll: Arc<OwnedFd>,
    table: Mutex<(u64, HashMap<u64, Watch>)>,
}

impl Watches {
    /// `epoll` is the loop's; it calls [`Watches::ready`] for events whose data has [`TOKEN`].
    #[must_use]
    pub fn new(epoll: Arc<OwnedFd>) -> Watches {
        Watches {
            epoll,
            table: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<u64, Watch>)> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the control group that the process is in.
    ///
    /// # Errors
    /// The host has no memory controller for it, or the process is gone.
    pub fn add(&self, container: &str, pid: u32) -> std::io::Result<()> {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let version = host_version();
        let group = group(&groups, version).ok_or(std::io::ErrorKind::NotFound)?;
        let (counter, event) = match version {
            Version::V2 => (File::open(group.join("memory.events"))?, None),
            Version::V1 => {
                let control = File::open(group.join("memory.oom_control"))?;
                let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?;
                let order = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                std::fs::write(group.join("cgroup.event_control"), order)?;
                (control, Some(event))
            }
        };
        let (waited_for, on) = match &event {
            Some(event) => (event.as_fd(), epoll::EventFlags::IN),
            None => (counter.as_fd(), epoll::EventFlags::PRI),
        };
        let mut table = self.lock();
        table.0 += 1;
        let id = table.0;
        epoll::add(
            &*self.epoll,
            waited_for,
            epoll::EventData::new_u64(id | TOKEN),
            on,
        )?;
        let watch = Watch {
            container: container.to_owned(),
            counter,
            event,
            seen: 0,
        };
        table.1.insert(id, watch);
        Ok(())
    }

    /// The container behind an event, if somebody in it has been killed since the last look.
    pub fn ready(&self, token: u64) -> Option<String> {
        let mut table = self.lock();
        let id = token & !TOKEN;
        let watch = table.1.get_mut(&id)?;
        if let Some(event) = &watch.event {
            let _ = rustix::io::read(event, &mut [0u8; 8]);
        }
        match watch.look() {
            Some(grown) => grown.then(|| watch.container.clone()),
            // The group is gone, which wakes us for ever.
            None => {
                table.1.remove(&id);
                None
            }
        }
    }

    /// The last look at a container whose first process has ended; true if somebody was killed.
    pub fn finish(&self, container: &str) -> Outcome {
        let mut table = self.lock();
        let mut watches = table.1.extract_if(|_, watch| watch.container == container);
        match watches.next().and_then(|(_, mut watch)| watch.look()) {
            Some(true) => Outcome::Killed,
            _ => Outcome::Nothing,
        }
    }
}

/// What the last look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Killed,
    Nothing,
}

impl Watch {
    /// Whether the count has grown; `None`: it cannot be read any more.
    fn look(&mut self) -> Option<bool> {
        let mut buffer = [0u8; 512];
        let length = self.counter.read_at(&mut buffer, 0).ok()?;
        let count = kills(std::str::from_utf8(&buffer[..length]).ok()?)?;
        let grown = count > self.seen;
        self.seen = count;
        Some(grown)
    }
}

/// The value of `oom_kill`, which both versions' files have.
fn kills(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?;
    line.trim().parse().ok()
}

/// The directory of the group that accounts for memory, from proc_pid_cgroup(5).
fn group(groups: &str, version: Version) -> Option<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let path = path.trim_start_matches('/');
        match version {
            Version::V2 => controllers.is_empty().then(|| root.join(path)),
            Version::V1 => controllers
                .split(',')
                .any(|controller| controller == "memory")
                .then(|| root.join("memory").join(path)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_alike() {
        assert_eq!(
            kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            Some(3)
        );
        assert_eq!(kills("low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\n"), Some(1));
        assert_eq!(kills(""), None);
    }

    #[test]
    fn the_group_that_counts_memory_is_found() {
        let hybrid = "12:cpuset:/a\n4:memory:/default/c\n0::/x\n";
        assert_eq!(
            group(hybrid, Version::V1).unwrap(),
            Path::new("/sys/fs/cgroup/memory/default/c")
        );
        assert_eq!(
            group("0::/default/c\n", Version::V2).unwrap(),
            Path::new("/sys/fs/cgroup/default/c")
        );
    }
}
