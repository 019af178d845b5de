//! The commands, a file each; the doc comment of a file's `Args` is the command's help text.

pub mod attach;
pub mod check;
pub mod commit;
pub mod completion;
pub mod container;
pub mod copy;
pub mod cp;
pub mod create;
pub mod dedupe;
pub mod df;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod exists;
pub mod explain;
pub mod export;
pub mod healthcheck;
pub mod history;
pub mod image;
pub mod images;
pub mod import;
pub mod index;
pub mod info;
pub mod inspect;
pub mod kernel;
pub mod kill;
pub mod load;
pub mod login;
pub mod logout;
pub mod logs;
pub mod man;
pub mod manifest;
pub mod network;
pub mod oci;
pub mod pause;
pub mod pod;
pub mod port;
pub mod prune;
pub mod ps;
pub mod pull;
pub mod push;
pub mod referrers;
pub mod rename;
pub mod restart;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod save;
pub mod search;
pub mod secret;
pub mod start;
pub mod stats;
pub mod stop;
pub mod system;
pub mod tag;
pub mod top;
pub mod tree;
pub mod trust;
pub mod untag;
pub mod update;
pub mod version;
pub mod vmm;
pub mod volume;
pub mod wait;

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::exit::Verb;

/// Every command.
// Deferred: only the flags of the command that was named are built, a fifth of a millisecond less.
#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
pub enum Command {
    Run(Box<run::Args>),
    Create(Box<create::Args>),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Pause(pause::Args),
    Unpause(pause::UnpauseArgs),
    Kill(kill::Args),
    Wait(wait::Args),
    Rm(rm::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Healthcheck(healthcheck::Args),
    Exec(exec::Args),
    Stats(stats::Args),
    Top(top::Args),
    Port(port::Args),
    Pod(Box<pod::Args>),
    Rename(rename::Args),
    Update(Box<update::Args>),
    Inspect(inspect::Args),
    Diff(diff::Args),
    Cp(cp::Args),
    Export(export::Args),
    Commit(Box<commit::Args>),
    Events(events::Args),
    Explain(explain::Args),
    Pull(pull::Args),
    Push(push::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Tag(tag::Args),
    Search(search::Args),
    Untag(untag::Args),
    History(history::Args),
    Save(save::Args),
    Load(load::Args),
    Import(import::Args),
    Login(login::Args),
    Logout(logout::Args),
    Doctor(doctor::Args),
    Info(info::Args),
    Version(version::Args),
    Container(container::Args),
    Image(image::Args),
    Manifest(manifest::Args),
    Network(network::Args),
    Kernel(kernel::Args),
    Secret(secret::Args),
    Volume(volume::Args),
    System(system::Args),
    Oci(Box<oci::Args>),
    Vmm(Box<vmm::Args>),
    Completion(completion::Args),
    Man(man::Args),
}

impl Command {
    /// Whether it does something with images, containers and their like of who calls it. What does not is
    /// the same for every user.
    pub fn keeps_state(&self) -> bool {
        !matches!(
            self,
            Command::Oci(_)
                | Command::Vmm(_)
                | Command::Completion(_)
                | Command::Man(_)
                | Command::Version(_)
        )
    }

    /// Whether it is what one asks when nothing else goes.
    pub fn says_what_is_missing(&self) -> bool {
        matches!(self, Command::Doctor(_))
    }

    /// One of the commands that have to be quick, alone.
    pub fn frequent(name: &str) -> Option<clap::Command> {
        use clap::Args;
        Some(match name {
            "run" => run::Args::augment_args(clap::Command::new("run")),
            "exec" => exec::Args::augment_args(clap::Command::new("exec")),
            "oci" => oci::Args::augment_args(clap::Command::new("oci")),
            _ => return None,
        })
    }

    /// What the exit status depends on.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Run(_) => Verb::Run,
            Self::Exec(_) | Self::Start(_) => Verb::Attached,
            Self::Container(args) => args.verb(),
            Self::Image(args) => args.verb(),
            _ => Verb::Other,
        }
    }
}

/// Carries out `command`.
pub fn run(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::run(*args, context),
        Command::Create(args) => create::run(*args, context),
        Command::Start(args) => start::run(args, context),
        Command::Stop(args) => stop::run(args, context),
        Command::Restart(args) => restart::run(args, context),
        Command::Pause(args) => pause::run(args, context),
        Command::Unpause(args) => pause::resume(args, context),
        Command::Kill(args) => kill::run(args, context),
        Command::Wait(args) => wait::run(args, context),
        Command::Rm(args) => rm::run(args, context),
        Command::Ps(args) => ps::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Attach(args) => attach::run(args, context),
        Command::Healthcheck(args) => healthcheck::run(&args, context),
        Command::Exec(args) => exec::run(args, context),
        Command::Stats(args) => stats::run(args, context),
        Command::Top(args) => top::run(args, context),
        Command::Port(args) => port::run(args, context),
        Command::Pod(args) => pod::run(*args, context),
        Command::Rename(args) => rename::run(&args, context),
        Command::Update(args) => update::run(*args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Diff(args) => diff::run(args, context),
        Command::Cp(args) => cp::run(args, context),
        Command::Export(args) => export::run(args, context),
        Command::Commit(args) => commit::run(*args, context),
        Command::Events(args) => events::run(args, context),
        Command::Explain(args) => explain::run(args, context),
        Command::Pull(args) => pull::run(args, context),
        Command::Push(args) => push::run(args, context),
        Command::Images(args) => images::run(args, context),
        Command::Rmi(args) => rmi::run(args, context),
        Command::Tag(args) => tag::run(args, context),
        Command::Search(args) => search::run(&args),
        Command::Untag(args) => untag::run(args, context),
        Command::History(args) => history::run(args, context),
        Command::Save(args) => save::run(args, context),
        Command::Load(args) => load::run(args, context),
        Command::Import(args) => import::run(args, context),
        Command::Login(args) => login::run(args, context),
        Command::Logout(args) => logout::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Info(args) => info::run(args, context),
        Command::Version(args) => version::run(args, context),
        Command::Container(args) => container::run(args, context),
        Command::Image(args) => image::run(args, context),
        Command::Manifest(args) => manifest::run(args, context),
        Command::Network(args) => network::run(args, context),
        Command::Kernel(args) => kernel::run(args, context),
        Command::Secret(args) => secret::run(args, context),
        Command::Volume(args) => volume::run(args, context),
        Command::System(args) => system::run(args, context),
        Command::Oci(args) => oci::run(*args, context.began_ns),
        Command::Vmm(args) => vmm::run(*args),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
