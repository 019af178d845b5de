//! `gamut man`: for those who package it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;

use crate::args::whole_command;
use crate::error::Failure;

/// Write the manual pages into a directory
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct Args {
    /// The directory; it is made
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Carries it out.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    std::fs::create_dir_all(&args.dir).map_err(|source| Failure::Write {
        path: args.dir.clone(),
        source,
    })?;
    write_pages(&whole_command(), "gamut", &args.dir)?;
    Ok(ExitCode::SUCCESS)
}

/// A page for the command and for each one below it: `gamut-image-ls.1`.
fn write_pages(command: &Command, name: &str, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(format!("{name}.1"));
    let mut page = Vec::new();
    let failed = |source| Failure::Write {
        path: path.clone(),
        source,
    };
    clap_mangen::Man::new(command.clone())
        .render(&mut page)
        .and_then(|()| std::fs::write(&path, page))
        .map_err(failed)?;
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        write_pages(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(())
}
