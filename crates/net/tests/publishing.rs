//! Published ports: reachable from everywhere they should be, under the visitor's own address.

use std::os::fd::AsFd;

use gamut_net::link::within;
use gamut_net::nft::Redirect;
use gamut_net::{Protocol, endpoint};

use crate::lab::*;

#[test]
fn visitors_keep_their_address() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let held = lab.publish(&container, "8080:80");
    let four = listen(&container.netns, "0.0.0.0:80");
    let six = listen(&container.netns, "[fd00:89::2]:80");
    assert_eq!(visit(&lab.client, "192.0.2.1:8080", &four), ip(CLIENT4));
    assert_eq!(visit(&lab.client, "[2001:db8::1]:8080", &six), ip(CLIENT6));
    lab.unpublish(&container, held);
    assert!(is_shut(&lab.client, "192.0.2.1:8080"));
    assert!(is_shut(&lab.client, "[2001:db8::1]:8080"));
    assert_eq!(lab.table().list_elements().unwrap(), []);
}

#[test]
fn the_host_reaches_them_by_every_address_of_its_own() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let _held = lab.publish(&container, "8080:80");
    let four = listen(&container.netns, "0.0.0.0:80");
    let six = listen(&container.netns, "[fd00:89::2]:80");
    assert_eq!(visit_from_host("127.0.0.1:8080", &four), ip("10.89.0.1"));
    assert_eq!(visit_from_host("127.1.2.3:8080", &four), ip("10.89.0.1"));
    assert_eq!(visit_from_host("192.0.2.1:8080", &four), ip(HOST4));
    assert_eq!(visit_from_host("10.89.0.1:8080", &four), ip("10.89.0.1"));
    assert_eq!(visit_from_host("[2001:db8::1]:8080", &six), ip(HOST6));
}

#[test]
fn containers_reach_them_by_the_hosts_addresses_their_own_included() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.container(2), lab.container(3));
    let _held = lab.publish(&one, "8080:80");
    let four = listen(&one.netns, "0.0.0.0:80");
    let six = listen(&one.netns, "[fd00:89::2]:80");
    for from in [&one, &two] {
        for to in ["192.0.2.1:8080", "10.89.0.1:8080"] {
            assert_eq!(visit(&from.netns, to, &four), ip("10.89.0.1"), "{to}");
        }
        let seen = visit(&from.netns, "[2001:db8::1]:8080", &six);
        assert_eq!(seen, ip("fd00:89::1"));
    }
}

#[test]
fn udp_is_published_too() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.container(2), lab.container(3));
    let _held = lab.publish(&one, "5353:53/udp");
    let four = datagrams(&one.netns, "0.0.0.0:53");
    let client = datagrams(&lab.client, "0.0.0.0:0");
    assert_eq!(visit_udp(&client, "192.0.2.1:5353", &four), ip(CLIENT4));
    let host = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    assert_eq!(visit_udp(&host, "127.0.0.1:5353", &four), ip("10.89.0.1"));
    let neighbour = datagrams(&two.netns, "0.0.0.0:0");
    assert_eq!(
        visit_udp(&neighbour, "192.0.2.1:5353", &four),
        ip("10.89.0.1")
    );
    let six = datagrams(&one.netns, "[fd00:89::2]:53");
    let client = datagrams(&lab.client, "[::]:0");
    assert_eq!(visit_udp(&client, "[2001:db8::1]:5353", &six), ip(CLIENT6));
}

#[test]
fn a_busy_udp_client_follows_the_port_to_its_next_owner() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.container(2), lab.container(3));
    let client = datagrams(&lab.client, "0.0.0.0:5000");
    // The kernel tracks the exchange as one with the host itself.
    client.send_to(b"too early", "192.0.2.1:5353").unwrap();
    let held = lab.publish(&one, "5353:53/udp");
    let first = datagrams(&one.netns, "0.0.0.0:53");
    assert_eq!(visit_udp(&client, "192.0.2.1:5353", &first), ip(CLIENT4));
    lab.unpublish(&one, held);
    let _held = lab.publish(&two, "5353:53/udp");
    let second = datagrams(&two.netns, "0.0.0.0:53");
    assert_eq!(visit_udp(&client, "192.0.2.1:5353", &second), ip(CLIENT4));
}

#[test]
fn a_port_of_one_address_is_published_there_only() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.container(2), lab.container(3));
    let _local = lab.publish(&one, "127.0.0.1:8080:80");
    let _outer = lab.publish(&two, "192.0.2.1:8080:80");
    let _six = lab.publish(&two, "[2001:db8::1]:8081:80");
    let server_one = listen(&one.netns, "0.0.0.0:80");
    let server_two = listen(&two.netns, "0.0.0.0:80");
    visit_from_host("127.0.0.1:8080", &server_one);
    visit_from_host("192.0.2.1:8080", &server_two);
    visit(&lab.client, "192.0.2.1:8080", &server_two);
    assert!(is_shut(&one.netns, "10.89.0.1:8080"));
    let six = listen(&two.netns, "[fd00:89::3]:80");
    visit(&lab.client, "[2001:db8::1]:8081", &six);
    assert!(is_shut(&lab.client, "192.0.2.1:8081"));
}

