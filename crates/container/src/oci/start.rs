//! `start`: the word to a process that is ready, and what is run before and after it.

use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::Hook;
use rustix::fs::{Mode, OFlags};

use super::error::OciError;
use super::hooks::{self, Place, Stage};
use super::record::{self, Status};
use super::{Known, bundle, supervisor};
use crate::launch::prepare::step_failed;
use crate::launch::{self, After, Heard, Started, exec, manner};

/// The name of the socket that a created container listens on, in its directory. It goes with the
/// start: a container that has it has not been started.
pub(super) const SOCKET: &str = "start";

impl Known {
    /// Starts the container's program; returns when it has been executed.
    ///
    /// # Errors
    /// [`OciError::NotCreated`]; a hook's failure; why the program could not be run.
    pub fn start(&self) -> Result<(), OciError> {
        let status = self.status();
        if status != Status::Created {
            return Err(OciError::NotCreated(status));
        }
        let record = &self.record;
        if record.spec.process().is_none() {
            return Err(OciError::NoProcess(record.id.clone()));
        }
        let init = self.init()?;
        let listed = record.spec.hooks().as_ref();
        let of_start = Stage::StartContainer.of(listed);
        if !of_start.is_empty() {
            self.run_inside(&init, of_start)
                .inspect_err(|_| self.stop())?;
        }
        let connection = self.connect()?;
        let mut given = Ok(());
        let failure = launch::read_failure(connection.as_fd(), &mut |heard| match heard {
            Heard::Phase(_) | Heard::Map(..) => After::GoOn,
            Heard::Listener(listener) => {
                given = supervisor::give(record, Status::Running, &listener);
                // Nobody would answer.
                if given.is_ok() {
                    After::GoOn
                } else {
                    After::Stop
                }
            }
        })?;
        // Whatever came of it, there is nothing to be started any more.
        let _ = std::fs::remove_file(self.directory.join(SOCKET));
        if let Some(failure) = failure {
            let process = record.spec.process().as_ref();
            let args = process.and_then(|p| p.args().clone()).unwrap_or_default();
            let error = process.and_then(|p| manner::explain(&record.spec, p, failure));
            return Err(error
                .unwrap_or_else(|| exec::explain(&args, failure))
                .into());
        }
        given?;
        let (stage, place) = (Stage::Poststart, Place::Host { directory: None });
        hooks::run(
            stage,
            stage.of(listed),
            &place,
            &record.state(Status::Running),
        )
        .inspect_err(|_| self.stop())
    }

    /// After a hook that failed ("Lifecycle", 7 and 9). What keeps it from its end, `delete` will say.
    fn stop(&self) {
        let _ = self.end();
    }

    /// The hooks that are the container's own: they see its process as it sees itself.
    fn run_inside(&self, init: &Started, listed: &[Hook]) -> Result<(), OciError> {
        let record = &self.record;
        let plan = bundle::plan(&record.id, record.spec.clone(), &record.cgroup, "".into());
        let cgroup = match self.cgroup() {
            Err(OciError::NoGroup(_)) => None,
            found => Some(found?),
        };
        let place = Place::Container {
            init,
            cgroup: cgroup.as_ref(),
            plan: &plan,
        };
        let mut state = record.state(Status::Created);
        state.pid = record::pid_inside(record.pid);
        hooks::run(Stage::StartContainer, listed, &place, &state)
    }

    fn connect(&self) -> Result<OwnedFd, OciError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |errno| OciError::from(step_failed("give the word to start", errno));
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty()).map_err(failed)?;
        gamut_sys::socket::connect(directory.as_fd(), SOCKET).map_err(failed)
    }
}
