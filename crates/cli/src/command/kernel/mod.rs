//! `gamut kernel …`: the kernels of guests, a file per command.

pub mod build;
pub mod import;
pub mod ls;
pub mod rm;
pub mod select;
pub mod verify;

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Commands about guests' kernels
///
/// With `--isolation microvm` a workload has a kernel of its own: the one that `--kernel` names, or the one
/// that `gamut kernel use` has, or the newest that `gamut kernel build` made, or else the host's own.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Build(build::Args),
    Import(import::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    #[command(name = "use")]
    Use(select::Args),
    Verify(verify::Args),
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Build(args) => build::run(args, context),
        Command::Import(args) => import::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Rm(args) => rm::run(&args, context),
        Command::Use(args) => select::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
    }
}
