//! The device models of a virtual machine: guest memory, queues, and the virtio devices over the
//! transport virtio-mmio. Virtual I/O Device (VIRTIO) Version 1.2 is cited by section throughout.
//!
//! The room knows no KVM and no event loop, so every device can be driven, and fuzzed, anywhere: a
//! machine maps [`memory::Memory`], puts each device behind an [`mmio::Mmio`], hands it what vCPUs read and
//! write, and waits for its descriptors. The guest is the attacker: whatever it puts into memory,
//! registers and rings, a device neither panics, hangs nor touches anything outside of guest memory.
//!
//! `unsafe` stands in `memory/io.rs` only.
#![deny(unsafe_code)]

pub mod balloon;
pub mod block;
mod chain;
pub mod console;
pub mod device;
pub mod entropy;
pub mod fs;
mod interrupt;
pub mod memory;
pub mod mmio;
pub mod net;
pub mod pmem;
mod queue;
pub mod rate;
mod timer;
pub mod vhost_user;
pub mod vsock;

#[cfg(test)]
mod driver;
