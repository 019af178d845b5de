//! The container level.

pub mod cgroup;
