//! `gamut network inspect`.

use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::format::ObjectFormat;
use crate::inspect::Network;

/// Print everything about networks, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Go template for each of them, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Taken for Docker's sake: all that there is is printed
    #[arg(short, long)]
    pub verbose: bool,

    /// Names or ids
    #[arg(value_name = "NETWORK", required = true)]
    pub networks: Vec<String>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ObjectFormat::parse(args.format.as_deref())?;
    let mut engine = context.engine()?;
    let mut objects = Vec::new();
    let mut status = ExitCode::SUCCESS;
    for name in &args.networks {
        match engine
            .network(name)
            .and_then(|network| Network::of(&engine, &network))
        {
            Ok(object) => objects.push(object),
            Err(error) => {
                Failure::engine(error).say();
                status = ExitCode::FAILURE;
            }
        }
    }
    format.write_list(&objects, &mut io::stdout().lock())?;
    Ok(status)
}
