//! `gamut explain`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::explained;
use crate::format::ObjectFormat;

/// Show how a container is isolated
///
/// Namespaces against the host's, cgroup files with limits and use, mounts, id maps,
/// capabilities, seccomp verdicts, and the way through the network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// text, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Name or id
    pub container: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let explanation = engine.explain(&args.container).map_err(Failure::engine)?;
    let mut output = io::stdout().lock();
    match args.format.as_deref().filter(|format| *format != "text") {
        Some(format) => ObjectFormat::parse(Some(format))?.write(&explanation, &mut output)?,
        None => output
            .write_all(explained::text(&explanation).as_bytes())
            .map_err(Failure::Output)?,
    }
    Ok(ExitCode::SUCCESS)
}
