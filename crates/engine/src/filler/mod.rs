//! The filler: one small process for each store that has layers which are not whole (`gamut pull
//! --lazy`). It fetches them from their registries, in the order in which somebody reads them and, where
//! nobody does, from the beginning to the end; when the last one is whole it ends.
//!
//! A container reads a layer through the kernel's EROFS, which reads the layer's file, and before each such
//! read of data the kernel asks the filler (fanotify's pre-content events, [`gamut_sys::fanotify`]): the
//! reader waits until the chunks are there and right. What cannot be had is `EIO`. What is in the file's
//! metadata is not asked about; a layer that is laid out has all of it. A layer that is whole is not
//! watched any more, and costs nothing.
//!
//! **It must not be that nobody is asked**: a reader would find zeros. The kernel asks for as long as
//! the group's descriptor is open anywhere, so everybody who uses such a layer holds one: the process
//! that mounts it, and the keeper of each container on it, without which there is no container. If
//! the filler is killed, readers wait until the next one has come (a second process sees to that, and so does the next command); that one finds the
//! group at whoever holds it (`group`), and what it was being asked in its journal (`journal`). If nobody
//! held it, nobody can have been reading rightfully, and mounts from before are not used again.
//!
//! The process is the binary by another name, as the keeper is ([`run`]). Clients speak to it by a packet
//! socket in `filler/` of the run directory ([`client`], [`wire`]); a lock there makes it the only one.

mod background;
pub mod client;
mod faults;
mod group;
mod journal;
mod log;
mod server;
mod serving;
pub(crate) use serving::fetch;
pub mod wire;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use gamut_sys::process;
use rustix::fs::{Mode, OFlags};

use crate::dirs::Dirs;
use crate::error::EngineError;

/// The name under which the binary is a filler: its `argv[0]`. Its arguments are the two roots, its
/// standard input its first connection.
pub const PROGRAM_NAME: &str = "gamut-filler";

/// The third argument of the process that does the work, if it is not the one that sees to it.
const WORKER: &str = "work";

/// Runs the filler to its end: a process that does the work, and one that has it done again if the first
/// is killed.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [root, run_root, role @ ..] = &arguments[..] else {
        return ExitCode::FAILURE;
    };
    let Ok(first) = prepare() else {
        return ExitCode::FAILURE;
    };
    let dirs = Dirs::new(root, run_root);
    let done = match role {
        [role] if role == WORKER => work(dirs, first),
        _ => see_to_it(&dirs, first),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What goes wrong before anybody can be served is said to who asked for it.
fn work(dirs: Dirs, first: OwnedFd) -> Result<(), EngineError> {
    let asker = first.try_clone();
    server::serve(dirs, first).inspect_err(|error| {
        if let Ok(asker) = asker {
            client::refuse(&asker, error);
        }
    })
}

/// Starts the worker, again and again for as long as it is killed.
fn see_to_it(dirs: &Dirs, first: OwnedFd) -> Result<(), EngineError> {
    let failed = |error: std::io::Error| EngineError::Filler(error.to_string());
    let mut first = Some(first);
    loop {
        let input = first.take().map_or_else(Stdio::null, Stdio::from);
        let status = Command::new("/proc/self/exe")
            .arg0(PROGRAM_NAME)
            .args([&dirs.root, &dirs.run_root])
            .arg(WORKER)
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(failed)?;
        if status.signal().is_none() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Before a worker that was killed is started again: something may kill them all.
const PAUSE: Duration = Duration::from_millis(100);

/// Leaves the caller's session, directory and descriptors.
fn prepare() -> rustix::io::Result<OwnedFd> {
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"gamut-filler");
    process::close_inherited(3)?;
    rustix::process::chdir(c"/")?;
    let first = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(null.as_fd())?;
    Ok(first)
}
