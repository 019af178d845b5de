//! `gamut attach`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{DetachKeys, parse_detach_keys};
use crate::error::Failure;

/// Attach to the streams of a running container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keys that let go of the container
    #[arg(long, value_name = "KEYS", value_parser = parse_detach_keys)]
    pub detach_keys: Option<DetachKeys>,

    /// Do not attach to standard input
    #[arg(long)]
    pub no_stdin: bool,

    /// Pass signals on to the process
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub sig_proxy: bool,

    /// Name or id
    pub container: String,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("attach"))
}
