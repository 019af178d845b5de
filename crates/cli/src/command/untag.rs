//! `gamut untag`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::fetch;
use gamut_spec::reference::Reference;

/// Take names from an image, and leave the image
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image, by name or id
    pub image: String,

    /// Names to take away; without any, all that it has
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let names: Vec<Reference> = args
        .names
        .iter()
        .map(|name| fetch::parse(name))
        .collect::<Result<_, _>>()?;
    let mut engine = context.engine()?;
    engine.untag(&args.image, &names).map_err(Failure::engine)?;
    Ok(ExitCode::SUCCESS)
}
