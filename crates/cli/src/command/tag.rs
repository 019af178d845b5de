//! `gamut tag`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::fetch;
use gamut_spec::reference::Reference;

/// Give an image further names
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image, by name or id
    #[arg(value_name = "SOURCE")]
    pub source: String,

    /// Its further names, as [HOST/]NAME[:TAG]
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let targets: Vec<Reference> = args
        .targets
        .iter()
        .map(|target| fetch::tag(target))
        .collect::<Result<_, _>>()?;
    let mut engine = context.engine()?;
    for target in &targets {
        engine.tag(&args.source, target).map_err(Failure::engine)?;
    }
    Ok(ExitCode::SUCCESS)
}
