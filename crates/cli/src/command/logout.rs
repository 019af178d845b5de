//! `gamut logout`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use gamut_engine::{EngineError, registry};
use gamut_spec::{Fault, Kind};

/// Forget the password of a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Forget all passwords
    #[arg(short, long, conflicts_with = "server")]
    pub all: bool,

    /// File with the logins, instead of the user's own
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,

    /// The registry; Docker Hub by default
    pub server: Option<String>,
}

/// Carries it out.
pub fn run(args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    let file = args.authfile.as_ref();
    if args.all {
        let servers = registry::logout_everywhere(file).map_err(Failure::engine)?;
        let lines = servers
            .iter()
            .map(|server| format!("Removing login credentials for {server}\n"));
        let text: String = lines.collect();
        io::stdout()
            .write_all(text.as_bytes())
            .map_err(Failure::Output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let server = args.server.as_deref().unwrap_or(registry::DEFAULT_REGISTRY);
    let text = match registry::logout(server, file) {
        Ok(()) => format!("Removing login credentials for {server}\n"),
        // As in Docker: it is as it should be.
        Err(EngineError::Auth(error)) if error.kind() == Kind::NotFound => {
            format!("Not logged in to {server}\n")
        }
        Err(error) => return Err(Failure::engine(error)),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
