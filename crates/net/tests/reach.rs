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

/// A machine on the bridge asks for the gateway's hardware address, and gets it.
#[test]
fn a_machine_reaches_its_gateway_and_goes_with_its_descriptor() {
    use gamut_net::endpoint::{Endpoint, attach_machine};
    let Some(lab) = Lab::new() else { return };
    let place = Endpoint::at(&lab.network, "abcdef", "10.89.0.9".parse().unwrap());
    let tap = {
        let mut ensured = lab.network.ensure().unwrap();
        attach_machine(&mut ensured, &place).unwrap()
    };
    let ask = [
        &[0; gamut_sys::tap::HEADER_BYTES][..],
        &[0xff; 6],
        &place.mac,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &place.mac,
        &place.ipv4.octets(),
        &[0; 6],
        &[10, 89, 0, 1],
    ]
    .concat();
    // The bridge may need a moment until it takes the new port for one that is up.
    let began = std::time::Instant::now();
    let answered = 'asked: loop {
        assert!(began.elapsed().as_secs() < 10, "no answer");
        let _ = rustix::io::write(&tap, &ask);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut frame = [0; 2048];
        while let Ok(length) = rustix::io::read(&tap, &mut frame) {
            let frame = &frame[gamut_sys::tap::HEADER_BYTES..length];
            // An ARP reply to us.
            if frame.len() >= 42 && frame[..6] == place.mac && frame[12..14] == [8, 6] {
                break 'asked frame[28..32].to_vec();
            }
        }
    };
    assert_eq!(answered, [10, 89, 0, 1]);
    let named = || gamut_net::link::list_links("ve").unwrap();
    let is_ours = |link: &gamut_net::link::Link| link.name == place.host_interface;
    assert!(named().iter().any(is_ours));
    drop(tap);
    assert!(!named().iter().any(is_ours));
}
