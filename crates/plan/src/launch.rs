//! The launch plan: an OCI runtime specification plus what OCI has no word for.

use crate::egress::EgressPolicy;
use crate::health::HealthPlan;
use crate::request::{SyslogAddress, SyslogFormat};
use crate::restart::RestartPolicy;
use std::collections::BTreeMap;
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
    /// `None`: to nobody.
    #[serde(default)]
    pub herald: Option<Herald>,
    pub stop: StopPlan,
    pub removal: Removal,
    #[serde(default)]
    pub restart: RestartPolicy,
    /// The pod that may have come to its end when this has.
    #[serde(default)]
    pub pod_to_end: Option<String>,
    /// `None`: nobody asks.
    #[serde(default)]
    pub health: Option<HealthPlan>,
    /// Which control groups it gets on version 1.
    #[serde(default)]
    pub groups: Groups,
    #[serde(default)]
    pub grouping: Grouping,
    /// Variables whose values no plan has.
    #[serde(default)]
    pub secrets: Vec<SecretVariable>,
    /// Where the time of a start goes is written to the trace.
    #[serde(default)]
    pub trace: Trace,
    /// Where the workload has a kernel of its own.
    #[serde(default)]
    pub machine: Option<MachinePlan>,
}

/// A secret that is a file of the workload's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    pub inside: PathBuf,
    /// On the host.
    pub file: PathBuf,
}

/// A secret that is a variable of the workload's environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVariable {
    pub variable: String,
    /// On the host, with the value.
    pub file: PathBuf,
}

/// The virtual machine that a workload is alone in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinePlan {
    pub vcpus: u32,
    /// Of the guest; more than the workload's limit by what its kernel needs.
    pub memory_bytes: u64,
    /// An uncompressed ELF file with a PVH note, or a bzImage.
    pub kernel: PathBuf,
    /// Nobody writes to the kernel's file any more: guests may share its pages.
    #[serde(default)]
    pub is_kernel_kept: bool,
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
    pub const VERSION: u32 = 2;
}

/// The hierarchies of cgroup version 1 that a workload gets a group in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Groups {
    /// Those that limits and statistics need.
    #[default]
    Needed,
    /// The same, and one on version 2, which is all that the workload sees.
    Unified,
    /// All that there are: who asked for the workload looks for it there.
    All,
}

/// Who makes a workload's control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// We do, as directories.
    #[default]
    Own,
    /// The user's systemd does, as a scope.
    Systemd,
    /// Nobody: it stays in its keeper's.
    None,
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
    /// One that somebody else has made, by its file.
    Namespace(PathBuf),
    Bridge(Box<Bridged>),
    /// One that a user without privileges has, by pasta(1).
    Pasta(Box<PastaPlan>),
}

/// A network by the host's sockets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PastaPlan {
    pub ports: Vec<PublishedPort>,
    /// For pasta(1), after ours.
    pub options: Vec<String>,
}

/// Places on bridge networks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bridged {
    /// In the order in which they were joined; none, if it has left them all.
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<PublishedPort>,
    /// Who is asked for names that no network has; none: the host's servers.
    pub dns_servers: Vec<IpAddr>,
    /// What may be reached; `None`: everything.
    #[serde(default)]
    pub egress: Option<EgressPolicy>,
}

impl Bridged {
    /// The network that the default routes and the published ports go by: the one of the highest
    /// priority (the first of equals) that reaches the outside, or, if none does, the first.
    #[must_use]
    pub fn way_out(&self) -> Option<&Endpoint> {
        let endpoints = self.endpoints.iter().rev();
        let outside = endpoints.filter(|endpoint| endpoint.reach == Reach::Outside);
        // Of equals it is the last one that counts: hence backwards.
        let highest = outside.max_by_key(|endpoint| endpoint.priority);
        highest.or(self.endpoints.first())
    }

    /// The lowest place that is free.
    #[must_use]
    pub fn free_place(&self) -> u8 {
        let is_free = |place: &u8| self.endpoints.iter().all(|one| one.place != *place);
        (0..u8::MAX).find(is_free).unwrap_or(u8::MAX)
    }
}

impl Endpoint {
    /// Its own addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let own4 = std::iter::once(IpAddr::from(self.address4));
        own4.chain(self.address6.map(IpAddr::from))
    }

    /// Another own name, which is the first, where the network has names.
    pub fn call(&mut self, name: &str) {
        if let Some(own) = self.names.first_mut() {
            name.clone_into(own);
        }
    }
}

/// What the containers of a network can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    #[default]
    Outside,
    /// Each other only.
    Internal,
}

/// One place on a bridge network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The number of its interface inside: 0 is `eth0`.
    pub place: u8,
    /// The network's name: `bridge` is the default one.
    pub network: String,
    /// 64 hexadecimal digits.
    pub network_id: String,
    /// The bridge's link name.
    pub bridge: String,
    /// The nftables table that serves it.
    pub table: String,
    /// The network's address and the length of its prefix.
    pub subnet4: (Ipv4Addr, u8),
    /// The bridge's own address; `None`: the network's first.
    pub gateway4: Option<Ipv4Addr>,
    pub subnet6: Option<Ipv6Addr>,
    /// The length of its prefix.
    pub prefix6: u8,
    /// The bridge's own address; `None`: the network's first.
    pub gateway6: Option<Ipv6Addr>,
    pub reach: Reach,
    pub mtu: u32,
    pub mac: [u8; 6],
    pub address4: Ipv4Addr,
    pub address6: Option<Ipv6Addr>,
    /// What it is called on the network, its own name first; none: the network has no names.
    pub names: Vec<String>,
    /// Those of them that it was given for this network.
    pub aliases: Vec<String>,
    /// See [`Bridged::way_out`].
    #[serde(default)]
    pub priority: i32,
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
        /// Told with each line.
        #[serde(default)]
        attributes: BTreeMap<String, String>,
    },
}

/// To whom each line of output is told as it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Herald {
    Syslog {
        /// `None`: this host's.
        address: Option<SyslogAddress>,
        facility: u8,
        format: SyslogFormat,
        tag: String,
    },
    /// With these fields beside the line (systemd.journal-fields(7)).
    Journald { fields: BTreeMap<String, String> },
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
