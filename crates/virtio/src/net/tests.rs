//! Packets both ways, over a socket pair in place of a cable, and a real TAP device.

mod detour;
mod wire;

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::*;
use crate::driver::{Driver, HIGH, NEXT, Part, WRITE};
use crate::rate::Limit;

fn card(link: Link) -> Card {
    Card {
        link,
        mac: Some([2, 0, 0, 0, 0, 7]),
        mtu: None,
        receive_limiter: Limiter::unlimited().expect("a timer"),
        transmit_limiter: Limiter::unlimited().expect("a timer"),
        detour: None,
    }
}

/// A card, and what is at the other end of its cable.
fn plugged(features: u64) -> (Driver<Net>, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (near, far) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .expect("a pair");
    let net = Net::new(card(Link::Packets(near)));
    (Driver::started(net, features), far)
}

fn packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0; 12];
    packet.extend((0..length).map(|at| (at % 239) as u8 + 1));
    packet
}

fn read(far: &OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 1 << 17];
    let length = rustix::io::read(far, &mut *buffer).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

#[test]
fn packets_go_out_as_they_are() {
    let (mut driver, far) = plugged(u64::MAX);
    assert_eq!(driver.config::<6>(0), [2, 0, 0, 0, 0, 7]);
    let sent = packet(1000);
    assert_eq!(
        driver
            .request(1, &[Part::Out(&sent[..12]), Part::Out(&sent[12..])])
            .0,
        0
    );
    assert_eq!(read(&far), Some(sent));
    for wrong in [
        vec![0; 11],
        vec![0; 25],
        vec![0; PACKET_BYTES_MAX as usize + 1],
    ] {
        driver.request(1, &[Part::Out(&wrong)]);
    }
    assert_eq!(read(&far), None);
    assert_eq!(driver.counter("sent_packets"), 1);
    assert_eq!(driver.counter("sent_dropped"), 3);
}

#[test]
fn a_packet_is_spread_over_small_chains() {
    let (mut driver, far) = plugged(F_MRG_RXBUF);
    for _ in 0..8 {
        driver.add(0, &[Part::In(300), Part::In(212)]);
    }
    for length in [1188, 500, 501] {
        rustix::io::write(&far, &packet(length)).expect("written");
    }
    driver.kick(0);
    let mut texts = Vec::new();
    while let Some((_, length, mut bytes)) = driver.used(0) {
        bytes.truncate(length as usize);
        texts.push(bytes);
    }
    let lengths: Vec<_> = texts.iter().map(Vec::len).collect();
    assert_eq!(lengths, [512, 512, 176, 512, 512, 1]);
    let whole = |parts: &[Vec<u8>], chains: u8| {
        let mut whole = parts.concat();
        assert_eq!(whole[10..12], [chains, 0]);
        whole[10] = 0;
        whole
    };
    assert_eq!(whole(&texts[..3], 3), packet(1188));
    assert_eq!(whole(&texts[3..4], 1), packet(500));
    assert_eq!(whole(&texts[4..], 2), packet(501));
    // Two chains are left: less than the largest packet needs.
    rustix::io::write(&far, &packet(10)).expect("written");
    driver.run();
    assert!(driver.used(0).is_none());
    driver.add(0, &[Part::In(600)]);
    driver.kick(0);
    assert_eq!(driver.used(0).expect("a packet").1, 22);
}

#[test]
fn without_merging_each_chain_is_for_one_packet() {
    let (mut driver, far) = plugged(0);
    assert_eq!(driver.request(0, &[Part::In(1525)]).0, 0, "too small");
    driver.add(0, &[Part::In(12), Part::In(1514)]);
    driver.kick(0);
    rustix::io::write(&far, &packet(60)).expect("written");
    driver.run();
    let (_, length, bytes) = driver.used(0).expect("a packet");
    assert_eq!((length, &bytes[10..12]), (72, &[1, 0][..]));
    assert_eq!(bytes[12..72], packet(60)[12..]);
}

#[test]
fn what_is_shorter_than_a_header_is_dropped() {
    let (mut driver, far) = plugged(F_MRG_RXBUF);
    driver.add(0, &[Part::In(2000)]);
    rustix::io::write(&far, b"short").expect("written");
    driver.kick(0);
    assert!(driver.used(0).is_none());
    rustix::io::write(&far, &packet(20)).expect("written");
    driver.run();
    assert_eq!(driver.used(0).expect("a packet").1, 32);
    drop(far);
    driver.run();
    driver.add(0, &[Part::In(2000)]);
    driver.kick(0);
    assert!(driver.used(0).is_none());
}

