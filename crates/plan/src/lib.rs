//! The drawing: what is to be run, as one immutable document, and the contract that each way
//! of isolating a workload fulfils. Pure: nothing here touches the host.
#![forbid(unsafe_code)]

pub mod stats;

pub use stats::Stats;
