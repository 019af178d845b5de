//! `gamut pod …`: containers that are kept together and share namespaces.

pub mod create;
pub mod exists;
pub mod inspect;
pub mod kill;
pub mod logs;
pub mod pause;
pub mod place;
pub mod prune;
pub mod ps;
pub mod restart;
pub mod rm;
pub mod start;
pub mod stats;
pub mod stop;
pub mod top;
pub mod which;

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Commands about pods
///
/// A pod is containers that share namespaces: a network with its ports, a host name, shared memory. They are
/// held by the pod's infra container, which has no image and does nothing else.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Create(Box<create::Args>),
    Exists(exists::Args),
    Inspect(inspect::Args),
    Kill(kill::Args),
    Logs(logs::Args),
    Pause(pause::Args),
    Prune(prune::Args),
    #[command(visible_aliases = ["ls", "list"])]
    Ps(ps::Args),
    Restart(restart::Args),
    Rm(rm::Args),
    Start(start::Args),
    Stats(stats::Args),
    Stop(stop::Args),
    Top(top::Args),
    Unpause(pause::UnpauseArgs),
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Create(args) => create::run(*args, context),
        Command::Exists(args) => exists::run(&args, context),
        Command::Inspect(args) => inspect::run(&args, context),
        Command::Kill(args) => kill::run(&args, context),
        Command::Logs(args) => logs::run(&args, context),
        Command::Pause(args) => pause::run(&args, context),
        Command::Prune(args) => prune::run(&args, context),
        Command::Ps(args) => ps::run(&args, context),
        Command::Restart(args) => restart::run(&args, context),
        Command::Rm(args) => rm::run(&args, context),
        Command::Start(args) => start::run(&args, context),
        Command::Stats(args) => stats::run(args, context),
        Command::Stop(args) => stop::run(&args, context),
        Command::Top(args) => top::run(args, context),
        Command::Unpause(args) => pause::resume(&args, context),
    }
}
