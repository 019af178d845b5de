//! One netlink socket: requests out, answers checked against them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::message::Requests;
use super::parse::{Malformed, Messages, Reply};
use super::{Error, Refusal, flag, kind};

/// The kernel makes no answer longer than this (`NLMSG_GOODSIZE` and, for dumps, 32 KiB: netlink
/// in `net/netlink/af_netlink.c` caps a dump's datagram there).
const BUFFER_BYTES: usize = 32 * 1024;
/// Below the smallest default of `net.core.wmem_default`; more needs a larger send buffer.
const SEND_BUFFER_BYTES: usize = 96 * 1024;
/// How often a listing that changes under way is begun again.
const DUMP_ATTEMPTS: usize = 16;
/// How many datagrams are read in one go of what comes unasked.
const DATAGRAMS: usize = 64;

/// The netlink protocols that gamut speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// Packet filters and connection tracking: `linux/netfilter/nfnetlink.h`.
    Netfilter,
}

/// A netlink socket of the network namespace in which it was opened; it stays there even if the
/// thread moves on.
///
/// The kernel handles what is sent before `sendto` returns, so nothing here ever waits: an answer
/// is there at once or never comes ([`Error::Unanswered`]).
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace. Needs no privilege; most requests
    /// that write need `CAP_NET_ADMIN`.
    pub fn open(protocol: Protocol) -> Result<Socket, Error> {
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            match protocol {
                // NETLINK_ROUTE is 0, which `rustix` spells as no protocol.
                Protocol::Route => None,
                Protocol::Netfilter => Some(netlink::NETFILTER),
            },
        )
        .map_err(|errno| Error::Call {
            call: "socket",
            errno,
        })?;
        let socket = Socket {
            fd,
            sequence: 0,
            buffer: Vec::new(),
        };
        // Both only make refusals more readable; a kernel without them still works.
        socket.enable(libc::NETLINK_EXT_ACK);
        socket.enable(libc::NETLINK_CAP_ACK);
        Ok(socket)
    }

    /// Sends requests that change something and waits for the last one's acknowledgement. Gives
    /// what the kernel refused; in a transaction, any refusal means that nothing was done.
    pub fn run(&mut self, requests: &mut Requests) -> Result<Vec<Refusal>, Error> {
        self.exchange(requests, flag::ACK, |_| Ok(()))
    }

    /// Like [`Socket::run`]; the first refusal is an error.
    pub fn run_all(&mut self, requests: &mut Requests) -> Result<(), Error> {
        match self.run(requests)?.into_iter().next() {
            Some(refusal) => Err(Error::Refused(refusal)),
            None => Ok(()),
        }
    }

    /// Sends requests that each read one object; `each` sees the answers with the index of their
    /// request. Gives what the kernel refused, `ENOENT` for objects that do not exist.
    pub fn query(
        &mut self,
        requests: &mut Requests,
        mut each: impl FnMut(usize, &Reply<'_>) -> Result<(), Malformed>,
    ) -> Result<Vec<Refusal>, Error> {
        let first = self.sequence.wrapping_add(1);
        self.exchange(requests, 0, |reply| {
            each(reply.sequence.wrapping_sub(first) as usize, reply)
        })
    }

    /// Lists objects: `build` adds the one request (with [`flag::DUMP`]), `each` sees every object.
    /// A listing that changed under way is begun again: `each` is then called with `None` first.
    pub fn dump(
        &mut self,
        build: impl Fn(&mut Requests),
        mut each: impl FnMut(Option<&Reply<'_>>) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        for attempt in 0..DUMP_ATTEMPTS {
            if attempt > 0 {
                each(None)?;
            }
            let mut requests = Requests::new();
            build(&mut requests);
            let first = self.send(&mut requests, 0)?;
            if self.read_dump(first, &mut each)? {
                return Ok(());
            }
        }
        Err(Error::Unsteady)
    }

    /// What the kernel has said by itself, without a request: a limited number of datagrams.
    pub fn heard(
        &mut self,
        mut each: impl FnMut(&Reply<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        for _ in 0..DATAGRAMS {
            if !self.receive()? {
                break;
            }
            for reply in Messages::new(&self.buffer) {
                each(&reply?)?;
            }
        }
        self.buffer = Vec::new();
        Ok(())
    }

    /// Reads to the end of a dump. Gives whether it is consistent.
    fn read_dump(
        &mut self,
        sequence: u32,
        each: &mut impl FnMut(Option<&Reply<'_>>) -> Result<(), Malformed>,
    ) -> Result<bool, Error> {
        let mut steady = true;
        loop {
            if !self.receive()? {
                return Err(Error::Unanswered);
            }
            for reply in Messages::new(&self.buffer) {
                let reply = reply?;
                if reply.sequence != sequence {
                    continue;
                }
                steady &= reply.flags & flag::DUMP_INTR == 0;
                match reply.kind {
                    kind::NOOP => {}
                    kind::DONE | kind::ERROR => {
                        // A kernel that ends a dump without a code means success.
                        if reply.payload.len() >= 4
                            && let Some((errno, text)) = reply.refusal()?
                        {
                            let index = 0;
                            return Err(Error::Refused(Refusal { index, errno, text }));
                        }
                        return Ok(steady);
                    }
                    _ => each(Some(&reply))?,
                }
            }
        }
    }

    /// Sends `requests` and reads until the last one is answered.
    fn exchange(
        &mut self,
        requests: &mut Requests,
        acknowledge: u16,
        mut each: impl FnMut(&Reply<'_>) -> Result<(), Malformed>,
    ) -> Result<Vec<Refusal>, Error> {
        let Some(last) = requests.last else {
            return Ok(Vec::new());
        };
        let count = requests.len();
        let first = self.send(requests, acknowledge)?;
        let mut refusals = Vec::new();
        // A refused transaction may be answered at its opening only: then all that is queued is
        // read, and its end is the end.
        let mut draining = false;
        loop {
            if !self.receive()? {
                return match draining {
                    true => Ok(refusals),
                    false => Err(Error::Unanswered),
                };
            }
            let mut answered = false;
            for reply in Messages::new(&self.buffer) {
                let reply = reply?;
                let index = reply.sequence.wrapping_sub(first) as usize;
                if index >= count || reply.kind == kind::NOOP {
                    continue;
                }
                answered |= index == last;
                if reply.kind != kind::ERROR {
                    each(&reply)?;
                } else if let Some((errno, text)) = reply.refusal()? {
                    draining |= requests.transaction && index == 0;
                    refusals.push(Refusal { index, errno, text });
                }
            }
            if answered && !draining {
                return Ok(refusals);
            }
        }
    }

    /// Sends all of `requests` in one datagram. Gives the first one's sequence number.
    fn send(&mut self, requests: &mut Requests, acknowledge: u16) -> Result<u32, Error> {
        if requests.overflow {
            return Err(Error::TooLong);
        }
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(requests.len() as u32);
        requests.seal(first, acknowledge);
        let length = requests.bytes.len();
        if length > SEND_BUFFER_BYTES {
            sockopt::set_socket_send_buffer_size_force(&self.fd, length.saturating_mul(2))
                .map_err(|errno| Error::Call {
                    call: "setsockopt SO_SNDBUFFORCE",
                    errno,
                })?;
        }
        loop {
            match rustix::net::send(&self.fd, &requests.bytes, SendFlags::empty()) {
                Ok(_) => return Ok(first),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(Error::Call {
                        call: "send",
                        errno,
                    });
                }
            }
        }
    }

    /// Reads one datagram of the kernel's into the buffer. Gives false if none is queued.
    fn receive(&mut self) -> Result<bool, Error> {
        loop {
            self.buffer.clear();
            self.buffer.reserve_exact(BUFFER_BYTES);
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let room = spare_capacity(&mut self.buffer);
            let (length, from) = match rustix::net::recvfrom(&self.fd, room, flags) {
                Ok((_, length, from)) => (length, from),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    return Err(Error::Call {
                        call: "recv",
                        errno,
                    });
                }
            };
            // Port 0 is the kernel; another process's datagram is no answer.
            let port = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
            if port.is_none_or(|from| from.pid() != 0) {
                continue;
            }
            if length > self.buffer.len() {
                return Err(Error::Malformed(Malformed::Truncated));
            }
            return Ok(true);
        }
    }

    fn enable(&self, option: libc::c_int) {
        let on: libc::c_int = 1;
        // SAFETY: setsockopt(2) reads `optlen` bytes at `optval`: `on` is a live c_int and its own
        // size is given. The descriptor is open for as long as `self` is. A failure is harmless.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTM_GETLINK: u16 = 18;

    #[test]
    fn the_loopback_is_listed() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut names = Vec::new();
        socket
            .dump(
                |requests| {
                    requests.add(RTM_GETLINK, flag::DUMP, |message| message.raw(&[0; 16]));
                },
                |reply| {
                    let Some(reply) = reply else {
                        names.clear();
                        return Ok(());
                    };
                    let name = reply.attributes(16).find(3).and_then(|name| name.text());
                    names.push(name.ok_or(Malformed::Content)?.to_owned());
                    Ok(())
                },
            )
            .unwrap();
        assert!(names.iter().any(|name| name == "lo"), "{names:?}");
    }

    #[test]
    fn each_query_is_answered_or_refused() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut requests = Requests::new();
        for name in ["no-such-link", "lo"] {
            requests.add(RTM_GETLINK, 0, |message| {
                message.raw(&[0; 16]);
                message.text(3, name);
            });
        }
        let mut answers = Vec::new();
        let refusals = socket
            .query(&mut requests, |index, _| {
                answers.push(index);
                Ok(())
            })
            .unwrap();
        assert_eq!(answers, [1]);
        assert_eq!(refusals.len(), 1);
        assert_eq!((refusals[0].index, refusals[0].errno), (0, Errno::NODEV));
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let mut socket = Socket::open(Protocol::Route).unwrap();
        let mut requests = Requests::new();
        requests.add(1, 0, |message| message.bytes(1, &vec![0; 70_000]));
        assert_eq!(socket.run(&mut requests), Err(Error::TooLong));
    }
}
