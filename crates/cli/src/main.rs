//! The binary `gamut`: the command line, and, by the name it is called, the keeper or containerd's
//! shim. Everything is in the libraries.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use gamut_engine::{cells, keeper};

fn main() -> ExitCode {
    // First of all: a keeper closes what it inherited, and starts small.
    let name = std::env::args_os().next().unwrap_or_default();
    if name == keeper::PROGRAM_NAME {
        return keeper::run(cells::start);
    }
    if gamut_shim::is_called(&name) {
        return gamut_shim::main();
    }
    gamut_cli::main()
}
