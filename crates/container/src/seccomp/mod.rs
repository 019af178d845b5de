//! Seccomp: which system calls a container may make.
//!
//! A [`Policy`] comes from Docker's default ([`default`]), a profile file in Docker's JSON form
//! ([`profile`]) or an OCI runtime spec ([`policy`]). [`compile`] turns it into a classic BPF
//! program: first the architecture, then a balanced tree over ranges of call numbers with one
//! verdict, so that a call is decided in about ten instructions and the kernel can see that most
//! calls are always allowed. [`cache`] keeps compiled programs in files; [`verdict`] says in words
//! what a policy does. [`gamut_sys::seccomp`] attaches the program.
//!
//! The meaning of a policy is that of runc with libseccomp, the deviations are listed at
//! [`Policy::evaluate`].

pub mod arch;
mod assemble;
pub mod cache;
pub mod compile;
pub mod default;
mod errno;
mod error;
#[cfg(test)]
mod interp;
#[cfg(test)]
mod live;
mod numbers;
#[cfg(test)]
mod oracle;
mod pieces;
pub mod policy;
pub mod profile;
pub mod rule;
pub mod table;
pub mod verdict;

pub use arch::{Arch, KernelVersion};
pub use cache::{Loaded, Origin, Profile, load};
pub use compile::compile;
pub use error::SeccompError;
pub use policy::Policy;
pub use profile::Subject;
pub use rule::{Action, Condition, Rule, Test};
pub use table::Syscall;
