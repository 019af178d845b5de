//! `gamut image copy`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::convert::parse_platform;
use crate::error::Failure;
use crate::progress::{ProgressArgs, Shown};
use crate::registry_args::RegistryArgs;
use crate::{command::push, fetch};
use gamut_engine::copy::{Which, copy};
use gamut_plan::request::Platform;
use gamut_spec::image;

/// Copy an image from one registry to another, keeping nothing here
///
/// Documents and layers stay as they are, so digests do. What the target has, or can take from a
/// repository of its own, does not travel.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All images of an index, and the index itself
    #[arg(short, long, conflicts_with = "platform")]
    pub all: bool,

    /// Of an index, the image for this platform, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Accepted for Skopeo's sake: digests never change here
    #[arg(long)]
    pub preserve_digests: bool,

    /// Write the digest of what was copied to a file
    #[arg(long, value_name = "FILE")]
    pub digestfile: Option<PathBuf>,

    #[command(flatten)]
    pub registry: RegistryArgs,

    #[command(flatten)]
    pub progress: ProgressArgs,

    /// Where it is, as [docker://][HOST/]NAME[:TAG|@DIGEST]
    pub source: String,

    /// Where it is to be, as [docker://][HOST/]NAME[:TAG]
    pub target: String,
}

/// Carries it out.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let from = fetch::parse_remote(&args.source)?;
    let to = fetch::parse_remote(&args.target)?;
    let which = match (args.all, &args.platform) {
        (true, _) => Which::All,
        (false, Some(platform)) => Which::One(fetch::platform(platform)),
        (false, None) => Which::One(image::Platform::host()),
    };
    let progress = Shown::of(args.progress.style());
    progress.say(&format!("Copying {from} to {to}"));
    let copied = copy(
        &from,
        &to,
        &which,
        args.registry.options(to.registry())?,
        &progress,
    );
    let copied = copied.map_err(Failure::engine)?;
    push::write_digest(args.digestfile.clone(), &copied)?;
    push::say(&copied, &to, args.progress.quiet, &progress)?;
    Ok(ExitCode::SUCCESS)
}
