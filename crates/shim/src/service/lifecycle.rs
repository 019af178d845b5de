//! `Create`, `Start` and `Delete`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::launch::{Launch, Launched};
use super::{Arc, Shim};
use crate::container::{Container, Phase, Pids, Process};
use crate::error::ShimError;
use crate::log;
use crate::message::event::{TaskCreate, TaskDelete, TaskExecStarted, TaskIo, TaskStart};
use crate::message::options::Options;
use crate::message::task::{CreateTaskRequest, DeleteResponse, PidResponse, ProcessRequest};
use crate::rootfs;
use crate::runtime::Runtime;
use crate::stdio::Names;

/// The first process's number, in the bundle: `delete` finds it there after the shim's death.
pub const PID_FILE: &str = "init.pid";
/// How long the output of a container that has ended may take to be read.
const INIT_DRAIN: Duration = Duration::from_secs(10);
/// The same of an exec, whose children may keep its output open.
const EXEC_DRAIN: Duration = Duration::from_secs(2);

impl Shim {
    pub(super) fn create(
        self: &Arc<Shim>,
        request: &CreateTaskRequest,
    ) -> Result<PidResponse, ShimError> {
        let mut state = self.lock();
        if state.containers.contains_key(&request.id) || !state.creating.insert(request.id.clone())
        {
            return Err(ShimError::Exists(request.id.clone()));
        }
        state.start();
        let key = state.key();
        drop(state);
        let made = self.make(request, key);
        let mut state = self.lock();
        state.creating.remove(&request.id);
        let ended = state.started(made.as_ref().ok().map(|container| container.init.pid));
        let mut container = made?;
        container.init.ended = ended;
        let pid = container.init.pid;
        self.publisher.publish(&TaskCreate {
            container_id: request.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: request.rootfs.clone(),
            io: Some(TaskIo {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
            }),
            checkpoint: request.checkpoint.clone(),
            pid,
        });
        // Of a checkpoint there is nothing before its start.
        let watched = match &container.images {
            None => self.watches.add(&request.id, pid),
            Some(_) => Ok(()),
        };
        if let Err(error) = watched {
            log::warn(format!("{}: memory is not watched: {error}", request.id));
        }
        self.tell(&mut container);
        state.containers.insert(request.id.clone(), container);
        Ok(PidResponse { pid })
    }

    fn make(&self, request: &CreateTaskRequest, key: u64) -> Result<Container, ShimError> {
        let bundle = PathBuf::from(&request.bundle);
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let options = Options::unpack(request.options.as_ref())?;
        let runtime = Runtime::new(&self.namespace, &bundle, options);
        let config_path = bundle.join("config.json");
        let config =
            std::fs::read(&config_path).map_err(|source| ShimError::file(config_path, source))?;
        // Before anything is made: whoever finds it made knows how to undo it.
        runtime.remember()?;
        let root = bundle.join("rootfs");
        rootfs::mount_all(&request.rootfs, &root)?;
        let mut container = Container {
            id: request.id.clone(),
            pids: Pids::of(&config),
            paused: false,
            images: (!request.checkpoint.is_empty()).then(|| PathBuf::from(&request.checkpoint)),
            init: Process::new(key, names),
            execs: BTreeMap::new(),
            bundle,
            runtime,
        };
        if container.images.is_none() {
            self.make_init(&mut container).inspect_err(|_| {
                // It may have come as far as to exist.
                let delete = ["delete", "--force", &request.id];
                let _ = container.runtime.run(&self.reaper, &delete);
                rootfs::unmount_all(&root);
            })?;
        }
        Ok(container)
    }

    fn make_init(&self, container: &mut Container) -> Result<(), ShimError> {
        let (id, runtime) = (&container.id, &container.runtime);
        let pid_file = container.bundle.join(PID_FILE);
        let launch = Launch {
            container: id,
            runtime,
            key: container.init.key,
            names: &container.init.names,
            pid_file: &pid_file,
        };
        let launched = self.launch(&launch, |console, ends| {
            runtime.create(&self.reaper, id, &pid_file, console, ends)
        })?;
        container.init.pid = launched.pid;
        container.init.console = launched.console;
        container.init.input_held = launched.input_held;
        Ok(())
    }

