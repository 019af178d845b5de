//! `gamut manifest …`: manifest lists, images for several platforms under one name.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::push::{self, Packing};
use crate::args::Context;
use crate::error::Failure;
use crate::progress::{ProgressArgs, Shown};
use crate::registry_args::RegistryArgs;
use crate::{fetch, several};
use gamut_engine::lists::{Annotations, Entries, Format, ListOptions, remote_document};
use gamut_engine::push::PushOptions;
use gamut_engine::{Engine, EngineError};
use gamut_spec::reference::Reference;
use gamut_spec::{Fault, Kind};

/// Commands about manifest lists: one name for images of several platforms
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    Add(AddArgs),
    Annotate(AnnotateArgs),
    Create(CreateArgs),
    Exists(ExistsArgs),
    Inspect(InspectArgs),
    Push(PushArgs),
    Remove(RemoveArgs),
    Rm(RmArgs),
}

/// Add images to a manifest list
///
/// An image is looked for in its registry first, then here.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// Of an index, all images instead of the one for this machine
    #[arg(long)]
    pub all: bool,

    #[command(flatten)]
    pub registry: RegistryArgs,

    #[command(flatten)]
    pub said: Said,

    /// The list
    pub list: String,

    /// The images, as [docker://][HOST/]NAME[:TAG|@DIGEST], or an id of one that is here
    #[arg(required = true)]
    pub images: Vec<String>,
}

/// Say something else of an image in a manifest list, or of the list
#[derive(Debug, clap::Args)]
pub struct AnnotateArgs {
    /// The annotations are those of the list itself
    #[arg(long, conflicts_with = "image")]
    pub index: bool,

    #[command(flatten)]
    pub said: Said,

    /// The list
    pub list: String,

    /// The image, by its digest or by the name that it was added by
    #[arg(required_unless_present = "index")]
    pub image: Option<String>,
}

/// Make a manifest list
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Of indexes, all images instead of the one for this machine
    #[arg(long)]
    pub all: bool,

    /// A list that is there is added to
    #[arg(short, long)]
    pub amend: bool,

    /// Annotation of the list, as KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = parse_annotation)]
    pub annotations: Vec<(String, String)>,

    #[command(flatten)]
    pub registry: RegistryArgs,

    /// Same as --tls-verify=false
    #[arg(long, conflicts_with = "tls_verify")]
    pub insecure: bool,

    /// The list, as [HOST/]NAME[:TAG]
    pub list: String,

    /// The images to begin with
    pub images: Vec<String>,
}

/// Say by the exit status whether there is a manifest list here
#[derive(Debug, clap::Args)]
pub struct ExistsArgs {
    /// The list
    pub list: String,
}

/// Print a manifest list, or a manifest of a registry, as JSON
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub registry: RegistryArgs,

    /// Same as --tls-verify=false
    #[arg(long, conflicts_with = "tls_verify")]
    pub insecure: bool,

    /// The list here, or the image in a registry
    pub name: String,
}

/// Push a manifest list, and what it names
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Accepted for Podman's sake: what a list names is always pushed with it
    #[arg(long)]
    pub all: bool,

    /// How layers of images that are here are compressed: as they were, or with gzip
    #[arg(long, visible_alias = "compression-format", value_name = "FORMAT")]
    pub compression: Option<Packing>,

    /// Write the digest of the list to a file
    #[arg(long, value_name = "FILE")]
    pub digestfile: Option<PathBuf>,

    /// OCI's image index, or Docker's manifest list
    #[arg(short, long, value_name = "FORMAT", default_value = "oci")]
    pub format: Kinds,

    /// Remove the list here when it has been pushed
    #[arg(short, long, visible_alias = "rm")]
    pub purge: bool,

    #[command(flatten)]
    pub registry: RegistryArgs,

    /// Same as --tls-verify=false
    #[arg(long, conflicts_with = "tls_verify")]
    pub insecure: bool,

    #[command(flatten)]
    pub progress: ProgressArgs,

    /// The list
    pub list: String,

    /// Its name there, if it is another, as [docker://][HOST/]NAME[:TAG]
    pub destination: Option<String>,
}

/// Take an image out of a manifest list
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    /// The list
    pub list: String,

    /// The image, by its digest or by the name that it was added by
    pub image: String,
}

/// Remove manifest lists, but not what they name
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The lists
    #[arg(required = true)]
    pub lists: Vec<String>,
}

/// What is said of an image in a list.
#[derive(Debug, clap::Args)]
pub struct Said {
    /// Its annotation, as KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = parse_annotation)]
    pub annotations: Vec<(String, String)>,

    /// Its processor architecture, such as arm64
    #[arg(long)]
    pub arch: Option<String>,

    /// Its operating system, such as linux
    #[arg(long)]
    pub os: Option<String>,

    /// The version of its operating system
    #[arg(long, value_name = "VERSION")]
    pub os_version: Option<String>,

