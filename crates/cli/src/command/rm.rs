//! `gamut rm`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_stop_timeout;
use crate::error::Failure;
use crate::several;
use crate::which::{Missing, Which};
use gamut_engine::pods::is_infra;
use gamut_engine::{Engine, Force};
use gamut_plan::request::StopTimeout;
use gamut_spec::{Fault, Kind};

/// Remove containers
#[derive(Debug, clap::Args)]
#[command(mut_arg("all", |all| all.short('a')))]
pub struct Args {
    /// Kill a running container first
    #[arg(short, long)]
    pub force: bool,

    /// Remove its anonymous volumes, too
    #[arg(short, long)]
    pub volumes: bool,

    /// Pass over what is not there
    #[arg(short, long)]
    pub ignore: bool,

    /// Seconds to let a running container end in, before --force kills it
    #[arg(short, long, value_name = "SECONDS", requires = "force", value_parser = parse_stop_timeout, allow_hyphen_values = true)]
    pub time: Option<StopTimeout>,

    #[command(flatten)]
    pub which: Which,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let force = match args.force {
        true => Force::Yes,
        false => Force::No,
    };
    let missing = Missing::of(args.ignore);
    // An infra container goes with its pod only.
    let names = args
        .which
        .names(&mut engine, missing, |view| !is_infra(view))?;
    several::each(&names, |name| {
        if let Some(time) = args.time {
            stop(&mut engine, name, time)?;
        }
        match engine.remove(name, force) {
            Ok(_) => Ok(Some(name.to_owned())),
            // As in Docker: what is to be gone by force may be gone already.
            Err(error) if args.force && error.kind() == Kind::NotFound => {
                crate::error::say(&error);
                Ok(None)
            }
            Err(error) => Err(Failure::engine(error)),
        }
    })
}

/// Lets one that runs end by itself first.
fn stop(engine: &mut Engine, name: &str, time: StopTimeout) -> Result<(), Failure> {
    let Ok(id) = engine.container_id(name) else {
        return Ok(());
    };
    engine.stop(&id, None, Some(time)).map_err(Failure::engine)
}
