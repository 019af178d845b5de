//! Virtual machines: KVM's vCPUs, boot, devices, and QEMU's emulation where there is no usable KVM.
//!
//! [`machine::Machine`] is a machine on KVM: memory, vCPUs, and devices of the room `virtio`; [`boot`] is
//! how a Linux kernel begins in it. The [`monitor`] is a process of its own, jailed by whoever starts it,
//! that has one machine; it is told what to be by [`wire`]. [`probe`] says whether there is a KVM to use.
//! [`cell`] is the isolation level that is made of it.
#![deny(unsafe_code)]

pub mod boot;
pub mod cell;
pub mod initramfs;
pub mod machine;
pub mod monitor;
pub mod probe;
pub mod program;
pub mod qemu;
pub mod seccomp;
pub mod wire;
