//! `gamut exec`.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{DetachKeys, EnvArg, parse_detach_keys, parse_env, parse_user};
use crate::error::Failure;
use crate::request::User;

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

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("exec"))
}
