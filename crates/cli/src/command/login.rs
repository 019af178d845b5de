//! `gamut login`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Log in to a registry
#[derive(clap::Args)]
pub struct Args {
    /// Password or token
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub password: Option<String>,

    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,

    /// User name
    #[arg(short, long)]
    pub username: Option<String>,

    /// The registry; Docker Hub by default
    pub server: Option<String>,
}

impl std::fmt::Debug for Args {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("username", &self.username)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("login"))
}
