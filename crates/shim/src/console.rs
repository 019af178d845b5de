//! The socket over which an OCI runtime hands out the master side of a container's terminal
//! (`--console-socket`; `docs/terminals.md` of runc).

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::ShimError;

/// How long the terminal may take after the runtime has said that it is done.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// A listening socket with a name; the name goes with it.
#[derive(Debug)]
pub struct ConsoleSocket {
    socket: OwnedFd,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens in `directory`, whose path must be short: a socket's address has 108 bytes, and a bundle's
    /// path can be longer. `number` is nobody else's in this process.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2).
    pub fn listen(directory: &Path, number: u64) -> Result<ConsoleSocket, ShimError> {
        let path = directory.join(format!("pty-{}-{number}", std::process::id()));
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let listening = || {
            // Of a shim that was killed and had our process id.
            match rustix::fs::unlink(&path) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            rustix::net::bind(&socket, &SocketAddrUnix::new(&path)?)?;
            rustix::net::listen(&socket, 1)
        };
        listening().map_err(|errno| ShimError::file(&path, errno))?;
        Ok(ConsoleSocket { socket, path })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal that the runtime has sent.
    ///
    /// # Errors
    /// [`ShimError::Console`].
    pub fn receive(&self) -> Result<OwnedFd, ShimError> {
        let receive = || {
            await_readable(&self.socket)?;
            let connection = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC)?;
            await_readable(&connection)?;
            // With it comes a name, which nobody needs.
            let (_, descriptors) =
                gamut_sys::socket::receive(connection.as_fd(), &mut [0u8; 4096])?;
            descriptors.into_iter().next().ok_or(Errno::NODATA)
        };
        receive().map_err(ShimError::Console)
    }
}

fn await_readable(fd: &OwnedFd) -> Result<(), Errno> {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&PATIENCE)))? {
        0 => Err(Errno::TIMEDOUT),
        _ => Ok(()),
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
