//! What a cell tells the agent inside its machine, and what that answers.
//!
//! Everything travels over vsock connections that the guest opens to the host (CID 2). Port
//! [`CONTROL_PORT`] is the control connection, made once, first of all: frames ([`crate::frame`]). The agent begins with a [`Hello`]; from
//! then on each [`GuestRequest`] is answered by one [`GuestReply`] before the next is sent.
//!
//! Streams have connections of their own. The host has put a descriptor behind a port number before it
//! tells the agent that number; each number serves one connection. Every process has a *status*
//! connection, on which the agent sends one frame, a [`GuestExit`], when it has ended; its end without one
//! means that the machine is gone.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use gamut_spec::Kind;
use serde::{Deserialize, Serialize};

use crate::cell::{CellError, Exit, Limits, ProcessId, StartError};
use crate::launch::{ExecPlan, LaunchPlan};
use crate::stats::Stats;

/// The shape of these messages; either side refuses another one.
pub const VERSION: u32 = 1;
/// Where the agent's control connection is expected.
pub const CONTROL_PORT: u32 = 1;
/// The first port number for streams.
pub const FIRST_STREAM_PORT: u32 = 1024;
/// The mount tag of the virtio-fs device with the host's directories.
pub const SHARE_TAG: &str = "gamut";
/// The serial number of the block device with the image's files.
pub const ROOT_SERIAL: &str = "gamut-root";
/// The agent's end of a connection: every host's (vsock(7), `VMADDR_CID_HOST`).
pub const HOST_CID: u32 = 2;

/// The agent's first words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    /// The guest kernel's release.
    pub kernel: String,
    /// Nanoseconds since the guest kernel began, when the agent did.
    pub up_ns: u64,
}

/// What the agent is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestRequest {
    /// Make the machine ready; the first request, once.
    Setup(Box<GuestSetup>),
    /// Carry out a plan; once. Paths in it are the guest's.
    Start {
        plan: Box<LaunchPlan>,
        streams: GuestStreams,
    },
    Exec {
        plan: Box<ExecPlan>,
        streams: GuestStreams,
    },
    Signal {
        process: ProcessId,
        signal: i32,
    },
    Resize {
        process: ProcessId,
        rows: u16,
        columns: u16,
    },
    Stats,
    Update(Box<Limits>),
    Freeze,
    Thaw,
    /// End every process, write everything back, and power off. Answered before the power goes.
    Shutdown,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestReply {
    Done,
    /// The process runs; its number, and what the user should know.
    Started {
        process: ProcessId,
        warnings: Vec<String>,
    },
    StartFailed(StartError),
    Stats(Box<Stats>),
    Failed(CellError),
}

/// What the machine is to be before it runs anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSetup {
    /// The host's wall clock, nanoseconds since the epoch.
    pub time_ns: u64,
    /// At least 32 bytes from the host's generator, as base64.
    pub entropy: String,
    pub mounts: Vec<GuestMount>,
    pub network: Option<GuestNetwork>,
}

/// What is mounted before the plan is carried out, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestMount {
    /// An EROFS image: `partitions` partitions of the block device with the serial `serial`, from number
    /// `first` (counted from 1) on; that one is its metadata, the others its extra devices.
    Erofs {
        serial: String,
        first: u32,
        partitions: u32,
        target: PathBuf,
    },
    /// The host's directories, by virtio-fs: [`SHARE_TAG`].
    Share { target: PathBuf },
    /// Memory.
    Tmpfs { target: PathBuf },
}

/// The guest's one network interface besides `lo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestNetwork {
    /// By which it is found.
    pub mac: [u8; 6],
    pub mtu: u32,
    pub address4: Ipv4Addr,
    /// The network's address and the length of its prefix.
    pub subnet4: (Ipv4Addr, u8),
    /// The way out, if there is one.
    pub gateway4: Option<Ipv4Addr>,
    pub ipv6: Option<GuestIpv6>,
}

/// The interface's place on an IPv6 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestIpv6 {
    pub address: Ipv6Addr,
    pub subnet: (Ipv6Addr, u8),
    pub gateway: Option<Ipv6Addr>,
}

/// The ports of a process's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestStreams {
    /// On which [`GuestExit`] comes.
    pub status: u32,
    /// `None`: /dev/null. With a terminal all three are `None`.
    pub stdin: Option<u32>,
    pub stdout: Option<u32>,
    pub stderr: Option<u32>,
    /// The terminal's other side, both ways.
    pub terminal: Option<u32>,
}

/// What the agent does with the workload's files, as its container has them, in a process of its own. That
/// begins as any other, by [`ExecPlan::task`]; on its standard error it writes one [`FileAnswer`] as JSON, and
/// nothing else. Paths are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileTask {
    /// What is at a path, to be copied from there.
    Source { path: Vec<u8>, follow: bool },
    /// What is at a path, if anything, to be copied there.
    Target { path: Vec<u8> },
    /// Writes a tar to standard output; `renamed` as gamut's `store::tar::copy` has it.
    Pack {
        path: Vec<u8>,
        follow: bool,
        renamed: Vec<u8>,
    },
    /// Extracts a tar from standard input.
    Unpack {
        path: Vec<u8>,
        into: Into,
        /// Whose the files are; `None`: as the archive says.
        owner: Option<(u32, u32)>,
    },
}

/// Where an archive is extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Into {
    /// In the directory at the path.
    It,
    /// In the directory that the path is in.
    ItsParent,
}

/// How a [`FileTask`] went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileAnswer {
    Found {
        is_there: bool,
        is_directory: bool,
        /// In its directory, links followed as asked.
        name: Vec<u8>,
        /// As it was written, before links.
        called: Vec<u8>,
    },
    /// With what could not be kept: entries, and what of them.
    Done { warnings: Vec<(String, String)> },
    Failed {
        kind: Kind,
        message: String,
        hint: Option<String>,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestExit {
    pub exit: Exit,
    /// The guest kernel's OOM killer has taken a process of the workload by then.
    pub oom_killed: bool,
}
