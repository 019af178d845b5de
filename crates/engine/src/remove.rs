//! Removing containers. The lock says that no keeper lives, the row decides between two who
//! remove at once, and each step is fine with having been done.

use std::time::{Duration, Instant};

use gamut_plan::signal;
use gamut_store::{StoreError, db};

use crate::client::{Client, ClientError};
use crate::dirs::Container;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::pods::PodError;
use crate::record::{self, RecordError};
use crate::start::Force;

/// How long a forced removal waits for another.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Removes a container with its root, its log and its anonymous volumes; returns its id. With
    /// [`Force::Yes`] it is killed first, and one that somebody else is removing is waited for.
    ///
    /// # Errors
    /// Without [`Force::Yes`]: [`EngineError::Running`], [`EngineError::Busy`], or not found because
    /// another was quicker.
    pub fn remove(&mut self, named: &str, force: Force) -> Result<String, EngineError> {
        let row = self.store.db().container(named)?;
        match row.pod {
            Some(pod) if pod.is_infra => Err(PodError::Infra {
                name: row.name,
                pod: pod.name,
            }
            .into()),
            _ => self.remove_row(named, row, force),
        }
    }

    /// As [`Self::remove`], of what holds the namespaces of a pod that is being removed.
    pub(crate) fn remove_infra(&mut self, id: &str) -> Result<String, EngineError> {
        let row = self.store.db().container(id)?;
        self.remove_row(id, row, Force::Yes)
    }

    fn remove_row(
        &mut self,
        named: &str,
        row: db::Container,
        force: Force,
    ) -> Result<String, EngineError> {
        let dirs = self.dirs.container(&row.id);
        let began = Instant::now();
        // A keeper whose workload has ended holds the lock until it has cleared away.
        let ended = record::read_status(&dirs).is_ok_and(|status| !status.is_live());
        if record::is_kept(&dirs) && !ended {
            if force == Force::No {
                return Err(EngineError::Running { name: row.name });
            }
            kill(&dirs)?;
        }
        let lock = loop {
            match record::try_lock(&dirs) {
                Ok(Some(lock)) => break lock,
                Ok(None) => {}
                // Its directory goes as fast as it is made.
                Err(RecordError::Write { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            // Somebody else removes it, or has begun to start it.
            if (force == Force::No && !ended) || began.elapsed() > PATIENCE {
                return Err(EngineError::Busy { name: row.name });
            }
            std::thread::sleep(Duration::from_millis(2));
            if self.store.db().container_by_id(&row.id)?.is_none() {
                return Ok(row.id);
            }
            if force == Force::Yes {
                kill(&dirs)?;
            }
        };
        // Whoever held the lock before may have removed it.
        if self.store.db().container_by_id(&row.id)?.is_none() {
            let _ = std::fs::remove_file(dirs.lock());
            let _ = std::fs::remove_dir(dirs.run());
            return match force {
                Force::Yes => Ok(row.id),
                Force::No => Err(EngineError::NoContainer(named.to_owned())),
            };
        }
        // A keeper that came to its end has cleared the host itself.
        let status = record::read_status(&dirs);
        if !status.is_ok_and(|status| !status.is_live()) {
            self.clear_host(&row.id);
        }
        let removed = self
            .store
            .db_mut()
            .write(|transaction| transaction.remove_container(&row.id))?;
        // Row first: from here on the directories are leftovers, whoever removes them.
        let cleared = clear_directories(&dirs);
        drop(lock);
        cleared?;
        if removed {
            self.tell_of_container(&row, "destroy", []);
            Ok(row.id)
        } else {
            Err(EngineError::NoContainer(named.to_owned()))
        }
    }

    /// Forgets a container that has ended, and has its keeper clear its directories away: when
    /// this returns, its name and addresses are free.
    ///
    /// # Errors
    /// When it cannot be forgotten; the keeper sees to it then, once this connection ends.
    pub fn hand_over_removal(&mut self, id: &str, keeper: &Client) -> Result<(), EngineError> {
        self.store
            .db_mut()
            .write(|transaction| transaction.remove_container(id))?;
        if keeper.clear_away().is_err() {
            self.clear_host(id);
            clear_directories(&self.dirs.container(id))?;
        }
        Ok(())
    }

    /// Makes [`Self::hand_over_removal`] quick, while there is time.
    pub fn prepare_removal(&self) {
        self.store.db().prepare_removal();
    }
}

/// Removes what lies on disk of a container whose row is gone. The run directory last: its lock is
/// what keeps others from taking it for a leftover.
pub(crate) fn clear_directories(dirs: &Container) -> Result<(), StoreError> {
    let cleared = gamut_store::gc::remove_container_directory(&dirs.directory);
    crate::volumes::remove_nameless(&dirs.anonymous_volumes());
    let _ = std::fs::remove_dir_all(dirs.run());
    cleared
}

/// Kills a workload and waits until its keeper is gone.
fn kill(dirs: &Container) -> Result<(), EngineError> {
    let killed = Client::connect(dirs).and_then(|mut client| {
        client.send_signal(signal::KILL)?;
        client.wait()
    });
    match killed {
        Ok(_) | Err(ClientError::NotRunning | ClientError::Gone) => {}
        Err(error) => return Err(error.into()),
    }
    // It has said so; letting go of the lock is its last act.
    for _ in 0..500 {
        if !record::is_kept(dirs) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
