//! Drawing the plan: the request, the image's configuration, the root file system and the host's
//! facts become one [`LaunchPlan`]. All defaults are decided here, and nothing is read or
//! written: the same drawing twice is the same plan.

mod logs;
mod machine;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod security;
mod system;

pub use machine::{MachineParts, check};
pub use mounts::{dev, shared_memory_of};
pub use process::INIT;
pub use resources::limits;

use std::path::{Path, PathBuf};

use gamut_spec::image::ImageConfig;
use gamut_spec::{Fault, Kind};
use oci_spec::runtime::{LinuxBuilder, RootBuilder, SpecBuilder};
use thiserror::Error;

use crate::caps::CapsError;
use crate::health::HealthPlan;
use crate::host::HostFacts;
use crate::launch::{
    FilesPlan, Groups, LaunchPlan, NetworkPlan, Removal, RootPlan, SecretFile, SecretVariable,
    Stdin, StopPlan, StreamsPlan, Terminal, Trace,
};
use crate::level::Level;
use crate::request::{AfterExit, ExitPolicy, PodRole, RunRequest, StopTimeout, Systemd};

/// What the drawing is made from. Everything that had to be looked up was, by the engine.
#[derive(Debug)]
pub struct Drawing<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub level: Level,
    pub request: &'a RunRequest,
    pub image: &'a ImageConfig,
    pub host: &'a HostFacts,
    /// What the container is called, unless it shares another's name.
    pub hostname: &'a str,
    /// The cgroup below which the container's own is made.
    pub cgroup_parent: &'a str,
    pub root: RootPlan,
    pub network: NetworkPlan,
    pub files: FilesPlan,
    /// The directory behind each mount of the request, in its order; `None` for a tmpfs.
    pub mount_sources: Vec<Option<PathBuf>>,
    /// The image's volumes that no mount of the request covers: path inside, directory on the host.
    pub image_volumes: Vec<(PathBuf, PathBuf)>,
    /// The nodes behind the request's devices.
    pub devices: Vec<DeviceNode>,
    /// Numbers of the block devices that the request throttles, by their path.
    pub block_devices: Vec<(PathBuf, u32, u32)>,
    /// First host id and length of the range for `--userns auto`.
    pub user_range: Option<(u32, u32)>,
    pub secrets: (Vec<SecretFile>, Vec<SecretVariable>),
    pub terminal_size: Option<(u16, u16)>,
    pub log_path: PathBuf,
    pub trace: Trace,
    /// This program's file, for who asks for an init.
    pub own_program: &'a Path,
    /// For the levels whose workloads have a kernel of their own.
    pub machine: Option<MachineParts>,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Path on the host.
    pub source: PathBuf,
    /// Path inside the container.
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Block,
    Character,
}

