//! `gamut exec`.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use gamut_engine::Engine;
use gamut_plan::cell::Exit;
use gamut_plan::launch::{ExecPlan, Privileged};

use crate::args::Context;
use crate::attached::{self, Ending, Joint, SignalsTo};
use crate::command::run::start_failed;
use crate::convert::{ArgumentError, DetachKeys, EnvArg, parse_detach_keys, parse_env, parse_user};
use crate::error::Failure;
use crate::relay::{self, Streams};
use crate::terminal;
use crate::which::{self, Missing};
use crate::workload::{Surroundings, environment};
use gamut_plan::request::{EnvChange, ExecRequest, Identity, RequestError, User};

/// Run a command in a running container
#[derive(Debug, Default, clap::Args)]
#[command(override_usage = "gamut exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub struct Args {
    /// Do not wait for it
    #[arg(short, long)]
    pub detach: bool,

    /// Keys that let go of the command
    #[arg(long, value_name = "KEYS", value_parser = parse_detach_keys)]
    pub detach_keys: Option<DetachKeys>,

    /// Variable as NAME=VALUE, or NAME for the host's value
    #[arg(short, long = "env", value_name = "VAR", value_parser = parse_env, allow_hyphen_values = true)]
    pub env: Vec<EnvArg>,

    /// File with a variable on each line
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,

    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the command every capability
    #[arg(long)]
    pub privileged: bool,

    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// User, and group, as names or ids
    #[arg(short, long, value_name = "USER[:GROUP]", value_parser = parse_user)]
    pub user: Option<User>,

    /// Working directory inside
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// In the container made last; then all words are the command's
    #[arg(short, long)]
    pub latest: bool,

    /// In the container whose id is in this file, of `run --cidfile`; then all words are the command's
    #[arg(long, value_name = "FILE", conflicts_with = "latest")]
    pub cidfile: Option<PathBuf>,

    /// The container, and the command with its arguments
    // One list, not two arguments: only so does clap leave flags after the container alone.
    #[arg(value_name = "CONTAINER COMMAND [ARG...]", required = true, num_args = 1.., trailing_var_arg = true)]
    pub container_and_command: Vec<String>,
}

impl Args {
    /// The container and the command.
    fn split(&self, engine: &mut Engine) -> Result<(String, Vec<String>), Failure> {
        let words = self.container_and_command.clone();
        if self.latest {
            return Ok((which::latest(engine)?, words));
        }
        if let Some(file) = &self.cidfile {
            let id = which::read(file, Missing::Error)?;
            return Ok((id.unwrap_or_default(), words));
        }
        let mut words = words.into_iter();
        let (container, command) = (words.next().unwrap_or_default(), words.collect::<Vec<_>>());
        match command.is_empty() {
            true => Err(Failure::engine(ArgumentError::NoCommand)),
            false => Ok((container, command)),
        }
    }

    /// The request, with the host's variables and files put in.
    pub fn request(
        &self,
        (container, command): (String, Vec<String>),
        surroundings: &Surroundings,
    ) -> Result<ExecRequest, Failure> {
        let working_dir = self.workdir.clone().filter(|path| !path.is_empty());
        if let Some(path) = working_dir.as_ref().filter(|path| !path.starts_with('/')) {
            return Err(RequestError::WorkingDir(path.clone()).into());
        }
        Ok(ExecRequest {
            container,
            command,
            env: environment(&self.env, &self.env_files, surroundings)?,
            user: self.user.clone(),
            working_dir,
            tty: self.tty,
            stdin_open: self.interactive,
            privileged: self.privileged,
        })
    }
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let request = args.request(args.split(&mut engine)?, &Surroundings::of_process())?;
    let attached = request.stdin_open && !args.detach;
    if request.tty && attached && !terminal::is_terminal(std::io::stdin()) {
        return Err(Failure::NotATerminal);
    }
    let id = engine
        .container_id(&request.container)
        .map_err(Failure::engine)?;
    let mut keeper = engine.connect(&id).map_err(Failure::engine)?;
    let plan = plan(&request);
    let keys = args.detach_keys.clone().unwrap_or_default();
    let joint = Joint {
        stdin: attached,
        stdout: true,
        stderr: true,
        tty: request.tty,
        signals: SignalsTo::Workload,
        detach_keys: Some(&keys),
    };
    let signals = if args.detach {
        None
    } else {
        Some(attached::watch_signals(&joint)?)
    };
    if request.tty {
        let executed = keeper.exec(plan, &[]).map_err(start_failed)?;
        let (Some(signals), Some(master)) = (signals, executed.terminal) else {
            return Ok(ExitCode::SUCCESS);
        };
        return Ok(
            match relay::run_terminal(&mut keeper, &master, attached, Some(&keys), &signals)? {
                Ending::Detached => ExitCode::SUCCESS,
                Ending::Exited(exit) => code(exit),
            },
        );
    }
    let streams = if args.detach {
        Streams::nowhere()?
    } else {
        Streams::like_ours(attached)?
    };
    let borrowed: Vec<_> = streams.theirs.iter().map(AsFd::as_fd).collect();
    keeper.exec(plan, &borrowed).map_err(start_failed)?;
    match signals {
        None => Ok(ExitCode::SUCCESS),
        Some(signals) => Ok(code(relay::run(&mut keeper, streams, &signals)?)),
    }
}

/// Runs a program of the container's own for its output.
pub(super) fn quietly(
    container: &str,
    program: &str,
    options: Vec<String>,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let words = [container.to_owned(), program.to_owned()];
    let args = Args {
        container_and_command: words.into_iter().chain(options).collect(),
        ..Args::default()
    };
    run(args, context)
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(u8::try_from(exit.code).unwrap_or(255))
}

fn plan(request: &ExecRequest) -> ExecPlan {
    let text = |identity: &Identity| match identity {
        Identity::Id(id) => id.to_string(),
        Identity::Name(name) => name.clone(),
    };
    let size = terminal::window_size(std::io::stdout()).map_or((0, 0), |s| (s.rows, s.columns));
    ExecPlan {
        args: request.command.clone(),
        env: request
            .env
            .iter()
            .filter_map(|change| match change {
                EnvChange::Set { name, value } => Some(format!("{name}={value}")),
                EnvChange::Unset { .. } => None,
            })
            .collect(),
        cwd: request.working_dir.clone(),
        user: request.user.as_ref().map(|user| match &user.group {
            Some(group) => format!("{}:{}", text(&user.user), text(group)),
            None => text(&user.user),
        }),
        privileged: if request.privileged {
            Privileged::Yes
        } else {
            Privileged::No
        },
        terminal: request.tty.then_some(size),
        task: None,
    }
}
