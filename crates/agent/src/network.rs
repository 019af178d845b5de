//! The guest's network: what the host has decided, set up with the network room's code.

use std::fs;

use gamut_net::NetworkError;
use gamut_net::link::{self, CONTAINER_INTERFACE, Inside, Interior};
use gamut_net::subnet::{Subnet4, Subnet6};
use gamut_plan::cell::CellError;
use gamut_plan::guest::GuestNetwork;
use gamut_spec::Fault;
use gamut_sys::netlink::own_network_namespace;
use rustix::io::Errno;
use std::os::fd::AsFd;

use crate::error::refused;

fn failed(error: &NetworkError) -> CellError {
    CellError::Refused {
        act: "connect the machine's network".into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}

/// Puts the loopback up, and the interface that is meant with its addresses and routes.
pub(crate) fn connect(network: Option<&GuestNetwork>) -> Result<(), CellError> {
    let own = own_network_namespace();
    let own = own.map_err(|errno| refused("open the machine's network", errno))?;
    let mut inside = Inside::open(own.as_fd()).map_err(|error| failed(&error))?;
    let Some(network) = network else {
        return inside.loopback_up().map_err(|error| failed(&error));
    };
    let name = named(&network.mac)?;
    link::rename(&name, CONTAINER_INTERFACE, network.mtu).map_err(|error| failed(&error))?;
    let invalid = |_| refused("read the network's address", Errno::INVAL);
    let interior = Interior {
        interface: CONTAINER_INTERFACE,
        ipv4: network.address4,
        subnet4: Subnet4::new(network.subnet4.0, network.subnet4.1).map_err(invalid)?,
        ipv6: match network.ipv6 {
            Some(ipv6) => {
                let (subnet, bits) = ipv6.subnet;
                Some((ipv6.address, Subnet6::new(subnet, bits).map_err(invalid)?))
            }
            None => None,
        },
        gateway4: network.gateway4,
        gateway6: network.ipv6.and_then(|ipv6| ipv6.gateway),
    };
    let configured = inside.configure(own.as_fd(), &interior);
    configured.map(drop).map_err(|error| failed(&error))
}

/// The interface with this hardware address.
fn named(mac: &[u8; 6]) -> Result<String, CellError> {
    let digits: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = digits.join(":");
    let missing = || refused(format!("find the network interface {wanted}"), Errno::NODEV);
    let listed = fs::read_dir("/sys/class/net").map_err(|_| missing())?;
    for entry in listed.flatten() {
        let said = fs::read_to_string(entry.path().join("address"));
        if said.is_ok_and(|said| said.trim() == wanted) {
            return entry.file_name().into_string().map_err(|_| missing());
        }
    }
    Err(missing())
}
