//! `Kill`, `Pause`, `Resume`, `Update`, `ResizePty` and `CloseIO`.

use rustix::process::Pid;
use rustix::termios::Winsize;

use super::Shim;
use crate::error::ShimError;
use crate::message::Empty;
use crate::message::event::{TaskPaused, TaskResumed};
use crate::message::task::{
    CloseIoRequest, KillRequest, ProcessRequest, ResizePtyRequest, UpdateTaskRequest,
};
use crate::runtime::Runtime;

impl Shim {
    fn runtime(&self, id: &str) -> Result<Runtime, ShimError> {
        Ok(self.lock().container(id)?.runtime.clone())
    }

    pub(super) fn kill(&self, request: &KillRequest) -> Result<Empty, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if process.pid == 0 {
            let id = request.exec_id.clone();
            return Err(ShimError::Phase(id, "it has not been started"));
        }
        if !request.exec_id.is_empty() {
            if process.ended.is_some() {
                return Err(ShimError::Finished);
            }
            // Still locked: nobody is reaped, so the number is still this process's.
            return signal(process.pid, request.signal);
        }
        if process.ended.is_some() && !request.all {
            return Err(ShimError::Finished);
        }
        let runtime = container.runtime.clone();
        drop(state);
        let number = request.signal.to_string();
        let mut arguments = vec!["kill"];
        if request.all {
            arguments.push("--all");
        }
        arguments.extend([&*request.id, &*number]);
        match runtime.run(&self.reaper, &arguments) {
            Ok(_) => Ok(Empty {}),
            Err(ShimError::Runtime { message, .. })
                if ["process already finished", "not running", "o such process"]
                    .iter()
                    .any(|gone| message.contains(gone)) =>
            {
                Err(ShimError::Finished)
            }
            Err(ShimError::Runtime { message, .. }) if message.contains("does not exist") => {
                Err(ShimError::NoTask(request.id.clone()))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn pause(&self, request: &ProcessRequest) -> Result<Empty, ShimError> {
        let runtime = self.runtime(&request.id)?;
        runtime.run(&self.reaper, &["pause", &request.id])?;
        self.lock().container(&request.id)?.paused = true;
        let container_id = request.id.clone();
        self.publisher.publish(&TaskPaused { container_id });
        Ok(Empty {})
    }

    pub(super) fn resume(&self, request: &ProcessRequest) -> Result<Empty, ShimError> {
        let runtime = self.runtime(&request.id)?;
        runtime.run(&self.reaper, &["resume", &request.id])?;
        self.lock().container(&request.id)?.paused = false;
        let container_id = request.id.clone();
        self.publisher.publish(&TaskResumed { container_id });
        Ok(Empty {})
    }

    pub(super) fn update(&self, request: &UpdateTaskRequest) -> Result<Empty, ShimError> {
        let Some(resources) = &request.resources else {
            return Ok(Empty {});
        };
        let mut state = self.lock();
        let key = state.key();
        let container = state.container(&request.id)?;
        let runtime = container.runtime.clone();
        let path = container.bundle.join(format!("resources-{key}.json"));
        drop(state);
        std::fs::write(&path, &resources.value).map_err(|source| ShimError::file(&path, source))?;
        let named = path.to_string_lossy();
        let arguments = ["update", "--resources", &*named, &*request.id];
        let updated = runtime.run(&self.reaper, &arguments);
        let _ = std::fs::remove_file(&path);
        updated.map(|_| Empty {})
    }

    /// A process without a terminal has no size, which is no error: clients tell theirs to whoever.
    pub(super) fn resize(&self, request: &ResizePtyRequest) -> Result<Empty, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if let Some(console) = &process.console {
            let characters = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
            let size = Winsize {
                ws_row: characters(request.height),
                ws_col: characters(request.width),
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(console, size)?;
        }
        Ok(Empty {})
    }

    /// From now on the input ends when its writer does.
    pub(super) fn close_io(&self, request: &CloseIoRequest) -> Result<Empty, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if request.stdin {
            process.input_held = None;
        }
        Ok(Empty {})
    }
}

/// Signals a child of ours that has not been reaped. 0 only asks whether it is there.
fn signal(pid: u32, number: u32) -> Result<Empty, ShimError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(ShimError::Finished)?;
    if number == 0 {
        rustix::process::test_kill_process(pid)?;
        return Ok(Empty {});
    }
    let signal = i32::try_from(number)
        .ok()
        .and_then(gamut_sys::signal::from_number)
        .ok_or_else(|| ShimError::Usage(format!("{number} is no signal")))?;
    rustix::process::kill_process(pid, signal)?;
    Ok(Empty {})
}
