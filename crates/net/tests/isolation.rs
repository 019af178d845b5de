//! What must not be reachable.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;

use gamut_net::link::within;
use gamut_sys::netlink::{Protocol, Requests, Socket, flag};

use crate::lab::*;

#[test]
fn neighbours_who_know_the_way_reach_no_unpublished_port() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    route_by_way_of_host(&lab.client, "10.89.0.0", 16);
    let server = listen(&container.netns, "0.0.0.0:80");
    assert!(is_shut(&lab.client, "10.89.0.2:80"));
    let _held = lab.publish(&container, "8080:80");
    assert!(is_shut(&lab.client, "10.89.0.2:80"));
    visit(&lab.client, "192.0.2.1:8080", &server);
    // The bridge's own address is the host's, and published ports with it.
    visit(&lab.client, "10.89.0.1:8080", &server);
}

#[test]
fn the_hosts_loopback_stays_its_own() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let _server = TcpListener::bind("127.0.0.1:90").unwrap();
    let _open = listen(&container.netns, "0.0.0.0:80");
    let _held = lab.publish(&container, "127.0.0.1:8080:80");
    // A container that routes 127.0.0.0/8 to the host, and a neighbour who does the same.
    for (netns, gateway, interface) in [
        (&container.netns, "10.89.0.1", "eth0"),
        (&lab.client, HOST4, "out0"),
    ] {
        lead_loopback_to(netns, gateway, interface);
        assert!(is_shut(netns, "127.0.0.1:90"), "{gateway}");
        assert!(is_shut(netns, "127.0.0.1:8080"), "{gateway}");
    }
}

/// Makes a namespace send what goes to 127.0.0.0/8 to its gateway.
fn lead_loopback_to(netns: &std::os::fd::OwnedFd, gateway: &str, interface: &str) {
    let gateway: std::net::Ipv4Addr = gateway.parse().unwrap();
    let mut socket = within(netns.as_fd(), || {
        let conf = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
        std::fs::write(conf, "1").unwrap();
        Socket::open(Protocol::Route).unwrap()
    })
    .unwrap();
    let index = rustix::net::netdevice::name_to_index(&socket, interface).unwrap();
    // The local table's routes of the loopback go first.
    for (kind, bits, last) in [(25, 8, 0), (25, 32, 1)] {
        let mut requests = Requests::new();
        requests.add(kind, 0, |message| {
            message.raw(&[2, bits, 0, 0, 255, 0, 255, 2, 0, 0, 0, 0]);
            message.bytes(1, &[127, 0, 0, last]);
        });
        socket.run_all(&mut requests).unwrap();
    }
    let mut requests = Requests::new();
    requests.add(24, flag::CREATE | flag::EXCL, |message| {
        message.raw(&[2, 8, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        message.bytes(1, &[127, 0, 0, 0]);
        message.bytes(5, &gateway.octets());
        message.u32(4, index);
    });
    socket.run_all(&mut requests).unwrap();
}

#[test]
fn another_bridge_of_ours_is_another_world() {
    let Some(lab) = Lab::new() else { return };
    let one = lab.container(2);
    let other = Lab {
        client: rustix::io::dup(&lab.client).unwrap(),
        network: gamut_net::Network {
            bridge: "gamut1".to_owned(),
            ipv4: "10.90.0.0/24".parse().unwrap(),
            gateway4: Ipv4Addr::new(10, 90, 0, 1),
            ipv6: Some((
                "fd00:90::/64".parse().unwrap(),
                "fd00:90::1".parse().unwrap(),
            )),
            ..lab.network.clone()
        },
    };
    let mut ensured = other.network.ensure().unwrap();
    let (netns, mut inside) = gamut_net::link::Inside::create().unwrap();
    let place = gamut_net::Endpoint::at(&other.network, "beef", "10.90.0.2".parse().unwrap());
    gamut_net::endpoint::attach_inside(&mut ensured, netns.as_fd(), &mut inside, &place).unwrap();
    let server = listen(&one.netns, "0.0.0.0:80");
    assert!(is_shut(&netns, "10.89.0.2:80"));
    // By a published port it is reached, as from anywhere.
    let _held = lab.publish(&one, "8080:80");
    visit(&netns, "192.0.2.1:8080", &server);
    let outside = listen(&lab.client, (CLIENT4, 7000));
    assert_eq!(visit(&netns, "192.0.2.2:7000", &outside), ip(HOST4));
}

#[test]
fn a_firewall_that_drops_what_is_forwarded_is_seen() {
    let Some(_lab) = Lab::new() else { return };
    assert_eq!(gamut_net::nft::dropping_chains().unwrap(), []);
    let mut socket = Socket::open(Protocol::Netfilter).unwrap();
    let mut requests = Requests::new();
    requests.begin(10, None);
    // Table `filter` of family `ip`, and its chain `FORWARD` with the policy to drop.
    requests.add(10 << 8, flag::CREATE, |message| {
        message.raw(&[2, 0, 0, 0]);
        message.text(1, "filter");
    });
    requests.add(10 << 8 | 3, flag::CREATE, |message| {
        message.raw(&[2, 0, 0, 0]);
        message.text(1, "filter");
        message.text(3, "FORWARD");
        message.text(7, "filter");
        message.be32(5, 0);
        message.nest(4, |message| {
            message.be32(1, 2);
            message.be32(2, 0);
        });
    });
    requests.commit(10);
    socket.run_all(&mut requests).unwrap();
    let seen = gamut_net::nft::dropping_chains().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].family, &*seen[0].table, &*seen[0].chain),
        ("ip", "filter", "FORWARD")
    );
}
