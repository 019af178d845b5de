//! `gamut pod prune`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::confirm::confirmed;
use crate::error::Failure;

/// Remove pods whose containers have ended
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

const WARNING: &str =
    "WARNING! This will remove all stopped/exited pods.\nAre you sure you want to continue?";

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    if !args.force && !confirmed(WARNING)? {
        return Ok(ExitCode::FAILURE);
    }
    let mut engine = context.engine()?;
    let removed = engine.prune_pods(|_| true).map_err(Failure::engine)?;
    let text: String = removed.iter().map(|id| format!("{id}\n")).collect();
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
