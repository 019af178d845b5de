//! What clap reads: the global flags and the commands; and what its errors mean as exit status.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser};
use gamut_engine::client::Client;
use gamut_engine::storage::Driver;
use gamut_engine::storage_options::StorageOptions;
use gamut_engine::{Dirs, Engine};
use gamut_spec::Fault;

use crate::command::Command;
use crate::convert::{ArgumentError, parse_storage_driver, parse_storage_option};
use crate::error::Failure;
use crate::home;

/// Run OCI images at the isolation level you choose
#[derive(Debug, Parser)]
#[command(
    name = "gamut",
    version,
    disable_version_flag = true,
    // As with docker: the last one counts.
    args_override_self = true,
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
    /// Directory of images and containers: /var/lib/gamut, or ~/.local/share/gamut of a user without
    /// privileges
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Directory of what does not outlive the host's boot: /run/gamut, or gamut in XDG_RUNTIME_DIR
    #[arg(long, value_name = "DIR")]
    runroot: Option<PathBuf>,

    /// How images are kept: erofs, overlay or copy; the best that this host can, unless
    /// STORAGE_DRIVER says otherwise
    #[arg(long, value_name = "DRIVER", value_parser = parse_storage_driver)]
    storage_driver: Option<Driver>,

    /// Tell the store how to keep new layers, until it is told otherwise: erofs.compression=none, lz4,
    /// zstd or zstd:LEVEL; erofs.verity=off, fs, dm or auto, whether the kernel checks them whenever they
    /// are read, by fs-verity or by dm-verity
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_storage_option)]
    storage_opt: Vec<String>,

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
#[derive(Debug)]
pub struct Context {
    /// State that stays: images, containers, the database.
    pub root: PathBuf,
    /// State of this boot: sockets, locks.
    pub run_root: PathBuf,
    pub log_level: LogLevel,
    /// The storage driver that was asked for.
    storage_driver: Option<Driver>,
    /// What the store is to be told, as it was written.
    storage_options: Vec<String>,
    /// When the command began, on the monotonic clock.
    pub began_ns: u64,
    /// A keeper without work.
    keeper: RefCell<Option<Client>>,
}

impl Context {
    /// A keeper without work: the one that was made ahead, or a new one.
    pub fn keeper(&self) -> Result<Client, Failure> {
        match self.keeper.take() {
            Some(keeper) => Ok(keeper),
            None => Client::spawn().map_err(Failure::engine),
        }
    }

    /// The engine on these directories.
    pub fn engine(&self) -> Result<Engine, Failure> {
        let opened = Engine::open(Dirs::new(&self.root, &self.run_root));
        let engine = opened.map_err(Failure::engine)?;
        let named = match self.storage_driver {
            Some(driver) => Some(driver),
            None => driver_of_environment()?,
        };
        let engine = match named {
            Some(driver) => engine.with_driver(driver),
            None => engine,
        };
        let mut options = StorageOptions::default();
        for text in &self.storage_options {
            options.set(text).map_err(Failure::engine)?;
        }
        engine
            .keep_storage_options(&options)
            .map_err(Failure::engine)?;
        Ok(engine)
    }
}

/// Podman's variable; empty is unset.
fn driver_of_environment() -> Result<Option<Driver>, Failure> {
    match std::env::var("STORAGE_DRIVER") {
        Ok(name) if !name.is_empty() => {
            let driver = parse_storage_driver(&name);
            driver.map(Some).map_err(Failure::engine)
        }
        _ => Ok(None),
    }
}

/// A keeper and a filler have another working directory. What cannot be made absolute fails where it is used.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl GlobalArgs {
    /// The flags as the commands want them.
    pub fn context(&self, keeper: Option<Client>, began_ns: u64) -> Context {
        let usual = home::places();
        let chosen = |flag: &Option<PathBuf>, usual| flag.as_deref().map_or(usual, absolute);
        Context {
            root: chosen(&self.root, usual.root),
            run_root: chosen(&self.runroot, usual.run_root),
            log_level: match self.debug {
                true => LogLevel::Debug,
                false => self.log_level,
            },
            storage_driver: self.storage_driver,
            storage_options: self.storage_opt.clone(),
            began_ns,
            keeper: RefCell::new(keeper),
        }
    }
}

