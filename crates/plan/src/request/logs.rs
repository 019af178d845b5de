//! Where the workload's output is kept, and to whom it is told besides.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `--log-driver` and its options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogConfig {
    /// Docker's `json-file`: one JSON object a line, rotated by size.
    JsonFile {
        /// `None`: a file may grow without end.
        max_size_bytes: Option<u64>,
        /// Files kept, the current one included; at least 1.
        max_files: u32,
        #[serde(default)]
        more: LogMore,
    },
    /// The same, by other defaults.
    Local {
        max_size_bytes: Option<u64>,
        max_files: u32,
        #[serde(default)]
        more: LogMore,
    },
    /// Told to syslog(3)'s daemon, here or elsewhere.
    Syslog {
        /// `None`: this host's.
        address: Option<SyslogAddress>,
        /// RFC 5424, 6.2.1.
        facility: u8,
        format: SyslogFormat,
        more: LogMore,
    },
    /// Told to systemd-journald of this host.
    Journald { more: LogMore },
    /// Output is not kept; `logs` has nothing to show.
    None,
}

/// What several drivers take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogMore {
    /// By which name it is told, with `{{.ID}}` and the like; `None`: by its short id.
    pub tag: Option<String>,
    /// Labels and variables that are told with each line.
    pub labels: Vec<String>,
    pub env: Vec<String>,
    /// The options as they were given.
    pub given: BTreeMap<String, String>,
}

/// Where a syslog daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogAddress {
    /// A datagram socket.
    Unixgram(PathBuf),
    /// A stream socket.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Udp(String),
    Tcp(String),
}

/// How a line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyslogFormat {
    /// As daemons of this host expect it, or with a full time over the network.
    #[default]
    Usual,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

impl LogConfig {
    /// Docker's name of the driver.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        match self {
            Self::JsonFile { .. } => "json-file",
            Self::Local { .. } => "local",
            Self::Syslog { .. } => "syslog",
            Self::Journald { .. } => "journald",
            Self::None => "none",
        }
    }

    /// What several drivers take.
    #[must_use]
    pub fn more(&self) -> Option<&LogMore> {
        match self {
            Self::JsonFile { more, .. }
            | Self::Local { more, .. }
            | Self::Syslog { more, .. }
            | Self::Journald { more } => Some(more),
            Self::None => None,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::JsonFile {
            max_size_bytes: None,
            max_files: 1,
            more: LogMore::default(),
        }
    }
}
