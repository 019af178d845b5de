//! What a first process and an exec have in common: streams or a terminal, the runtime, a number.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use super::Shim;
use crate::console::ConsoleSocket;
use crate::error::ShimError;
use crate::pump::Pump;
use crate::runtime::Runtime;
use crate::stdio::{self, Names, Whose};

/// A process that the runtime has made.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) pid: u32,
    pub(super) console: Option<OwnedFd>,
    pub(super) input_held: Option<OwnedFd>,
}

/// Whom to make, with what.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) container: &'a str,
    pub(super) runtime: &'a Runtime,
    pub(super) key: u64,
    pub(super) names: &'a Names,
    pub(super) pid_file: &'a Path,
}

impl Shim {
    /// Opens the streams, has `run` call the runtime, and starts copying. When it fails, nothing is left
    /// of it here.
    pub(super) fn launch(
        &self,
        launch: &Launch<'_>,
        run: impl FnOnce(Option<&Path>, [Stdio; 3]) -> Result<(), ShimError>,
    ) -> Result<Launched, ShimError> {
        let launched = self.launch_with_streams(launch, run);
        if launched.is_err() {
            self.pumps.stop(launch.key, None);
        }
        launched
    }

    fn launch_with_streams(
        &self,
        launch: &Launch<'_>,
        run: impl FnOnce(Option<&Path>, [Stdio; 3]) -> Result<(), ShimError>,
    ) -> Result<Launched, ShimError> {
        let whose = Whose {
            namespace: &self.namespace,
            container: launch.container,
            pipe_owner: launch.runtime.pipe_owner(),
        };
        let (console, input_held) = if launch.names.terminal {
            let socket = ConsoleSocket::listen(&self.directory, launch.key)?;
            let none = [Stdio::null(), Stdio::null(), Stdio::null()];
            run(Some(socket.path()), none)?;
            let console = socket.receive()?;
            let streams = stdio::terminal(&self.reaper, whose, launch.names, &console)?;
            self.copy(launch.key, streams.pumps)?;
            (Some(console), streams.input_held)
        } else {
            let (streams, ends) = stdio::pipes(&self.reaper, whose, launch.names)?;
            // Before the runtime, which may write more than a pipe holds.
            self.copy(launch.key, streams.pumps)?;
            run(None, ends)?;
            (None, streams.input_held)
        };
        let text = std::fs::read_to_string(launch.pid_file)
            .map_err(|source| ShimError::file(launch.pid_file, source))?;
        let pid = text.trim().parse().map_err(|_| {
            ShimError::file(
                launch.pid_file,
                std::io::Error::from(std::io::ErrorKind::InvalidData),
            )
        })?;
        Ok(Launched {
            pid,
            console,
            input_held,
        })
    }

    fn copy(&self, key: u64, pumps: Vec<Pump>) -> Result<(), ShimError> {
        for pump in pumps {
            self.pumps.add(key, pump)?;
        }
        Ok(())
    }
}
