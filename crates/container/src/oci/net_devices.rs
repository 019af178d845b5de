//! Network devices of the host that a container is given: `linux.netDevices`. Each is moved into the
//! container's network namespace under the name that is asked for, with its lasting addresses of global
//! scope, and put up there. What becomes of it is the namespace's affair from then on. Runtime
//! specification 1.3, "Network Devices"; rtnetlink(7).

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::StartError;
use gamut_sys::netlink::{
    Error, Malformed, Protocol, Requests, Socket, flag, own_network_namespace,
};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, LinuxNetDevice};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::launch::prepare::step_failed;

/// `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_LABEL: u16 = 3;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// What the kernel finds out about an address, and nobody sets: secondary, failed, deprecated, tentative.
const IFA_F_FOUND: u32 = 0x01 | 0x08 | 0x20 | 0x40;
const RT_SCOPE_UNIVERSE: u8 = 0;
const IFF_UP: u32 = 1;
/// Of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
/// `IFNAMSIZ`, with the NUL at the end.
const NAME_BYTES: usize = 16;

/// Whether what is listed can be meant.
pub(super) fn check(
    devices: Option<&HashMap<String, LinuxNetDevice>>,
    namespaces: &[LinuxNamespace],
) -> Result<(), String> {
    let Some(devices) = devices.filter(|devices| !devices.is_empty()) else {
        return Ok(());
    };
    let mut listed = namespaces.iter();
    if !listed.any(|one| one.typ() == LinuxNamespaceType::Network) {
        return Err("unable to move network devices without a NET namespace".into());
    }
    for (name, device) in devices {
        for name in [Some(name), new_name(device)].into_iter().flatten() {
            if !is_name(name) {
                return Err(format!("invalid network device name {name:?}"));
            }
        }
    }
    Ok(())
}

/// `dev_valid_name` of the kernel's `net/core/dev.c`.
fn is_name(name: &str) -> bool {
    let bad = |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace();
    let length = 1..NAME_BYTES;
    length.contains(&name.len()) && !matches!(name, "." | "..") && !name.bytes().any(bad)
}

fn new_name(device: &LinuxNetDevice) -> Option<&String> {
    device.name().as_ref().filter(|name| !name.is_empty())
}

/// Devices that were moved; they go back if the container does not come about.
#[derive(Debug)]
pub(super) struct Moved {
    home: Namespace,
    there: Namespace,
    devices: Vec<Device>,
    kept: bool,
}

/// A network namespace, and a way to speak to the kernel about it.
#[derive(Debug)]
struct Namespace {
    fd: OwnedFd,
    socket: Socket,
}

/// A device as it was.
#[derive(Debug)]
struct Device {
    name: String,
    /// In the namespace that it is in.
    index: u32,
    up: bool,
    addresses: Vec<Address>,
}

