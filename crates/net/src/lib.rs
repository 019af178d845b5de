//! Networks for containers: a bridge with IPv4 and IPv6, veth pairs, address translation and
//! published ports, and the files that tell a container its name. Links, addresses, routes and
//! packet filters are spoken of in netlink, directly; no program is run.
//!
//! The walk of one container:
//!
//! 1. [`Network::ensure`]: the bridge, the host's settings and the packet filter's table are there.
//! 2. [`endpoint::attach`]: its network namespace gets an `eth0` on the bridge.
//! 3. [`ports::reserve`]: the host's ports are free, and now held.
//! 4. [`endpoint::publish`]: what arrives at them is led to the container; what the kernel cannot
//!    lead there (`::1`, a family that the container lacks), a [`forward`]er does.
//! 5. [`endpoint::unpublish`]; the death of the namespace takes the links along.
//!
//! [`egress`] keeps a workload from what it may not reach.
//!
//! On networks that users make, [`names`] keeps who is called what, and a [`resolver`] answers with it.
//!
//! [`publish`] reads `-p` and draws the columns of `ps`; [`subnet`] is the arithmetic of addresses;
//! [`files`] writes `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
#![forbid(unsafe_code)]

mod conntrack;
pub mod egress;
pub mod endpoint;
mod error;
pub mod files;
pub mod forward;
pub mod home;
pub mod link;
pub mod names;
mod network;
pub mod nft;
pub mod ports;
pub mod publish;
pub mod resolver;
mod slots;
pub mod subnet;
mod sysctl;

pub use endpoint::Endpoint;
pub use error::NetworkError;
pub use network::{Ensured, Network, Reach};
pub use publish::{Binding, HostPort, Protocol, Publish};
pub use sysctl::Change;

use gamut_sys::netlink::{Protocol as Netlink, Socket};

/// A socket for links, addresses and routes where networks are made.
fn route_socket() -> Result<Socket, NetworkError> {
    home::socket(Netlink::Route).map_err(NetworkError::Netlink)
}
