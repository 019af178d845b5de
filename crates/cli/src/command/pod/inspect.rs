//! `gamut pod inspect`.

use std::io;
use std::process::ExitCode;

use super::which;
use crate::args::Context;
use crate::error::Failure;
use crate::format::ObjectFormat;
use crate::inspect::Pod;

/// Print everything about pods, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Go template for each of them, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// The one made last
    #[arg(short, long, conflicts_with = "pods")]
    pub latest: bool,

    /// Names or ids
    #[arg(value_name = "POD", required_unless_present = "latest")]
    pub pods: Vec<String>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ObjectFormat::parse(args.format.as_deref())?;
    let mut engine = context.engine()?;
    let mut objects = Vec::new();
    let mut status = ExitCode::SUCCESS;
    if args.latest {
        let pod = which::latest(&mut engine)?;
        objects.push(Pod::of(&engine, &pod));
    }
    for name in &args.pods {
        match engine.pod(name) {
            Ok(pod) => objects.push(Pod::of(&engine, &pod)),
            Err(error) => {
                Failure::engine(error).say();
                status = ExitCode::FAILURE;
            }
        }
    }
    format.write_list(&objects, &mut io::stdout().lock())?;
    Ok(status)
}
