//! The real engines with gamut as their only runtime. They have to be up, as `lab/engines` brings them;
//! else these are skipped. Configured with `tests/engines/etc`, which is what the documentation says to write.
//!
//! A module per engine. What one engine's feature is, is asked of the engine, of the kernel from outside,
//! and of the inside.

mod archives;
mod buildah;
mod containerd;
mod cri;
mod docker;
mod podman;
mod trust;
