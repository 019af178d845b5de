//! Control groups of version 1, hybrid hosts and version 2 behind one type.
//!
//! [`Hierarchies`] says what this host has. A [`Cgroup`] is one group of ours in each hierarchy
//! that is needed: made by [`Cgroup::create`], limited by [`Cgroup::apply`], entered by
//! [`Cgroup::attach`], [`Cgroup::attach_files`] or clone3's `CLONE_INTO_CGROUP`
//! ([`Cgroup::clone_into`]), measured by [`Cgroup::stats`] and taken away by [`Cgroup::remove`].
//! Nothing outside of the group's own path is ever changed, except that groups above it are made
//! and, on v2, share their controllers out.
//!
//! A file per controller turns OCI limits into writes for both versions, which [`write`] carries
//! out. Every file is reached from the descriptor of an open group ([`dir`]), so a directory with
//! made-up files serves as a v2 host in tests.

mod adopt;
mod below;
mod block;
mod cause;
mod controller;
mod convert;
mod cpu;
mod cpuset;
mod delegate;
pub mod device_policy;
mod device_program;
mod devices;
mod dir;
mod discover;
mod error;
mod files;
mod freeze;
mod group;
mod hugetlb;
mod limits;
mod memory;
mod pids;
mod processes;
mod remove;
mod stats;
mod tree;
mod unified;
mod write;

pub(crate) use convert::{Bound, cpu_weight, io_weight, swap_alone};

pub use below::Below;
pub use controller::{Controller, ControllerSet};
pub use discover::{Extent, Hierarchies, Hierarchy, Mode, Version};
pub use error::{Cause, CgroupError, Warning};
pub use files::LimitFile;
pub use group::Cgroup;
pub use limits::Needs;
pub use stats::{Pressure, PressureLine, Stall};
