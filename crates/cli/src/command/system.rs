//! `gamut system …`: Docker's long names of the commands about the engine, and what puts it right
//! or takes it away.

use std::io::{self, Write};
use std::process::ExitCode;

use super::info;
use crate::args::Context;
use crate::error::Failure;
use crate::{table, terminal};
use gamut_spec::{Fault, Kind};

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
        Command::Info(args) => info::run(args, context),
        Command::Repair(RepairArgs {}) => {
            let mut engine = context.engine()?;
            print(&engine.repair().map_err(Failure::engine)?)
        }
        Command::Reset(args) => {
            if !args.force && !confirmed(context)? {
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

/// Asks whether the user means it.
fn confirmed(context: &Context) -> Result<bool, Failure> {
    if !terminal::is_terminal(io::stdin()) {
        return Err(Failure::engine(Unconfirmed));
    }
    eprint!(
        "This removes all containers, images and volumes of {}. Go on? [y/N] ",
        context.root.display()
    );
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(Failure::Terminal)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// There is nobody to ask.
#[derive(Debug, thiserror::Error)]
#[error("`gamut system reset` removes everything, and there is nobody to ask whether to go on")]
struct Unconfirmed;

impl Fault for Unconfirmed {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("give `--force`".to_owned())
    }
}
