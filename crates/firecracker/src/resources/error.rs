//! Why a part of a machine cannot be as it is wanted. The words are Firecracker's: its clients look at them.

use std::io;

use rustix::io::Errno;

/// Of the balloon.
#[derive(Debug, thiserror::Error)]
pub enum BalloonError {
    #[error("No balloon device found.")]
    None,
    #[error("Amount of pages requested is too large.")]
    TooLarge,
}

/// Of what is booted.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("The kernel file cannot be opened: {0}")]
    Kernel(#[source] io::Error),
    #[error("The initrd file cannot be opened due to invalid path or invalid permissions. {0}")]
    Initrd(#[source] io::Error),
    #[error("The kernel command line is invalid: {0}")]
    CommandLine(#[from] CommandLineError),
}

/// Of the kernel's command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    #[error("Command line string is longer than {0} bytes.")]
    Long(usize),
    #[error("String contains a non-printable ASCII character.")]
    Letter,
}

/// Of a drive.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error("Attempt to add block as a root device while the root device defined as a pmem device")]
    SecondRoot,
    #[error("A root block device already exists!")]
    RootExists,
    #[error("Unable to create the virtio block device: Invalid block config.")]
    Invalid,
    #[error(
        "Unable to create the virtio block device: Virtio backend error: Error manipulating the backing file: {source} {path}"
    )]
    File { path: String, source: io::Error },
    #[error("Unable to patch the block device: {0} Please verify the request arguments.")]
    Update(#[from] DeviceError),
}

/// Of persistent memory.
#[derive(Debug, thiserror::Error)]
pub enum PmemError {
    #[error("Attempt to add pmem as a root device while the root device defined as a block device")]
    SecondRoot,
    #[error("A root pmem device already exist")]
    RootExists,
    #[error("Error accessing underlying file: {0}")]
    File(#[from] io::Error),
    #[error("Unable to patch the pmem device: {0} Please verify the request arguments.")]
    Update(#[from] DeviceError),
}

/// Of a network card.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("The MAC address is already in use: {0}")]
    MacInUse(String),
    #[error("Could not create the network device: MTU {0} is out of range [68, 65535]")]
    Mtu(u16),
    #[error("Could not create the network device: Open tap device failed: Invalid interface name")]
    Name,
    #[error(
        "Could not create the network device: Open tap device failed: Error while creating ifreq structure: {source}. Invalid TUN/TAP Backend provided by {name}. Check our documentation on setting up the network devices."
    )]
    Tap { name: String, source: Errno },
    #[error("Unable to update the net device: {0}")]
    Update(#[from] DeviceError),
}

/// Of processors and memory.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineConfigError {
    #[error("The memory size (MiB) is smaller than the previously set balloon device target size.")]
    Balloon,
    #[error("The memory size (MiB) is either 0, or not a multiple of the configured page size.")]
    Memory,
    #[error(
        "The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even number if SMT is enabled."
    )]
    Vcpus,
}

/// Of the metadata service's place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MmdsConfigError {
    #[error("The list of network interface IDs that allow forwarding MMDS requests is empty.")]
    NoInterfaces,
    #[error("The MMDS IPv4 address is not link local.")]
    Address,
    #[error(
        "The list of network interface IDs provided contains at least one ID that does not correspond to any existing network interface."
    )]
    Interface,
    #[error("Failed to initialize MMDS data store: {0}")]
    Store(#[from] Errno),
}

/// Of the vsock device.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    #[error(
        "Cannot create backend for vsock device: Error binding to the host-side Unix socket: {0}"
    )]
    Bind(#[source] io::Error),
    #[error("Cannot create vsock device: the guest CID {0} is not between 3 and 4294967294")]
    Cid(u32),
}

/// Of memory to be plugged in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryHotplugError {
    #[error("Block size must not be lower than {0} MiB")]
    SmallBlock(u32),
    #[error("Block size must be a power of 2")]
    BlockPower,
    #[error("Slot size must not be lower than {0} MiB")]
    SmallSlot(u32),
    #[error("Slot size must be a multiple of block size ({0} MiB)")]
    SlotMultiple(u32),
    #[error("Total size must not be lower than slot size ({0} MiB)")]
    SmallTotal(u32),
    #[error("Total size must be a multiple of slot size ({0} MiB)")]
    TotalMultiple(u32),
}

/// Of a device of a running machine.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("Failed perform action on device: Device not found")]
    NotFound,
    #[error("Balloon: Received stats query when stats are disabled.")]
    StatisticsDisabled,
    #[error("Balloon: Statistics cannot be enabled/disabled after activation.")]
    StatisticsChange,
    #[error("Balloon: Requested memory should be less than {0}MiB")]
    BalloonTooLarge(u32),
    #[error("Balloon: Attempting to use hinting when not enabled")]
    HintingDisabled,
    #[error("Block: Virtio backend error: Error manipulating the backing file: {source} {path}")]
    File { path: String, source: io::Error },
    #[error("Metrics error: Failed to write metrics: {0}")]
    Metrics(#[source] io::Error),
    #[error(transparent)]
    Machine(#[from] crate::machine::MachineError),
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("Cannot start microvm without kernel configuration.")]
    NoKernel,
    #[error("Invalid kernel command line: {0}")]
    CommandLine(#[from] CommandLineError),
    #[error("Cannot open `{path}`: {source}")]
    Open { path: String, source: io::Error },
    #[error("Cannot create pmem device: {0}")]
    Pmem(#[source] io::Error),
    #[error("Cannot copy a descriptor: {0}")]
    Copy(#[from] io::Error),
    #[error("{0}")]
    Machine(#[from] crate::machine::MachineError),
}

/// Why something that is asked for is not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("Balloon config error: {0}")]
    Balloon(#[from] BalloonError),
    #[error("Balloon update error: {0}")]
    BalloonUpdate(#[source] DeviceError),
    #[error("Boot source error: {0}")]
    Boot(#[from] BootError),
    #[error("Drive config error: {0}")]
    Drive(#[from] DriveError),
    #[error("Pmem config error: {0}")]
    Pmem(#[from] PmemError),
    #[error("Memory hotplug config error: {0}")]
    MemoryHotplug(#[from] MemoryHotplugError),
    #[error("Memory hotplug update error: {0}")]
    MemoryHotplugUpdate(#[source] DeviceError),
    #[error("Internal VMM error: {0}")]
    Internal(#[from] DeviceError),
    #[error("Logger error: Failed to open target file: {0}")]
    Logger(#[source] io::Error),
    #[error("Machine config error: {0}")]
    Machine(#[from] MachineConfigError),
    #[error("Metrics error: {0}")]
    Metrics(#[from] crate::metrics::MetricsError),
    #[error("MMDS error: {0}")]
    Mmds(#[source] crate::mmds::MmdsError),
    #[error("MMMDS config error: {0}")]
    MmdsConfig(#[from] MmdsConfigError),
    #[error("MMDS limit exceeded error: {0}")]
    MmdsLimit(#[source] crate::mmds::MmdsError),
    #[error("Network config error: {0}")]
    Network(#[from] NetworkError),
    #[error("The requested operation is not supported: {0}")]
    NotSupported(&'static str),
    #[error("The requested operation is not supported after starting the microVM.")]
    PostBoot,
    #[error("The requested operation is not supported before starting the microVM.")]
    PreBoot,
    #[error("Start microvm error: {0}")]
    Start(#[from] StartError),
    #[error("Vsock config error: {0}")]
    Vsock(#[from] VsockError),
    #[error("PCI is not enabled")]
    NoPci,
}
