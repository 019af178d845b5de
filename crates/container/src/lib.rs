//! The container level: namespaces, cgroups, mounts, capabilities and a filter around a process
//! on the host's own kernel. [`Container`] is the cell; [`launch`] starts processes, [`cgroup`]
//! limits and measures them, [`seccomp`] compiles their filter.
//!
//! `unsafe` is confined to the clone in [`launch`]: between clone and exec the child calls the
//! kernel and nothing else.

pub mod ahead;
mod cell;
pub mod cgroup;
pub mod erofs;
mod group;
pub mod home;
pub mod jail;
mod launch;
mod limits;
pub mod oci;
mod privilege;
mod probe;
mod resctrl;
pub mod rlimits;
pub mod seccomp;
mod systemd;

pub use cell::Container;
pub use gamut_plan::caps;
pub use launch::overlay::{Marks, empty_view, layers_view};
pub use launch::still::{still_root, user_of};
