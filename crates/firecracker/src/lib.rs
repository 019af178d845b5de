//! Firecracker's door: its REST API over a Unix socket, its configuration file and its command line, in front
//! of `vmm`'s machine, so that what drives Firecracker drives gamut.
//!
//! | module | what it is |
//! |---|---|
//! | [`http`] | bytes to requests and back, and the server |
//! | [`model`] | the documents, as Firecracker's `firecracker.yaml` has them |
//! | [`action`] | what a request asks for |
//! | [`controller`], [`resources`] | what is done about it, before and after the start |
//! | [`machine`], [`kvm`] | the contract with what makes machines, and what makes them on KVM |
//! | [`mmds`] | the metadata service |
//! | [`log`], [`metrics`] | its lines |
//! | [`process`] | all of it as one process, from its command line to its exit status |
//!
//! The API has one thread; a machine has its own, and is only told and asked.
#![forbid(unsafe_code)]

pub mod action;
pub mod api;
pub mod controller;
pub mod http;
pub mod kvm;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod mmds;
pub mod model;
pub mod process;
pub mod resources;

/// The version of Firecracker whose API this is.
pub const API_VERSION: &str = "1.17.0";
/// What an instance says it is: clients look at it.
pub const APPLICATION: &str = "Firecracker";
