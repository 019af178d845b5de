//! `gamut secret rm`.

use std::process::ExitCode;

use gamut_spec::{Fault, Kind};

use crate::args::Context;
use crate::error::Failure;
use crate::several;

/// Remove secrets
///
/// Containers that were made with them keep what they were given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All that there are
    #[arg(short, long, conflicts_with = "secrets")]
    pub all: bool,

    /// That there is none of the name is no failure
    #[arg(short, long)]
    pub ignore: bool,

    /// Their names or ids
    #[arg(value_name = "SECRET", required_unless_present = "all")]
    pub secrets: Vec<String>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let engine = context.engine()?;
    let mut names = args.secrets.clone();
    if args.all {
        let all = engine.secrets().map_err(Failure::engine)?;
        names.extend(all.into_iter().map(|secret| secret.name));
    }
    several::each(&names, |name| match engine.remove_secret(name) {
        Ok(secret) => Ok(Some(secret.id)),
        Err(error) if args.ignore && error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(Failure::engine(error)),
    })
}
