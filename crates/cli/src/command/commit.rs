//! `gamut commit`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::fetch;
use gamut_engine::commit::{CommitOptions, Pause};
use gamut_engine::made::ImageFormat;

/// Make an image of a container's changes
///
/// The image runs as the container was made: with its command, environment and user.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who made it, such as `A Name <name@example.org>`
    #[arg(short, long, value_name = "TEXT")]
    pub author: Option<String>,

    /// An instruction of a Dockerfile, such as `CMD ["sh"]`, to carry out on the image
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    pub changes: Vec<String>,

    /// A word about how the image came to be
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,

    /// Let the container stand still meanwhile
    #[arg(
        short,
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value = "true",
        value_name = "BOOL"
    )]
    pub pause: bool,

    /// Do not let the container stand still
    #[arg(long, conflicts_with = "pause")]
    pub no_pause: bool,

    /// oci, or docker for Docker's own media types
    #[arg(short, long, value_enum, default_value = "oci")]
    pub format: Format,

    /// Accepted for Podman's sake: only the image's id is printed
    #[arg(short, long)]
    pub quiet: bool,

    /// Name or id
    pub container: String,

    /// The image's name, as [HOST/]NAME[:TAG]
    #[arg(value_name = "NAME[:TAG]")]
    pub name: Option<String>,
}

/// The image's media types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Oci,
    Docker,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let options = CommitOptions {
        author: args.author,
        message: args.message,
        changes: args.changes,
        pause: match args.pause && !args.no_pause {
            true => Pause::Yes,
            false => Pause::No,
        },
        format: match args.format {
            Format::Oci => ImageFormat::Oci,
            Format::Docker => ImageFormat::Docker,
        },
        name: args.name.as_deref().map(fetch::tag).transpose()?,
    };
    let mut engine = context.engine()?;
    let image = engine
        .commit(&args.container, &options)
        .map_err(Failure::engine)?;
    writeln!(io::stdout(), "{}", image.id).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
