//! `gamut tag`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::fetch;
use gamut_spec::{Fault, Kind};

/// Give an image another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image, by name or id
    #[arg(value_name = "SOURCE")]
    pub source: String,

    /// Its further name, as [HOST/]NAME[:TAG]
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let target = fetch::parse(&args.target)?;
    if target.digest().is_some() {
        return Err(Failure::engine(NotATag(args.target)));
    }
    let mut engine = context.engine()?;
    engine.tag(&args.source, &target).map_err(Failure::engine)?;
    Ok(ExitCode::SUCCESS)
}

/// Only a registry gives digests.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` has a digest and cannot be given as a name")]
struct NotATag(String);

impl Fault for NotATag {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write it as [HOST/]NAME[:TAG]".to_owned())
    }
}
