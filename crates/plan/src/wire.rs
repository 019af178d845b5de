//! What the keeper is told and what it answers, over its packet socket (SOCK_SEQPACKET).
//!
//! Every packet's first byte says what it is: `{` opens a JSON [`Request`] or [`Reply`]; one of
//! the [`stream`] tags opens a piece of a stream. After [`Request::Attach`] both kinds are mixed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Status;
use crate::cell::{CellError, Exit, Limits, StartError};
use crate::launch::{Endpoint, ExecPlan, LaunchPlan, RootPlan};
use crate::request::StopTimeout;
use crate::stats::Stats;

/// The longest packet.
pub const MAX_PACKET_BYTES: usize = 64 * 1024;

/// The name of the keeper's socket in the container's run directory.
pub const SOCKET_NAME: &str = "ctl";

/// First bytes of packets that carry a piece of a stream.
pub mod stream {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    /// The client's standard input has ended.
    pub const STDIN_END: u8 = 3;
    /// The longest payload.
    pub const MAX_BYTES: usize = 32 * 1024;
}

/// What a client asks of a keeper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Carry out `plan.json` of the container's directory. Only on the keeper's first connection.
    /// Carries the container's lock as a descriptor, and whatever else the keeper is to hold as long as
    /// it lives; the start is recorded.
    Launch {
        root: PathBuf,
        run_root: PathBuf,
        id: String,
        client: Starter,
        /// What the container's status was.
        before: Box<Status>,
    },
    /// A workload with a network namespace of its own is about to come: make it meanwhile.
    Prepare,
    /// One with this root is about to come: mount it meanwhile.
    Root(RootPlan),
    /// What `plan.json` will say of the container that is about to come: to be read meanwhile.
    Plan(Box<LaunchPlan>),
    /// From now on send output here, and take input from here if it is to be given.
    Attach(Attached),
    Resize {
        rows: u16,
        columns: u16,
    },
    /// Start a further process. Carries its three streams as descriptors, or none with a terminal.
    Exec(Box<ExecPlan>),
    /// Tell when the exec'd process of this connection, or the main one, ends.
    Wait,
    Signal {
        signal: i32,
    },
    /// Signal, wait, kill. `None`: as planned.
    Stop {
        signal: Option<i32>,
        // Not an `Option` in an `Option`, of which JSON keeps one.
        timeout: Option<StopTimeout>,
    },
    Stats,
    Update(Box<Limits>),
    Pause,
    Resume,
    /// Join a network, where its addresses are leased.
    Join(Box<Joining>),
    /// The container has another name, in its plan too.
    Rename {
        name: String,
    },
    /// Leave a network, by its id.
    Leave {
        network_id: String,
    },
    /// Check its health now; the answer is [`Reply::Checked`].
    Check,
    /// The container is in the database no more: what lies on disk of it can go.
    ClearAway,
}

/// A place on a network, to be taken while the workload runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    pub endpoint: Endpoint,
    /// The resolver's file from now on, if that changes.
    pub resolv_conf: Option<String>,
}

/// What becomes of the connection that has started a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Starter {
    /// It is attached from the start, as by [`Request::Attach`].
    pub attached: Option<Attached>,
    /// It will forget the container (`--rm`) as soon as it hears of its end, and then send
    /// [`Request::ClearAway`]. If it leaves without, the keeper sees to it.
    pub removes: bool,
}

/// Whether an attached client's input goes to the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attached {
    OutputOnly,
    WithInput,
}

impl Attached {
    #[must_use]
    pub fn with_input(input: bool) -> Self {
        match input {
            true => Attached::WithInput,
            false => Attached::OutputOnly,
        }
    }
}

/// What a keeper answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done,
    /// The main process runs.
    Started {
        pid: i32,
        trace: Vec<Mark>,
        warnings: Vec<String>,
    },
    StartFailed(StartError),
    /// A health check is over.
    Checked {
        exit_code: i32,
    },
    /// The exec'd process runs; its terminal's master comes as a descriptor.
    ExecStarted {
        pid: i32,
    },
    Exited {
        exit: Exit,
    },
    Stats(Box<Stats>),
    Failed(CellError),
    /// The request makes no sense now.
    Refused {
        reason: String,
    },
}

/// A phase of a start, and when it was over: nanoseconds on the monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub phase: String,
    pub at_ns: u64,
}
