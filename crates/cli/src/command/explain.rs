//! `gamut explain`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Show how a container is isolated
///
/// Namespaces against the host's, cgroup files with limits and use, mounts, id maps,
/// capabilities, seccomp verdicts, and the way through the network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Name or id
    pub container: String,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("explain"))
}
