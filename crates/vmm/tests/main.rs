//! The room's tests with a KVM, whatever it is: small programs of our own in place of a kernel run even
//! where ring 0 is emulated. `boot` has a real kernel.

mod boot;
mod machine;
mod monitor;
mod payloads;
mod qemu;
mod seccomp;
