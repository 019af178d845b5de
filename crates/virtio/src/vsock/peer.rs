//! Who is on the host's side: a [`Peer`] says what the guest reaches by a port, and where the host's
//! programs reach the guest.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The host's side of a vsock device. None of it waits.
pub trait Peer: Send + fmt::Debug {
    /// What the guest's connection to a port of the host is joined with: a stream socket, or something
    /// that goes one way only, as one end of a pipe, or a file. It is set to not block (`O_NONBLOCK`), which
    /// whoever else has the same open file finds, too.
    ///
    /// `None`: nobody is there, and the guest is refused.
    fn connect(&mut self, port: u32) -> Option<OwnedFd>;

    /// Where a program of the host connects and says `CONNECT PORT\n` to reach that port of the guest; it
    /// then reads `OK HOST_PORT\n`. The same one each time.
    fn listener(&self) -> Option<&UnixListener> {
        None
    }
}

/// As Firecracker: the host's programs connect to the socket `path`, and a guest that connects to port N
/// reaches the socket `path_N`.
#[derive(Debug)]
pub struct UnixSockets {
    path: PathBuf,
    listener: UnixListener,
}

impl UnixSockets {
    /// `listener` is bound to `path`.
    #[must_use]
    pub fn new(path: PathBuf, listener: UnixListener) -> Self {
        Self { path, listener }
    }

    /// `EAGAIN`: the listener's backlog is full, and nobody waits for it here.
    fn dial(&self, port: u32) -> Result<OwnedFd, Errno> {
        let mut path = OsString::from(&self.path);
        path.push(format!("_{port}"));
        let address = SocketAddrUnix::new(PathBuf::from(path))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket)
    }
}

impl Peer for UnixSockets {
    fn connect(&mut self, port: u32) -> Option<OwnedFd> {
        self.dial(port).ok()
    }

    fn listener(&self) -> Option<&UnixListener> {
        Some(&self.listener)
    }
}
