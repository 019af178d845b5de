//! `gamut container exists` and `gamut image exists`: the answer is the exit status, as podman gives it.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use gamut_engine::EngineError;
use gamut_spec::{Fault, Kind};

/// Say by the exit status whether there is a container
#[derive(Debug, clap::Args)]
pub struct ContainerArgs {
    /// Name or id
    pub container: String,
}

/// Say by the exit status whether there is an image
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// Name or id
    pub image: String,
}

/// Carries out `container exists`.
pub fn container(args: &ContainerArgs, context: &Context) -> Result<ExitCode, Failure> {
    answer(context.engine()?.container_id(&args.container))
}

/// Carries out `image exists`.
pub fn image(args: &ImageArgs, context: &Context) -> Result<ExitCode, Failure> {
    answer(context.engine()?.find_image(&args.image))
}

/// Only what is known not to be there is missing: a name that could mean two, or a database that cannot be
/// read, is an error.
fn answer<T>(found: Result<T, EngineError>) -> Result<ExitCode, Failure> {
    match found {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == Kind::NotFound => Ok(ExitCode::FAILURE),
        Err(error) => Err(Failure::engine(error)),
    }
}
