//! `delete`: taking away what is left of a container.

use std::time::{Duration, Instant};

use super::error::OciError;
use super::hooks::{self, Place, Stage};
use super::record::{self, Status};
use super::{Known, Reach, Runtime, shared_root};
use crate::cgroup::CgroupError;

/// How long a killed container may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at whether it has.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Whether one that runs is killed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

impl Runtime {
    /// Removes what a creation left that was killed before it had written its record: a directory,
    /// and nothing else. What is not there is no error.
    ///
    /// # Errors
    /// A directory that cannot be removed.
    pub fn forget(&self, id: &str) -> Result<(), OciError> {
        record::check_id(id)?;
        let directory = self.root.join(id);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(OciError::io("remove", &directory, error))
            }
            _ => Ok(()),
        }
    }
}

impl Known {
    /// Removes the container: its control group and its directory; then runs its poststop hooks. A
    /// hook that fails is told, and ends nothing ("Lifecycle", 13). Gives what it told.
    ///
    /// # Errors
    /// [`OciError::NotStopped`] for one that runs, unless it is forced.
    pub fn delete(&self, force: Force) -> Result<Vec<String>, OciError> {
        let status = self.status();
        let id = &self.record.id;
        match (status, force) {
            (Status::Stopped, _) => {}
            // Its process was never given the word, and does nothing but wait for it.
            (Status::Created, _) | (_, Force::Yes) => self.end()?,
            (status, Force::No) => {
                let id = id.clone();
                return Err(OciError::NotStopped { id, status });
            }
        }
        let mut told = Vec::new();
        let cgroup = match self.cgroup() {
            Ok(cgroup) => Some(cgroup),
            Err(
                OciError::NoGroup(_)
                | OciError::Cgroup(CgroupError::NotFound { .. } | CgroupError::NotMounted),
            ) => None,
            Err(error) => return Err(error),
        };
        if let Some(cgroup) = &cgroup {
            cgroup.kill_all().map_err(OciError::Cgroup)?;
        }
        if let Some(unit) = &self.record.scope {
            // A scope without processes ends by itself: a systemd that is out of reach is no reason
            // to keep the container.
            told.extend(unit.stop().err().map(|error| error.to_string()));
        }
        if let Some(cgroup) = &cgroup {
            cgroup.remove().map_err(OciError::Cgroup)?;
        }
        shared_root::unmount(&self.record)?;
        if let Some(resctrl) = &self.record.resctrl {
            let removed = resctrl.remove();
            removed.map_err(|error| OciError::io("remove", resctrl.class(), error))?;
        }
        std::fs::remove_dir_all(&self.directory)
            .map_err(|error| OciError::io("remove", &self.directory, error))?;
        let stage = Stage::Poststop;
        let state = self.record.state(Status::Stopped);
        let place = Place::Host { directory: None };
        for hook in stage.of(self.record.spec.hooks().as_ref()) {
            let run = hooks::run(stage, std::slice::from_ref(hook), &place, &state);
            told.extend(run.err().map(|error| error.to_string()));
        }
        Ok(told)
    }

    /// Kills it and waits until it is gone.
    pub(super) fn end(&self) -> Result<(), OciError> {
        match self.kill(gamut_plan::signal::KILL, Reach::First) {
            Ok(()) | Err(OciError::NotRunning(_)) => {}
            Err(error) => return Err(error),
        }
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_micros(100);
        while self.record.is_alive() {
            if Instant::now() > deadline {
                return Err(OciError::NotStopped {
                    id: self.record.id.clone(),
                    status: self.status(),
                });
            }
            std::thread::sleep(pause);
            if pause == LONGEST_PAUSE
                && let Ok(cgroup) = self.cgroup()
            {
                // A CRIU that traces its processes, and waits, keeps it from its end.
                let _ = cgroup.kill_all();
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }
}