    pub(super) fn start(
        self: &Arc<Shim>,
        request: &ProcessRequest,
    ) -> Result<PidResponse, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let init_ended = container.init.ended.is_some();
        let process = container.process(&request.exec_id)?;
        if process.phase != Phase::Created {
            return Err(ShimError::Phase(
                request.id.clone(),
                "it was started before",
            ));
        }
        if !request.exec_id.is_empty() && init_ended {
            return Err(ShimError::Phase(request.id.clone(), "it has ended"));
        }
        process.phase = Phase::Starting;
        let runtime = container.runtime.clone();
        if let (true, Some(images)) = (request.exec_id.is_empty(), container.images.clone()) {
            let bundle = container.bundle.clone();
            let (key, names) = (container.init.key, container.init.names.clone());
            state.start();
            drop(state);
            let places = [&*bundle, &*images];
            let launched = self.restore(request, &runtime, (key, &names), places);
            self.restored(request, launched)
        } else if request.exec_id.is_empty() {
            drop(state);
            let started = runtime.run(&self.reaper, &["start", &request.id]).map(drop);
            self.started_init(request, started)
        } else {
            state.start();
            drop(state);
            let launched = self.launch_exec(request, &runtime);
            self.started_exec(request, launched)
        }
    }

    fn started_init(
        &self,
        request: &ProcessRequest,
        started: Result<(), ShimError>,
    ) -> Result<PidResponse, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let pid = container.init.pid;
        container.init.phase = match started {
            Ok(()) => {
                let container_id = request.id.clone();
                self.publisher.publish(&TaskStart { container_id, pid });
                Phase::Running
            }
            Err(_) => Phase::Created,
        };
        self.tell(container);
        started.map(|()| PidResponse { pid })
    }

    fn started_exec(
        &self,
        request: &ProcessRequest,
        launched: Result<Launched, ShimError>,
    ) -> Result<PidResponse, ShimError> {
        let mut state = self.lock();
        let ended = state.started(launched.as_ref().ok().map(|launched| launched.pid));
        let container = state.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let started = launched.map(|launched| {
            process.pid = launched.pid;
            process.ended = ended;
            process.console = launched.console;
            process.input_held = launched.input_held;
            process.phase = Phase::Running;
            let pid = launched.pid;
            self.publisher.publish(&TaskExecStarted {
                container_id: request.id.clone(),
                exec_id: request.exec_id.clone(),
                pid,
            });
            PidResponse { pid }
        });
        if started.is_err() {
            process.phase = Phase::Created;
        }
        // Also when it failed: the first process's end may have waited for this.
        self.tell(container);
        started
    }

    pub(super) fn delete(
        self: &Arc<Shim>,
        request: &ProcessRequest,
    ) -> Result<DeleteResponse, ShimError> {
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let (runtime, bundle) = (container.runtime.clone(), container.bundle.clone());
        let process = container.process(&request.exec_id)?;
        match process.phase {
            Phase::Created => {}
            Phase::Running if process.exit().is_some() => {}
            _ => return Err(ShimError::Runs(request.id.clone())),
        }
        let before = std::mem::replace(&mut process.phase, Phase::Deleting);
        let (key, ran) = (process.key, process.pid != 0);
        process.input_held = None;
        drop(state);
        let response = if request.exec_id.is_empty() {
            self.delete_init(request, &runtime, &bundle, key)
        } else {
            if ran {
                self.pumps.drain(key, EXEC_DRAIN);
            }
            self.delete_exec(request, &bundle)
        };
        self.pumps.stop(key, None);
        if response.is_err() {
            let mut state = self.lock();
            let container = state.container(&request.id)?;
            container.process(&request.exec_id)?.phase = before;
        }
        response
    }

    fn delete_init(
        &self,
        request: &ProcessRequest,
        runtime: &Runtime,
        bundle: &Path,
        key: u64,
    ) -> Result<DeleteResponse, ShimError> {
        let started = self.lock().container(&request.id)?.init.ended.is_some();
        if started {
            self.pumps.drain(key, INIT_DRAIN);
        }
        match runtime.run(&self.reaper, &["delete", &request.id]) {
            Ok(_) => {}
            // Somebody has removed it behind our back.
            Err(ShimError::Runtime { message, .. }) if message.contains("does not exist") => {}
            Err(error) => return Err(error),
        }
        rootfs::unmount_all(&bundle.join("rootfs"));
        let mut state = self.lock();
        let Some(container) = state.containers.remove(&request.id) else {
            return Err(ShimError::NoTask(request.id.clone()));
        };
        for exec in container.execs.values() {
            self.pumps.stop(exec.key, None);
        }
        let _ = self.watches.finish(&request.id);
        let response = deleted(&container.init);
        self.publisher.publish(&TaskDelete {
            container_id: request.id.clone(),
            pid: response.pid,
            exit_status: response.exit_status,
            exited_at: response.exited_at,
        });
        Ok(response)
    }

    fn delete_exec(
        &self,
        request: &ProcessRequest,
        bundle: &Path,
    ) -> Result<DeleteResponse, ShimError> {
        for path in super::exec::files(bundle, &request.exec_id) {
            // One that was never started has none.
            let _ = std::fs::remove_file(path);
        }
        let mut state = self.lock();
        let container = state.container(&request.id)?;
        let response = deleted(container.process(&request.exec_id)?);
        container.execs.remove(&request.exec_id);
        Ok(response)
    }
}

fn deleted(process: &Process) -> DeleteResponse {
    DeleteResponse {
        pid: process.pid,
        exit_status: process.ended.map_or(0, |exit| exit.status),
        exited_at: process.ended.map(|exit| exit.at),
    }
}
