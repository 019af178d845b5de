//! A network card, with a neighbour beside its link.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use gamut_virtio::net::detour::{Detour, Neighbour, Service};
use gamut_virtio::net::{Card, Link, Net};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::devices::{ALL, NONE, limit, unlimited};
use super::play;
use super::script::Script;

const NEIGHBOUR: [u8; 4] = [169, 254, 169, 254];
const GUEST: [u8; 4] = [172, 16, 0, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Answers at the fourth byte, with more than goes out at once.
#[derive(Debug)]
struct Chatter;

impl Service for Chatter {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        (request.len() >= 4).then(|| vec![b'a'; 20_000])
    }
}

fn neighbour() -> Detour {
    let neighbour = Neighbour {
        mac: [6, 1, 2, 3, 4, 5],
        address: Ipv4Addr::from(NEIGHBOUR),
        port: 80,
        mtu: Some(1400),
        seed: 1,
        service: Box::new(Chatter),
    };
    Detour::new(neighbour).expect("a timer")
}

pub(in super::super) fn net(bytes: &[u8]) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (near, far) = pair.expect("a pair");
    let mut far: Option<OwnedFd> = Some(far);
    let net = Net::new(Card {
        link: Link::Packets(near),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: Some(1400),
        receive_limiter: unlimited(),
        transmit_limiter: unlimited(),
        detour: Some(neighbour()),
    });
    play(net, bytes, &mut |mmio, number, bytes| match number % 4 {
        0 => drop(far.as_ref().map(|far| rustix::io::write(far, bytes))),
        1 => drop(
            far.as_ref()
                .map(|far| rustix::io::read(far, &mut [0; 4096])),
        ),
        2 => {
            let operations = limit(bytes.get(4..).unwrap_or_default());
            for limiter in mmio.device_mut().limiters_mut() {
                limiter.update(limit(bytes), operations);
            }
        }
        _ => far = None,
    });
}

/// A TCP segment to the neighbour, with a sequence number and one that it acknowledges.
fn segment(numbers: [u32; 2], flags: u8, text: &[u8]) -> Vec<u8> {
    // RFC 791, 3.1; RFC 9293, 3.1. The card looks at no checksum of TCP.
    let length = 40 + text.len() as u16;
    let mut ip = [&[0x45, 0][..], &length.to_be_bytes()].concat();
    ip.extend([0, 1, 0, 0, 64, 6, 0, 0]);
    ip.extend([GUEST, NEIGHBOUR].concat());
    let words = ip.chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
        .sum();
    let check = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let mut tcp = [4, 0, 0, 80].to_vec();
    tcp.extend(numbers.map(u32::to_be_bytes).concat());
    tcp.extend([0x50, flags, 0x40, 0, 0, 0, 0, 0]);
    let ethernet = [&[0xff; 6][..], &MAC, &[8, 0]].concat();
    [&[0; 12], &ethernet[..], &ip, &tcp, text].concat()
}

/// What a guest says to the neighbour, as if it had read its answers.
fn conversation() -> Vec<u8> {
    // What smoltcp 0.14 makes of the seed. Another number makes the conversation short, and no more.
    const FIRST: u32 = 0xdc90_72b2;
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    const FIN: u8 = 1;
    let arp = [
        &[0, 1, 8, 0, 6, 4, 0, 1][..],
        &MAC,
        &GUEST,
        &[0; 6],
        &NEIGHBOUR,
    ]
    .concat();
    let arp = [&[0; 12], &[0xff; 6][..], &MAC, &[8, 6], &arp].concat();
    let mut script = Script::default().start(ALL).request(1, &[&arp], &[]);
    for (sequence, flags, text) in [
        (7, SYN, &b""[..]),
        (8, ACK, b""),
        (8, ACK, b"GET"),
        (11, ACK, b" /"),
        (13, ACK | FIN, b""),
        (7, SYN, b""),
    ] {
        script = script.request(0, &[], &[1526]).request(
            1,
            &[&segment([sequence, FIRST + 1], flags, text)],
            &[],
        );
    }
    script.request(0, &[], &[1526]).seed()
}

pub(in super::super) fn net_seeds() -> Vec<Vec<u8>> {
    let script = |features| {
        Script::default()
            .start(features)
            .request(0, &[], &[12, 1500])
            .act(0, &[0; 100])
            .request(0, &[], &[700])
            .request(0, &[], &[700])
            .request(0, &[], &[700])
            .act(0, &[1; 1200])
            .act(0, &[1; 5])
            .request(1, &[&[0; 12], &[2; 60]], &[])
            .act(1, &[])
            .act(2, &[1, 0, 0, 1, 1, 0, 0, 1])
            .request(1, &[&[0; 72]], &[])
            .act(3, &[])
            .request(0, &[], &[2000])
            .seed()
    };
    vec![script(ALL), script(NONE), conversation()]
}
