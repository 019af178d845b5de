//! `gamut image …`: Docker's long names of the commands about images.

use std::process::ExitCode;

use super::{images, inspect, pull, rmi, tag};
use crate::args::Context;
use crate::error::Failure;

/// Commands about images
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(images::Args),
    Pull(pull::Args),
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    Tag(tag::Args),
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Inspect(args) => {
            let kind = Some(inspect::ObjectKind::Image);
            inspect::run(inspect::Args { kind, ..args }, context)
        }
        Command::Ls(args) => images::run(args, context),
        Command::Pull(args) => pull::run(args, context),
        Command::Rm(args) => rmi::run(args, context),
        Command::Tag(args) => tag::run(args, context),
    }
}
