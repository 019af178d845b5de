//! The drawing: what is to be run, as one immutable document ([`LaunchPlan`]), and the contract
//! that each way of isolating a workload fulfils ([`Cell`]). Pure: nothing here touches the host.
#![forbid(unsafe_code)]

pub mod caps;
pub mod cell;
pub mod draw;
pub mod egress;
pub mod failure;
pub mod frame;
pub mod guest;
pub mod health;
pub mod host;
pub mod launch;
pub mod level;
pub mod places;
pub mod request;
pub mod restart;
pub mod signal;
pub mod stats;
pub mod status;
pub mod suite;
pub mod sysctl;
pub mod wire;

pub use cell::{Cell, CellFds, Exit, Freezer, Limits, MAIN, ProcessId};
pub use host::{HostFacts, Missing};
pub use launch::{ExecPlan, LaunchPlan};
pub use level::Level;
pub use stats::Stats;
pub use status::{Phase, Status};
