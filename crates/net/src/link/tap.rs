//! The TAP device by which a virtual machine is on its bridge.

use std::os::fd::OwnedFd;

use gamut_sys::netlink::{Error, Requests, Socket};

use super::uapi::{
    IFLA_BRPORT_MODE, IFLA_IFNAME, IFLA_INFO_SLAVE_DATA, IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO,
    IFLA_MASTER, IFLA_MTU, RTM_NEWLINK, State, ifinfomsg,
};
use crate::error::NetworkError;

/// What the device is to be.
#[derive(Debug, Clone, Copy)]
pub struct Tap<'a> {
    /// As a container's veth would be called: [`super::host_interface`].
    pub name: &'a str,
    /// The bridge it is put on.
    pub bridge_index: u32,
    pub mtu: u32,
}

impl Tap<'_> {
    /// Makes the device, up and on its bridge as a hairpin port, as a container's veth is. It goes with
    /// the last descriptor of what is returned.
    pub(crate) fn create(&self, socket: &mut Socket) -> Result<OwnedFd, NetworkError> {
        let fail = |source| NetworkError::Link {
            name: self.name.to_owned(),
            source,
        };
        let call = "open /dev/net/tun";
        let tap =
            gamut_sys::tap::open(self.name).map_err(|errno| fail(Error::Call { call, errno }))?;
        let mut requests = Requests::new();
        requests.add(RTM_NEWLINK, 0, |message| {
            message.raw(&ifinfomsg(0, State::Up));
            message.text(IFLA_IFNAME, self.name);
            message.u32(IFLA_MASTER, self.bridge_index);
            message.u32(IFLA_MTU, self.mtu);
        });
        requests.add(RTM_NEWLINK, 0, |message| {
            message.raw(&ifinfomsg(0, State::Same));
            message.text(IFLA_IFNAME, self.name);
            message.nest(IFLA_LINKINFO, |message| {
                message.text(IFLA_INFO_SLAVE_KIND, "bridge");
                message.nest(IFLA_INFO_SLAVE_DATA, |message| {
                    message.byte(IFLA_BRPORT_MODE, 1);
                });
            });
        });
        socket.run_all(&mut requests).map_err(fail)?;
        Ok(tap)
    }
}
