//! The engine: the life of images and workloads. Every front end is a client of this library
//! ([`Engine`]); each workload has a keeper of its own ([`keeper`]), so that any of them may be
//! killed at any instant and no workload notices. What a lazy pull leaves out, one [`filler`] fetches.
#![forbid(unsafe_code)]

pub mod attestations;
pub mod cells;
pub mod client;
pub mod commit;
pub mod copy;
pub mod cp;
pub mod create;
pub mod details;
mod device;
pub mod diff;
pub mod dirs;
pub mod doctor;
mod engine;
mod error;
pub mod explain;
mod export;
pub mod file_server;
pub mod filler;
pub mod history;
mod host;
pub mod image_extras;
mod image_mounts;
pub mod images;
pub mod import;
pub mod info;
pub mod keeper;
pub mod kernel;
pub mod lazy_index;
pub mod lists;
pub mod load;
pub mod logs;
pub mod machine;
pub mod made;
mod names;
pub mod network;
pub mod prune;
pub mod pull;
pub mod push;
pub mod record;
pub mod referrers;
pub mod registries;
pub mod registry;
mod remove;
mod repair;
pub mod reset;
mod roots;
pub mod save;
pub mod search;
pub mod start;
pub mod storage;
pub mod storage_options;
pub mod trust;
pub mod trust_policy;
pub mod usage;
pub mod verify;
mod volume;

pub use create::{CreateOptions, Created, Source};
pub use dirs::Dirs;
pub use engine::{Engine, Instance};
pub use error::EngineError;
pub use start::{Force, View};
