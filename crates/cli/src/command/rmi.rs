//! `gamut rmi`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::several;
use gamut_engine::images::{Force, Removed};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};

/// Remove images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also remove an image that has other names or stopped containers
    #[arg(short, long)]
    pub force: bool,

    /// Accepted for Docker's sake: there are no untagged parents
    #[arg(long)]
    pub no_prune: bool,

    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let force = match args.force {
        true => Force::Untag,
        false => Force::Refuse,
    };
    several::each(&args.images, |name| {
        match engine.remove_image(name, force) {
            Ok(removed) => Ok(lines(&removed)),
            Err(error) if args.force && error.kind() == Kind::NotFound => {
                crate::error::say(&error);
                Ok(None)
            }
            Err(error) => Err(Failure::engine(error)),
        }
    })
}

fn lines(removed: &[Removed]) -> Option<String> {
    let lines: Vec<String> = removed
        .iter()
        .map(|one| match one {
            Removed::Untagged(name) => format!("Untagged: {}", familiar(name)),
            Removed::Deleted(id) => format!("Deleted: {id}"),
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A canonical name as people write it.
pub(crate) fn familiar(name: &str) -> String {
    name.parse::<Reference>()
        .map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}
