//! Outside documents as data: image references, digests, the OCI and Docker image types,
//! and the vocabulary of faults that every room shares. No I/O.
#![forbid(unsafe_code)]

pub mod digest;
pub mod fault;
pub mod image;
pub mod reference;

pub use digest::{Digest, DigestError};
pub use fault::{Fault, Kind};
pub use reference::{Reference, ReferenceError};
