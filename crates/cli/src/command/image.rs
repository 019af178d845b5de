//! `gamut image …`: Docker's long names of the commands about images.

use std::process::ExitCode;

use super::{
    check, copy, diff, exists, history, images, import, index, inspect, load, prune, pull, push,
};
use super::{referrers, rmi, save, search, tag, tree, trust, untag};
use crate::args::Context;
use crate::error::Failure;
use crate::exit::Verb;

/// Commands about images
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    #[command(visible_alias = "cp")]
    Copy(copy::Args),
    Diff(diff::Args),
    Exists(exists::ImageArgs),
    History(history::Args),
    Import(import::Args),
    Index(index::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "list")]
    Ls(images::Args),
    Prune(prune::ImageArgs),
    Load(load::Args),
    Pull(pull::Args),
    Push(push::Args),
    Referrers(referrers::Args),
    #[command(visible_alias = "remove")]
    Rm(rmi::Args),
    Search(search::Args),
    Save(save::Args),
    Tag(tag::Args),
    Verify(check::ImageArgs),
    Tree(tree::Args),
    Trust(trust::Args),
    Untag(untag::Args),
}

impl Args {
    /// What the exit status depends on.
    pub fn verb(&self) -> Verb {
        match self.command {
            Command::Exists(_) => Verb::Question,
            _ => Verb::Other,
        }
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Copy(args) => copy::run(&args),
        Command::Diff(args) => diff::run(args, context),
        Command::Exists(args) => exists::image(&args, context),
        Command::History(args) => history::run(args, context),
        Command::Import(args) => import::run(args, context),
        Command::Index(args) => index::run(&args),
        Command::Inspect(args) => {
            let kind = Some(inspect::ObjectKind::Image);
            inspect::run(inspect::Args { kind, ..args }, context)
        }
        Command::Ls(args) => images::run(args, context),
        Command::Prune(args) => prune::images(&args, context),
        Command::Load(args) => load::run(args, context),
        Command::Pull(args) => pull::run(args, context),
        Command::Push(args) => push::run(args, context),
        Command::Referrers(args) => referrers::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Rm(args) => rmi::run(args, context),
        Command::Save(args) => save::run(args, context),
        Command::Tag(args) => tag::run(args, context),
        Command::Verify(args) => check::images(&args, context),
        Command::Tree(args) => tree::run(args, context),
        Command::Trust(args) => trust::run(args),
        Command::Untag(args) => untag::run(args, context),
    }
}
