//! The binary `gamut`: everything is in the library of the same crate.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    gamut_cli::main()
}
