//! Outside documents as data: image references, digests, the OCI and Docker image types,
//! and the vocabulary of faults that every room shares. No I/O.
#![forbid(unsafe_code)]

pub mod fault;

pub use fault::{Fault, Kind};
