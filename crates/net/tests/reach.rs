//! From containers outwards and among each other.

use crate::lab::*;

#[test]
fn containers_reach_the_outside_under_the_hosts_address() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let server = listen(&lab.client, (CLIENT4, 7000));
    let seen = visit(&container.netns, "192.0.2.2:7000", &server);
    assert_eq!(seen, ip(HOST4));
    let server = listen(&lab.client, (CLIENT6, 7000));
    let seen = visit(&container.netns, "[2001:db8::2]:7000", &server);
    assert_eq!(seen, ip(HOST6));
    let server = datagrams(&lab.client, "192.0.2.2:7000");
    let client = datagrams(&container.netns, "0.0.0.0:0");
    assert_eq!(visit_udp(&client, "192.0.2.2:7000", &server), ip(HOST4));
}

#[test]
fn containers_reach_each_other_and_the_host_under_their_own_address() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.container(2), lab.container(3));
    let server = listen(&one.netns, "0.0.0.0:80");
    assert_eq!(visit(&two.netns, "10.89.0.2:80", &server), two.ipv4);
    assert_eq!(visit_from_host("10.89.0.2:80", &server), ip("10.89.0.1"));
    let server = listen(&one.netns, "[fd00:89::2]:80");
    assert_eq!(visit(&two.netns, "[fd00:89::2]:80", &server), two.ipv6);
    let on_host = std::net::TcpListener::bind("10.89.0.1:90").unwrap();
    assert_eq!(visit(&two.netns, "10.89.0.1:90", &on_host), two.ipv4);
}

#[test]
fn counters_count_what_the_container_sends() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let before = counters(&container);
    let client = datagrams(&container.netns, "0.0.0.0:0");
    let server = std::net::UdpSocket::bind("10.89.0.1:90").unwrap();
    // An exchange, so that the neighbour is known and the datagram has left.
    visit_udp(&client, "10.89.0.1:90", &server);
    client.send_to(&[0; 1000], "10.89.0.1:90").unwrap();
    let after = counters(&container);
    assert_eq!(after.name, "eth0");
    assert!(
        after.tx_bytes >= before.tx_bytes + 1000,
        "{before:?} {after:?}"
    );
    assert!(after.tx_packets > before.tx_packets);
}

fn counters(container: &Container) -> gamut_net::link::Counters {
    use std::os::fd::AsFd;
    let mut all = gamut_net::endpoint::interface_counters(container.netns.as_fd()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}
