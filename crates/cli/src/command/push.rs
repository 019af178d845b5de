//! `gamut push`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::fetch;
use crate::progress::{ProgressArgs, Shown, Style};
use crate::registry_args::RegistryArgs;
use gamut_engine::Engine;
use gamut_engine::push::{PushOptions, Pushed};
use gamut_spec::image::Compression;
use gamut_spec::reference::Reference;

/// Push an image to a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Push all tags of the repository
    #[arg(short, long, conflicts_with = "destination")]
    pub all_tags: bool,

    /// How layers are compressed: as they were, or with gzip, if this is not given
    #[arg(long, visible_alias = "compression-format", value_name = "FORMAT")]
    pub compression: Option<Packing>,

    /// Write the digest of what was pushed to a file
    #[arg(long, value_name = "FILE", conflicts_with = "all_tags")]
    pub digestfile: Option<PathBuf>,

    #[command(flatten)]
    pub registry: RegistryArgs,

    #[command(flatten)]
    pub progress: ProgressArgs,

    /// The image, as [HOST/]NAME[:TAG]
    pub image: String,

    /// Its name there, if it is another, as [docker://][HOST/]NAME[:TAG]
    pub destination: Option<String>,
}

/// How a layer can be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Packing {
    /// What every registry and engine knows
    Gzip,
    /// Quicker to unpack; needs Docker 23 or its like
    Zstd,
}

impl From<Packing> for Compression {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::Gzip => Self::Gzip,
            Packing::Zstd => Self::Zstd,
        }
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let style = args.progress.style();
    let mut engine = context.engine()?;
    let destination = match &args.destination {
        Some(destination) => destination,
        None => &args.image,
    };
    let to = fetch::parse_remote(destination)?;
    if args.all_tags {
        for tag in engine.tags_of(&to).map_err(Failure::engine)? {
            push(&mut engine, &tag.to_string(), &tag, &args, style)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let pushed = push(&mut engine, &args.image, &to, &args, style)?;
    write_digest(args.digestfile, &pushed)?;
    Ok(ExitCode::SUCCESS)
}

fn push(
    engine: &mut Engine,
    image: &str,
    to: &Reference,
    args: &Args,
    style: Style,
) -> Result<Pushed, Failure> {
    let access = args.registry.options(to.registry())?;
    let progress = Shown::of(style);
    progress.say(&format!("The push refers to repository [{}]", to.name()));
    let options = PushOptions {
        compression: args.compression.map(Compression::from),
    };
    let pushed = engine
        .push(image, to, options, access, &progress)
        .map_err(Failure::engine)?;
    say(&pushed, to, args.progress.quiet, &progress)?;
    Ok(pushed)
}

/// Docker's last line of a push; the name only, if it is to be quiet.
pub(super) fn say(
    pushed: &Pushed,
    to: &Reference,
    quiet: bool,
    progress: &Shown,
) -> Result<(), Failure> {
    let line = match quiet {
        true => to.to_string(),
        false => format!(
            "{}: digest: {} size: {}",
            to.selector(),
            pushed.descriptor.digest,
            pushed.descriptor.size
        ),
    };
    progress.result(&format!("{line}\n"))
}

/// `--digestfile`.
pub(super) fn write_digest(path: Option<PathBuf>, pushed: &Pushed) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let digest = pushed.descriptor.digest.to_string();
    std::fs::write(&path, digest).map_err(|source| Failure::Write { path, source })
}
