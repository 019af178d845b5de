//! `State`, `Wait`, `Connect`, `Pids` and `Stats`.

use prost::Message;

use super::Shim;
use crate::container::waited;
use crate::error::ShimError;
use crate::message::Any;
use crate::message::options::ProcessDetails;
use crate::message::task::{
    ConnectResponse, PidsResponse, ProcessInfo, ProcessRequest, StateResponse, StatsResponse,
};
use crate::stats;
use crate::ttrpc::peer::Reply;

impl Shim {
    pub(super) fn state_of(&self, request: &ProcessRequest) -> Result<StateResponse, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let bundle = container.bundle.to_string_lossy().into_owned();
        let of_init = container.status();
        let process = container.process(&request.exec_id)?;
        let status = if request.exec_id.is_empty() {
            of_init
        } else {
            process.status()
        };
        let exit = process.exit();
        Ok(StateResponse {
            id: if request.exec_id.is_empty() {
                request.id.clone()
            } else {
                request.exec_id.clone()
            },
            bundle,
            pid: process.pid,
            status: status.into(),
            stdin: process.names.stdin.clone(),
            stdout: process.names.stdout.clone(),
            stderr: process.names.stderr.clone(),
            terminal: process.names.terminal,
            exit_status: exit.map_or(0, |exit| exit.status),
            exited_at: exit.map(|exit| exit.at),
            exec_id: request.exec_id.clone(),
        })
    }

    /// Answers when the process has ended.
    pub(super) fn wait(&self, payload: &[u8], reply: Reply) {
        let request = match ProcessRequest::decode(payload) {
            Ok(request) => request,
            Err(error) => return reply.send(Err(error.into())),
        };
        let mut state = self.lock();
        let process = state
            .container(&request.id)
            .and_then(|container| container.process(&request.exec_id));
        match process {
            Err(error) => reply.send(Err(error)),
            Ok(process) => match process.exit() {
                Some(exit) => reply.send(Ok(waited(exit))),
                None => process.waiters.push(reply),
            },
        }
    }

    /// Who is asked before a container is made says at least who the shim is.
    pub(super) fn connect(&self, request: &ProcessRequest) -> Result<ConnectResponse, ShimError> {
        let mut state = self.lock();
        let task_pid = state.container(&request.id).map_or(0, |c| c.init.pid);
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    pub(super) fn pids(&self, request: &ProcessRequest) -> Result<PidsResponse, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let runtime = container.runtime.clone();
        let execs: Vec<(u32, String)> = container
            .execs
            .iter()
            .map(|(exec_id, process)| (process.pid, exec_id.clone()))
            .collect();
        drop(state);
        let printed = runtime.run(&self.reaper, &["ps", "--format", "json", &request.id])?;
        // runc prints `null` for none.
        let pids: Option<Vec<u32>> = serde_json::from_slice(&printed)?;
        let info = |pid: u32| {
            let (_, exec_id) = execs.iter().find(|(exec_pid, _)| *exec_pid == pid)?;
            let exec_id = exec_id.clone();
            let details = ProcessDetails { exec_id };
            Some(Any::pack("containerd.runc.v1.ProcessDetails", &details))
        };
        let processes = pids
            .unwrap_or_default()
            .into_iter()
            .map(|pid| ProcessInfo {
                pid,
                info: info(pid),
            })
            .collect();
        Ok(PidsResponse { processes })
    }

    pub(super) fn stats(&self, request: &ProcessRequest) -> Result<StatsResponse, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let runtime = container.runtime.clone();
        drop(state);
        let printed = runtime.run(&self.reaper, &["events", "--stats", &request.id])?;
        let stats = stats::metrics(&printed, stats::host_version())?;
        Ok(StatsResponse { stats: Some(stats) })
    }
}
