//! `gamut logs`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{Moment, Tail, parse_moment, parse_tail};
use crate::error::Failure;

/// Print the output of a container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,

    /// Only what is later than a time or a duration ago, such as 10m
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,

    /// Only what is earlier than a time or a duration ago
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,

    /// Only the last lines; `all` for all of them
    #[arg(short = 'n', long, value_name = "LINES", value_parser = parse_tail, default_value = "all", allow_hyphen_values = true)]
    pub tail: Tail,

    /// With a time before each line
    #[arg(short, long)]
    pub timestamps: bool,

    /// Name or id
    pub container: String,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("logs"))
}
