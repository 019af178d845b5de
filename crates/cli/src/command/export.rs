//! `gamut export`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::output_file::OutputFile;

/// Write a container's whole root file system as a tar
///
/// What is mounted in it is left out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File to write to, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Name or id
    pub container: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let id = engine
        .container_id(&args.container)
        .map_err(Failure::engine)?;
    let mut output = OutputFile::open(args.output.as_deref())?;
    engine.export(&id, &mut output).map_err(Failure::engine)?;
    output.finish()?;
    Ok(ExitCode::SUCCESS)
}
