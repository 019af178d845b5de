//! `gamut rm`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::several;
use gamut_engine::Force;
use gamut_spec::{Fault, Kind};

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill a running container first
    #[arg(short, long)]
    pub force: bool,

    /// Remove its anonymous volumes, too
    #[arg(short, long)]
    pub volumes: bool,

    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let force = match args.force {
        true => Force::Yes,
        false => Force::No,
    };
    several::each(&args.containers, |name| {
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
