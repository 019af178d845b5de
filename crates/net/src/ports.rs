//! Holding the host's ports. The packet filter would take a port from whoever listens on it, so
//! every published port is also bound by an ordinary socket: then `port in use` is found out in
//! both directions, by the kernel, without a list of our own.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_spec::{Fault, Kind};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::publish::{Binding, HostPort, Protocol, Publish};

/// How many ports the kernel is asked to choose before none is found that is free for IPv4 and
/// IPv6 alike.
const EPHEMERAL_ATTEMPTS: usize = 64;
/// Pending connections, for those that a forwarder accepts.
const BACKLOG: i32 = 128;

/// A host port that is held for as long as this lives.
#[derive(Debug)]
pub struct Reserved {
    pub binding: Binding,
    socket: OwnedFd,
}

impl Reserved {
    /// The bound socket: non-blocking, listening if it is TCP.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Reserved {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Holds the host's port for `publish`: one socket for each address family if no address is given
/// (IPv4 alone where the host has no IPv6), with the same port.
pub fn reserve(publish: &Publish) -> Result<Vec<Reserved>, PortError> {
    match &publish.host_port {
        HostPort::Fixed(port) => hold(publish, *port),
        HostPort::Ephemeral => reserve_ephemeral(publish),
        HostPort::FirstFree(range) => {
            for port in range.clone().filter(|&port| port != 0) {
                match hold(publish, port) {
                    Err(PortError::InUse { .. }) => {}
                    other => return other,
                }
            }
            Err(PortError::NoneFree {
                first: *range.start(),
                last: *range.end(),
                protocol: publish.protocol,
            })
        }
    }
}

/// Holds the port of a binding that was chosen before: after a restart.
pub fn reserve_again(binding: &Binding) -> Result<Reserved, PortError> {
    hold_one(
        binding.protocol,
        binding.host,
        binding.container_port,
        Blame::Holder,
    )
}

fn reserve_ephemeral(publish: &Publish) -> Result<Vec<Reserved>, PortError> {
    let mut held = Vec::new();
    for _ in 0..EPHEMERAL_ATTEMPTS {
        // The kernel chooses one within net.ipv4.ip_local_port_range that is free for the first
        // family; it may be taken for the second.
        let first = &addresses(publish.host_ip)[..1];
        let one = hold_all(publish, first, 0, Blame::Nobody)?;
        let Some(port) = one.first().map(|one| one.binding.host.port()) else {
            break;
        };
        let rest = &addresses(publish.host_ip)[1..];
        match hold_all(publish, rest, port, Blame::Nobody) {
            Ok(others) => return Ok(one.into_iter().chain(others).collect()),
            // Kept meanwhile, so that the kernel does not choose it again.
            Err(PortError::InUse { .. }) => held.extend(one),
            Err(error) => return Err(error),
        }
    }
    Err(PortError::NoneFree {
        first: 0,
        last: u16::MAX,
        protocol: publish.protocol,
    })
}

fn hold(publish: &Publish, port: u16) -> Result<Vec<Reserved>, PortError> {
    let blame = match publish.host_port {
        HostPort::Fixed(_) => Blame::Holder,
        _ => Blame::Nobody,
    };
    hold_all(publish, addresses(publish.host_ip), port, blame)
}

/// The addresses that a wish stands for.
fn addresses(host_ip: Option<IpAddr>) -> &'static [IpAddr] {
    const BOTH: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    match host_ip {
        None => &BOTH,
        Some(_) => &BOTH[..1],
    }
}

fn hold_all(
    publish: &Publish,
    addresses: &[IpAddr],
    port: u16,
    blame: Blame,
) -> Result<Vec<Reserved>, PortError> {
    let mut all = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let host = SocketAddr::new(publish.host_ip.unwrap_or(address), port);
        match hold_one(publish.protocol, host, publish.container_port, blame) {
            Ok(one) => all.push(one),
            Err(PortError::NoFamily { .. }) if publish.host_ip.is_none() && host.is_ipv6() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Whether a taken port's holder is looked for, which reads all of /proc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Holder,
    Nobody,
}

fn hold_one(
    protocol: Protocol,
    host: SocketAddr,
    container_port: u16,
    blame: Blame,
) -> Result<Reserved, PortError> {
    let socket = bind(protocol, host).map_err(|errno| match errno {
        Errno::ADDRINUSE => PortError::InUse {
            address: host,
            protocol,
            holder: match blame {
                Blame::Holder => holder_of(protocol, host),
                Blame::Nobody => None,
            },
        },
        Errno::ADDRNOTAVAIL if host.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            PortError::NoFamily { address: host }
        }
        Errno::ADDRNOTAVAIL => PortError::NotLocal(host.ip()),
        Errno::AFNOSUPPORT => PortError::NoFamily { address: host },
        Errno::ACCESS | Errno::PERM => PortError::Denied {
            address: host,
            protocol,
        },
        source => PortError::Socket {
            address: host,
            protocol,
            source,
        },
    })?;
    let bound = rustix::net::getsockname(&socket).ok();
    let host = bound
        .and_then(|bound| SocketAddr::try_from(bound).ok())
        .map_or(host, |bound| SocketAddr::new(host.ip(), bound.port()));
    let binding = Binding {
        container_port,
        protocol,
        host,
    };
    Ok(Reserved { binding, socket })
}

fn bind(protocol: Protocol, host: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = match host {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if host.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    match protocol {
        // Connections of a former holder that still wait for their end (TIME_WAIT) are no reason
        // to refuse. Two that both allow this cannot bind the port once one of them listens.
        Protocol::Tcp => {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            rustix::net::bind(&socket, &host)?;
            rustix::net::listen(&socket, BACKLOG)?;
        }
        Protocol::Udp => rustix::net::bind(&socket, &host)?,
    }
    Ok(socket)
}

/// The process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// `/proc/PID/comm`.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "`{}` (process {})", self.name, self.pid)
    }
}

