//! The door to containerd: its shim, version 2. A process per pod between containerd and an OCI runtime:
//! parent of the containers, keeper of their streams and exit statuses, behind a ttrpc socket.
//!
//! [`main`] is the program `containerd-shim-gamut-v2`: [`start`] makes or finds the shim of a pod, [`serve`]
//! is the shim (one thread and one epoll loop; [`service`] carries out the calls), [`cleanup`] undoes a
//! container whose shim has died. The contract is containerd's `docs/runtime-v2.md`.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod cleanup;
pub mod console;
pub mod container;
pub mod error;
pub mod idmap;
pub mod info;
pub mod log;
pub mod message;
pub mod oom;
pub mod publish;
pub mod pump;
pub mod reaper;
pub mod rootfs;
pub mod runtime;
pub mod serve;
pub mod service;
pub mod start;
pub mod stats;
pub mod stdio;
pub mod ttrpc;

use std::process::ExitCode;

use arguments::{Action, Arguments};

/// The name by which containerd calls for the runtime `io.containerd.gamut.v2`.
pub const PROGRAM_NAME: &str = "containerd-shim-gamut-v2";

/// Whether a program called like this (its first argument) is the shim.
#[must_use]
pub fn is_called(name: &std::ffi::OsStr) -> bool {
    std::path::Path::new(name).file_name() == Some(PROGRAM_NAME.as_ref())
}

/// Reads the process's arguments and does what they ask for.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => return failed(&error),
    };
    let done = match arguments.action {
        Action::Version => info::version(),
        Action::Info => info::info(),
        Action::Start => start::start(&arguments),
        Action::Delete => cleanup::delete(&arguments),
        Action::Serve => serve::serve(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// containerd puts what is said here into its own error.
fn failed(error: &error::ShimError) -> ExitCode {
    use gamut_spec::Fault;
    match error.hint() {
        Some(hint) => eprintln!("{PROGRAM_NAME}: {error} ({hint})"),
        None => eprintln!("{PROGRAM_NAME}: {error}"),
    }
    ExitCode::FAILURE
}
