//! `gamut completion`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap_complete::Shell;

use crate::args::whole_command;
use crate::error::Failure;

/// Print a completion script for a shell
///
/// For bash: gamut completion bash > /etc/bash_completion.d/gamut
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    pub shell: Target,
}

/// The shells there is a script for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    Bash,
    Fish,
    Zsh,
}

/// Carries it out.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let shell = match args.shell {
        Target::Bash => Shell::Bash,
        Target::Fish => Shell::Fish,
        Target::Zsh => Shell::Zsh,
    };
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut whole_command(), "gamut", &mut script);
    io::stdout().write_all(&script).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
