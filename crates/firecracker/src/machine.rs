//! What stands between the API and a machine: [`Backend`] makes one from a [`Blueprint`], [`Machine`] is
//! told what to do. The API is tested against one that only takes notes; [`crate::kvm`] has the real one.

use std::fmt;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use gamut_virtio::rate::Limit;
use rustix::io::Errno;

use crate::mmds::Mmds;
use crate::model::BalloonStatistics;

/// All of a machine, with everything open. Its descriptors are copies: a start that fails can be tried again.
#[derive(Debug)]
pub struct Blueprint {
    pub vcpus: u8,
    pub memory_mib: u32,
    pub pages: Pages,
    pub kernel: File,
    pub initrd: Option<File>,
    /// With the root device; without what names the devices.
    pub command_line: String,
    /// The root device is the first one.
    pub drives: Vec<DrivePart>,
    pub networks: Vec<NetworkPart>,
    pub pmem: Vec<PmemPart>,
    pub vsock: Option<VsockPart>,
    pub balloon: Option<BalloonPart>,
    /// Of bytes and operations.
    pub entropy: Option<[Limit; 2]>,
    /// `None`: standard output.
    pub serial: Option<File>,
}

/// What the guest's memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    Base,
    Huge,
}

/// Whether the guest may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// What a guest's flush is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    Unsafe,
    Writeback,
}

/// A disk.
#[derive(Debug)]
pub struct DrivePart {
    pub id: String,
    pub file: File,
    pub access: Access,
    pub cache: Cache,
    pub limits: [Limit; 2],
}

/// A network card.
#[derive(Debug)]
pub struct NetworkPart {
    pub id: String,
    pub tap: OwnedFd,
    pub mac: Option<[u8; 6]>,
    pub mtu: Option<u16>,
    pub receive_limits: [Limit; 2],
    pub transmit_limits: [Limit; 2],
    /// The metadata service, and its address there.
    pub metadata: Option<(Ipv4Addr, Arc<Mutex<Mmds>>)>,
}

/// Persistent memory.
#[derive(Debug)]
pub struct PmemPart {
    pub id: String,
    pub file: File,
    pub access: Access,
}

/// The vsock device.
#[derive(Debug)]
pub struct VsockPart {
    pub guest_cid: u32,
    pub listener: UnixListener,
    pub path: PathBuf,
}

/// The balloon.
#[derive(Debug, Clone, Copy)]
pub struct BalloonPart {
    pub target_mib: u32,
    pub out_of_memory: gamut_virtio::balloon::OutOfMemory,
    pub reporting: gamut_virtio::balloon::Reporting,
    /// Seconds; 0: the guest is never asked.
    pub interval_s: u16,
}

/// What makes machines.
pub trait Backend: fmt::Debug {
    /// Opens a TAP device.
    ///
    /// # Errors
    /// Those of `gamut_sys::tap::open`.
    fn open_tap(&self, name: &str) -> Result<OwnedFd, Errno>;

    /// Builds a machine and lets it run.
    ///
    /// # Errors
    /// Why there is none; nothing of it is left.
    fn start(&mut self, blueprint: Blueprint) -> Result<Box<dyn Machine>, MachineError>;
}

/// A device's limits that are to change, with all of their values.
pub type Limits = [Limit; 2];

/// A machine that runs, or is paused.
pub trait Machine: fmt::Debug {
    /// Stops all processors and devices; twice is once.
    ///
    /// # Errors
    /// That it has ended meanwhile.
    fn pause(&mut self) -> Result<(), MachineError>;

    /// Lets them go on; twice is once.
    ///
    /// # Errors
    /// That it has ended meanwhile.
    fn resume(&mut self) -> Result<(), MachineError>;

    /// # Errors
    /// That it cannot be done here.
    fn send_ctrl_alt_del(&mut self) -> Result<(), MachineError>;

    /// # Errors
    /// That it has ended meanwhile.
    fn set_balloon(&mut self, target_mib: u32) -> Result<(), MachineError>;

    /// # Errors
    /// That it has ended meanwhile.
    fn set_balloon_interval(&mut self, interval_s: u16) -> Result<(), MachineError>;

    /// # Errors
    /// That it has ended meanwhile.
    fn balloon_statistics(&mut self) -> Result<BalloonStatistics, MachineError>;

    /// Puts another file into a drive.
    ///
    /// # Errors
    /// Its size cannot be had, or the machine has ended.
    fn replace_drive(&mut self, id: &str, file: File) -> Result<(), MachineError>;

    /// # Errors
    /// That it has ended meanwhile.
    fn limit_drive(&mut self, id: &str, limits: Limits) -> Result<(), MachineError>;

    /// Changes the limits to the guest and from it.
    ///
    /// # Errors
    /// That it has ended meanwhile.
    fn limit_network(
        &mut self,
        id: &str,
        receive: Limits,
        transmit: Limits,
    ) -> Result<(), MachineError>;

    /// By device, by counter; numbers that only grow.
    fn counters(&mut self) -> Vec<(String, Vec<(String, u64)>)>;

    /// Readable when it has ended.
    fn ended(&self) -> BorrowedFd<'_>;

    /// How it ended; `None` while it has not.
    fn outcome(&mut self) -> Option<Outcome>;
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The guest shut down, or rebooted.
    Shutdown,
    /// It could not go on.
    Failed(String),
}

/// Why a machine does not do what it is told, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct MachineError {
    pub reason: String,
    pub hint: Option<String>,
}

impl MachineError {
    /// With a reason alone.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self {
            reason: reason.to_string(),
            hint: None,
        }
    }
}
