//! The binary `gamut`: the command line, and, by the name it is called, the keeper. Everything is
//! in the libraries.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use gamut_engine::client::Forked;
use gamut_engine::{cells, keeper};
use gamut_sys::own_program;

fn main() -> ExitCode {
    // First of all: a keeper closes what it inherited, and starts small.
    if std::env::args_os()
        .next()
        .is_some_and(|name| name == keeper::PROGRAM_NAME)
    {
        return keeper::run(cells::start);
    }
    match gamut_cli::fork_keeper() {
        Some(Forked::Keeper) => {
            // What comes back could not be: the file is not the workload's to write then.
            let _ = own_program::run_read_only(vec![keeper::PROGRAM_NAME.into()]);
            keeper::run(cells::start)
        }
        Some(Forked::Client(keeper)) => gamut_cli::main(Some(keeper)),
        None => gamut_cli::main(None),
    }
}
