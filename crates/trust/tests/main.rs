//! The room against the real tools: what `gpg` and `openssl` sign is checked, and nothing else is
//! taken for it.

mod gpg;
mod policy;
mod sigstore;
mod tools;
