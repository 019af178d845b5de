//! The conformance tests: what a user of `gamut` may rely on, tried on the binary from outside. A module
//! per promise; each test has a root and a host of its own ([`gamut_tests::Gamut`]).
//!
//! Those that need the large Debian images are in `apps`; the rest needs only the small ones and runs in
//! the machine with pure cgroup v2 as well. Those in `engines` need podman, docker and containerd (`lab/engines`).
#![forbid(unsafe_code)]

mod apps;
mod archives;
mod atomic;
mod changes;
mod clients;
mod compression;
mod copies;
mod dedupe;
mod disk;
mod drivers;
mod engines;
mod exec;
mod failures;
mod ground;
mod images;
mod kernels;
mod layers;
mod lazy;
mod lazy_index;
mod leaks;
mod lifecycle;
mod limits;
mod logs;
mod namespaces;
mod network;
mod oci;
mod oci_checkpoint;
mod oci_config;
mod oci_exec;
mod oci_hooks;
mod oci_host;
mod oci_mounts;
mod oci_rootless;
mod oci_security;
mod oci_spec;
mod oci_systemd;
mod oci_userns;
mod oci_words;
mod registries;
mod run;
mod seal;
mod security;
mod shares;
mod storage;
mod terminal;
mod trust;
