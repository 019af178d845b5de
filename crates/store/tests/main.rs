//! Integration tests of the store, with real files, real overlay mounts and real processes.

mod bench;
mod database;
mod faults;
mod hostile;
mod images;
mod repair;
mod roundtrip;
mod snapshot;
