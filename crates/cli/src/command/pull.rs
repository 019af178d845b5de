//! `gamut pull`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_platform;
use crate::error::Failure;
use crate::fetch;
use crate::progress::{Progress, Style};
use gamut_plan::request::Platform;

/// Pull an image from a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Platform of the image, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Print nothing but the image's name
    #[arg(short, long)]
    pub quiet: bool,

    /// The image, as [HOST/]NAME[:TAG|@DIGEST]
    pub image: String,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let reference = fetch::parse(&args.image)?;
    let style = match args.quiet {
        true => Style::Quiet,
        false => Style::of_stderr(),
    };
    let wanted = args.platform.as_ref().map(fetch::platform);
    let mut engine = context.engine()?;
    let progress = Progress::on_stderr(style);
    let pulled = fetch::pull(&mut engine, &reference, wanted.as_ref(), &progress)?;
    let mut text = format!("{reference}\n");
    if !args.quiet {
        text = format!(
            "{}\n{}\n{text}",
            fetch::digest_line(&pulled),
            fetch::status_line(&pulled, &reference)
        );
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
