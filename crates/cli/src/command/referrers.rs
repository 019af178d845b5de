//! `gamut image referrers`.

use std::io;
use std::process::ExitCode;

use crate::convert::parse_platform;
use crate::error::Failure;
use crate::fetch;
use crate::format::ListFormat;
use crate::view::{Width, referrers as view};
use gamut_engine::referrers::referrers;
use gamut_plan::request::Platform;
use gamut_spec::image;

/// List what a registry has about an image: signatures, SBOMs, attestations
///
/// Both what refers to the image (OCI 1.1 referrers, or the tag that stands in for them) and the
/// attestations in its index, as BuildKit makes them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those of this type, such as application/spdx+json
    #[arg(long, value_name = "TYPE")]
    pub artifact_type: Option<String>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Do not shorten digests
    #[arg(long)]
    pub no_trunc: bool,

    /// Platform of the image, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Only digests
    #[arg(short, long)]
    pub quiet: bool,

    /// The image, as [HOST/]NAME[:TAG|@DIGEST]
    pub image: String,
}

/// Carries it out.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let format = match (&args.format, args.quiet) {
        (None, true) => Some(view::QUIET),
        (format, _) => format.as_deref(),
    };
    let format = ListFormat::parse(format, view::TABLE, &view::TITLES)?;
    let reference = fetch::parse_remote(&args.image)?;
    let platform = args.platform.as_ref().map(fetch::platform);
    let platform = platform.unwrap_or_else(image::Platform::host);
    let artifact_type = args.artifact_type.as_deref();
    let found = referrers(&reference, &platform, artifact_type, fetch::options()?);
    let found = found.map_err(Failure::engine)?;
    let width = match args.no_trunc || args.quiet {
        true => Width::Full,
        false => Width::Cut,
    };
    let rows: Vec<_> = found.iter().map(|found| view::row(found, width)).collect();
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}
