//! The command line: arguments, tables, progress, exit codes.
//!
//! `args` is what clap reads, a file per command under `command`; `workload` turns the flags of
//! `run` and `create` into a typed request, with `convert` for the text of each flag. What
//! comes back is printed through `format`, `table` and `human`. A command ends in a status or a
//! [`error::Failure`], which `exit` numbers as Docker does.
#![forbid(unsafe_code)]

pub mod args;
pub mod attached;
pub mod cidfile;
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "help texts: `[:TAG]` is no link"
)]
pub mod command;
pub mod confirm;
pub mod convert;
pub mod detach;
pub mod error;
pub mod exit;
pub mod explained;
pub mod fetch;
pub mod format;
pub mod home;
pub mod human;
pub mod init;
pub mod inspect;
pub mod listing;
pub mod output_file;
pub mod pattern;
pub mod platform_args;
pub mod processes;
pub mod progress;
pub mod registry_args;
pub mod relay;
pub mod several;
pub mod table;
pub mod terminal;
pub mod trace;
pub mod view;
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "help texts: `[:ro]` is no link"
)]
pub mod which;
pub mod workload;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use gamut_engine::client::Client;

/// The keeper that was begun before this program, for the workload that its command line seems to
/// ask for: it comes up, and makes a network namespace, while the arguments are read. One that is
/// not wanted ends when its connection is dropped.
fn keeper_ahead() -> Option<Client> {
    let keeper = gamut_sys::early::keeper().map(Client::new)?;
    if !std::env::args_os().any(|word| names_a_network_that_is_there(&word)) {
        // One that is gone is noticed when it is to start the workload.
        let _ = keeper.prepare();
    }
    Some(keeper)
}

/// The command line. Called by the name of an OCI runtime or of Firecracker, the program is one.
fn words() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let name = words.first().and_then(|word| Path::new(word).file_name());
    let command = match name.and_then(|name| name.to_str()) {
        Some(command::oci::PROGRAM_NAME) => "oci",
        Some(command::vmm::PROGRAM_NAME) => "vmm",
        _ => return words,
    };
    words.insert(1, command.into());
    words
}

/// Whether this may be (a part of) `--network host` or `--network container:NAME`, with which a
/// network namespace made ahead would be for nothing.
fn names_a_network_that_is_there(word: &std::ffi::OsStr) -> bool {
    let word = word.as_encoded_bytes();
    let value = word.rsplit(|byte| *byte == b'=').next().unwrap_or(word);
    value == b"host" || value.starts_with(b"container:")
}

/// Reads the process's arguments, carries them out, and gives the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let began_ns = trace::now_ns();
    let keeper = keeper_ahead();
    let words = words();
    let command = words.get(1).cloned().unwrap_or_default();
    if command::oci::enters_a_container(&words) {
        let protected = gamut_sys::own_program::run_protected(std::env::args_os().collect());
        if let Err(errno) = protected {
            let reason = std::io::Error::from(errno);
            eprintln!("error: cannot keep this program's file from the container: {reason}");
            eprintln!("hint: run one that root has installed");
            return ExitCode::FAILURE;
        }
    }
    let cli = match args::parse(words) {
        Ok(cli) => *cli,
        Err(ExitCode::SUCCESS) => return ExitCode::SUCCESS,
        // runc knows no other status of its own.
        Err(_) if command == "oci" => return ExitCode::FAILURE,
        Err(_) if command == "vmm" => return ExitCode::from(command::vmm::STATUS_ARGUMENTS),
        Err(status) => return status,
    };
    let verb = cli.command.verb();
    if cli.command.keeps_state()
        && let Err(error) = home::enter()
        && !cli.command.says_what_is_missing()
    {
        return error::Failure::engine(error).report(verb);
    }
    let context = cli.global.context(keeper, began_ns);
    match command::run(cli.command, &context) {
        Ok(status) => status,
        Err(failure) => failure.report(verb),
    }
}
