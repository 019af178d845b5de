//! The agent's epoll set, and whose a descriptor in it is.

use std::os::fd::{AsFd, OwnedFd};

use gamut_plan::ProcessId;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Which side of a pump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    From,
    To,
}

/// What a descriptor belongs to; packed into the 64 bits that epoll keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Control,
    Process(ProcessId),
    Pump(u32, Side),
}

impl Source {
    fn to_data(self) -> EventData {
        let (kind, number) = match self {
            Source::Control => (0u64, 0),
            Source::Process(id) => (1, id),
            Source::Pump(id, Side::From) => (2, id),
            Source::Pump(id, Side::To) => (3, id),
        };
        EventData::new_u64(kind << 32 | u64::from(number))
    }

    pub(crate) fn of(event: &Event) -> Option<Source> {
        let raw = event.data.u64();
        let number = (raw & 0xffff_ffff) as u32;
        match raw >> 32 {
            0 => Some(Source::Control),
            1 => Some(Source::Process(number)),
            2 => Some(Source::Pump(number, Side::From)),
            3 => Some(Source::Pump(number, Side::To)),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Poll(OwnedFd);

impl Poll {
    pub(crate) fn new() -> Result<Self, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Poll)
    }

    /// Waits for `flags` on `fd`, in place of what was waited for before; that the other side is gone is
    /// told in any case.
    pub(crate) fn watch(
        &self,
        fd: impl AsFd,
        source: Source,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        match epoll::add(&self.0, fd.as_fd(), source.to_data(), flags) {
            Err(Errno::EXIST) => epoll::modify(&self.0, fd.as_fd(), source.to_data(), flags),
            other => other,
        }
    }

    /// To be called before a descriptor is closed: a copy of it, in a child that is about to execute its
    /// program, would keep it in the set. One that is not in it is fine.
    pub(crate) fn forget(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd.as_fd());
    }

    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout_ns: Option<u64>,
    ) -> Result<(), Errno> {
        events.clear();
        let timeout = timeout_ns.map(|ns| Timespec {
            tv_sec: (ns / 1_000_000_000) as i64,
            tv_nsec: (ns % 1_000_000_000) as i64,
        });
        let room = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.0, room, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
