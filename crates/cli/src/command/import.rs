//! `gamut import`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_platform;
use crate::error::Failure;
use crate::{fetch, terminal};
use gamut_engine::import::ImportOptions;
use gamut_engine::{EngineError, registry};
use gamut_plan::request::Platform;
use gamut_spec::image;

/// Make an image of a tar of a root file system
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An instruction of a Dockerfile, such as `CMD ["sh"]`, to carry out on the image
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,

    /// A word about how the image came to be
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,

    /// What the image runs on, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Accepted for Podman's sake: only the image's id is printed
    #[arg(short, long)]
    pub quiet: bool,

    /// A file, a URL, or `-` for standard input
    #[arg(value_name = "FILE|URL|-")]
    pub source: String,

    /// The image's name, as [HOST/]NAME[:TAG]
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let name = args.name.as_deref().map(fetch::tag).transpose()?;
    let host = image::Platform::host();
    let options = ImportOptions {
        changes: args.changes,
        message: args
            .message
            .unwrap_or_else(|| format!("Imported from {}", args.source)),
        platform: args.platform.as_ref().map_or(host, fetch::platform),
        name,
    };
    let archive: Box<dyn Read + Send> = match args.source.as_str() {
        "-" if terminal::is_terminal(io::stdin()) => return Err(Failure::FromTerminal),
        "-" => Box::new(io::stdin()),
        url if registry::is_url(url) => Box::new(registry::download(url).map_err(Failure::engine)?),
        path => Box::new(File::open(path).map_err(|source| {
            Failure::engine(EngineError::HostPath {
                path: path.to_owned(),
                source,
            })
        })?),
    };
    let mut engine = context.engine()?;
    let (image, warnings) = engine.import(archive, &options).map_err(Failure::engine)?;
    for warning in warnings {
        let text = format!("warning: {}: {}", warning.entry, warning.what);
        // With standard error gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{}", crate::table::visible(&text));
    }
    writeln!(io::stdout(), "{}", image.id).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
