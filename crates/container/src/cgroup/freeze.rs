//! Freezing and thawing: `cgroup.freeze` of v2, the freezer controller of v1.

use std::time::{Duration, Instant};

use super::controller::Controller;
use super::dir::Dir;
use super::discover::Version;
use super::error::CgroupError;
use super::group::Cgroup;

/// How long freezing may take; a process in an uninterruptible sleep holds it up.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops every process of the group and returns when all stand still. The v1 freezer group
    /// is made on the first call.
    ///
    /// # Errors
    /// [`CgroupError::FreezeTimeout`] after ten seconds; the group is thawed again then.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        match self.ensure(Controller::Freezer)? {
            Some((Version::V1, dir)) => freeze_v1(dir),
            Some((Version::V2, dir)) => freeze_v2(dir),
            None => Err(CgroupError::NotMounted),
        }
    }

    /// Lets the processes run again. A group that isn't frozen stays as it is.
    ///
    /// # Errors
    /// [`CgroupError::Write`].
    pub fn thaw(&self) -> Result<(), CgroupError> {
        match self.dir(Controller::Freezer)? {
            Some((Version::V1, dir)) => dir.write("freezer.state", "THAWED"),
            Some((Version::V2, dir)) => dir.write("cgroup.freeze", "0"),
            None => Ok(()),
        }
    }

    /// Whether all processes of the group stand still because of [`Self::freeze`].
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        let mut buffer = [0; 4096];
        Ok(match self.dir(Controller::Freezer)? {
            Some((Version::V1, dir)) => dir.read("freezer.state", &mut buffer)? == "FROZEN",
            Some((Version::V2, dir)) => v2_frozen(dir)?,
            None => false,
        })
    }
}

fn freeze_v1(dir: &Dir) -> Result<(), CgroupError> {
    wait_until(dir, "freezer.state", "THAWED", || {
        // Each writing of FROZEN also asks those who were forked since the last.
        dir.write("freezer.state", "FROZEN")?;
        let mut buffer = [0; 4096];
        Ok(dir.read("freezer.state", &mut buffer)? == "FROZEN")
    })
}

fn freeze_v2(dir: &Dir) -> Result<(), CgroupError> {
    dir.write("cgroup.freeze", "1")?;
    wait_until(dir, "cgroup.freeze", "0", || v2_frozen(dir))
}

fn v2_frozen(dir: &Dir) -> Result<bool, CgroupError> {
    let mut buffer = [0; 4096];
    let events = dir.read("cgroup.events", &mut buffer)?;
    Ok(events.lines().any(|line| line == "frozen 1"))
}

fn wait_until(
    dir: &Dir,
    file: &str,
    undo: &str,
    frozen: impl Fn() -> Result<bool, CgroupError>,
) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    while !frozen()? {
        if Instant::now() > deadline {
            dir.write(file, undo)?;
            return Err(CgroupError::FreezeTimeout {
                path: dir.path().to_owned(),
                seconds: PATIENCE.as_secs(),
            });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}
