//! The store: images on disk and the state of everything, shared by processes without a daemon.
//!
//! | module | what it keeps |
//! |---|---|
//! | [`blob`] | manifests and configs, by digest: `blobs/sha256/<hex>` |
//! | [`ingest`] | downloads in progress: `ingest/<hex>` |
//! | [`layer`], [`unpack`] | unpacked layers: `layers/<16 digits>/{fs,layer.json}` |
//! | [`snapshot`] | containers' roots: `containers/<id>/{upper,work}` |
//! | [`db`] | images, containers, networks: `state.db` |
//!
//! [`Store`] ties them together: recording and removing images ([`gc`]), and putting right what a
//! killed process or a power cut has left ([`repair`]). Nothing here mounts, and nothing here logs.
#![forbid(unsafe_code)]

pub mod blob;
pub mod db;
mod file_error;
pub mod gc;
mod hash;
pub mod ingest;
pub mod layer;
mod pin;
pub mod repair;
pub mod snapshot;
mod store;
mod tree;
pub mod unpack;

pub use file_error::FileError;
pub use gamut_spec::digest::{Digest, DigestError};
pub use store::{DEFAULT_ROOT, Durability, Store, StoreError};
