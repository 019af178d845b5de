//! How a device reaches the driver: a line that the machine ties to an interrupt, and the bits that say
//! what it was for; VIRTIO 1.2, 4.2.2 (InterruptStatus) and 2.1 (DEVICE_NEEDS_RESET).

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::EventfdFlags;
use rustix::io::Errno;

/// InterruptStatus: a buffer was used.
const USED_BUFFER: u32 = 1;
/// InterruptStatus: the configuration, or the device's own part of the status, has changed.
const CONFIG_CHANGE: u32 = 2;

/// A handle to one device's interrupt; clones are the same one.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<State>);

#[derive(Debug)]
struct State {
    line: Line,
    status: AtomicU32,
    needs_reset: AtomicBool,
    /// Somebody else raises the line for used buffers, and sets no bit here.
    is_lent: AtomicBool,
}

#[derive(Debug)]
enum Line {
    Own(Arc<OwnedFd>),
    /// An eventfd of a vhost-user front end's, who may give another one at any time.
    Caller(Mutex<Option<OwnedFd>>),
}

impl Interrupt {
    /// With an eventfd that the machine ties to an interrupt.
    pub(crate) fn new(line: Arc<OwnedFd>) -> Self {
        Self::with(Line::Own(line))
    }

    /// Without a line until there is a caller.
    pub(crate) fn called() -> Self {
        Self::with(Line::Caller(Mutex::new(None)))
    }

    fn with(line: Line) -> Self {
        Self(Arc::new(State {
            line,
            status: AtomicU32::new(0),
            needs_reset: AtomicBool::new(false),
            is_lent: AtomicBool::new(false),
        }))
    }

    /// Who is told from now on; for an interrupt that was made by [`Interrupt::called`].
    pub(crate) fn set_caller(&self, caller: Option<OwnedFd>) {
        if let Line::Caller(current) = &self.0.line {
            *current.lock().unwrap_or_else(PoisonError::into_inner) = caller;
        }
    }

    /// Another handle to the line, for a process that serves the queues and tells the driver by itself.
    /// It cannot set the bit of a used buffer, so this is set from now on: a driver that finds it without
    /// reason looks at its queues in vain.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(crate) fn lend(&self) -> Result<OwnedFd, Errno> {
        let Line::Own(line) = &self.0.line else {
            return Err(Errno::INVAL);
        };
        let line = rustix::io::fcntl_dupfd_cloexec(line, 0)?;
        self.0.is_lent.store(true, Ordering::SeqCst);
        Ok(line)
    }

    pub(crate) fn used_buffer(&self) {
        self.raise(USED_BUFFER);
    }

    pub(crate) fn config_change(&self) {
        self.raise(CONFIG_CHANGE);
    }

    /// The driver has broken the rules so that the device cannot go on: nothing but a reset helps.
    pub(crate) fn needs_reset(&self) {
        self.0.needs_reset.store(true, Ordering::SeqCst);
        self.raise(CONFIG_CHANGE);
    }

    pub(crate) fn is_reset_needed(&self) -> bool {
        self.0.needs_reset.load(Ordering::SeqCst)
    }

    pub(crate) fn status(&self) -> u32 {
        let lent = if self.0.is_lent.load(Ordering::SeqCst) {
            USED_BUFFER
        } else {
            0
        };
        self.0.status.load(Ordering::SeqCst) | lent
    }

    pub(crate) fn acknowledge(&self, bits: u32) {
        self.0.status.fetch_and(!bits, Ordering::SeqCst);
    }

    pub(crate) fn reset(&self) {
        self.0.status.store(0, Ordering::SeqCst);
        self.0.needs_reset.store(false, Ordering::SeqCst);
        self.0.is_lent.store(false, Ordering::SeqCst);
    }

    fn raise(&self, bit: u32) {
        self.0.status.fetch_or(bit, Ordering::SeqCst);
        match &self.0.line {
            Line::Own(line) => notify(line),
            Line::Caller(caller) => {
                let caller = caller.lock().unwrap_or_else(PoisonError::into_inner);
                caller.iter().for_each(notify);
            }
        }
    }
}

/// A non-blocking eventfd(2).
pub(crate) fn event() -> Result<OwnedFd, Errno> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Adds one. Only a counter at its end refuses, and that one is raised already.
pub(crate) fn notify(event: &OwnedFd) {
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}
