//! Where networks are made: in this process's own network namespace; or, for root of a user's home, who
//! can do nothing to that one, in the home's.
//!
//! Who has gone into the home's network namespace does not come back, because the host's is not his. So it is
//! a thread of its own that goes, makes a socket or changes a setting, and ends: a socket stays where it was
//! made, whoever uses it.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::OnceLock;

use gamut_sys::netlink::{Error, Protocol, Socket};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::NetworkError;

static HOME: OnceLock<File> = OnceLock::new();

thread_local! {
    /// Whether this thread was sent somewhere, and is where it is to be.
    static SENT: Cell<bool> = const { Cell::new(false) };
}

/// Has networks made in another network namespace from now on, by its file.
///
/// # Errors
/// [`NetworkError::Enter`] if there is no such file.
pub fn set(namespace: &Path) -> Result<(), NetworkError> {
    if HOME.get().is_none() {
        let file = File::open(namespace)
            .map_err(|e| NetworkError::Enter(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
        let _ = HOME.set(file);
    }
    Ok(())
}

/// Whether networks are made elsewhere: who leaves this process's network namespace cannot come back.
pub(crate) fn is_elsewhere() -> bool {
    HOME.get().is_some()
}

/// Does what must be done where networks are made.
pub(crate) fn there<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetworkError> {
    match HOME.get() {
        Some(home) if !SENT.get() => sent(home.as_fd(), work),
        _ => Ok(work()),
    }
}

/// Whether a default route leads out of where networks are made (proc_pid_net(5), `route`).
///
/// # Errors
/// [`NetworkError::Enter`].
pub fn has_way_out() -> Result<bool, NetworkError> {
    there(|| {
        let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap_or_default();
        let mut destinations = routes
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        destinations.any(|destination| destination == "00000000")
    })
}

/// A socket where networks are made; in a thread that was sent somewhere, there.
pub(crate) fn socket(protocol: Protocol) -> Result<Socket, Error> {
    let there = there(|| Socket::open(protocol));
    there.unwrap_or_else(|error| {
        let errno = match error {
            NetworkError::Enter(errno) => errno,
            _ => Errno::PERM,
        };
        let call = "setns";
        Err(Error::Call { call, errno })
    })
}

/// Does it in a thread of its own, which goes to `namespace` for good.
pub(crate) fn sent<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetworkError> {
    let gone = || {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(NetworkError::Enter)?;
        SENT.set(true);
        Ok(work())
    };
    aside(gone)?
}

/// Does it in a thread of its own.
pub(crate) fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetworkError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, work);
        let thread = thread.map_err(|_| NetworkError::Enter(Errno::AGAIN))?;
        thread.join().map_err(|_| NetworkError::Enter(Errno::IO))
    })
}
