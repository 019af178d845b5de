//! What runs inside: the command, its identity, environment and streams.

use serde::{Deserialize, Serialize};

/// The workload's first process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What stands after the image. Empty: the image's `Cmd`, unless `entrypoint` is given.
    pub command: Vec<String>,
    /// `None`: the image's; an empty list: none, which also discards the image's `Cmd`.
    pub entrypoint: Option<Vec<String>>,
    /// Changes to the image's environment, in order; a later one wins.
    pub env: Vec<EnvChange>,
    /// `None`: the image's user.
    pub user: Option<User>,
    /// Supplementary groups beside those of the user.
    pub additional_groups: Vec<Identity>,
    /// Absolute path inside; `None`: the image's.
    pub working_dir: Option<String>,
    /// A pseudo-terminal is the process's standard streams.
    pub tty: bool,
    /// Standard input stays open even when nobody is attached.
    pub stdin_open: bool,
    /// Standard input closes for good when the first client leaves (`run -i` without `-d`).
    pub stdin_once: bool,
    /// `None`: the image's, else SIGTERM.
    pub stop_signal: Option<Signal>,
    pub stop_timeout: Option<StopTimeout>,
    /// File mode creation mask (umask(2)); `None`: 0o022.
    #[serde(default)]
    pub umask: Option<u32>,
    #[serde(default)]
    pub systemd: Systemd,
    /// An init of ours comes before the command.
    #[serde(default)]
    pub init: bool,
}

/// Whether the workload is set up as systemd wants it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Systemd {
    /// If its first program is.
    #[default]
    Detect,
    Never,
    Always,
    /// And it is a whole system, which boots and has users of its own.
    System,
}

/// One `-e`, or one line of an `--env-file`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnvChange {
    Set {
        name: String,
        value: String,
    },
    /// `-e NAME` while the host has no `NAME`: the image's own setting is dropped.
    Unset {
        name: String,
    },
}

/// `user[:group]`, each by number or by a name to look up inside the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub user: Identity,
    /// `None`: the user's own group from `/etc/passwd`, else 0.
    pub group: Option<Identity>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    Id(u32),
    Name(String),
}

/// A Linux signal number, 1 to 64 (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub u8);

/// How long `stop` waits between the stop signal and SIGKILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopTimeout {
    Seconds(u32),
    /// Never kill.
    Forever,
}

/// Another command in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Name, id, or the unambiguous beginning of an id.
    pub container: String,
    /// At least the program.
    pub command: Vec<String>,
    /// Changes to the container's environment, in order; a later one wins.
    pub env: Vec<EnvChange>,
    /// `None`: the container's user.
    pub user: Option<User>,
    /// Absolute path inside; `None`: the container's.
    pub working_dir: Option<String>,
    pub tty: bool,
    pub stdin_open: bool,
    pub privileged: bool,
}
