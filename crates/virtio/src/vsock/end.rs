//! The host's end of a connection: a socket, or one end of a pipe, a file or a terminal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::net::Shutdown;

/// Which way bytes go, and what a half-closed stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Both, and either may end by itself.
    Socket,
    /// Both, as a terminal.
    Both,
    ToGuest,
    FromGuest,
}

#[derive(Debug)]
pub(super) struct End {
    fd: OwnedFd,
    way: Way,
}

impl End {
    /// # Errors
    /// Those of fcntl(2) and fstat(2).
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        if !flags.contains(OFlags::NONBLOCK) {
            rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        }
        let mode = rustix::fs::fstat(&fd)?.st_mode;
        let way = if FileType::from_raw_mode(mode) == FileType::Socket {
            Way::Socket
        } else if flags.contains(OFlags::RDWR) {
            Way::Both
        } else if flags.contains(OFlags::WRONLY) {
            Way::FromGuest
        } else {
            Way::ToGuest
        };
        Ok(Self { fd, way })
    }

    pub(super) fn is_to_guest(&self) -> bool {
        self.way != Way::FromGuest
    }

    pub(super) fn is_from_guest(&self) -> bool {
        self.way != Way::ToGuest
    }

    /// What is waited for.
    pub(super) fn interest(&self) -> EventFlags {
        let to_guest = EventFlags::IN | EventFlags::RDHUP;
        EventFlags::ET
            | match self.way {
                Way::Socket | Way::Both => to_guest | EventFlags::OUT,
                Way::ToGuest => to_guest,
                Way::FromGuest => EventFlags::OUT,
            }
    }

    /// Whether these events say that nobody is on the other side.
    pub(super) fn is_over(&self, events: EventFlags) -> bool {
        // A pipe without readers is an error; one without writers has an end, which is read.
        self.way == Way::FromGuest && events.intersects(EventFlags::ERR | EventFlags::HUP)
    }

    /// Whether this is how the end of a stream is told: a terminal's is an error.
    pub(super) fn is_end(&self, error: Errno) -> bool {
        self.way == Way::Both && error == Errno::IO
    }

    /// There is no more from the guest; `false` if nothing is left then.
    pub(super) fn end_output(&self) -> bool {
        match self.way {
            Way::Socket => {
                // It fails if the other side is gone, which is an event of its own.
                let _ = rustix::net::shutdown(&self.fd, Shutdown::Write);
                true
            }
            Way::Both | Way::ToGuest => true,
            Way::FromGuest => false,
        }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
