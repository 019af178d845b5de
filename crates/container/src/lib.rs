//! The container level.

pub mod cgroup;
pub mod rlimits;
