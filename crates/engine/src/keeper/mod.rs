//! The keeper: one small process for each workload. It is the parent of the workload, and holds
//! its streams, its exit status, its log, its ports and its control socket. One thread, one epoll
//! loop, no runtime; everybody else is a client of its socket ([`gamut_plan::wire`]).
//!
//! [`run`] is called from `main` before anything else happens in the process. The keeper's
//! standard input is its first connection; what it is to run comes over it. The process is the binary
//! called by another name ([`crate::client::Client::spawn`]).

mod connection;
mod events;
mod exit;
mod launch;
mod log;
mod network;
mod output;
mod requests;
mod root;
mod streams;

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use gamut_sys::process;
use rustix::fs::{Mode, OFlags};

pub use self::launch::Cells;

/// The name under which the binary is a keeper: its `argv[0]`.
pub const PROGRAM_NAME: &str = "gamut-keeper";

/// Runs the keeper to its end. `cells` maps a level to what carries it out.
#[must_use]
pub fn run(cells: Cells) -> ExitCode {
    match prepare()
        .map_err(|_| ())
        .and_then(|first| events::Keeper::new(first, cells).map_err(|_| ()))
    {
        Ok(mut keeper) => keeper.run(),
        Err(()) => ExitCode::FAILURE,
    }
}

/// Leaves the caller's session, directory and descriptors, and takes its end of the first
/// connection from standard input.
fn prepare() -> rustix::io::Result<OwnedFd> {
    let _ = rustix::process::setsid();
    // What `top` shows.
    let _ = rustix::thread::set_name(c"gamut-keeper");
    process::close_inherited(3)?;
    rustix::process::chdir(c"/")?;
    let first = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(null.as_fd())?;
    Ok(first)
}
