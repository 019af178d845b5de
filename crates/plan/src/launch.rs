//! The launch plan: an OCI runtime specification plus what OCI has no word for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccomp, Spec};
use serde::{Deserialize, Serialize};

use crate::guest::FileTask;
use crate::level::Level;

/// Everything that is needed to start one workload, decided once, carried out by whoever holds it:
/// the keeper on the host, or the agent inside a guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaunchPlan {
    /// The shape of this document; a keeper refuses one that it does not know.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// The image as the user named it, for messages.
    pub image: String,
    pub level: Level,
    /// OCI runtime specification 1.3. `root.path` is where the root is on the host if it is absolute;
    /// what the root is stands in `root`.
    pub spec: Spec,
    pub user: UserPlan,
    /// Namespaces of other containers to live in; their paths are known at the start only.
    pub joins: Vec<Join>,
    pub root: RootPlan,
    pub network: NetworkPlan,
    pub seccomp: SeccompPlan,
    pub files: FilesPlan,
    pub streams: StreamsPlan,
    pub log: LogPlan,
    pub stop: StopPlan,
    pub removal: Removal,
    /// Which control groups it gets on version 1.
    #[serde(default)]
    pub groups: Groups,
    /// Where the time of a start goes is written to the trace.
    #[serde(default)]
    pub trace: Trace,
    /// Where the workload has a kernel of its own.
    #[serde(default)]
    pub machine: Option<MachinePlan>,
}

/// The virtual machine that a workload is alone in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinePlan {
    pub vcpus: u32,
    /// Of the guest; more than the workload's limit by what its kernel needs.
    pub memory_bytes: u64,
    /// An uncompressed ELF file with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// With the guest's first process, and the modules that the kernel needs.
    pub initramfs: PathBuf,
    pub discovery: Discovery,
    /// EROFS images that the root is stacked from, in place of [`RootPlan::lower`], the topmost first; of
    /// each its metadata's file, then those that it refers to.
    pub images: Vec<Vec<PathBuf>>,
}

/// How a guest's kernel learns of its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// By words on its command line: nothing is looked for.
    #[default]
    CommandLine,
    /// By tables, as distributions' kernels do.
    Acpi,
}

impl LaunchPlan {
    /// What this build writes and reads.
    pub const VERSION: u32 = 1;
}

/// The hierarchies of cgroup version 1 that a workload gets a group in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Groups {
    /// Those that limits and statistics need.
    #[default]
    Needed,
    /// All that there are: who asked for the workload looks for it there.
    All,
}

/// Whether the keeper notes when each phase of the start was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trace {
    #[default]
    Off,
    On,
}

/// A namespace of another container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    pub namespace: LinuxNamespaceType,
    /// The other container's id.
    pub container: String,
}

/// Who the process runs as; names are looked up inside the root, when it is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UserPlan {
    /// `""`, `name`, `uid`, `name:group`, `uid:gid`, as `--user` has it. Empty means root.
    pub user: String,
    /// Supplementary groups besides those of /etc/group, by name or number.
    pub groups: Vec<String>,
    /// Takes the place of both: nothing is looked up, and no group comes on top.
    #[serde(default)]
    pub exact: Option<Ids>,
}

/// Who a process runs as, to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// The root file system: read-only layers under one writable one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPlan {
    /// Directories, the topmost layer first. None: nothing is stacked, `upper` is the whole root.
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    pub durability: Durability,
}

/// What the writable layer is worth after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It outlives the workload's run.
    Durable,
    /// It goes with the workload (`--rm`): nothing need be written to disk.
    Volatile,
}

/// How the workload reaches others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPlan {
    /// A namespace with nothing but `lo`.
    None,
    /// The host's own.
    Host,
    /// That of another container, by its id.
    Container(String),
    Bridge(Box<Endpoint>),
}

/// One place on a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's name: `bridge` is the default one.
    pub network: String,
    /// The bridge's link name.
    pub bridge: String,
    /// The nftables table that serves it.
    pub table: String,
    /// The network's address and the length of its prefix.
    pub subnet4: (Ipv4Addr, u8),
    /// A network of 64 bits.
    pub subnet6: Option<Ipv6Addr>,
    pub mtu: u32,
    pub mac: [u8; 6],
    pub address4: Ipv4Addr,
    pub address6: Option<Ipv6Addr>,
    pub ports: Vec<PublishedPort>,
}

/// One port to be published; ranges of container ports are spelled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    pub protocol: Protocol,
    /// `None`: every address of the host, of both families.
    pub host_address: Option<IpAddr>,
    /// First and last of the host ports that will do; `None`: any free one.
    pub host_ports: Option<(u16, u16)>,
    pub container_port: u16,
}

/// One published port as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    pub protocol: Protocol,
    /// The host's side; the unspecified address means every one of its family.
    pub host: SocketAddr,
    pub container_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// Which system calls are filtered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompPlan {
    /// Docker's default policy for the plan's capabilities.
    Default,
    Unconfined,
    /// A profile in Docker's JSON form; what applies is chosen where it is compiled.
    File(String),
    /// The section of a runtime specification.
    Oci(Box<LinuxSeccomp>),
}

/// Files that gamut writes for the workload and binds over the image's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilesPlan {
    /// The container's directory on the host; the files lie in it.
    pub directory: PathBuf,
    /// Where compiled filters are kept between starts.
    pub cache: PathBuf,
    /// Contents; `None` leaves the image's file alone.
    pub hosts: Option<String>,
    pub hostname: Option<String>,
    pub resolv_conf: Option<String>,
}

/// What becomes of the standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamsPlan {
    pub stdin: Stdin,
    pub terminal: Terminal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// /dev/null.
    Closed,
    /// Held open by the keeper until the first attached client closes it.
    OpenOnce,
    /// Held open by the keeper whoever comes and goes.
    Open,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Terminal {
    None,
    /// A pseudo-terminal, with its size in character cells; 0 = unknown.
    Pty {
        rows: u16,
        columns: u16,
    },
}

/// Where output is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogPlan {
    None,
    /// Docker's `json-file` form: one JSON object a line.
    JsonFile {
        path: PathBuf,
        /// Rotate before the file passes this size; `None` never rotates.
        max_bytes: Option<u64>,
        /// How many files there may be, the current one included; at least 1.
        max_files: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPlan {
    pub signal: i32,
    /// How long `stop` waits before it kills; `None` waits for ever.
    pub timeout_s: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    Keep,
    /// `--rm`.
    OnExit,
}

/// A further process in a running workload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecPlan {
    pub args: Vec<String>,
    /// Added to the workload's own environment, later ones win.
    pub env: Vec<String>,
    /// `None`: the workload's.
    pub cwd: Option<String>,
    /// `None`: the workload's.
    pub user: Option<String>,
    pub privileged: Privileged,
    pub terminal: Option<(u16, u16)>,
    /// Instead of `args`: something that a machine's agent does itself.
    pub task: Option<FileTask>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privileged {
    #[default]
    No,
    Yes,
}
