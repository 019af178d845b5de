//! Registries: what an image's name leads to, fetched over the OCI distribution specification 1.1.
//! The only room that knows TLS. Synchronous; a [`Client`] is shared between threads.
//!
//! - [`Client`]: manifests, configurations, blobs; logging in;
//! - [`BlobReader`]: one blob as a stream that outlives dropped connections;
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
mod error;
mod proxy;
mod retry;
mod session;
mod tls;
mod token;
mod transport;
mod url;

pub use blob::BlobReader;
pub use client::{Client, Fetched, Options, Resolved, registry_name};
pub use error::{Cause, Identity, RegistryError, Sent};
pub use retry::Patience;
pub use transport::Timeouts;
