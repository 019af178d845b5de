//! What a request says of other containers: that they are there, and which they are.

use gamut_plan::request::{IpcNamespace, RunRequest, Sharing};

use crate::device;
use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// The request with other containers named by their ids; namespaces of others are there.
    pub(crate) fn with_ids(&self, request: &RunRequest) -> Result<RunRequest, EngineError> {
        let mut request = request.clone();
        let id_of = |named: &str| self.store.db().container(named).map(|c| c.id);
        let namespaces = &mut request.namespaces;
        for sharing in [
            &mut namespaces.pid,
            &mut namespaces.uts,
            &mut namespaces.cgroup,
        ] {
            match sharing {
                Some(Sharing::Container(named)) => *named = id_of(named)?,
                Some(Sharing::Namespace(path)) => {
                    device::stat(path)?;
                }
                _ => {}
            }
        }
        match &mut namespaces.ipc {
            Some(IpcNamespace::Container(named)) => *named = id_of(named)?,
            Some(IpcNamespace::Namespace(path)) => {
                device::stat(path)?;
            }
            _ => {}
        }
        Ok(request)
    }

    /// The request with what it says of other containers settled: their mounts, and their ids.
    pub(crate) fn with_others(&self, request: &RunRequest) -> Result<RunRequest, EngineError> {
        let mut request = self.with_volumes_of_others(request)?;
        for named in &mut request.requires {
            *named = self.store.db().container(named)?.id;
        }
        Ok(request)
    }
}
