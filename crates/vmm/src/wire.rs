//! What a monitor is told, and what it answers: JSON in packets of a `SOCK_SEQPACKET` socket, its standard
//! input, with descriptors along (`SCM_RIGHTS`) in the order in which the packet names them.

pub use crate::boot::{Discovery, Loading};
use serde::{Deserialize, Serialize};

/// The longest packet.
pub const MAX_PACKET_BYTES: usize = 64 * 1024;

/// What the monitor is asked. Each is answered by one [`Answer`], but for [`Command::Stream`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Be this machine; once. Descriptors: kernel, initramfs, serial output, then each disk's files, the
    /// tap if there is a network, the vhost-user socket if there is a share.
    Boot(Box<MachineConfig>),
    /// The guest's next connection to `port` is this descriptor: a socket, or one end of a pipe. Not
    /// answered: what is wrong with it the guest finds out.
    Stream {
        port: u32,
    },
    /// Stop all vCPUs, and let them go on.
    Pause,
    Resume,
    /// How much memory the guest is to give back, in MiB.
    Balloon {
        mib: u32,
    },
    /// Counters of every device.
    Metrics,
}

/// What the monitor says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Done,
    /// By device, by counter.
    Metrics(Vec<(String, Vec<(String, u64)>)>),
    /// It cannot be, with a reason and a hint.
    Refused {
        reason: String,
        hint: Option<String>,
    },
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    pub vcpus: u8,
    pub memory_mib: u32,
    pub pages: Pages,
    /// Without what the monitor adds to name its devices.
    pub command_line: String,
    pub discovery: Discovery,
    /// Where it is emulated both are read.
    pub kernel_loading: Loading,
    pub initramfs_loading: Loading,
    /// The root device is the first one.
    pub disks: Vec<Disk>,
    pub network: Option<Network>,
    /// The mount tag of a virtio-fs device that is served over vhost-user.
    pub share: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pages {
    #[default]
    Base,
    Huge,
}

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// At most 20 bytes; the guest finds it by this.
    pub serial: String,
    pub access: Access,
    pub content: Content,
    /// How many files it is made of.
    pub files: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// How a disk's files become a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// One file is the disk.
    Whole,
    /// Each file is a partition of a table (GPT) that the monitor makes up.
    Partitions,
}

/// A network device on a tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub mac: [u8; 6],
    pub mtu: u16,
}