    /// Its processor's variant, such as v8
    #[arg(long)]
    pub variant: Option<String>,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kinds {
    /// An OCI image index
    Oci,
    /// A Docker manifest list
    #[value(alias = "docker")]
    V2s2,
}

/// `KEY=VALUE`.
fn parse_annotation(text: &str) -> Result<(String, String), NoAnnotation> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(NoAnnotation(text.to_owned())),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not KEY=VALUE")]
struct NoAnnotation(String);

impl Said {
    fn annotations(self) -> Annotations {
        Annotations {
            os: self.os,
            architecture: self.arch,
            variant: self.variant,
            os_version: self.os_version,
            annotations: self.annotations,
        }
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Add(args) => {
            let list = fetch::parse(&args.list)?;
            let said = args.said.annotations();
            let mut engine = context.engine()?;
            add(
                &mut engine,
                &list,
                &args.images,
                entries(args.all),
                &said,
                &args.registry,
            )
        }
        Command::Annotate(args) => {
            let list = fetch::parse(&args.list)?;
            let said = args.said.annotations();
            let mut engine = context.engine()?;
            let changed = engine.annotate_list(&list, args.image.as_deref(), &said);
            changed.map_err(Failure::engine)?;
            print(&list.to_string())
        }
        Command::Create(args) => create(args, context),
        Command::Exists(args) => {
            let list = fetch::parse(&args.list)?;
            match context.engine()?.list(&list) {
                Ok(_) => Ok(ExitCode::SUCCESS),
                Err(error) if error.kind() == Kind::NotFound => Ok(ExitCode::FAILURE),
                Err(error) => Err(Failure::engine(error)),
            }
        }
        Command::Inspect(args) => inspect(&args, context),
        Command::Push(args) => push(args, context),
        Command::Remove(args) => {
            let list = fetch::parse(&args.list)?;
            let mut engine = context.engine()?;
            let removed = engine.remove_from_list(&list, &args.image);
            removed.map_err(Failure::engine)?;
            print(&list.to_string())
        }
        Command::Rm(args) => {
            let mut engine = context.engine()?;
            several::each(&args.lists, |name| {
                let list = fetch::parse(name)?;
                engine.remove_list(&list).map_err(Failure::engine)?;
                Ok(Some(format!("Deleted: {}", list.familiar())))
            })
        }
    }
}

fn entries(all: bool) -> Entries {
    match all {
        true => Entries::All,
        false => Entries::Own,
    }
}

fn create(args: CreateArgs, context: &Context) -> Result<ExitCode, Failure> {
    let list = fetch::parse(&args.list)?;
    let mut engine = context.engine()?;
    match engine.create_list(&list) {
        Err(error) if args.amend && error.kind() == Kind::Conflict => {}
        made => made.map_err(Failure::engine)?,
    }
    let own = Annotations {
        annotations: args.annotations,
        ..Annotations::default()
    };
    if !own.annotations.is_empty() {
        let said = engine.annotate_list(&list, None, &own);
        said.map_err(Failure::engine)?;
    }
    let said = Annotations::default();
    let registry = args.registry.clone().or_insecure(args.insecure);
    add(
        &mut engine,
        &list,
        &args.images,
        entries(args.all),
        &said,
        &registry,
    )
}

/// Adds images, and prints the list's name.
fn add(
    engine: &mut Engine,
    list: &Reference,
    images: &[String],
    entries: Entries,
    said: &Annotations,
    registry: &RegistryArgs,
) -> Result<ExitCode, Failure> {
    for image in images {
        // An id names no registry.
        let reference = fetch::parse_remote(image);
        let host = reference
            .as_ref()
            .map_or("", |reference| reference.registry());
        engine
            .add_to_list(list, image, entries, said, registry.options(host)?)
            .map_err(Failure::engine)?;
    }
    print(&list.to_string())
}

fn inspect(args: &InspectArgs, context: &Context) -> Result<ExitCode, Failure> {
    let name = fetch::parse_remote(&args.name)?;
    let document = match context.engine()?.list(&name) {
        Ok(list) => serde_json::to_value(&list.index),
        Err(error) if error.kind() == Kind::NotFound => {
            let access = args
                .registry
                .clone()
                .or_insecure(args.insecure)
                .options(name.registry())?;
            let bytes = remote_document(&name, access).map_err(Failure::engine)?;
            serde_json::from_slice(&bytes)
        }
        Err(error) => return Err(Failure::engine(error)),
    };
    let text = document.and_then(|document| serde_json::to_string_pretty(&document));
    let text = text.map_err(|source| {
        Failure::engine(EngineError::Image(gamut_spec::image::ImageError::Json {
            document: "manifest",
            source,
        }))
    })?;
    print(&text)
}

fn push(args: PushArgs, context: &Context) -> Result<ExitCode, Failure> {
    let list = fetch::parse(&args.list)?;
    let to = match &args.destination {
        Some(destination) => fetch::parse_remote(destination)?,
        None => list.clone(),
    };
    let options = ListOptions {
        format: match args.format {
            Kinds::Oci => Format::Oci,
            Kinds::V2s2 => Format::Docker,
        },
        push: PushOptions {
            compression: args.compression.map(Into::into),
        },
    };
    let progress = Shown::of(args.progress.style());
    progress.say(&format!("The push refers to repository [{}]", to.name()));
    let mut engine = context.engine()?;
    let access = args
        .registry
        .or_insecure(args.insecure)
        .options(to.registry())?;
    let pushed = engine.push_list(&list, &to, options, access, &progress);
    let pushed = pushed.map_err(Failure::engine)?;
    push::write_digest(args.digestfile, &pushed)?;
    push::say(&pushed, &to, args.progress.quiet, &progress)?;
    if args.purge {
        engine.remove_list(&list).map_err(Failure::engine)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    writeln!(io::stdout(), "{text}").map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
