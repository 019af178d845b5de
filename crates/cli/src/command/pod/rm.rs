//! `gamut pod rm`.

use std::process::ExitCode;

use gamut_engine::Force;
use gamut_plan::request::StopTimeout;
use gamut_spec::{Fault, Kind};

use super::stop;
use super::which::WhichPodsOrFiles;
use crate::args::Context;
use crate::convert::parse_stop_timeout;
use crate::error::Failure;
use crate::several;
use crate::which::Missing;

/// Remove pods with their containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill what runs first
    #[arg(short, long)]
    pub force: bool,

    /// Pass over what is not there
    #[arg(short, long)]
    pub ignore: bool,

    /// Seconds to let running containers end in, before --force kills them
    #[arg(short, long, value_name = "SECONDS", requires = "force", value_parser = parse_stop_timeout, allow_hyphen_values = true)]
    pub time: Option<StopTimeout>,

    #[command(flatten)]
    pub which: WhichPodsOrFiles,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let force = match args.force {
        true => Force::Yes,
        false => Force::No,
    };
    let missing = Missing::of(args.ignore || args.force);
    let names = args.which.names(&mut engine, missing)?;
    several::each(&names, |name| {
        if args.time.is_some() {
            let pod = engine.pod(name).map_err(Failure::engine)?;
            stop::stop(&engine, &pod, args.time)?;
        }
        match engine.remove_pod(name, force) {
            Ok(id) => Ok(Some(id)),
            // Somebody else was quicker.
            Err(error) if args.force && error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(Failure::engine(error)),
        }
    })
}