/// Reads `words`, the program's name first. What ends here (help, a wrong flag) has been said
/// already, and the error is the exit status.
///
/// The first attempts build no more of the tree than the words name: of what runs a thousand times a
/// minute the one command, of others their names. Two things need all of it, and are tried again:
/// help, which lists what every command is for, and `--rm=true`.
pub fn parse(words: Vec<OsString>) -> Result<Box<Cli>, ExitCode> {
    if let Some(cli) = frequent(&words).and_then(|command| read(command, &words).ok()) {
        return Ok(cli);
    }
    let first = match read(Cli::command(), &words) {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    let error = match first.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            read(compact(whole_command()), &words)
                .err()
                .unwrap_or(first)
        }
        // Docker's switches take a value.
        ErrorKind::TooManyValues => match read(with_switch_values(whole_command()), &words) {
            Ok(cli) => return Ok(cli),
            Err(_) => first,
        },
        _ => first,
    };
    Err(report(&error))
}

/// A program that knows one of the commands that have to be quick, if `words` begin with its name
/// behind global flags. What is wrong with the rest is for the whole program to say.
fn frequent(words: &[OsString]) -> Option<clap::Command> {
    let mut words = words.iter().skip(1);
    let name = loop {
        let word = words.next()?.to_str()?;
        match word {
            "--root" | "--runroot" | "--log-level" | "-l" => words.next()?,
            flag if flag.starts_with('-') => continue,
            name => break name,
        };
    };
    let command = Command::frequent(name)?;
    let program = clap::Command::new("gamut")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .args_override_self(true)
        .disable_help_subcommand(true);
    Some(GlobalArgs::augment_args(program).subcommand(command))
}

/// Every command with all its flags, for what describes them.
pub fn whole_command() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// A command whose `--help` is the short listing, one line a flag, with the rest of what is said
/// about the command below it.
fn compact(command: clap::Command) -> clap::Command {
    let long = command.get_long_about().map(ToString::to_string);
    let short = command.get_about().map(ToString::to_string);
    let more = match (&long, &short) {
        (Some(long), Some(short)) => long.strip_prefix(short.as_str()).map(str::trim),
        _ => None,
    };
    let mut command = match more {
        Some(more) => command.after_help(more.to_owned()),
        None => command,
    };
    if command.get_arguments().any(|arg| arg.get_id() == "help") {
        command = command.mut_arg("help", |arg| arg.action(ArgAction::HelpShort));
    }
    command.mut_subcommands(compact)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_contradiction() {
        Cli::command().debug_assert();
        with_switch_values(whole_command()).debug_assert();
        compact(whole_command()).debug_assert();
    }

    #[test]
    fn everything_says_what_it_is_for() {
        fn check(command: &clap::Command, path: &str) {
            let fine = |text: &str| !text.is_empty() && !text.ends_with('.');
            let about = command.get_about().map(ToString::to_string);
            assert!(about.as_deref().is_some_and(fine), "{path}: {about:?}");
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string);
                assert!(
                    help.as_deref().is_some_and(fine),
                    "{path} {}: {help:?}",
                    arg.get_id()
                );
            }
            for below in command.get_subcommands() {
                check(below, &format!("{path} {}", below.get_name()));
            }
        }
        check(&whole_command(), "gamut");
    }

    #[test]
    fn values_may_start_with_a_minus() {
        for line in [
            "gamut ps -n -1",
            "gamut stop -t -1 x",
            "gamut logs --tail -1 x",
            "gamut run --memory-swap -1 --cpu-quota -1 --pids-limit -1 --oom-score-adj -5 -e -x x",
            "gamut --root /x --debug exec -it -e A=1 web sh -c -x",
            "gamut image ls -q --format json",
            "gamut images --filter dangling=true",
        ] {
            let words = line.split(' ').map(OsString::from).collect();
            assert!(parse(words).is_ok(), "{line}");
        }
    }
}
