//! Unix packet sockets that carry descriptors: how the keeper is spoken to.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
};

/// How many descriptors one packet may carry.
pub const MAX_DESCRIPTORS: usize = 160;

/// A connected pair of packet sockets (SOCK_SEQPACKET), both close-on-exec.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// An address below an open directory: `sun_path` holds 108 bytes, which a long root would pass.
fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new(Path::new(&format!(
        "/proc/self/fd/{}/{name}",
        directory.as_raw_fd()
    )))
}

/// Listens on `name` in `directory`, replacing what an earlier, dead listener left there.
///
/// # Errors
/// Those of bind(2) and unlink(2).
pub fn listen(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    match rustix::fs::unlinkat(directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    let socket = packet_socket()?;
    rustix::net::bind(&socket, &address(directory, name)?)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

/// Connects to the listener `name` in `directory`.
///
/// # Errors
/// `ENOENT`: never listened; `ECONNREFUSED`: the listener is dead.
pub fn connect(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let socket = packet_socket()?;
    rustix::net::connect(&socket, &address(directory, name)?)?;
    Ok(socket)
}

fn packet_socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Whether a send may wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    Wait,
    /// `EAGAIN` instead.
    Now,
}

/// Sends one packet with descriptors; a peer that is gone is `EPIPE`, never a signal.
///
/// # Errors
/// `EAGAIN` on a full socket that may not wait; `EMSGSIZE` above the socket's buffer.
pub fn send(
    socket: BorrowedFd<'_>,
    parts: &[&[u8]],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    send_with(socket, parts, descriptors, Patience::Wait)
}

/// [`send`], with a word on waiting; a non-blocking socket never waits.
///
/// # Errors
/// As [`send`].
pub fn send_with(
    socket: BorrowedFd<'_>,
    parts: &[&[u8]],
    descriptors: &[BorrowedFd<'_>],
    patience: Patience,
) -> Result<(), Errno> {
    let mut slices = [IoSlice::new(&[]); 3];
    for (slice, part) in slices.iter_mut().zip(parts) {
        *slice = IoSlice::new(part);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    let flags = match patience {
        Patience::Wait => SendFlags::NOSIGNAL,
        Patience::Now => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    sendmsg(socket, &slices[..parts.len().min(3)], &mut control, flags)?;
    Ok(())
}

/// Receives one packet: its length (0: the peer has closed) and the descriptors it carried.
///
/// # Errors
/// `EAGAIN` on an empty non-blocking socket; `EMSGSIZE`: the packet is longer than `buffer`.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut descriptors = Vec::new();
    let length = receive_each(socket, buffer, |descriptor| descriptors.push(descriptor))?;
    Ok((length, descriptors))
}

/// [`receive`], with the descriptors given to `each`. Allocates nothing.
///
/// # Errors
/// As [`receive`].
pub fn receive_each(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    mut each: impl FnMut(OwnedFd),
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            received.for_each(&mut each);
        }
    }
    if message.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok(message.bytes)
}

/// Makes reads and writes on a descriptor return `EAGAIN` instead of waiting.
///
/// # Errors
/// `EBADF` only.
pub fn set_nonblocking(fd: impl AsFd) -> Result<(), Errno> {
    rustix::io::ioctl_fionbio(fd, true)
}
