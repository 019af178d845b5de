//! `gamut container …`: Docker's long names of the commands about containers.

use std::process::ExitCode;

use super::{
    attach, commit, cp, create, diff, exec, exists, export, inspect, kill, logs, pause, port, prune,
};
use super::{ps, rename, restart, rm, top, update};
use super::{run as run_command, start, stats, stop, wait};
use crate::args::Context;
use crate::error::Failure;
use crate::exit::Verb;

/// Commands about containers
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Run(Box<run_command::Args>),
    Create(Box<create::Args>),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Pause(pause::Args),
    Unpause(pause::UnpauseArgs),
    Kill(kill::Args),
    Wait(wait::Args),
    Rm(rm::Args),
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Exec(exec::Args),
    Exists(exists::ContainerArgs),
    Stats(stats::Args),
    Top(top::Args),
    Port(port::Args),
    Rename(rename::Args),
    Update(Box<update::Args>),
    Prune(prune::ContainerArgs),
    Inspect(inspect::Args),
    Diff(diff::Args),
    Cp(cp::Args),
    Export(export::Args),
    Commit(Box<commit::Args>),
}

impl Args {
    /// What the exit status depends on.
    pub fn verb(&self) -> Verb {
        match self.command {
            Command::Run(_) => Verb::Run,
            Command::Exec(_) | Command::Start(_) => Verb::Attached,
            Command::Exists(_) => Verb::Question,
            _ => Verb::Other,
        }
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Run(args) => run_command::run(*args, context),
        Command::Create(args) => create::run(*args, context),
        Command::Start(args) => start::run(args, context),
        Command::Stop(args) => stop::run(args, context),
        Command::Restart(args) => restart::run(args, context),
        Command::Pause(args) => pause::run(args, context),
        Command::Unpause(args) => pause::resume(args, context),
        Command::Kill(args) => kill::run(args, context),
        Command::Wait(args) => wait::run(args, context),
        Command::Rm(args) => rm::run(args, context),
        Command::Ls(args) => ps::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Attach(args) => attach::run(args, context),
        Command::Exec(args) => exec::run(args, context),
        Command::Exists(args) => exists::container(&args, context),
        Command::Stats(args) => stats::run(args, context),
        Command::Top(args) => top::run(args, context),
        Command::Port(args) => port::run(args, context),
        Command::Rename(args) => rename::run(&args, context),
        Command::Update(args) => update::run(*args, context),
        Command::Prune(args) => prune::containers(&args, context),
        Command::Diff(args) => diff::run(args, context),
        Command::Cp(args) => cp::run(args, context),
        Command::Export(args) => export::run(args, context),
        Command::Commit(args) => commit::run(*args, context),
        Command::Inspect(args) => {
            let kind = Some(inspect::ObjectKind::Container);
            inspect::run(inspect::Args { kind, ..args }, context)
        }
    }
}
