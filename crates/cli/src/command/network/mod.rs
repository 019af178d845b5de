//! `gamut network …`: the networks that users make.

pub mod connect;
pub mod create;
pub mod disconnect;
pub mod exists;
pub mod inspect;
pub mod ls;
pub mod rm;

use std::process::ExitCode;

use super::prune;
use crate::args::Context;
use crate::error::Failure;

/// Commands about networks
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Connect(connect::Args),
    Create(create::Args),
    Disconnect(disconnect::Args),
    Exists(exists::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Prune(prune::NetworkArgs),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Connect(args) => connect::run(args, context),
        Command::Disconnect(args) => disconnect::run(&args, context),
        Command::Create(args) => create::run(args, context),
        Command::Exists(args) => exists::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Ls(args) => ls::run(&args, context),
        Command::Prune(args) => prune::networks(&args, context),
        Command::Rm(args) => rm::run(&args, context),
    }
}
