//! `gamut system …`: Docker's long names of the commands about the engine, and what puts it right
//! or takes it away.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{check, dedupe, df, info, prune};
use crate::args::Context;
use crate::error::Failure;
use crate::{confirm, table};

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
    Check(check::Args),
    Dedupe(dedupe::Args),
    Df(df::Args),
    Info(info::Args),
    Prune(prune::SystemArgs),
    Repair(RepairArgs),
    Reset(ResetArgs),
}

/// Remove what a crash has left behind
///
/// Leftovers of containers, images, control groups and published ports that nobody owns. It
/// disturbs nothing that runs; the other commands do the same for what they touch.
#[derive(Debug, clap::Args)]
pub struct RepairArgs {}

/// Remove everything: containers, images, volumes, network
///
/// Nothing of the engine is left in its directories or on the host.
#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Check(args) => check::run(&args, context),
        Command::Dedupe(args) => dedupe::run(&args, context),
        Command::Df(args) => df::run(args, context),
        Command::Prune(args) => prune::system(&args, context),
        Command::Info(args) => info::run(args, context),
        Command::Repair(RepairArgs {}) => {
            let mut engine = context.engine()?;
            print(&engine.repair().map_err(Failure::engine)?.done)
        }
        Command::Reset(args) => {
            let warning = format!(
                "This removes all containers, images and volumes of {}. Go on?",
                context.root.display()
            );
            if !args.force && !confirm::confirmed(&warning)? {
                return Ok(ExitCode::FAILURE);
            }
            let engine = context.engine()?;
            print(&engine.reset().map_err(Failure::engine)?)
        }
    }
}

fn print(lines: &[String]) -> Result<ExitCode, Failure> {
    let text: String = lines
        .iter()
        .map(|line| table::visible(line) + "\n")
        .collect();
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
