//! The serial port, a 16550A: where a kernel's messages go before it knows any other device.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::io::Errno;
use vm_superio::Trigger;

/// The port, and where its bytes go.
pub(super) struct Serial {
    port: vm_superio::Serial<Line, vm_superio::serial::NoEvents, Output>,
}

impl fmt::Debug for Serial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Serial")
    }
}

/// The interrupt: an eventfd.
struct Line(OwnedFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        // Only a counter at its end refuses, and that one is raised already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
        Ok(())
    }
}

/// A descriptor that does not block, or nothing. What it does not take is lost, as on a line that nobody
/// listens to: a vCPU never waits for whoever reads the messages.
struct Output(Option<OwnedFd>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(fd) = &self.0 {
            let _ = rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Serial {
    /// # Errors
    /// `EMFILE`, `ENOMEM`: an eventfd; those of fcntl(2).
    pub(super) fn new(output: Option<OwnedFd>) -> Result<Self, Errno> {
        if let Some(output) = &output {
            gamut_sys::socket::set_nonblocking(output)?;
        }
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let line = Line(rustix::event::eventfd(0, flags)?);
        Ok(Self {
            port: vm_superio::Serial::new(line, Output(output)),
        })
    }

    pub(super) fn event(&self) -> BorrowedFd<'_> {
        self.port.interrupt_evt().0.as_fd()
    }

    pub(super) fn read(&mut self, register: u8) -> u8 {
        self.port.read(register)
    }

    pub(super) fn write(&mut self, register: u8, value: u8) {
        // Neither the line nor the output fails.
        let _ = self.port.write(register, value);
    }

    /// Bytes for the guest, as far as there is room; how many that were.
    pub(super) fn enqueue(&mut self, bytes: &[u8]) -> usize {
        let room = self.port.fifo_capacity().min(bytes.len());
        self.port.enqueue_raw_bytes(&bytes[..room]).unwrap_or(0)
    }
}
