//! `Checkpoint`, and the start of a task that is made of one: the runtime's `checkpoint` and `restore`, by CRIU.

use std::path::{Path, PathBuf};

use super::Shim;
use super::launch::{Launch, Launched};
use super::lifecycle::PID_FILE;
use crate::container::Phase;
use crate::error::ShimError;
use crate::log;
use crate::message::Empty;
use crate::message::event::{TaskCheckpointed, TaskStart};
use crate::message::options::CheckpointOptions;
use crate::message::task::{CheckpointRequest, PidResponse, ProcessRequest};
use crate::runtime::Runtime;
use crate::stdio::Names;

/// CRIU's logs, in the bundle, where nobody names another place.
const WORK: &str = "criu-work";

impl Shim {
    /// Saves the task to a directory of containerd's. It goes on, unless it is asked to end.
    pub(super) fn checkpoint(&self, request: &CheckpointRequest) -> Result<Empty, ShimError> {
        let options = CheckpointOptions::unpack(request.options.as_ref())?;
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        if container.init.pid == 0 {
            let id = request.id.clone();
            return Err(ShimError::Phase(id, "it has not been started"));
        }
        let (runtime, own) = (container.runtime.clone(), container.bundle.join(WORK));
        drop(state);
        let named = PathBuf::from(&options.work_path);
        let work = if options.work_path.is_empty() {
            &own
        } else {
            &named
        };
        let flags = options.flags();
        let [path, work] = [Path::new(&request.path), work].map(Path::to_string_lossy);
        let mut arguments = vec!["checkpoint", "--image-path", &*path, "--work-path", &*work];
        arguments.extend(flags.iter().map(String::as_str));
        arguments.push(&request.id);
        runtime.run(&self.reaper, &arguments)?;
        // Of one that failed, CRIU's log stays there to be read.
        let _ = std::fs::remove_dir_all(own);
        self.publisher.publish(&TaskCheckpointed {
            container_id: request.id.clone(),
            checkpoint: request.path.clone(),
        });
        Ok(Empty {})
    }

    /// Has the runtime restore the first process of a task, from this directory.
    pub(super) fn restore(
        &self,
        request: &ProcessRequest,
        runtime: &Runtime,
        (key, names): (u64, &Names),
        [bundle, images]: [&Path; 2],
    ) -> Result<Launched, ShimError> {
        let pid_file = bundle.join(PID_FILE);
        let launch = Launch {
            container: &request.id,
            runtime,
            key,
            names,
            pid_file: &pid_file,
        };
        let work = bundle.join(WORK);
        self.launch(&launch, |console, ends| {
            let places = [images, &work, &pid_file];
            runtime.restore(&self.reaper, &request.id, places, console, ends)
        })
    }

    /// Notes what a restore has come to.
    pub(super) fn restored(
        &self,
        request: &ProcessRequest,
        launched: Result<Launched, ShimError>,
    ) -> Result<PidResponse, ShimError> {
        let mut state = self.lock();
        let ended = state.started(launched.as_ref().ok().map(|launched| launched.pid));
        let container = state.container(&request.id)?;
        let init = &mut container.init;
        let restored = launched.map(|launched| {
            init.pid = launched.pid;
            init.ended = ended;
            init.console = launched.console;
            init.input_held = launched.input_held;
            init.phase = Phase::Running;
            launched.pid
        });
        match &restored {
            Ok(pid) => {
                let (container_id, pid) = (request.id.clone(), *pid);
                self.publisher.publish(&TaskStart { container_id, pid });
                if let Err(error) = self.watches.add(&request.id, pid) {
                    log::warn(format!("{}: memory is not watched: {error}", request.id));
                }
            }
            Err(_) => init.phase = Phase::Created,
        }
        self.tell(container);
        restored.map(|pid| PidResponse { pid })
    }
}
