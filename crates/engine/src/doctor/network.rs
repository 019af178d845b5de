//! Networks: not only whether the parts are there, but whether a container can be joined to a
//! bridge. That is tried, in network namespaces that end with the trial.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

use gamut_net::NetworkError;
use gamut_net::endpoint::{self, Endpoint};
use gamut_net::link::{Inside, within};
use gamut_net::nft::Table;
use gamut_net::subnet::Subnet4;
use gamut_net::{Network, Reach};

use super::{Area, Feature, State, read};

pub(super) fn features() -> Vec<Feature> {
    let area = Area::Network;
    let forwarding = read("/proc/sys/net/ipv4/ip_forward");
    let ipv6 = Path::new("/proc/sys/net/ipv6").exists();
    let off = read("/proc/sys/net/ipv6/conf/all/disable_ipv6");
    let ipv6_detail = match (ipv6, off.as_deref()) {
        (false, _) => "not in the kernel, or switched off at its start",
        (true, Some("1")) => "in the kernel, and switched off by the sysctl disable_ipv6",
        (true, _) => "in the kernel",
    };
    let mut list = vec![packet_filter(), bridge()];
    list.push(
        Feature::new(area, "IPv6", ipv6, ipv6_detail)
            .or("start the kernel without `ipv6.disable=1`; containers have IPv4 only until then"),
    );
    let detail = match forwarding.as_deref() {
        Some("1") => "on",
        Some(_) => "off; gamut switches it on with the first container on a bridge",
        None => "the sysctl cannot be read",
    };
    list.push(
        Feature::new(area, "IPv4 forwarding", forwarding.is_some(), detail)
            .or("mount /proc with its /proc/sys"),
    );
    list.push(
        Feature::new(
            area,
            "TUN devices",
            Path::new("/dev/net/tun").exists(),
            "/dev/net/tun, for networks of virtual machines",
        )
        .or("load it with `modprobe tun`"),
    );
    list
}

fn packet_filter() -> Feature {
    let asked = Table::open("gamut-doctor").and_then(|mut table| table.exists());
    let (state, detail) = match asked {
        Ok(_) => (State::Yes, "the kernel answers over netlink".to_owned()),
        Err(error) => (State::No, error.to_string()),
    };
    Feature::new(Area::Network, "nftables", state, detail)
        .or("load it with `modprobe nf_tables`, and run gamut as root")
}

fn bridge() -> Feature {
    // A thread of its own: it goes into other namespaces, and if it could not come back no
    // other is concerned.
    let tried = std::thread::spawn(try_bridge).join();
    let (state, detail) = match tried {
        Ok(Ok(())) => (
            State::Yes,
            "a namespace was joined to a bridge, with address translation".to_owned(),
        ),
        Ok(Err(error)) => (State::No, error.to_string()),
        Err(_) => (State::Unknown, "the trial was cut short".to_owned()),
    };
    Feature::new(Area::Network, "bridge and veth", state, detail).or(
        "load them with `modprobe bridge` and `modprobe veth`, and run gamut as root; \
         `--network host` and `none` work without",
    )
}

/// What a start with `--network bridge` does, on a host that exists for the purpose.
fn try_bridge() -> Result<(), NetworkError> {
    // RFC 5737's addresses for documentation; nobody else sees them.
    const SUBNET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const ID: &str = "d0c7000000";
    let Ok(subnet) = Subnet4::new(SUBNET, 24) else {
        return Ok(());
    };
    let network = Network {
        table: "gamut-doctor".into(),
        bridge: "gamut-doctor".into(),
        ipv4: subnet,
        gateway4: subnet.gateway(),
        ipv6: None,
        reach: Reach::Outside,
        mtu: 1500,
    };
    let (host, mut on_host) = Inside::create()?;
    on_host.loopback_up()?;
    let (container, _) = Inside::create()?;
    within(host.as_fd(), || {
        let mut ensured = network.ensure()?;
        let place = Endpoint::at(&network, ID, ADDRESS);
        endpoint::attach(&mut ensured, container.as_fd(), &place).map(drop)
    })?
}
