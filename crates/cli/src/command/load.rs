//! `gamut load`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_platform;
use crate::error::Failure;
use crate::progress::{ProgressArgs, Shown};
use crate::{fetch, terminal};
use gamut_plan::request::Platform;

/// Load images from an archive or a directory
///
/// Archives of Docker and OCI layouts are taken, plain or compressed, whoever wrote them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File or directory to read, instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// Only images for this platform, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Policy of which images may be used, instead of this host's
    #[arg(long, value_name = "FILE")]
    pub signature_policy: Option<PathBuf>,

    #[command(flatten)]
    pub progress: ProgressArgs,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let input = args.input.as_deref().filter(|path| *path != Path::new("-"));
    if input.is_none() && terminal::is_terminal(io::stdin()) {
        return Err(Failure::FromTerminal);
    }
    let mut engine = context.engine()?;
    engine.set_policy(args.signature_policy);
    let members = match input {
        Some(path) => engine.open_archive(path),
        None => engine.keep_archive(io::stdin()),
    };
    let members = members.map_err(Failure::engine)?;
    let style = args.progress.style();
    let platform = args.platform.as_ref().map(fetch::platform);
    let progress = Shown::of(style);
    let loaded = engine
        .load(&members, platform.as_ref(), &progress)
        .map_err(Failure::engine)?;
    let mut text = String::new();
    for one in loaded {
        match one.names.is_empty() {
            true => text.push_str(&format!("Loaded image ID: {}\n", one.image.id)),
            false => {
                for name in one.names {
                    text.push_str(&format!("Loaded image: {}\n", name.familiar()));
                }
            }
        }
    }
    progress.result(&text)?;
    Ok(ExitCode::SUCCESS)
}
