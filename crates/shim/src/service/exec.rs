//! `Exec`: a further process is made known; `Start` starts it.

use std::path::{Path, PathBuf};

use super::Shim;
use super::launch::{Launch, Launched};
use crate::container::Process;
use crate::error::ShimError;
use crate::message::Empty;
use crate::message::event::TaskExecAdded;
use crate::message::task::{ExecProcessRequest, ProcessRequest};
use crate::runtime::Runtime;
use crate::stdio::Names;

/// What an exec has in the bundle: its `process` document and its number.
pub(super) fn files(bundle: &Path, exec_id: &str) -> [PathBuf; 2] {
    [
        bundle.join(format!("{exec_id}-process.json")),
        bundle.join(format!("{exec_id}.pid")),
    ]
}

impl Shim {
    pub(super) fn exec(&self, request: ExecProcessRequest) -> Result<Empty, ShimError> {
        let id = request.exec_id;
        // It becomes part of a file's name. containerd allows less than this.
        if id.is_empty() || id.contains('/') || id.starts_with('.') {
            return Err(ShimError::Name(id));
        }
        let spec = request.spec.unwrap_or_default();
        let mut spec: serde_json::Value = serde_json::from_slice(&spec.value)?;
        // The streams decide, and the request names them.
        spec["terminal"] = request.terminal.into();
        let mut state = self.lock();
        let key = state.key();
        let container = state.container(&request.id)?;
        if container.execs.contains_key(&id) {
            return Err(ShimError::Exists(id));
        }
        let names = Names {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let mut process = Process::new(key, names);
        process.spec = serde_json::to_vec(&spec)?;
        container.execs.insert(id.clone(), process);
        self.publisher.publish(&TaskExecAdded {
            container_id: request.id,
            exec_id: id,
        });
        Ok(Empty {})
    }

    pub(super) fn launch_exec(
        &self,
        request: &ProcessRequest,
        runtime: &Runtime,
    ) -> Result<Launched, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let [spec_file, pid_file] = files(&container.bundle, &request.exec_id);
        let process = container.process(&request.exec_id)?;
        let (key, names) = (process.key, process.names.clone());
        let spec = process.spec.clone();
        drop(state);
        std::fs::write(&spec_file, spec).map_err(|source| ShimError::file(&spec_file, source))?;
        let launch = Launch {
            container: &request.id,
            runtime,
            key,
            names: &names,
            pid_file: &pid_file,
        };
        self.launch(&launch, |console, ends| {
            let files = [&*spec_file, &*pid_file];
            runtime.exec(&self.reaper, &request.id, files, console, ends)
        })
    }
}
