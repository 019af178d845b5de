//! The keeper: one small process for each workload. It is the parent of the workload, and holds
//! its streams, its exit status, its log, its ports and its control socket. One thread, one epoll
//! loop, no runtime; everybody else is a client of its socket ([`gamut_plan::wire`]).
//!
//! [`run`] is called from `main` before anything else happens in the process. The keeper's
//! standard input is its first connection; what it is to run comes over it. The process is the binary
//! called by another name: by itself, before it has begun ([`gamut_sys::early`]), or later
//! ([`crate::client::Client::spawn`]).

mod connection;
pub(crate) mod egress;
mod events;
mod exit;
mod failing;
mod health;
mod herald;
mod joining;
mod launch;
mod log;
pub(crate) mod naming;
mod network;
mod output;
mod pasta;
mod requests;
mod restarting;
mod streams;
mod telling;

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
    let Ok((first, _program)) = prepare() else {
        return ExitCode::FAILURE;
    };
    crate::home::settle();
    match events::Keeper::new(first, cells) {
        Ok(mut keeper) => keeper.run(),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Leaves the caller's session, directory and descriptors, and takes its end of the first
/// connection from standard input, and what holds the mount that its program is on from standard
/// output. The mount is let go with the process: that takes as long as the kernel's readers
/// (a grace period of RCU), and nobody waits any more.
fn prepare() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let _ = rustix::process::setsid();
    // What `top` shows.
    let _ = rustix::thread::set_name(c"gamut-keeper");
    process::close_inherited(3)?;
    rustix::process::chdir(c"/")?;
    let first = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let program = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(null.as_fd())?;
    Ok((first, program))
}
