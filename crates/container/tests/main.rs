//! The integration tests of the container room, in one binary.

mod cgroup;
mod cgroup_fake;
