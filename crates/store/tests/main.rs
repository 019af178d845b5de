//! Integration tests of the store, with real files, real overlay mounts and real processes.

mod bench;
mod database;
mod erofs;
mod erofs_compressed;
mod erofs_large;
mod erofs_merge;
mod erofs_read;
mod faults;
mod hostile;
mod images;
mod lazy;
mod listing;
mod mounted;
mod proof;
mod repair;
mod reproduce;
mod roundtrip;
mod snapshot;
mod stacks;
