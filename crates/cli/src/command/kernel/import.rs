//! `gamut kernel import`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Keep a kernel's file for guests
///
/// An uncompressed vmlinux or a bzImage for x86-64; prints its id. Its configuration is taken along if it has
/// one inside, or beside it: `config`, or `config-RELEASE` for `vmlinuz-RELEASE`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to call it, instead of its release
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Use it for guests for which none is named
    #[arg(long = "use")]
    pub used: bool,

    /// The kernel's file
    pub file: PathBuf,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let engine = context.engine()?;
    let kept = engine
        .import_kernel(&args.file, args.name.as_deref())
        .map_err(Failure::engine)?;
    if args.used {
        engine.use_kernel(Some(&kept.id)).map_err(Failure::engine)?;
    }
    writeln!(io::stdout(), "{}", kept.id).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
