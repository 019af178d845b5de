//! Starting what has been made, and the few other things that are done to a container by name.

use std::os::fd::OwnedFd;

use gamut_plan::cell::{Exit, StartError};
use gamut_plan::request::StopTimeout;
use gamut_plan::{Phase, Status};
use gamut_spec::Fault;
use gamut_store::db;

use crate::client::{Client, ClientError, Started, Starter};
use crate::dirs::Container;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

/// A container as its row and its keeper tell it.
#[derive(Debug, Clone)]
pub struct View {
    pub row: db::Container,
    pub status: Status,
}

impl Engine {
    /// The container that a user means, with its status now. A dead keeper's is put right first.
    ///
    /// # Errors
    /// [`gamut_spec::Kind::NotFound`].
    pub fn container(&mut self, named: &str) -> Result<View, EngineError> {
        let row = self.store.db().container(named)?;
        let status = self.settle(&row)?;
        Ok(View { row, status })
    }

    /// The id of the container that a user means.
    ///
    /// # Errors
    /// [`gamut_spec::Kind::NotFound`].
    pub fn container_id(&self, named: &str) -> Result<String, EngineError> {
        Ok(self.store.db().container(named)?.id)
    }

    /// All containers, the latest first; what a dead keeper left is put right on the way.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn containers(&mut self) -> Result<Vec<View>, EngineError> {
        crate::filler::client::revive(&self.dirs);
        let mut views = Vec::new();
        for row in self.store.db().containers()? {
            let status = self.settle(&row)?;
            // `--rm`, and its end was never seen by anybody who could remove it.
            let ended = !status.is_live() && status.phase != Phase::Created;
            if row.auto_remove && (ended || self.is_of_an_earlier_boot(&row)) {
                match self.remove(&row.id, Force::No) {
                    Ok(_) => continue,
                    Err(error) if error_is_not_found(&error) => continue,
                    Err(_) => {}
                }
            }
            views.push(View { row, status });
        }
        Ok(views)
    }

    /// Whether a `--rm` container was made before this boot: its documents went with the run
    /// directory, and so did its workload.
    fn is_of_an_earlier_boot(&self, row: &db::Container) -> bool {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let since_boot_ns = u64::try_from(since_boot.tv_sec).unwrap_or(0) * 1_000_000_000;
        let booted_ns = record::now_ns().saturating_sub(since_boot_ns);
        u64::try_from(row.created_ns).unwrap_or(0) < booted_ns.saturating_sub(1_000_000_000)
    }

    /// Starts a made or stopped container by `keeper`, a connection to a keeper without work
    /// ([`Client::spawn`]).
    ///
    /// # Errors
    /// [`ClientError::Start`] with what failed.
    pub fn start(
        &self,
        id: &str,
        keeper: &mut Client,
        client: Starter,
    ) -> Result<Started, ClientError> {
        let dirs = self.dirs.container(id);
        let (lock, before) = record_start(&dirs)?;
        let launched = keeper.launch(&self.dirs, id, client, (lock, self.guard()), before);
        launched.map_err(|error| match error {
            ClientError::Start(StartError::Step { step, reason, hint }) => {
                let plan = record::read_plan(&dirs).ok();
                let lack = plan.and_then(|plan| crate::cells::lack(plan.level, self.host()));
                let hint = lack.or(hint);
                StartError::Step { step, reason, hint }.into()
            }
            other => other,
        })
    }

    /// A connection to the keeper of a running container.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`].
    pub fn connect(&self, id: &str) -> Result<Client, ClientError> {
        Client::connect(&self.dirs.container(id))
    }

    /// Stops a container; one that does not run is fine.
    ///
    /// # Errors
    /// When its keeper cannot be spoken to.
    pub fn stop(
        &self,
        id: &str,
        signal: Option<i32>,
        timeout: Option<StopTimeout>,
    ) -> Result<(), EngineError> {
        match self
            .connect(id)
            .and_then(|mut client| client.stop(signal, timeout))
        {
            Ok(_) | Err(ClientError::NotRunning | ClientError::Gone) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end of a container and says how it ended, if it has not long since.
    ///
    /// # Errors
    /// When neither its keeper nor its status can be asked.
    pub fn wait(&mut self, named: &str) -> Result<Exit, EngineError> {
        let view = self.container(named)?;
        if view.status.is_live() {
            match self
                .connect(&view.row.id)
                .and_then(|mut client| client.wait())
            {
                Ok(exit) => return Ok(exit),
                Err(ClientError::NotRunning | ClientError::Gone) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let status = record::read_status(&self.dirs.container(&view.row.id))?;
        Ok(Exit {
            code: status.exit_code,
            signal: None,
        })
    }
}

/// Takes the container's lock and records that it is being started: state is written before the
/// act. Gives the status before that, too.
fn record_start(dirs: &Container) -> Result<(OwnedFd, Status), ClientError> {
    let failed = |step: &str, error: record::RecordError| {
        ClientError::Start(StartError::Step {
            step: step.into(),
            reason: error.to_string(),
            hint: error.hint(),
        })
    };
    let lock = record::try_lock(dirs).map_err(|e| failed("lock the container", e))?;
    let Some(lock) = lock else {
        let name = record::read_plan(dirs).map(|plan| plan.name);
        return Err(ClientError::Start(StartError::Conflict {
            message: format!(
                "the container {} is running already",
                name.unwrap_or_default()
            ),
            hint: None,
        }));
    };
    // Who starts it by hand has its policy count anew.
    let before = Status {
        restarts: 0,
        ..record::read_status(dirs).unwrap_or_default()
    };
    let starting = Status {
        phase: Phase::Starting,
        boot_id: record::boot_id().to_owned(),
        ..Status::default()
    };
    record::write_status(dirs, &starting).map_err(|e| failed("record the start", e))?;
    Ok((lock, before))
}

pub(crate) fn error_is_not_found(error: &EngineError) -> bool {
    gamut_spec::Fault::kind(error) == gamut_spec::Kind::NotFound
}

/// Whether a running container is killed for the purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}
