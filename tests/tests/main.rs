//! The conformance tests: what a user of `gamut` may rely on, tried on the binary from outside. A module
//! per promise; each test has a root and a host of its own ([`gamut_tests::Gamut`]).
//!
//! Those that need the large Debian images are in `apps`; the rest needs only the small ones and runs in
//! the machine with pure cgroup v2 as well. Those in `engines` need podman, docker and containerd (`lab/engines`).
#![forbid(unsafe_code)]

mod accounts;
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
mod egress;
mod engines;
mod events;
mod exec;
mod failure;
mod failures;
mod faults;
mod flags;
mod ground;
mod health;
mod images;
mod init;
mod joining;
mod kernels;
mod layers;
mod lazy;
mod lazy_index;
mod leaks;
mod lifecycle;
mod limits;
mod logs;
mod names;
mod namespaces;
mod network;
mod networks;
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
mod pods;
mod registries;
mod restart;
mod rootless;
mod run;
mod seal;
mod secrets;
mod security;
mod shares;
mod storage;
mod system;
mod terminal;
mod trust;
mod verbs;
mod volumes;
mod which;
