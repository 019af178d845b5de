//! What root in a container tries with programs of its own against its policy: segments of no connection, protocols
//! and addresses that are not its own.

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use gamut_tests::world::{HOST4, WORLD4};
use gamut_tests::{Gamut, World, census};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{idle, is_told, tries};
use crate::networks::{address, peer};

/// In the network namespace of a container: what its root could do there with a program of its own.
fn within<T: Send + 'static>(pid: i32, job: impl FnOnce() -> T + Send + 'static) -> T {
    let netns = File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let done = std::thread::spawn(move || {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        job()
    });
    done.join().unwrap()
}

/// A segment of a connection that there never was.
fn segment(port: u16) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&4444_u16.to_be_bytes());
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = 0x10; // an acknowledgement
    segment.extend(b"secret");
    segment
}

#[test]
fn no_forgery_inside_gets_round_it() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let neighbour = peer(&gamut, &[]);
    let beside = address(&gamut, &neighbour, "bridge");
    let powers = ["--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"];
    let id = idle(
        &gamut,
        &[&powers[..], &["--egress", "allow=192.0.2.2:7007"]].concat(),
    );
    let good = format!("{WORLD4}:7007");
    assert_eq!(tries(&gamut, &id, "tcp", &good), "yes");
    // Nothing of the filter is in there, to be removed.
    let pid = gamut.pid(&id);
    let rules = within(pid, census::rules);
    assert!(
        !rules.iter().any(|line| line.contains("netdev")),
        "{rules:?}"
    );
    // Segments of no connection, to where it may not go and where it may; a protocol of its own.
    let send = move |number, bytes: Vec<u8>, to: &'static str| {
        within(pid, move || {
            let protocol = rustix::net::Protocol::from_raw(number);
            let raw = socket(AddressFamily::INET, SocketType::RAW, Some(protocol)).unwrap();
            let to = SocketAddr::new(to.parse().unwrap(), 0);
            sendto(&raw, &bytes, SendFlags::empty(), &to).unwrap();
        });
    };
    send(ipproto::TCP.as_raw(), segment(4445), WORLD4);
    is_told(
        &gamut,
        &[
            ("destination", WORLD4),
            ("port", "4445"),
            ("protocol", "tcp"),
        ],
    );
    send(ipproto::TCP.as_raw(), segment(7007), HOST4);
    is_told(
        &gamut,
        &[
            ("destination", HOST4),
            ("port", "7007"),
            ("protocol", "tcp"),
        ],
    );
    let protocol = rustix::net::Protocol::from_raw(std::num::NonZero::new(253).unwrap());
    send(protocol.as_raw(), b"secret".to_vec(), WORLD4);
    is_told(&gamut, &[("destination", WORLD4), ("protocol", "253")]);
    // Another's address, with which it may not even go where it may.
    gamut.exec(&id, "ip addr add 192.0.2.99/32 dev eth0");
    let forged = within(pid, || {
        let socket = UdpSocket::bind("192.0.2.99:7007").unwrap();
        socket.send_to(b"hello", format!("{WORLD4}:7007")).is_ok()
    });
    assert!(forged);
    is_told(
        &gamut,
        &[
            ("destination", WORLD4),
            ("port", "7007"),
            ("protocol", "udp"),
        ],
    );
    // Its neighbour's, and a link of its own on top.
    gamut.exec(&id, &format!("ip addr add {beside}/32 dev eth0"));
    assert_eq!(tries(&gamut, &id, "tcp", &good), "yes");
    assert_eq!(tries(&gamut, &id, "tcp", &format!("{WORLD4}:7008")), "no");
    let routed = format!(
        "ip route replace {HOST4}/32 via $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')"
    );
    gamut.exec(&id, &routed);
    assert_eq!(tries(&gamut, &id, "tcp", &format!("{HOST4}:22")), "no");
}
