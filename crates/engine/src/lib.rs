//! The engine: the life of images and workloads. Every front end is a client of this library;
//! each workload has a keeper of its own ([`keeper`]), so that any of them may be killed at any
//! instant and no workload notices.
#![forbid(unsafe_code)]

pub mod cells;
pub mod dirs;
pub mod keeper;
pub mod record;
