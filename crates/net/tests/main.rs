//! The room `net` against the kernel: whole networks in namespaces of their own.
//!
//! Each test's thread moves into an empty network namespace that stands for the host; others stand
//! for an outside client and for containers. Nothing of the machine's own network is touched.

mod forwarding;
mod isolation;
mod lab;
mod lifetime;
mod publishing;
mod reach;
mod resolving;
