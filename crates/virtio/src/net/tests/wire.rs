//! A card on a real TAP device, in a network namespace of its own: the other end is the host's own IP.

use std::net::{Ipv4Addr, UdpSocket};

use gamut_net::link::{CONTAINER_INTERFACE, Inside, Interior, within};
use gamut_net::subnet::Subnet4;

use super::*;

const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
/// virtio_net_hdr: the checksum is to be completed.
const NEEDS_CSUM: u8 = 1;

/// Sums of 16 bits, big end first, as in RFC 1071; all parts have even lengths.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

fn arp_request() -> Vec<u8> {
    let ethernet = [&[0xff; 6][..], &GUEST_MAC, &[8, 6]].concat();
    let request = [0, 1, 8, 0, 6, 4, 0, 1];
    let (guest, host) = (GUEST.octets(), HOST.octets());
    [
        &[0; 12],
        &ethernet[..],
        &request,
        &GUEST_MAC,
        &guest,
        &[0; 6],
        &host,
    ]
    .concat()
}

/// With the checksum of the pseudo header only: the host adds the rest.
fn datagram(host_mac: &[u8], to_port: u16, text: &[u8]) -> Vec<u8> {
    let length = 8 + text.len() as u16;
    let mut header = [0; 12];
    header[0] = NEEDS_CSUM;
    header[6] = 34;
    header[8] = 6;
    let addresses = [GUEST.octets(), HOST.octets()].concat();
    let mut ip = [
        &[0x45, 0][..],
        &(20 + length).to_be_bytes(),
        &[0, 1, 0, 0, 64, 17, 0, 0],
    ]
    .concat();
    ip.extend(&addresses);
    let check = !sum(&[&ip]);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let pseudo = sum(&[&addresses, &[0, 17], &length.to_be_bytes()]);
    let ports = [&[0x12, 0x34][..], &to_port.to_be_bytes()].concat();
    let udp = [
        &ports[..],
        &length.to_be_bytes(),
        &pseudo.to_be_bytes(),
        text,
    ]
    .concat();
    [&header[..], host_mac, &GUEST_MAC, &[8, 0], &ip, &udp].concat()
}

/// The next packet of this protocol, with its header; others are the kernel's own.
fn receive(driver: &mut Driver<Net>, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    loop {
        match driver.used(RECEIVE) {
            Some((_, length, bytes)) => {
                driver.add(RECEIVE, &[Part::In(2048)]);
                driver.kick(RECEIVE);
                if is_wanted(&bytes) {
                    return bytes[..length as usize].to_vec();
                }
            }
            None => driver.wait(),
        }
    }
}

#[test]
fn the_hosts_network_answers() {
    let (netns, mut inside) = match Inside::create() {
        Ok(made) => made,
        Err(error) => return eprintln!("skipped: no network namespace here: {error}"),
    };
    let tap = match within(netns.as_fd(), || tap::open(CONTAINER_INTERFACE)).expect("and back") {
        Ok(tap) => tap,
        Err(errno) => return eprintln!("skipped: no TAP devices here: {errno}"),
    };
    let mut driver = Driver::started(Net::new(card(Link::Tap(tap))), u64::MAX);
    // Room for the largest there is.
    for _ in 0..40 {
        driver.add(RECEIVE, &[Part::In(2048)]);
    }
    driver.kick(RECEIVE);
    let interior = Interior {
        interface: CONTAINER_INTERFACE,
        ipv4: HOST,
        subnet4: Subnet4::new(Ipv4Addr::new(10, 77, 0, 0), 24).expect("a subnet"),
        ipv6: None,
        gateway4: None,
        gateway6: None,
    };
    inside
        .configure(netns.as_fd(), &interior)
        .expect("the interface is up");
    let socket = within(netns.as_fd(), || UdpSocket::bind((HOST, 0))).expect("and back");
    let socket = socket.expect("a socket");
    let port = socket.local_addr().expect("an address").port();

    driver.request(TRANSMIT, &[Part::Out(&arp_request())]);
    let reply = receive(&mut driver, |packet| packet[24..26] == [8, 6]);
    assert_eq!(reply[32..34], [0, 2], "a reply");
    let host_mac = &reply[18..24];

    driver.request(
        TRANSMIT,
        &[Part::Out(&datagram(host_mac, port, b"hi, host"))],
    );
    let mut text = [0; 64];
    let (length, from) = socket.recv_from(&mut text).expect("a datagram");
    assert_eq!(
        (&text[..length], from.ip()),
        (&b"hi, host"[..], GUEST.into())
    );

    socket.send_to(b"hi, guest", from).expect("sent");
    let is_udp = |packet: &[u8]| packet[24..26] == [8, 0] && packet[35] == 17;
    let packet = receive(&mut driver, is_udp);
    assert!(packet.ends_with(b"hi, guest"));
    assert_eq!(packet[0], NEEDS_CSUM, "it takes what has no checksum");
    assert_eq!(packet[10..12], [1, 0], "in one chain");

    // Without the feature the host computes it.
    driver.set(0x070, 0);
    driver.start(0);
    driver.add(RECEIVE, &[Part::In(2048)]);
    driver.kick(RECEIVE);
    socket.send_to(b"again", from).expect("sent");
    assert_eq!(receive(&mut driver, is_udp)[0], 0);
}