/// `struct ifaddrmsg` and the attributes that make the same address again.
#[derive(Debug)]
struct Address {
    header: [u8; ADDRESS_BYTES],
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Moved {
    /// Moves what is listed from this process's network namespace.
    ///
    /// # Errors
    /// Names the device; those that were moved before it are back.
    pub(super) fn into(
        namespace: OwnedFd,
        devices: &HashMap<String, LinuxNetDevice>,
    ) -> Result<Moved, StartError> {
        let failed = |errno| step_failed("open the network namespaces", errno);
        let home = own_network_namespace().map_err(failed)?;
        let here = Socket::open(Protocol::Route);
        enter(namespace.as_fd()).map_err(failed)?;
        let there = Socket::open(Protocol::Route);
        // Where this process stays is where it makes its sockets: it cannot go on elsewhere.
        enter(home.as_fd()).map_err(failed)?;
        let open = |socket: Result<Socket, Error>, fd| {
            let socket = socket.map_err(|error| refuse("open a netlink socket", &error))?;
            Ok(Namespace { fd, socket })
        };
        let mut moved = Moved {
            home: open(here, home)?,
            there: open(there, namespace)?,
            devices: Vec::new(),
            kept: false,
        };
        let mut names: Vec<_> = devices.iter().collect();
        names.sort_by_key(|(name, _)| *name);
        for (name, device) in names {
            let wanted = new_name(device).unwrap_or(name);
            moved.one(name, wanted).map_err(|error| {
                refuse(
                    &format!("move the network device {name} as {wanted}"),
                    &error,
                )
            })?;
        }
        Ok(moved)
    }

    fn one(&mut self, name: &str, wanted: &str) -> Result<(), Error> {
        let device = Device::find(&mut self.home.socket, name)?;
        let (old, up) = (device.index, device.up);
        let moved = hand_over(&mut self.home.socket, device, self.there.fd.as_fd(), wanted);
        if moved.is_err() && up {
            // It was put down for it.
            let _ = put(&mut self.home.socket, old, State::Up);
        }
        let mut device = moved?;
        device.index = match wanted.contains('%') {
            // The kernel has chosen the name, and tells it by nothing but the index, which it keeps
            // where that is free.
            true => Device::of_pattern(&mut self.there.socket, wanted, old)?,
            false => Device::find(&mut self.there.socket, wanted)?.index,
        };
        let settled = device.settle(&mut self.there.socket, State::Up);
        self.devices.push(device);
        settled
    }

    /// They are the container's.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for device in std::mem::take(&mut self.devices) {
            let (name, up) = (device.name.clone(), device.up);
            let home = self.home.fd.as_fd();
            let back = hand_over(&mut self.there.socket, device, home, &name);
            let found = Device::find(&mut self.home.socket, &name);
            if let (Ok(mut device), Ok(found)) = (back, found) {
                device.index = found.index;
                let state = if up { State::Up } else { State::Same };
                let _ = device.settle(&mut self.home.socket, state);
            }
        }
    }
}

/// Puts a device down, and moves and renames it in one step, so that its name meets no other's on the way.
fn hand_over(
    socket: &mut Socket,
    device: Device,
    to: BorrowedFd<'_>,
    name: &str,
) -> Result<Device, Error> {
    put(socket, device.index, State::Down)?;
    let to = u32::try_from(to.as_raw_fd()).unwrap_or_default();
    let mut requests = Requests::new();
    requests.add(RTM_NEWLINK, 0, |message| {
        message.raw(&header(device.index, State::Same));
        message.text(IFLA_IFNAME, name);
        message.u32(IFLA_NET_NS_FD, to);
    });
    socket.run_all(&mut requests)?;
    Ok(device)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Same,
    Up,
    Down,
}