#[test]
fn the_wildcard_gives_way_to_a_single_address() {
    let Some(lab) = Lab::new() else { return };
    let (one, two) = (lab.container(2), lab.container(3));
    let bindings = |host: &str| Redirect {
        protocol: Protocol::Tcp,
        host: host.parse().unwrap(),
        target: "10.89.0.2:80".parse().unwrap(),
    };
    let mut special = bindings("192.0.2.1:8080");
    special.target = "10.89.0.3:80".parse().unwrap();
    let mut table = lab.table();
    table.publish(&one.id, &[bindings("0.0.0.0:8080")]).unwrap();
    table.publish(&two.id, &[special]).unwrap();
    let server_one = listen(&one.netns, "0.0.0.0:80");
    let server_two = listen(&two.netns, "0.0.0.0:80");
    visit_from_host("127.0.0.1:8080", &server_one);
    visit(&lab.client, "192.0.2.1:8080", &server_two);
}

#[test]
fn a_range_of_two_thousand_ports() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let held = lab.publish(&container, "20000-20999:20000-20999");
    assert_eq!(lab.table().list_elements().unwrap().len(), held.len());
    let server = listen(&container.netns, "0.0.0.0:20999");
    visit(&lab.client, "192.0.2.1:20999", &server);
    lab.unpublish(&container, held);
    assert_eq!(lab.table().list_elements().unwrap(), []);
}

#[test]
fn what_a_dead_container_left_is_replaced_and_found() {
    let Some(lab) = Lab::new() else { return };
    let (dead, alive) = (lab.container(2), lab.container(3));
    drop(lab.publish(&dead, "8080-8081:80-81"));
    let _held = lab.publish(&alive, "8080:80");
    let server = listen(&alive.netns, "0.0.0.0:80");
    visit(&lab.client, "192.0.2.1:8080", &server);
    let owners = |port: u16| -> Vec<String> {
        let all = lab.table().list_elements().unwrap();
        let mut owners: Vec<_> = all
            .into_iter()
            .filter(|one| one.redirect.host.port() == port)
            .map(|one| one.owner)
            .collect();
        owners.dedup();
        owners
    };
    assert_eq!(owners(8080), [alive.id.as_str()]);
    assert_eq!(owners(8081), [dead.id.as_str()]);
    lab.table().remove_owned_by(&[&dead.id]).unwrap();
    assert!(owners(8081).is_empty());
    visit(&lab.client, "192.0.2.1:8080", &server);
}

#[test]
fn publishing_may_be_repeated_and_survives_a_flush() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let held = lab.publish(&container, "8080:80");
    let bindings: Vec<_> = held.iter().map(|one| one.binding).collect();
    let again = || {
        let (v4, v6) = (container.ipv4, Some(container.ipv6));
        endpoint::publish(
            &mut lab.network.ensure().unwrap(),
            &container.id,
            &bindings,
            v4,
            v6,
        )
        .unwrap();
    };
    again();
    lab.table().delete().unwrap();
    again();
    let server = listen(&container.netns, "0.0.0.0:80");
    visit(&lab.client, "192.0.2.1:8080", &server);
    let unpublish = || {
        let (v4, v6) = (container.ipv4, Some(container.ipv6));
        drop(endpoint::unpublish(&lab.network, &container.id, &bindings, v4, v6).unwrap());
    };
    unpublish();
    unpublish();
    lab.table().delete().unwrap();
    unpublish();
}

#[test]
fn ipv6_switched_off_by_the_hosts_default_is_switched_on_inside() {
    let Some(lab) = Lab::new() else { return };
    // New namespaces take their defaults from the first one, so the container's is set by hand.
    let (netns, mut inside) = gamut_net::link::Inside::create().unwrap();
    within(netns.as_fd(), || {
        for name in ["all", "default"] {
            let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
            std::fs::write(path, "1").unwrap();
        }
    })
    .unwrap();
    let mut ensured = lab.network.ensure().unwrap();
    let place = gamut_net::Endpoint::at(&lab.network, "abcdef", "10.89.0.9".parse().unwrap());
    let attached = endpoint::attach_inside(&mut ensured, netns.as_fd(), &mut inside, &place);
    assert_eq!(attached.unwrap().ipv6, place.ipv6);
    within(netns.as_fd(), || await_ipv6(place.ipv6.unwrap())).unwrap();
    let server = listen(&netns, "[fd00:89::9]:80");
    visit_from_host("[fd00:89::9]:80", &server);
}
