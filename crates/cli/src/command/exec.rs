//! `gamut exec`.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use gamut_plan::cell::Exit;
use gamut_plan::launch::{ExecPlan, Privileged};

use crate::args::Context;
use crate::attached::{self, Ending, Joint, SignalsTo};
use crate::command::run::start_failed;
use crate::convert::{DetachKeys, EnvArg, parse_detach_keys, parse_env, parse_user};
use crate::error::Failure;
use crate::relay::{self, Streams};
use crate::terminal;
use crate::workload::{Surroundings, environment};
use gamut_plan::request::{EnvChange, ExecRequest, Identity, RequestError, User};

/// Run a command in a running container
#[derive(Debug, clap::Args)]
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

    /// The container, and the command with its arguments
    // One list, not two arguments: only so does clap leave flags after the container alone.
    #[arg(value_name = "CONTAINER COMMAND [ARG...]", required = true, num_args = 2.., trailing_var_arg = true)]
    pub container_and_command: Vec<String>,
}

impl Args {
    /// The request, with the host's variables and files put in.
    pub fn request(&self, surroundings: &Surroundings) -> Result<ExecRequest, Failure> {
        let mut words = self.container_and_command.iter().cloned();
        let working_dir = self.workdir.clone().filter(|path| !path.is_empty());
        if let Some(path) = working_dir.as_ref().filter(|path| !path.starts_with('/')) {
            return Err(RequestError::WorkingDir(path.clone()).into());
        }
        Ok(ExecRequest {
            // clap requires two words.
            container: words.next().unwrap_or_default(),
            command: words.collect(),
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
    let request = args.request(&Surroundings::of_process())?;
    let attached = request.stdin_open && !args.detach;
    if request.tty && attached && !terminal::is_terminal(std::io::stdin()) {
        return Err(Failure::NotATerminal);
    }
    let engine = context.engine()?;
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
