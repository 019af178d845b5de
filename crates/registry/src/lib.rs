//! Registries: what an image's name leads to, fetched over the OCI distribution specification 1.1.
//! The only room that knows TLS. Synchronous; a [`Client`] is shared between threads.
//!
//! - [`Client`]: manifests, configurations, blobs; logging in; in `push` what goes up, in `list` tags,
//!   referrers, searches;
//! - [`Relay`]: one blob on its way to another registry;
//! - [`BlobReader`]: one blob as a stream that outlives dropped connections;
//! - [`download`]: a file by its URL, which need not be a registry's;
//! - [`auth`]: whose credentials are shown, and where they are kept.
//!
//! From the outside in: `client` knows documents and digests, `session` knows one registry
//! (its scheme, its challenge, its tokens, its redirects), `transport` knows one HTTP exchange.
//!
//! The registry and everything on the way to it is an attacker. Sizes are bounded before memory is,
//! documents are hashed here, blobs by who stores them; credentials go to the registry they belong
//! to and to the token server it names, never along a redirect, and never from TLS to plain text.
#![forbid(unsafe_code)]

pub mod auth;
mod blob;
mod challenge;
mod client;
mod download;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod hash;
mod list;
mod proxy;
mod push;
mod relay;
mod retry;
mod session;
mod tls;
mod token;
mod transport;
mod url;

pub use blob::BlobReader;
pub use client::{Client, Fetched, Options, Resolved, registry_name};
pub use download::{DownloadError, download, is_url};
pub use error::{Cause, Identity, RegistryError, Sent};
pub use list::{Found, MAX_LIST_BYTES, MAX_LIST_ENTRIES, referrers_tag};
pub use push::{CHUNK_BYTES, Mounted, Put, Subject};
pub use relay::Relay;
pub use retry::Patience;
pub use transport::{Content, Timeouts};
