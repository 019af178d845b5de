//! `gamut healthcheck …`.

use std::io::{self, Write};
use std::process::ExitCode;

use gamut_engine::client::{Client, ClientError};
use gamut_spec::{Fault, Kind};

use crate::args::Context;
use crate::error::Failure;

/// Check the health of a container
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Run(RunArgs),
}

/// Run a container's health check now
///
/// Its result counts as that of any other. Exits with 0 if the check did, else with 1.
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Exit with 0 whatever it says
    #[arg(long)]
    ignore_result: bool,

    /// Name or id
    container: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let Command::Run(args) = &args.command;
    let engine = context.engine()?;
    let id = engine
        .container_id(&args.container)
        .map_err(Failure::engine)?;
    let checked =
        Client::connect(&engine.container_dirs(&id)).and_then(|mut keeper| keeper.check());
    let code = checked.map_err(|source| {
        Failure::engine(HealthcheckError {
            name: args.container.clone(),
            source,
        })
    })?;
    if code == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(io::stdout(), "unhealthy").map_err(Failure::Output)?;
    Ok(match args.ignore_result {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("cannot check {name}: {source}")]
struct HealthcheckError {
    name: String,
    source: ClientError,
}

impl Fault for HealthcheckError {
    fn kind(&self) -> Kind {
        self.source.kind()
    }

    fn hint(&self) -> Option<String> {
        match &self.source {
            ClientError::Refused(_) => {
                Some("give it a check with `--health-cmd`, or run it with `gamut exec`".into())
            }
            source => source.hint(),
        }
    }
}
