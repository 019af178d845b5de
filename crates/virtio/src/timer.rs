//! A timer that is one of a device's sources: timerfd_create(2). It rings once, and is set again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// One that is not set.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub(crate) fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        timerfd_create(TimerfdClockId::Monotonic, flags).map(Self)
    }

    /// Readable when it has rung. Nobody reads it: to set it makes the next edge.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Rings after so long, from now; `None`, or no time at all, is never.
    pub(crate) fn set(&self, pause: Option<Duration>) {
        const NEVER: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let when = Itimerspec {
            it_interval: NEVER,
            it_value: pause
                .and_then(|pause| Timespec::try_from(pause).ok())
                .unwrap_or(NEVER),
        };
        // It can fail for a bad time or a bad descriptor only (timerfd_create(2)); neither is there.
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &when);
    }
}
