//! `gamut pull`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::fetch;
use crate::platform_args::PlatformArgs;
use crate::progress::{ProgressArgs, Shown};
use crate::registry_args::RegistryArgs;
use gamut_engine::pull::Fetch;
use gamut_engine::{EngineError, search};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};

/// Pull an image from a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pull all tags of the repository
    #[arg(short, long)]
    pub all_tags: bool,

    #[command(flatten)]
    pub platform: PlatformArgs,

    #[command(flatten)]
    pub registry: RegistryArgs,

    /// When to pull: always, missing, newer or never
    #[arg(long, value_enum, default_value = "always", value_name = "POLICY")]
    pub policy: Policy,

    /// Policy of which images may be used, instead of this host's
    #[arg(long, value_name = "FILE")]
    pub signature_policy: Option<PathBuf>,
    /// Fetch no more than is needed to run it, and the rest later, where layers allow it
    #[arg(long)]
    pub lazy: bool,

    #[command(flatten)]
    pub progress: ProgressArgs,

    /// The image, as [HOST/]NAME[:TAG|@DIGEST]
    pub image: String,
}

/// `--policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// Each time
    Always,
    /// If it is not here
    Missing,
    /// If the registry has another
    Newer,
    Never,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let reference = fetch::parse(&args.image)?;
    let style = args.progress.style();
    let wanted = args.platform.wanted().as_ref().map(fetch::platform);
    let how = match args.lazy {
        true => Fetch::Lazy,
        false => Fetch::Whole,
    };
    let mut engine = context.engine()?;
    engine.set_policy(args.signature_policy.clone());
    let references = match args.all_tags {
        true => all_tags(&reference, &args)?,
        false => vec![reference],
    };
    for reference in references {
        let is_here = engine.find_image(&reference.to_string()).is_ok();
        if is_here && matches!(args.policy, Policy::Missing | Policy::Never) {
            let line = format!("{reference}\n");
            Shown::of(style).result(&line)?;
            continue;
        }
        if args.policy == Policy::Never {
            return Err(Failure::engine(EngineError::NoImage(args.image)));
        }
        let progress = Shown::of(style);
        let pulled = fetch::pull(
            &mut engine,
            &reference,
            wanted.as_ref(),
            how,
            &progress,
            &args.registry,
        )?;
        let mut text = format!("{reference}\n");
        if !args.progress.quiet {
            text = format!(
                "{}\n{}\n{text}",
                fetch::digest_line(&pulled),
                fetch::status_line(&pulled, &reference)
            );
        }
        progress.result(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every tag that the registry has of a repository.
fn all_tags(repository: &Reference, args: &Args) -> Result<Vec<Reference>, Failure> {
    let text = args.image.as_str();
    // `latest` is what a name without a tag means elsewhere.
    let tagged = repository
        .tag()
        .is_some_and(|tag| text.ends_with(&format!(":{tag}")));
    if repository.digest().is_some() || tagged {
        return Err(Failure::engine(TaggedRepository(text.to_owned())));
    }
    let tags = search::tags(repository, args.registry.options(repository.registry())?)
        .map_err(Failure::engine)?;
    let tags = tags.iter().map(|tag| repository.with_tag(tag));
    tags.collect::<Result<_, _>>()
        .map_err(|error| Failure::engine(EngineError::Reference(error)))
}

/// All tags of one tag.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is one image, and `--all-tags` is about a repository")]
struct TaggedRepository(String);

impl Fault for TaggedRepository {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("leave the tag out".to_owned())
    }
}
