//! Trust: whether an image may be used, as the host's policy says (containers-policy.json(5)), and
//! what its signatures are worth. Everything here judges bytes; whoever asks fetches them.
//!
//! | module | what it knows |
//! |---|---|
//! | [`policy`] | the document: what is required of images of a scope |
//! | [`identity`] | whether a signature speaks of the image that was asked for |
//! | [`payload`] | what was signed: container-signature(5) |
//! | [`openpgp`] | simple signing: signed messages and keyrings (RFC 4880, RFC 9580) |
//! | [`sigstore`] | cosign: keys, Fulcio's certificates, Rekor's promises, bundles |
//! | [`statement`] | what somebody states of an image: SBOMs, provenances |
//! | [`lookaside`] | where simple signatures lie: containers-registries.d(5) |
//!
//! It fails closed: what is not understood, in a policy or in a signature, is a refusal.
#![forbid(unsafe_code)]

mod document;
mod error;
pub mod identity;
pub mod lookaside;
pub mod openpgp;
pub mod payload;
pub mod policy;
pub mod sigstore;
pub mod statement;
mod verdict;

pub use error::{PolicyError, TrustError};
pub use policy::{Policy, Requirement};
pub use verdict::{Pulled, SigstoreSignature, Source};

/// Bytes of one signature, bundle or key file; honest ones have a few thousand.
pub const SIGNATURE_LIMIT_BYTES: u64 = 1 << 20;
/// Signatures of one image that are looked at.
pub const SIGNATURES_LIMIT: usize = 128;
