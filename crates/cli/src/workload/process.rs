//! The process: its command, identity, environment and streams.

use std::path::PathBuf;

use crate::convert::{
    EnvArg, parse_env, parse_env_file, parse_identity, parse_signal, parse_stop_timeout,
    parse_umask, parse_user,
};
use crate::error::Failure;
use crate::workload::Surroundings;
use gamut_plan::request::{EnvChange, Identity, Process, Signal, StopTimeout, Systemd, User};

/// Flags about what runs inside.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,

    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// Variable as NAME=VALUE, or NAME for the host's value
    #[arg(short, long = "env", value_name = "VAR", value_parser = parse_env, allow_hyphen_values = true)]
    pub env: Vec<EnvArg>,

    /// File with a variable on each line
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,

    /// User, and group, as names or ids
    #[arg(short, long, value_name = "USER[:GROUP]", value_parser = parse_user)]
    pub user: Option<User>,

    /// Further group of the process
    #[arg(long = "group-add", value_name = "GROUP", value_parser = parse_identity)]
    pub groups: Vec<Identity>,

    /// Working directory inside
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,

    /// Program to run instead of the image's entrypoint; an empty one clears it
    #[arg(long, value_name = "PROGRAM", allow_hyphen_values = true)]
    pub entrypoint: Option<String>,

    /// Run an init inside that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,

    /// Set up for systemd as the first process: true if the command is one, false, or always
    #[arg(long, value_enum, default_value = "true", value_name = "WHEN")]
    pub systemd: SystemdArg,

    /// Boot a whole system: /sbin/init or the command, with all rights over users of its own
    #[arg(long, conflicts_with = "systemd")]
    pub system: bool,

    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub stop_signal: Option<Signal>,

    /// File mode creation mask, in octal (default 0022)
    #[arg(long, value_name = "MASK", value_parser = parse_umask)]
    pub umask: Option<u32>,

    /// Seconds to wait before a stopped container is killed; -1 waits for ever
    #[arg(long, value_name = "SECONDS", value_parser = parse_stop_timeout, allow_hyphen_values = true)]
    pub stop_timeout: Option<StopTimeout>,
}

/// `--systemd`, with podman's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SystemdArg {
    True,
    False,
    Always,
}

impl ProcessArgs {
    pub(super) fn request(
        &self,
        command: Vec<String>,
        surroundings: &Surroundings,
    ) -> Result<Process, Failure> {
        Ok(Process {
            command,
            entrypoint: self
                .entrypoint
                .as_ref()
                .map(|program| match program.as_str() {
                    "" => Vec::new(),
                    program => vec![program.to_owned()],
                }),
            env: environment(&self.env, &self.env_files, surroundings)?,
            user: self.user.clone(),
            additional_groups: self.groups.clone(),
            working_dir: self.workdir.clone().filter(|path| !path.is_empty()),
            tty: self.tty,
            stdin_open: self.interactive,
            // `run` decides: a detached container's input outlives its clients.
            stdin_once: false,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            umask: self.umask,
            init: self.init,
            systemd: match (self.system, self.systemd) {
                (true, _) => Systemd::System,
                (false, SystemdArg::True) => Systemd::Detect,
                (false, SystemdArg::False) => Systemd::Never,
                (false, SystemdArg::Always) => Systemd::Always,
            },
        })
    }
}

/// The files' variables, then those of the flags, with the host's values put in. A name that the
/// host has not got is left out of a file, but from a flag it unsets the image's own.
pub(crate) fn environment(
    flags: &[EnvArg],
    files: &[PathBuf],
    surroundings: &Surroundings,
) -> Result<Vec<EnvChange>, Failure> {
    let mut changes = Vec::with_capacity(flags.len());
    for path in files {
        let content = surroundings.read(path)?;
        let args = parse_env_file(&content).map_err(|source| Failure::FileContent {
            path: path.clone(),
            source,
        })?;
        let known = args.iter().map(|arg| change(arg, surroundings));
        changes.extend(known.filter(|change| !matches!(change, EnvChange::Unset { .. })));
    }
    changes.extend(flags.iter().map(|arg| change(arg, surroundings)));
    Ok(changes)
}

fn change(arg: &EnvArg, surroundings: &Surroundings) -> EnvChange {
    match arg {
        EnvArg::Set { name, value } => EnvChange::Set {
            name: name.clone(),
            value: value.clone(),
        },
        EnvArg::Inherit { name } => match (surroundings.variable)(name) {
            Some(value) => EnvChange::Set {
                name: name.clone(),
                value,
            },
            None => EnvChange::Unset { name: name.clone() },
        },
    }
}
