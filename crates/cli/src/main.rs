//! The binary `gamut`: the command line, and, by the name it is called, the keeper or containerd's
//! shim. Everything is in the libraries.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use gamut_engine::{cells, keeper};
use gamut_sys::own_program;

fn main() -> ExitCode {
    // First of all: a keeper closes what it inherited, and starts small.
    let name = std::env::args_os().next().unwrap_or_default();
    if name == keeper::PROGRAM_NAME {
        return keep();
    }
    if gamut_shim::is_called(&name) {
        return gamut_shim::main();
    }
    gamut_cli::main()
}

/// Becomes a keeper, which leads no workload to this program's file.
fn keep() -> ExitCode {
    // An error means that it cannot be done: then the file is not the workload's to write.
    let _ = own_program::run_read_only(vec![keeper::PROGRAM_NAME.into()]);
    keeper::run(cells::start)
}