#[test]
fn buffers_in_too_many_pieces_come_back() {
    let (mut driver, far) = plugged(u64::MAX);
    rustix::io::write(&far, &packet(20)).expect("written");
    // A table of one-byte buffers.
    let mut table = Vec::new();
    for at in 0..800_u16 {
        table.extend((HIGH + 0x8_0000 + u64::from(at)).to_le_bytes());
        table.extend(1_u32.to_le_bytes());
        let link = if at < 799 { NEXT } else { 0 };
        table.extend((WRITE | link).to_le_bytes());
        table.extend((at + 1).to_le_bytes());
    }
    let address = driver.allocate(table.len() as u64);
    driver.memory.write(address, &table).expect("a table");
    let parts = [Part::Raw {
        address,
        length: table.len() as u32,
        flags: crate::driver::INDIRECT,
        next: 0,
    }];
    driver.add(0, &parts);
    driver.add(0, &parts);
    driver.kick(0);
    for _ in 0..2 {
        assert_eq!(driver.used(0).expect("given back").1, 0);
    }
    assert_eq!(driver.counter("broken_chains"), 2);
    driver.add(0, &[Part::In(2000)]);
    driver.kick(0);
    assert_eq!(driver.used(0).expect("a packet").1, 32);
}

#[test]
fn each_direction_has_its_limit() {
    let (mut driver, far) = plugged(u64::MAX);
    let limit = Limit {
        size: 1,
        one_time_burst: 0,
        refill_time_ms: 3,
    };
    for limiter in driver.mmio.device_mut().limiters_mut() {
        limiter.update(Limit::default(), limit);
    }
    for _ in 0..3 {
        driver.add(0, &[Part::In(1600)]);
        driver.add(1, &[Part::Out(&packet(50))]);
        rustix::io::write(&far, &packet(40)).expect("written");
    }
    driver.kick(0);
    driver.kick(1);
    let (mut received, mut sent) = (0, 0);
    while (received, sent) != (3, 3) {
        while driver.used(0).is_some() {
            received += 1;
        }
        while read(&far).is_some() {
            sent += 1;
        }
        if (received, sent) != (3, 3) {
            driver.wait();
        }
    }
    assert!(driver.counter("received_throttled") > 0 && driver.counter("sent_throttled") > 0);
}

#[test]
fn a_cable_that_is_full_makes_the_guest_wait() {
    let (mut driver, far) = plugged(u64::MAX);
    let big = packet(60_000);
    let mut waiting = 0;
    for _ in 0..30 {
        driver.add(1, &[Part::Out(&big)]);
        driver.kick(1);
        if driver.used(1).is_none() {
            waiting += 1;
            break;
        }
    }
    assert_eq!(waiting, 1, "it takes no end of packets");
    while read(&far).is_some() {}
    driver.run();
    assert!(driver.used(1).is_some());
    assert_eq!(driver.counter("sent_dropped"), 0);
}

#[test]
fn a_tap_is_told_what_the_driver_takes() {
    let name = format!("gmnet{}", std::process::id() % 1_000_000);
    let tap = match tap::open(&name) {
        Ok(tap) => tap,
        Err(errno @ (Errno::NOENT | Errno::NODEV | Errno::PERM | Errno::ACCESS)) => {
            return eprintln!("skipped: no TAP devices here: {errno}");
        }
        Err(errno) => panic!("{errno}"),
    };
    let mut driver = Driver::started(
        Net::new(Card {
            mtu: Some(9000),
            ..card(Link::Tap(tap))
        }),
        u64::MAX,
    );
    assert_eq!(driver.config::<2>(10), 9000_u16.to_le_bytes());
    assert_ne!(driver.features & F_GUEST_TSO4, 0);
    assert_eq!(Net::offload(driver.features), 15);
    assert_eq!(Net::offload(F_GUEST_TSO4), 0, "a checksum comes first");
    // The interface is down: what is sent is lost, and nothing hangs.
    assert_eq!(driver.request(1, &[Part::Out(&packet(60))]).0, 0);
    assert_eq!(driver.counter("sent_dropped"), 1);
    driver.set(0x070, 0);
    driver.start(0);
    assert_eq!(driver.get(0x070), 15);
}