/// A request that cannot be drawn.
#[derive(Debug, Error)]
pub enum DrawError {
    #[error("the image names no command, and none was given")]
    NoCommand,
    #[error(
        "the memory limit of {bytes} bytes is below the least that a container can run with, {} bytes",
        MINIMUM_MEMORY_BYTES
    )]
    TooLittleMemory { bytes: u64 },
    #[error(
        "the limit of memory and swap together ({total} bytes) is below the memory limit ({memory} bytes)"
    )]
    SwapBelowMemory { total: u64, memory: u64 },
    #[error("a limit of swap was given without one of memory")]
    SwapWithoutMemory,
    #[error(
        "the memory reservation of {reservation} bytes is above the memory limit of {limit} bytes"
    )]
    ReservationAboveLimit { reservation: u64, limit: u64 },
    #[error("the pids limit of {limit} leaves no room for the first process")]
    TooFewProcesses { limit: u64 },
    #[error("the block I/O weight {weight} is not between 10 and 1000")]
    BlockWeight { weight: u16 },
    #[error("the time of {asked} CPUs was asked for, and this host has {cpus}")]
    TooManyCpus { asked: u64, cpus: u32 },
    #[error("the least CPU share is 2")]
    TooFewShares,
    #[error("{0}")]
    Capability(#[from] CapsError),
    #[error("the working directory `{0}` is not an absolute path")]
    RelativeWorkdir(String),
    #[error("the image's stop signal `{0}` is no signal")]
    StopSignal(String),
    #[error("the sysctl `{name}` belongs to {namespace}, which this container shares")]
    SharedSysctl {
        name: String,
        namespace: &'static str,
    },
    #[error("the sysctl `{0}` is not one of a namespace")]
    HostSysctl(String),
    #[error("the tag of a log has no `{0}`")]
    LogTag(String),
    #[error("`{flag}` cannot be combined with {what}")]
    Contradiction {
        flag: &'static str,
        what: &'static str,
    },
    #[error(
        "`{flag}` is not possible at the isolation level `{level}`, whose kernel is not the host's"
    )]
    NotAtLevel { flag: &'static str, level: Level },
    #[error(
        "`{flag}` is not possible at the isolation level `{level}`, whose kernel is the host's"
    )]
    HostKernel { flag: &'static str, level: Level },
    #[error("limits need control groups, and this host gives users none")]
    NoGroups,
    #[error("`{0}` is not possible for a user without privileges")]
    NeedsRoot(&'static str),
    #[error("the runtime specification cannot be written: {0}")]
    Spec(#[from] oci_spec::OciSpecError),
}

/// Docker's: below it the first process is killed before it says why.
pub const MINIMUM_MEMORY_BYTES: u64 = 6 * 1024 * 1024;

impl Fault for DrawError {
    fn kind(&self) -> Kind {
        match self {
            DrawError::Spec(_) => Kind::Bug,
            DrawError::NoGroups => Kind::HostLacks,
            DrawError::NeedsRoot(_) => Kind::Denied,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            DrawError::NoCommand => "give a command after the image".into(),
            DrawError::TooLittleMemory { .. } => "give `--memory 6m` or more".into(),
            DrawError::SwapBelowMemory { .. } => {
                "`--memory-swap` is memory plus swap; give at least the value of `--memory`, or -1"
                    .into()
            }
            DrawError::SwapWithoutMemory => "give `--memory` too".into(),
            DrawError::ReservationAboveLimit { .. } => {
                "give a `--memory-reservation` below `--memory`".into()
            }
            DrawError::TooFewProcesses { .. } => "give `--pids-limit` 1 or more, or -1".into(),
            DrawError::BlockWeight { .. } => "give `--blkio-weight` 10 to 1000".into(),
            DrawError::TooManyCpus { cpus, .. } => format!("give `--cpus` 0.01 to {cpus}"),
            DrawError::TooFewShares => {
                "give `--cpu-shares` 2 or more; 1024 is the usual share".into()
            }
            DrawError::Capability(error) => return error.hint(),
            DrawError::RelativeWorkdir(_) => "give an absolute path to `--workdir`".into(),
            DrawError::SharedSysctl { .. } => {
                "give the container a namespace of its own, or set it on the host".into()
            }
            DrawError::HostSysctl(_) => {
                "only kernel.*, fs.mqueue.* and net.* settings are kept per namespace".into()
            }
            DrawError::StopSignal(_) => "give `--stop-signal`".into(),
            DrawError::LogTag(_) => {
                "it can have {{.ID}}, {{.FullID}}, {{.Name}}, {{.ImageName}} and {{.DaemonName}}"
                    .into()
            }
            DrawError::Contradiction { .. } => "leave one of them out".into(),
            DrawError::NotAtLevel { .. } => "leave it out, or use `--isolation container`".into(),
            DrawError::HostKernel { .. } => "leave it out, or use `--isolation microvm`".into(),
            DrawError::NoGroups => {
                "leave the limit out; systemd gives control groups to users, with cgroup version 2 and a \
                 session of the user's (`loginctl enable-linger`)"
                    .into()
            }
            DrawError::NeedsRoot(_) => "leave it out, or run gamut as root".into(),
            DrawError::Spec(_) => return None,
        })
    }
}

/// A plan, and what the user should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    pub plan: LaunchPlan,
    pub warnings: Vec<String>,
}

