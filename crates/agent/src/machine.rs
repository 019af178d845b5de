//! What the agent asks of the machine that it is in.

use std::os::fd::OwnedFd;

use gamut_plan::cell::CellError;
use gamut_plan::guest::{GuestMount, GuestNetwork};
use rustix::io::Errno;

/// A machine around an agent: [`crate::Guest`], or in tests a double on the host.
pub trait Machine {
    /// A connection to what the host has put behind a port.
    ///
    /// # Errors
    /// Nobody is behind it.
    fn dial(&self, port: u32) -> Result<OwnedFd, Errno>;

    /// # Errors
    /// The mount could not be made.
    fn mount(&self, mount: &GuestMount) -> Result<(), CellError>;

    /// Sets the wall clock, in nanoseconds since the epoch.
    ///
    /// # Errors
    /// The kernel refuses.
    fn set_clock(&self, time_ns: u64) -> Result<(), CellError>;

    /// Gives the kernel bytes that nobody else knows.
    ///
    /// # Errors
    /// The kernel refuses.
    fn add_entropy(&self, bytes: &[u8]) -> Result<(), CellError>;

    /// Puts the loopback up, and the interface that is meant.
    ///
    /// # Errors
    /// It is not there, or something of it is refused.
    fn connect(&self, network: Option<&GuestNetwork>) -> Result<(), CellError>;

    /// Writes everything back that is not where it belongs yet.
    fn sync(&self);

    /// The end.
    fn power_off(&self);
}
