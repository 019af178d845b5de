//! Firecracker's documents: what requests bring and answers give, with the field names and the words of its
//! own parser (`src/vmm/src/vmm_config` of its repository; `swagger/firecracker.yaml`). Unknown fields are
//! refused wherever it refuses them.

mod balloon;
mod boot;
mod document;
mod drive;
mod instance;
mod machine;
mod metadata;
mod network;
mod others;
mod rate;
mod snapshot;

pub use balloon::{Balloon, BalloonInterval, BalloonStatistics, BalloonTarget, HintingStart};
pub use boot::{BootSource, DEFAULT_COMMAND_LINE};
pub use document::{CpuConfigOrPath, FullConfig};
pub use drive::{CacheType, Drive, DriveUpdate, IoEngine, Pmem, PmemUpdate};
pub use instance::{
    InstanceInfo, InstanceState, Instruction, InstructionKind, Running, RunningState,
};
pub use machine::{CpuTemplate, HugePages, Machine, MachineUpdate, VCPUS_MAX};
pub use metadata::{MmdsConfig, MmdsVersion};
pub use network::{Mac, Network, NetworkUpdate};
pub use others::{
    CpuConfig, Entropy, Level, LevelError, Logger, MemoryHotplug, MemoryHotplugSize, Metrics,
    Serial, Vsock,
};
pub use rate::{Bucket, RateLimiter};
pub use snapshot::{SnapshotCreate, SnapshotLoad, SnapshotLoadRequest, SnapshotRequestError};
