//! `gamut kernel use`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Choose the kernel of guests for which none is named
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take the choice back: the newest that was built is used, or else the host's own
    #[arg(long, conflicts_with = "kernel")]
    pub none: bool,

    /// Name or id
    #[arg(required_unless_present = "none")]
    pub kernel: Option<String>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let engine = context.engine()?;
    let used = engine
        .use_kernel(args.kernel.as_deref())
        .map_err(Failure::engine)?;
    if let Some(kept) = used {
        writeln!(io::stdout(), "{}", kept.id).map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}
