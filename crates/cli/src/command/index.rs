//! `gamut image index`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::convert::parse_platform;
use crate::error::Failure;
use crate::progress::{ProgressArgs, Shown};
use crate::{command::push, fetch};
use gamut_engine::lazy_index;
use gamut_plan::request::Platform;
use gamut_spec::image;

/// Put an index beside an image in a registry, so that it can be pulled lazily
///
/// Of layers that have no table of contents themselves, such as those that docker and podman push. They are
/// read once and stay as they are; the index refers to the image (OCI 1.1 referrers, or the tag that stands
/// in for them).
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the digest of the index to a file
    #[arg(long, value_name = "FILE")]
    pub digestfile: Option<PathBuf>,

    /// Of an image for several platforms, the one for this, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    #[command(flatten)]
    pub progress: ProgressArgs,

    /// The image, as [HOST/]NAME[:TAG|@DIGEST]
    pub image: String,
}

/// Carries it out.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let reference = fetch::parse_remote(&args.image)?;
    let platform = args.platform.as_ref().map(fetch::platform);
    let platform = platform.unwrap_or_else(image::Platform::host);
    let progress = Shown::of(args.progress.style());
    progress.say(&format!("Indexing {reference}"));
    let made = lazy_index::make(&reference, &platform, fetch::options()?, &progress);
    let made = made.map_err(Failure::engine)?;
    push::write_digest(args.digestfile.clone(), &made)?;
    push::say(&made, &reference, args.progress.quiet, &progress)?;
    Ok(ExitCode::SUCCESS)
}
