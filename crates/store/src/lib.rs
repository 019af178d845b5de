//! The store: images on disk and the state of everything, shared by processes without a daemon.
//!
//! | module | what it keeps |
//! |---|---|
//! | [`blob`] | manifests and configs, by digest: `blobs/sha256/<hex>` |
//! | [`ingest`] | downloads in progress: `ingest/<hex>` |
//! | [`layer`], [`unpack`] | unpacked layers: `layers/<16 digits>/`, with `layer.json` and `fs/` or `layer.erofs` |
//! | [`erofs`] | the latter: a layer as one file system image |
//! | [`lazy`] | the same, used before its last byte is here |
//! | [`reproduce`] | a layer's archive again: `layers/<16 digits>/tar-split.zst` |
//! | [`pack`] | an archive compressed for a registry: a file without a name |
//! | [`mod@tar`], [`extract`] | trees as tar archives, and back: `commit`, `export`, `cp` |
//! | [`members`], [`compare`] | the files of an image's archive; what differs between two trees |
//! | [`snapshot`] | containers' roots: `containers/<id>/{upper,work}`; merged images: `merged/<chain id>` |
//! | [`db`] | images, containers, networks: `state.db` |
//!
//! [`Store`] ties them together: recording and removing images ([`gc`]), and putting right what a
//! killed process or a power cut has left ([`repair`]). Nothing here mounts, and nothing here logs.
#![forbid(unsafe_code)]

pub mod account;
pub mod blob;
pub mod compare;
pub mod copy;
pub mod db;
mod decompress;
pub mod erofs;
pub mod extract;
mod extract_error;
mod file_error;
#[doc(hidden)]
pub mod fuzzing;
pub mod gc;
mod hash;
pub mod ingest;
pub mod layer;
pub mod lazy;
pub mod members;
pub mod pack;
mod pin;
pub mod place;
mod proof;
pub mod repair;
pub mod reproduce;
pub mod seal;
pub mod share;
pub mod snapshot;
mod store;
pub mod tar;
mod tree;
pub mod unpack;
pub mod verify;
mod walk;

pub use file_error::FileError;
pub use gamut_spec::digest::{Digest, DigestError};
pub use pin::TemporaryDirectory;
pub use store::{DEFAULT_ROOT, Durability, Store, StoreError};
