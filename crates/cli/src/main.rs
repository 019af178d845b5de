//! The binary `gamut`: the command line, and, by the name it is called, the keeper, the filler, the holder of a user's home, a machine's
//! monitor or file server, or containerd's shim. Everything is in the libraries.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use gamut_container::home::holder;
use gamut_engine::{cells, file_server, filler, keeper, machine};

fn main() -> ExitCode {
    // First of all: a keeper closes what it inherited, and starts small.
    let name = std::env::args_os().next().unwrap_or_default();
    if name == keeper::PROGRAM_NAME {
        return keeper::run(cells::start);
    }
    if name == filler::PROGRAM_NAME {
        return filler::run();
    }
    if name == holder::PROGRAM_NAME {
        return holder::run();
    }
    if name == file_server::PROGRAM_NAME {
        return file_server::run();
    }
    if name == machine::monitor::PROGRAM_NAME {
        return machine::monitor::run();
    }
    if name == gamut_plan::draw::INIT {
        return gamut_cli::init::main();
    }
    if gamut_shim::is_called(&name) {
        return gamut_shim::main();
    }
    gamut_cli::main()
}
