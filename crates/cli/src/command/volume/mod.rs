//! `gamut volume …`: directories that outlive containers.

pub mod create;
pub mod exists;
pub mod inspect;
pub mod ls;
pub mod prune;
pub mod rm;

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Commands about volumes
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Create(create::Args),
    Exists(exists::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Create(args) => create::run(args, context),
        Command::Exists(args) => exists::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Prune(args) => prune::run(&args, context),
        Command::Rm(args) => rm::run(&args, context),
    }
}
