//! ttrpc, the little gRPC that containerd speaks with its shims: `PROTOCOL.md` of containerd/ttrpc.
//!
//! Frames of ten bytes and a message ([`frame`]); the side that answers calls ([`peer`]) and one that makes
//! them ([`caller`]). Unary calls only: the task service has no others.

pub mod caller;
pub mod frame;
pub mod peer;
