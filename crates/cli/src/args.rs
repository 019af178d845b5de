//! What clap reads: the global flags and the commands; and what its errors mean as exit status.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};
use gamut_spec::Fault;

use crate::command::Command;
use crate::convert::ArgumentError;

/// Run OCI images at the isolation level you choose
#[derive(Debug, Parser)]
#[command(
    name = "gamut",
    version,
    disable_version_flag = true,
    max_term_width = 100
)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags before the command.
#[derive(Debug, clap::Args)]
pub struct GlobalArgs {
    /// Directory of images and containers
    #[arg(long, value_name = "DIR", default_value = "/var/lib/gamut")]
    root: PathBuf,

    /// Directory of what does not outlive the host's boot
    #[arg(long, value_name = "DIR", default_value = "/run/gamut")]
    runroot: PathBuf,

    /// What is worth a word: debug, info, warn or error
    #[arg(short, long, value_enum, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,

    /// Same as --log-level debug
    #[arg(short = 'D', long)]
    debug: bool,

    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// How much is said beside results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

/// What every command is told.
#[derive(Debug, Clone)]
pub struct Context {
    /// State that stays: images, containers, the database.
    pub root: PathBuf,
    /// State of this boot: sockets, locks.
    pub run_root: PathBuf,
    pub log_level: LogLevel,
}

impl GlobalArgs {
    /// The flags as the commands want them.
    pub fn context(&self) -> Context {
        Context {
            root: self.root.clone(),
            run_root: self.runroot.clone(),
            log_level: match self.debug {
                true => LogLevel::Debug,
                false => self.log_level,
            },
        }
    }
}

/// Reads `words`, the program's name first. What ends here (help, a wrong flag) has been said
/// already, and the error is the exit status.
pub fn parse(words: Vec<OsString>) -> Result<Box<Cli>, ExitCode> {
    let first = match read(Cli::command(), &words) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    // `--rm=true`: Docker's switches take a value. Reading that is dearer, so it is tried second.
    if first.kind() == ErrorKind::TooManyValues
        && let Ok(cli) = read(with_switch_values(Cli::command()), &words)
    {
        return Ok(cli);
    }
    Err(report(&first))
}

fn read(command: clap::Command, words: &[OsString]) -> Result<Box<Cli>, clap::Error> {
    let mut command = command;
    let mut matches = command.try_get_matches_from_mut(words)?;
    Cli::from_arg_matches_mut(&mut matches)
        .map(Box::new)
        .map_err(|error| error.format(&mut command))
}

/// The same command, whose switches may be written `--switch=true` and `--switch=false`.
fn with_switch_values(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg
            .action(ArgAction::Set)
            .value_parser(ValueParser::bool())
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false"),
        _ => arg,
    });
    command.mut_subcommands(with_switch_values)
}

/// Says what is wrong, or the help that was asked for. Docker's statuses: 0 for help, 125 for a
/// flag, 1 for a missing argument or an unknown command.
fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let help = error.render();
            let _ = write!(std::io::stdout(), "{help}");
            ExitCode::SUCCESS
        }
        kind => {
            let mut text = error.render().to_string();
            let source = std::error::Error::source(error);
            let hint = source
                .and_then(|source| source.downcast_ref::<ArgumentError>())
                .and_then(Fault::hint);
            if let Some(hint) = hint {
                let end = text.find("\n\nFor more information").unwrap_or(text.len());
                text.insert_str(end, &format!("\nhint: {hint}"));
            }
            let _ = write!(std::io::stderr(), "{text}");
            match kind {
                ErrorKind::MissingRequiredArgument
                | ErrorKind::InvalidSubcommand
                | ErrorKind::MissingSubcommand
                | ErrorKind::TooFewValues
                | ErrorKind::WrongNumberOfValues => ExitCode::from(1),
                _ => ExitCode::from(125),
            }
        }
    }
}