/// `struct ifinfomsg`.
fn header(index: u32, state: State) -> [u8; LINK_BYTES] {
    let mut header = [0; LINK_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let (flags, change) = match state {
        State::Same => (0, 0),
        State::Up => (IFF_UP, IFF_UP),
        State::Down => (0, IFF_UP),
    };
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn put(socket: &mut Socket, index: u32, state: State) -> Result<(), Error> {
    let mut requests = Requests::new();
    requests.add(RTM_NEWLINK, 0, |message| message.raw(&header(index, state)));
    socket.run_all(&mut requests)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

impl Device {
    fn find(socket: &mut Socket, name: &str) -> Result<Device, Error> {
        let mut requests = Requests::new();
        requests.add(RTM_GETLINK, 0, |message| {
            message.raw(&header(0, State::Same));
            message.text(IFLA_IFNAME, name);
        });
        let mut found = None;
        let refused = socket.query(&mut requests, |_, reply| {
            let index = number(reply.payload, 4).ok_or(Malformed::Content)?;
            let flags = number(reply.payload, 8).ok_or(Malformed::Content)?;
            found = Some((index, flags & IFF_UP != 0));
            Ok(())
        })?;
        if let Some(refusal) = refused.into_iter().next() {
            return Err(refusal.into());
        }
        let (index, up) = found.ok_or(Error::Unanswered)?;
        Ok(Device {
            name: name.to_owned(),
            index,
            up,
            addresses: addresses(socket, index)?,
        })
    }

    /// The index of a device whose name was made from `pattern`: the one that was just added, which has
    /// the index `old` unless that was taken, and else the highest.
    fn of_pattern(socket: &mut Socket, pattern: &str, old: u32) -> Result<u32, Error> {
        let (before, after) = pattern.split_once("%d").unwrap_or((pattern, ""));
        let mut found = Vec::new();
        let ask = |requests: &mut Requests| {
            requests.add(RTM_GETLINK, flag::DUMP, |message| {
                message.raw(&header(0, State::Same));
            });
        };
        socket.dump(ask, |reply| {
            let Some(reply) = reply else {
                found.clear();
                return Ok(());
            };
            let name = reply.attributes(LINK_BYTES).find(IFLA_IFNAME);
            let name = name.and_then(|name| name.text()).unwrap_or_default();
            let number_of = name.strip_prefix(before);
            let number_of = number_of.and_then(|rest| rest.strip_suffix(after));
            if number_of.is_some_and(|digits| digits.parse::<u32>().is_ok()) {
                found.push(number(reply.payload, 4).ok_or(Malformed::Content)?);
            }
            Ok(())
        })?;
        let same = found.contains(&old).then_some(old);
        let index = same.or_else(|| found.into_iter().max());
        index.ok_or(Error::Call {
            call: "find",
            errno: Errno::NODEV,
        })
    }

    /// Gives it its addresses again, and its state.
    fn settle(&self, socket: &mut Socket, state: State) -> Result<(), Error> {
        let mut requests = Requests::new();
        for address in &self.addresses {
            let mut header = address.header;
            header[4..8].copy_from_slice(&self.index.to_ne_bytes());
            requests.add(RTM_NEWADDR, flag::CREATE | flag::EXCL, |message| {
                message.raw(&header);
                for (kind, value) in &address.attributes {
                    message.bytes(*kind, value);
                }
            });
        }
        let index = self.index;
        requests.add(RTM_NEWLINK, 0, |message| {
            message.raw(&self::header(index, state))
        });
        // An address of IPv6 outlives that its device is down, and so may be there still.
        let refused = socket.run(&mut requests)?;
        match refused.into_iter().find(|one| one.errno != Errno::EXIST) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }
}

/// "All permanent IP addresses (IFA_F_PERMANENT flag) of any family with global scope".
fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<Address>, Error> {
    let mut found = Vec::new();
    let ask = |requests: &mut Requests| {
        requests.add(RTM_GETADDR, flag::DUMP, |message| {
            message.raw(&[0; ADDRESS_BYTES]);
        });
    };
    socket.dump(ask, |reply| {
        let Some(reply) = reply else {
            found.clear();
            return Ok(());
        };
        let header = reply.payload.get(..ADDRESS_BYTES);
        let header: [u8; ADDRESS_BYTES] = header
            .and_then(|header| header.try_into().ok())
            .ok_or(Malformed::Content)?;
        let all = reply.attributes(ADDRESS_BYTES);
        let flags = all.find(IFA_FLAGS).and_then(|flags| flags.u32());
        let flags = flags.unwrap_or_else(|| u32::from(header[2]));
        let lasting = flags & IFA_F_PERMANENT != 0 && header[3] == RT_SCOPE_UNIVERSE;
        if number(&header, 4) == Some(index) && lasting {
            // A label begins with the device's name, which may be another there.
            let kept = all.filter(|one| !matches!(one.kind, IFA_LABEL | IFA_CACHEINFO | IFA_FLAGS));
            let mut attributes: Vec<_> = kept.map(|one| (one.kind, one.payload.to_vec())).collect();
            attributes.push((IFA_FLAGS, (flags & !IFA_F_FOUND).to_ne_bytes().to_vec()));
            found.push(Address { header, attributes });
        }
        Ok(())
    })?;
    Ok(found)
}

fn enter(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}

fn refuse(step: &str, error: &Error) -> StartError {
    StartError::Step {
        step: step.to_owned(),
        reason: error.to_string(),
        hint: match error.errno() {
            Some(Errno::EXIST) => Some("give it another name, or one that ends in %d".into()),
            Some(Errno::NODEV) => Some("`ip link` lists the host's network devices".into()),
            Some(Errno::PERM) => Some("only the host's root can move a network device".into()),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        for good in ["eth0", "a", "exactly15bytes_", "net%d", "eth0.100"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            "sixteen_bytes_it",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
