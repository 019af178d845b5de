//! The shim as a program of its own, for a host that has no other use for `gamut`. The same as `gamut`
//! called by this name.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    gamut_shim::main()
}