/// Looks for the process with a socket on this port: the socket's inode number in /proc/net, then
/// a descriptor of it in some process. A hint only; whatever cannot be read is passed over.
fn holder_of(protocol: Protocol, host: SocketAddr) -> Option<Holder> {
    let mut inodes = Vec::new();
    for family in ["", "6"] {
        let path = format!("/proc/thread-self/net/{protocol}{family}");
        let table = fs::read_to_string(path).unwrap_or_default();
        inodes.extend(
            table
                .lines()
                .skip(1)
                .filter_map(|line| inode(protocol, host.port(), line)),
        );
    }
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if wanted.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find_map(|pid: u32| {
        let mut descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        descriptors.find(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            wanted
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        })?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let name = name.trim_end().to_owned();
        Some(Holder { pid, name })
    })
}

/// The inode of the socket in this line of `/proc/net/tcp` or its likes (proc_net(5)), if it holds
/// the port: a listening TCP socket, or an unconnected UDP one.
fn inode(protocol: Protocol, port: u16, line: &str) -> Option<u64> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let state = match protocol {
        Protocol::Tcp => "0A",
        Protocol::Udp => "07",
    };
    let local = columns.get(1)?.rsplit_once(':')?.1;
    let here = u16::from_str_radix(local, 16).ok()? == port && *columns.get(3)? == state;
    columns.get(9).filter(|_| here)?.parse().ok()
}

/// Why a host port cannot be held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    #[error("port {address}/{protocol} is already in use{}", by(.holder))]
    InUse {
        address: SocketAddr,
        protocol: Protocol,
        holder: Option<Holder>,
    },
    #[error("no {protocol} port from {first} to {last} is free")]
    NoneFree {
        first: u16,
        last: u16,
        protocol: Protocol,
    },
    #[error("{0} is not an address of this host")]
    NotLocal(IpAddr),
    #[error("port {address}: this host has no such address family")]
    NoFamily { address: SocketAddr },
    #[error("port {address}/{protocol} may not be used")]
    Denied {
        address: SocketAddr,
        protocol: Protocol,
    },
    #[error("port {address}/{protocol} cannot be held: {source}")]
    Socket {
        address: SocketAddr,
        protocol: Protocol,
        source: Errno,
    },
}

fn by(holder: &Option<Holder>) -> String {
    holder
        .as_ref()
        .map(|holder| format!(" by {holder}"))
        .unwrap_or_default()
}

impl Fault for PortError {
    fn kind(&self) -> Kind {
        match self {
            PortError::InUse { .. } | PortError::NoneFree { .. } => Kind::Conflict,
            PortError::NotLocal(_) => Kind::Invalid,
            PortError::NoFamily { .. } => Kind::HostLacks,
            PortError::Denied { .. } => Kind::Denied,
            PortError::Socket { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PortError::InUse { .. } => Some(
                "choose another host port, or none (`-p CONTAINER_PORT`) to get a free one"
                    .to_owned(),
            ),
            PortError::Denied { .. } => Some(
                "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(host_port: HostPort, protocol: Protocol) -> Publish {
        Publish {
            host_ip: Some(Ipv4Addr::LOCALHOST.into()),
            host_port,
            container_port: 80,
            protocol,
        }
    }

    #[test]
    fn a_port_that_is_held_is_refused_with_its_holder() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let first = reserve(&local(HostPort::Ephemeral, protocol)).unwrap();
            assert_eq!(first.len(), 1);
            let host = first[0].binding.host;
            assert_ne!(host.port(), 0);
            let again = reserve(&local(HostPort::Fixed(host.port()), protocol));
            let Err(PortError::InUse {
                address, holder, ..
            }) = again
            else {
                panic!("{again:?}");
            };
            assert_eq!(address, host);
            assert_eq!(holder.map(|holder| holder.pid), Some(std::process::id()));
            drop(first);
            assert!(reserve(&local(HostPort::Fixed(host.port()), protocol)).is_ok());
        }
    }

    #[test]
    fn both_families_get_the_same_port() {
        let all = reserve(&Publish::ephemeral(80, Protocol::Tcp)).unwrap();
        let ports: Vec<_> = all.iter().map(|one| one.binding.host.port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0]));
        let again: Vec<_> = all.iter().map(|one| reserve_again(&one.binding)).collect();
        assert!(
            again
                .iter()
                .all(|one| matches!(one, Err(PortError::InUse { .. })))
        );
    }

    #[test]
    fn the_first_free_one_of_a_range_is_taken() {
        let held = reserve(&local(HostPort::Ephemeral, Protocol::Tcp)).unwrap();
        let port = held[0].binding.host.port();
        let taken = reserve(&local(HostPort::FirstFree(port..=port), Protocol::Tcp));
        assert!(matches!(taken, Err(PortError::NoneFree { .. })));
        let end = port.saturating_add(50);
        let next = reserve(&local(HostPort::FirstFree(port..=end), Protocol::Tcp)).unwrap();
        assert_ne!(next[0].binding.host.port(), port);
    }

    #[test]
    fn an_address_of_somebody_else_is_refused() {
        let publish = Publish {
            host_ip: Some("192.0.2.77".parse().unwrap()),
            ..local(HostPort::Fixed(1), Protocol::Tcp)
        };
        assert!(matches!(reserve(&publish), Err(PortError::NotLocal(_))));
    }
}
