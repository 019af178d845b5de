//! The veth pair that joins a container to its bridge: both ends in one request.

use std::os::fd::{AsRawFd, BorrowedFd};

use gamut_sys::netlink::{Message, Requests, Socket, flag};
use rustix::io::Errno;

use super::delete;
use super::uapi::{
    IFLA_ADDRESS, IFLA_BRPORT_MODE, IFLA_EXT_MASK, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA, IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU,
    IFLA_NET_NS_FD, IFLA_NUM_RX_QUEUES, IFLA_NUM_TX_QUEUES, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK,
    RTM_NEWLINK, State, VETH_INFO_PEER, ifinfomsg,
};
use crate::error::NetworkError;

/// The name of the host's end of a container's veth: `ve` and the first ten digits of its id.
/// An interface name has at most 15 bytes (`IFNAMSIZ`, netdevice(7)).
/// Those of further networks have the place's number before the `e`.
pub fn host_interface(container_id: &str, place: u8) -> String {
    let digits = container_id.chars().filter(char::is_ascii_alphanumeric);
    let mut name = match place {
        0 => String::from("ve"),
        number => format!("v{number}e"),
    };
    name.extend(digits.take(10));
    name
}

/// The name of the container's end of the veth of its `place`th network.
pub fn container_interface(place: u8) -> String {
    format!("eth{place}")
}

/// What the pair is to be.
#[derive(Debug, Clone, Copy)]
pub struct Veth<'a> {
    /// The host's end.
    pub host_name: &'a str,
    /// The bridge it is put on.
    pub bridge_index: u32,
    /// Where the other end goes, and under which name.
    pub netns: BorrowedFd<'a>,
    pub container_name: &'a str,
    /// The other end's hardware address.
    pub mac: [u8; 6],
    pub mtu: u32,
}

impl Veth<'_> {
    /// Creates the pair, the host's end up and on the bridge, as a hairpin port: where the module
    /// `br_netfilter` is loaded, addresses are translated while a frame is still on the bridge, and
    /// what a container sends to its own published port must leave by the port it came from.
    ///
    /// A pair of the same name is what is left of the same
    /// container's last run (the kernel removes the links of a dead namespace in its own time)
    /// and is replaced.
    pub(crate) fn create(&self, socket: &mut Socket) -> Result<(), NetworkError> {
        match self.try_create(socket) {
            Err(NetworkError::Link { source, .. }) if source.errno() == Some(Errno::EXIST) => {}
            other => return other,
        }
        delete(socket, self.host_name)?;
        self.try_create(socket)
    }

    /// Waits until frames pass, once the far end is up. The kernel learns of the carrier in a
    /// worker of its own, and until then drops what is sent: a container's first question would be
    /// repeated after a second. Since Linux 6.9 asking for a link does the worker's work at once.
    pub(crate) fn settle(&self, socket: &mut Socket) -> Result<(), NetworkError> {
        let mut requests = Requests::new();
        let mut ask = |index, name: Option<&str>| {
            requests.add(RTM_GETLINK, 0, |message| {
                message.raw(&ifinfomsg(index, State::Same));
                message.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
                if let Some(name) = name {
                    message.text(IFLA_IFNAME, name);
                }
            });
        };
        // The bridge after its port, from which it has its own carrier.
        ask(0, Some(self.host_name));
        ask(self.bridge_index, None);
        let fail = |source| NetworkError::Link {
            name: self.host_name.to_owned(),
            source,
        };
        let refusals = socket.query(&mut requests, |_, _| Ok(())).map_err(fail)?;
        match refusals.into_iter().next() {
            Some(refusal) => Err(fail(refusal.into())),
            None => Ok(()),
        }
    }

    fn try_create(&self, socket: &mut Socket) -> Result<(), NetworkError> {
        let mut requests = Requests::new();
        requests.add(RTM_NEWLINK, flag::CREATE | flag::EXCL, |message| {
            message.raw(&ifinfomsg(0, State::Up));
            message.text(IFLA_IFNAME, self.host_name);
            message.u32(IFLA_MASTER, self.bridge_index);
            self.common(message);
            message.nest(IFLA_LINKINFO, |message| {
                message.text(IFLA_INFO_KIND, "veth");
                message.nest(IFLA_INFO_DATA, |message| {
                    message.nest(VETH_INFO_PEER, |message| self.peer(message));
                });
            });
        });
        // The kernel takes a port's settings only once the port is there: a second message, which
        // goes along in the same system call.
        requests.add(RTM_NEWLINK, 0, |message| {
            message.raw(&ifinfomsg(0, State::Same));
            message.text(IFLA_IFNAME, self.host_name);
            message.nest(IFLA_LINKINFO, |message| {
                message.text(IFLA_INFO_SLAVE_KIND, "bridge");
                message.nest(IFLA_INFO_SLAVE_DATA, |message| {
                    message.byte(IFLA_BRPORT_MODE, 1);
                });
            });
        });
        socket
            .run_all(&mut requests)
            .map_err(|source| NetworkError::Link {
                name: self.host_name.to_owned(),
                source,
            })
    }

    /// Not put up yet: the kernel opens the peer before it joins the two, which fails.
    fn peer(&self, message: &mut Message<'_>) {
        message.raw(&ifinfomsg(0, State::Same));
        message.text(IFLA_IFNAME, self.container_name);
        message.bytes(IFLA_ADDRESS, &self.mac);
        // A descriptor is never negative.
        message.u32(IFLA_NET_NS_FD, self.netns.as_raw_fd().cast_unsigned());
        self.common(message);
    }

    /// One queue each way: a veth has no hardware whose queues processors could share, and each
    /// queue costs the kernel several objects to make and to remove. The default is one per
    /// possible processor.
    fn common(&self, message: &mut Message<'_>) {
        message.u32(IFLA_MTU, self.mtu);
        message.u32(IFLA_NUM_TX_QUEUES, 1);
        message.u32(IFLA_NUM_RX_QUEUES, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_follows_from_the_id() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(host_interface(&id, 0), "ve0123456789");
        assert_eq!(host_interface(&id, 255), "v255e0123456789");
        assert_eq!(host_interface("ab", 0), "veab");
        assert!(host_interface("../../../etc/passwd/and/more", 0).len() <= 15);
    }
}