/// Draws the plan.
///
/// # Errors
/// [`DrawError`]: the request contradicts itself, or asks for what no host can give.
pub fn draw(drawing: Drawing<'_>) -> Result<Drawn, DrawError> {
    let mut warnings = Vec::new();
    let request = drawing.request;
    let machine = machine::draw(&drawing)?;
    let security = security::draw(&drawing, &mut warnings)?;
    let command = process::command(&drawing)?;
    let is_systemd = system::is_systemd(&drawing, &command);
    let process = process::draw(&drawing, &security, command, is_systemd)?;
    let namespaces = namespaces::draw(&drawing)?;
    let resources = resources::draw(&drawing, &security, &mut warnings)?;
    let home = drawing.host.home.as_ref();
    let cgroup = home
        .and_then(|home| home.group_of(drawing.id))
        .unwrap_or_else(|| format!("{}/{}", drawing.cgroup_parent, drawing.id));
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces.create)
        .resources(resources)
        .cgroups_path(PathBuf::from(cgroup))
        .masked_paths(security.masked_paths.clone())
        .readonly_paths(security.readonly_paths.clone())
        .devices(security::device_nodes(&drawing))
        .sysctl(namespaces.sysctls);
    if let Some(maps) = namespaces.maps {
        linux = linux.uid_mappings(maps.clone()).gid_mappings(maps);
    }
    if let Some(offsets) = namespaces.time_offsets {
        linux = linux.time_offsets(offsets);
    }
    let root = RootBuilder::default()
        .path("rootfs")
        .readonly(request.storage.read_only_root)
        .build()?;
    let mut spec = SpecBuilder::default()
        .version("1.2.1")
        .root(root)
        .mounts(mounts::draw(&drawing, is_systemd)?)
        .process(process)
        .linux(linux.build()?)
        .annotations(
            request
                .annotations
                .clone()
                .into_iter()
                .collect::<std::collections::HashMap<_, _>>(),
        );
    if let Some(hostname) = namespaces.hostname {
        spec = spec.hostname(hostname);
    }
    if let Some(domainname) = &request.namespaces.domainname {
        spec = spec.domainname(domainname.clone());
    }
    let plan = LaunchPlan {
        version: LaunchPlan::VERSION,
        id: drawing.id.to_owned(),
        name: drawing.name.to_owned(),
        image: request.image.clone(),
        level: drawing.level,
        spec: spec.build()?,
        user: process::user(&drawing),
        stop: stop(&drawing, is_systemd)?,
        streams: streams(&drawing),
        log: logs::draw(&drawing)?,
        herald: logs::herald(&drawing)?,
        removal: removal(request),
        restart: request.restart,
        pod_to_end: pod_to_end(request),
        health: HealthPlan::draw(&request.health, &drawing.image.config),
        seccomp: security.seccomp,
        joins: namespaces.joins,
        root: drawing.root,
        network: drawing.network,
        files: drawing.files,
        grouping: drawing.host.grouping(),
        groups: match is_systemd {
            true => Groups::Unified,
            false => Groups::Needed,
        },
        secrets: drawing.secrets.1,
        trace: drawing.trace,
        machine,
    };
    Ok(Drawn { plan, warnings })
}

fn stop(drawing: &Drawing<'_>, is_systemd: bool) -> Result<StopPlan, DrawError> {
    const DEFAULT_TIMEOUT_S: u32 = 10;
    let asked = &drawing.request.process;
    let image = &drawing.image.config;
    let signal = match (
        &asked.stop_signal,
        image.stop_signal.as_deref().filter(|s| !s.is_empty()),
    ) {
        (Some(signal), _) => i32::from(signal.0),
        (None, Some(name)) => {
            crate::signal::number(name).ok_or_else(|| DrawError::StopSignal(name.to_owned()))?
        }
        (None, None) if is_systemd => system::STOP_SIGNAL,
        (None, None) => crate::signal::TERM,
    };
    let timeout_s = match asked.stop_timeout {
        Some(StopTimeout::Seconds(s)) => Some(s),
        Some(StopTimeout::Forever) => None,
        None => match image.stop_timeout {
            Some(s) if s < 0 => None,
            Some(s) => u32::try_from(s).ok(),
            None if asked.systemd == Systemd::System => Some(system::STOP_TIMEOUT_S),
            None => Some(DEFAULT_TIMEOUT_S),
        },
    };
    Ok(StopPlan { signal, timeout_s })
}

fn streams(drawing: &Drawing<'_>) -> StreamsPlan {
    let asked = &drawing.request.process;
    let stdin = match (asked.stdin_open, asked.stdin_once) {
        (false, _) => Stdin::Closed,
        (true, true) => Stdin::OpenOnce,
        (true, false) => Stdin::Open,
    };
    let (rows, columns) = drawing.terminal_size.unwrap_or((0, 0));
    let terminal = if asked.tty {
        Terminal::Pty { rows, columns }
    } else {
        Terminal::None
    };
    StreamsPlan { stdin, terminal }
}

fn pod_to_end(request: &RunRequest) -> Option<String> {
    let place = request.pod.as_ref()?;
    let ends = place.role == PodRole::Member && place.exit_policy == ExitPolicy::Stop;
    ends.then(|| place.pod.clone())
}

fn removal(request: &RunRequest) -> Removal {
    match request.after_exit {
        AfterExit::Keep => Removal::Keep,
        AfterExit::Remove => Removal::OnExit,
    }
}
