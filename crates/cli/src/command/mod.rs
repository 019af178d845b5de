//! The commands, a file each; the doc comment of a file's `Args` is the command's help text.

pub mod attach;
pub mod completion;
pub mod container;
pub mod create;
pub mod doctor;
pub mod exec;
pub mod explain;
pub mod image;
pub mod images;
pub mod info;
pub mod inspect;
pub mod kill;
pub mod login;
pub mod logout;
pub mod logs;
pub mod man;
pub mod oci;
pub mod port;
pub mod ps;
pub mod pull;
pub mod rm;
pub mod rmi;
pub mod run;
pub mod start;
pub mod stats;
pub mod stop;
pub mod system;
pub mod tag;
pub mod version;
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
    Kill(kill::Args),
    Wait(wait::Args),
    Rm(rm::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Exec(exec::Args),
    Stats(stats::Args),
    Port(port::Args),
    Inspect(inspect::Args),
    Explain(explain::Args),
    Pull(pull::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Tag(tag::Args),
    Login(login::Args),
    Logout(logout::Args),
    Doctor(doctor::Args),
    Info(info::Args),
    Version(version::Args),
    Container(container::Args),
    Image(image::Args),
    System(system::Args),
    Oci(Box<oci::Args>),
    Completion(completion::Args),
    Man(man::Args),
}

impl Command {
    /// What the exit status depends on.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Run(_) => Verb::Run,
            Self::Exec(_) | Self::Start(_) => Verb::Attached,
            Self::Container(args) => args.verb(),
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
        Command::Kill(args) => kill::run(args, context),
        Command::Wait(args) => wait::run(args, context),
        Command::Rm(args) => rm::run(args, context),
        Command::Ps(args) => ps::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Attach(args) => attach::run(args, context),
        Command::Exec(args) => exec::run(args, context),
        Command::Stats(args) => stats::run(args, context),
        Command::Port(args) => port::run(args, context),
        Command::Inspect(args) => inspect::run(args, context),
        Command::Explain(args) => explain::run(args, context),
        Command::Pull(args) => pull::run(args, context),
        Command::Images(args) => images::run(args, context),
        Command::Rmi(args) => rmi::run(args, context),
        Command::Tag(args) => tag::run(args, context),
        Command::Login(args) => login::run(args, context),
        Command::Logout(args) => logout::run(args, context),
        Command::Doctor(args) => doctor::run(args, context),
        Command::Info(args) => info::run(args, context),
        Command::Version(args) => version::run(args, context),
        Command::Container(args) => container::run(args, context),
        Command::Image(args) => image::run(args, context),
        Command::System(args) => system::run(args, context),
        Command::Oci(args) => oci::run(*args, context.began_ns),
        Command::Completion(args) => completion::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
