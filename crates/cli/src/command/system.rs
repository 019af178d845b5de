//! `gamut system …`: Docker's long names of the commands about the engine.

use std::process::ExitCode;

use super::info;
use crate::args::Context;
use crate::error::Failure;

/// Commands about the engine
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Info(info::Args),
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Info(args) => info::run(args, context),
    }
}
