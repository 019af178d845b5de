//! The engine: the life of images and workloads. Every front end is a client of this library
//! ([`Engine`]); each workload has a keeper of its own ([`keeper`]), so that any of them may be
//! killed at any instant and no workload notices.
#![forbid(unsafe_code)]

pub mod cells;
pub mod client;
pub mod create;
pub mod details;
mod device;
pub mod dirs;
pub mod doctor;
mod engine;
mod error;
pub mod explain;
mod host;
pub mod images;
pub mod info;
pub mod keeper;
pub mod logs;
mod names;
pub mod network;
pub mod pull;
pub mod record;
pub mod registry;
mod remove;
mod repair;
pub mod reset;
pub mod start;
mod volume;

pub use create::{CreateOptions, Created, Source};
pub use dirs::Dirs;
pub use engine::{Engine, Instance};
pub use error::EngineError;
pub use start::{Force, View};
