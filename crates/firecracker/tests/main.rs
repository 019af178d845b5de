//! The API over its socket, in front of a machine that only takes notes; and, where there is KVM, of one.

mod after;
mod before;
mod files;
mod kvm;
mod requests;
mod rig;
