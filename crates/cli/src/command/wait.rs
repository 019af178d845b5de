//! `gamut wait`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use gamut_engine::Engine;
use gamut_spec::{Fault, Kind};

use crate::args::Context;
use crate::convert::parse_duration_ns;
use crate::error::Failure;
use crate::listing;
use crate::several;
use crate::which::{self, Missing, Which};

/// Wait until containers end, and print their exit statuses
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to wait for instead of the end; the first of several that comes true. Prints -1 for a
    /// container that has no exit status then
    #[arg(long = "condition", value_enum, value_name = "CONDITION")]
    pub conditions: Vec<Condition>,

    /// Only until it is true of one of the containers
    #[arg(long)]
    pub exit_first_match: bool,

    /// Print -1 for what is not there
    #[arg(long)]
    pub ignore: bool,

    /// How often a condition is looked at
    #[arg(short, long, value_name = "DURATION", default_value = "250ms", value_parser = parse_duration_ns)]
    pub interval: i64,

    #[command(flatten)]
    pub which: Which,
}

/// Podman's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Condition {
    Created,
    Running,
    Paused,
    Exited,
    /// Ended, or not begun
    Stopped,
    /// Gone
    Removed,
    /// As its health checks say
    Healthy,
    Unhealthy,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let names = args
        .which
        .names(&mut engine, Missing::Error, which::is_live)?;
    let waits = !args.conditions.is_empty();
    if args.exit_first_match {
        let code = first(&mut engine, &args, &names)?;
        writeln!(io::stdout(), "{code}").map_err(Failure::Output)?;
        return Ok(ExitCode::SUCCESS);
    }
    several::each(&names, |name| {
        let code = match waits {
            true => loop {
                if let Some(code) = look(&mut engine, &args, name)? {
                    break code;
                }
                pause(&args);
            },
            false => match engine.wait(name) {
                Ok(exit) => exit.code,
                Err(error) if args.ignore && error.kind() == Kind::NotFound => -1,
                Err(error) => return Err(Failure::engine(error)),
            },
        };
        Ok(Some(code.to_string()))
    })
}

/// The status of the container of which it is true first.
fn first(engine: &mut Engine, args: &Args, names: &[String]) -> Result<i32, Failure> {
    loop {
        for name in names {
            if let Some(code) = look(engine, args, name)? {
                return Ok(code);
            }
        }
        pause(args);
    }
}

/// The exit status, or -1, if one of the conditions is true of a container.
fn look(engine: &mut Engine, args: &Args, name: &str) -> Result<Option<i32>, Failure> {
    let removed = args.conditions.contains(&Condition::Removed);
    let view = match engine.container(name) {
        Ok(view) => view,
        Err(error) if error.kind() == Kind::NotFound && (removed || args.ignore) => {
            return Ok(Some(-1));
        }
        Err(error) => return Err(Failure::engine(error)),
    };
    let life = listing::life(&view);
    let word = life.word();
    let default = [Condition::Stopped];
    let conditions = match args.conditions.as_slice() {
        [] => &default,
        given => given,
    };
    let is_true = conditions.iter().any(|condition| match condition {
        Condition::Created => word == "created",
        Condition::Running => word == "running",
        Condition::Paused => word == "paused",
        Condition::Exited => word == "exited",
        Condition::Stopped => matches!(word, "exited" | "created"),
        Condition::Removed => false,
        Condition::Healthy => life.health() == "healthy",
        Condition::Unhealthy => life.health() == "unhealthy",
    });
    let code = match word {
        "exited" => view.status.exit_code,
        _ => -1,
    };
    Ok(is_true.then_some(code))
}

fn pause(args: &Args) {
    let interval_ns = args.interval.max(1_000_000).unsigned_abs();
    std::thread::sleep(Duration::from_nanos(interval_ns));
}
