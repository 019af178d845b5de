//! A neighbour in the monitor, asked by a guest whose stack is the same crate's. Its clock is the driver's
//! own where it is only asked; where time has to pass, the test says how much.

use std::net::Ipv4Addr;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use super::*;
use crate::net::detour::{Detour, Neighbour, REQUEST_BYTES_MAX, Service, Wire};

const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const NEIGHBOUR_MAC: [u8; 6] = [6, 1, 0x23, 0x45, 0x67, 1];
const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
const ANSWER_BYTES: usize = 100_000;

/// What ends with an empty line is answered with its length, and what begins with `long` at length.
#[derive(Debug)]
struct Lengths;

impl Service for Lengths {
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let is_whole = request.ends_with(b"\r\n\r\n");
        is_whole.then(|| match request.starts_with(b"long") {
            true => vec![b'l'; ANSWER_BYTES],
            false => request.len().to_string().into_bytes(),
        })
    }
}

fn neighbour() -> Detour {
    Detour::new(Neighbour {
        mac: NEIGHBOUR_MAC,
        address: NEIGHBOUR,
        port: 80,
        mtu: None,
        seed: 1,
        service: Box::new(Lengths),
    })
    .expect("a timer")
}

fn beside(features: u64) -> (Driver<Net>, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (near, far) = pair.expect("a pair");
    let net = Net::new(Card {
        detour: Some(neighbour()),
        ..card(Link::Packets(near))
    });
    (Driver::started(net, features), far)
}

/// A guest's stack. It has an address in a network that the neighbour's is not in.
struct Guest {
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    /// One millisecond for each look.
    now_ms: i64,
}

impl Guest {
    fn new() -> Self {
        let mut wire = Wire::new(1500);
        let mac = HardwareAddress::Ethernet(EthernetAddress(GUEST_MAC));
        let mut interface = Interface::new(Config::new(mac), &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(GUEST.into(), 0))
                .expect("there is room");
        });
        Self {
            interface,
            wire,
            sockets: SocketSet::new(Vec::new()),
            now_ms: 0,
        }
    }

    fn connect(&mut self, to: Ipv4Addr, own_port: u16) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 1 << 15]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        socket
            .connect(self.interface.context(), (to, 80), own_port)
            .expect("it begins");
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn poll(&mut self) {
        self.now_ms += 1;
        let now = Instant::from_millis(self.now_ms);
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Frames go to and fro until nobody says anything.
    fn run(&mut self, driver: &mut Driver<Net>) {
        loop {
            self.poll();
            let mut is_quiet = self.wire.outbox.is_empty();
            while let Some(frame) = self.wire.outbox.pop_front() {
                send(driver, &frame);
            }
            while let Some(frame) = receive(driver) {
                is_quiet = false;
                self.wire.inbox = Some(frame);
                self.poll();
            }
            if is_quiet {
                return;
            }
        }
    }

    /// What comes for these bytes, until the end.
    fn ask(&mut self, driver: &mut Driver<Net>, own_port: u16, request: &[u8]) -> Vec<u8> {
        let handle = self.connect(NEIGHBOUR, own_port);
        self.run(driver);
        let sent = self.socket(handle).send_slice(request);
        assert_eq!(sent, Ok(request.len()));
        let mut answer = Vec::new();
        while self.socket(handle).may_recv() {
            self.run(driver);
            let read = |bytes: &mut [u8]| (bytes.len(), bytes.to_vec());
            if let Ok(bytes) = self.socket(handle).recv(read) {
                answer.extend(bytes);
            }
        }
        self.socket(handle).close();
        self.run(driver);
        self.sockets.remove(handle);
        answer
    }
}

fn send(driver: &mut Driver<Net>, frame: &[u8]) {
    driver.request(TRANSMIT, &[Part::Out(&[0; 12]), Part::Out(frame)]);
}

fn receive(driver: &mut Driver<Net>) -> Option<Vec<u8>> {
    let (_, length, bytes) = driver.used(RECEIVE)?;
    add_room(driver, 1);
    assert_eq!(
        bytes[..12],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        "whole, with checksums, in one chain"
    );
    Some(bytes[12..length as usize].to_vec())
}

fn add_room(driver: &mut Driver<Net>, chains: usize) {
    for _ in 0..chains {
        driver.add(RECEIVE, &[Part::In(1526)]);
    }
    driver.kick(RECEIVE);
}

fn arp(operation: u8, target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let (own, target) = (GUEST.octets(), target.octets());
    [
        &[0xff; 6][..],
        &GUEST_MAC,
        &[8, 6],
        &head,
        &GUEST_MAC,
        &own,
        &[0; 6],
        &target,
    ]
    .concat()
}

#[test]
fn it_answers_who_asks_for_it_and_nobody_else() {
    let (mut driver, far) = beside(u64::MAX);
    add_room(&mut driver, 8);
    send(&mut driver, &arp(1, NEIGHBOUR));
    let reply = receive(&mut driver).expect("a reply");
    assert_eq!(
        (&reply[..6], &reply[6..12]),
        (&GUEST_MAC[..], &NEIGHBOUR_MAC[..])
    );
    assert_eq!(reply[20..22], [0, 2], "a reply");
    assert_eq!(
        (&reply[22..28], &reply[28..32]),
        (&NEIGHBOUR_MAC[..], &NEIGHBOUR.octets()[..])
    );
    assert_eq!(read(&far), None, "the link hears nothing of it");
    let other = arp(1, Ipv4Addr::new(169, 254, 169, 253));
    send(&mut driver, &other);
    assert_eq!(receive(&mut driver), None);
    let heard = read(&far).expect("it is for the link");
    assert_eq!(heard[12..], other);
    // And what the link says still comes.
    rustix::io::write(&far, &packet(60)).expect("written");
    driver.run();
    assert_eq!(
        receive(&mut driver).expect("a packet")[..],
        packet(60)[12..]
    );
    assert_eq!(driver.counter("detour_taken"), 1);
    assert_eq!(driver.counter("detour_sent_packets"), 1);
    assert_eq!(driver.counter("sent_packets"), 1);
}

#[test]
fn requests_are_answered_over_tcp() {
    for features in [0, u64::MAX] {
        let (mut driver, far) = beside(features);
        add_room(&mut driver, 20);
        let mut guest = Guest::new();
        assert_eq!(
            guest.ask(&mut driver, 1000, b"GET / HTTP/1.1\r\n\r\n"),
            b"18"
        );
        // More than fits into any buffer on the way; and more than there may be at once.
        for port in 2000..2040 {
            let answer = guest.ask(&mut driver, port, b"long\r\n\r\n");
            assert_eq!(answer.len(), ANSWER_BYTES);
        }
        assert_eq!(driver.counter("detour_opened"), 41);
        assert_eq!(driver.counter("detour_closed"), 41);
        assert_eq!(read(&far), None);
        // Another port is refused, and what is behind the link is not asked here.
        let elsewhere = guest.connect(Ipv4Addr::new(1, 1, 1, 1), 3000);
        guest.run(&mut driver);
        assert_eq!(guest.socket(elsewhere).state(), State::SynSent);
        assert!(read(&far).is_some());
    }
}

#[test]
fn it_is_found_by_way_of_a_gateway() {
    let (mut driver, far) = beside(u64::MAX);
    add_room(&mut driver, 20);
    let gateway = Ipv4Addr::new(172, 16, 0, 1);
    let mut guest = Guest::new();
    guest.interface.update_ip_addrs(|addresses| {
        addresses[0] = IpCidr::new(GUEST.into(), 24);
    });
    let route = guest.interface.routes_mut().add_default_ipv4_route(gateway);
    route.expect("there is room");
    let handle = guest.connect(NEIGHBOUR, 1000);
    guest.run(&mut driver);
    let asked = read(&far).expect("the link is asked for the gateway");
    assert_eq!(asked[50..54], gateway.octets());
    // The gateway's answer, from another card.
    let mut reply = [&[0; 12][..], &arp(2, GUEST)].concat();
    reply[12..18].copy_from_slice(&GUEST_MAC);
    for at in [18, 34] {
        reply[at..at + 6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    }
    reply[40..44].copy_from_slice(&gateway.octets());
    rustix::io::write(&far, &reply).expect("written");
    driver.run();
    guest.run(&mut driver);
    assert_eq!(guest.socket(handle).state(), State::Established);
    assert_eq!(read(&far), None);
}

#[test]
fn a_request_comes_in_pieces_and_has_an_end() {
    let (mut driver, _far) = beside(u64::MAX);
    add_room(&mut driver, 20);
    let mut guest = Guest::new();
    let handle = guest.connect(NEIGHBOUR, 1000);
    for piece in [&b"GET"[..], b" /\r\n", b"\r\n"] {
        guest.run(&mut driver);
        assert_eq!(guest.socket(handle).recv_queue(), 0);
        guest.socket(handle).send_slice(piece).expect("sent");
    }
    guest.run(&mut driver);
    let answer = guest
        .socket(handle)
        .recv(|bytes| (bytes.len(), bytes.to_vec()));
    assert_eq!(answer, Ok(b"9".to_vec()));
    // One that has no end is cut off, and so is one that ends too early.
    let handle = guest.connect(NEIGHBOUR, 1001);
    guest.run(&mut driver);
    let endless = [b'x'; REQUEST_BYTES_MAX + 1];
    guest.socket(handle).send_slice(&endless).expect("sent");
    guest.run(&mut driver);
    assert_eq!(guest.socket(handle).state(), State::Closed);
    let handle = guest.connect(NEIGHBOUR, 1002);
    guest.run(&mut driver);
    guest.socket(handle).send_slice(b"GET").expect("sent");
    guest.socket(handle).close();
    guest.run(&mut driver);
    assert!(!guest.socket(handle).may_recv());
    // The first one has not said that it is done.
    assert_eq!(driver.counter("detour_closed"), 2);
}

#[test]
fn a_guest_without_room_is_waited_for() {
    let (mut driver, _far) = beside(0);
    let mut guest = Guest::new();
    guest.connect(NEIGHBOUR, 1000);
    guest.poll();
    let question = guest.wire.outbox.pop_front().expect("an ARP request");
    for _ in 0..200 {
        send(&mut driver, &question);
    }
    assert_eq!(driver.counter("detour_taken"), 200);
    assert_eq!(driver.counter("detour_dropped"), 136, "64 wait");
    for _ in 0..64 {
        add_room(&mut driver, 1);
        assert!(driver.used(RECEIVE).is_some());
    }
    add_room(&mut driver, 1);
    assert!(driver.used(RECEIVE).is_none());
    // A driver that begins anew gets nothing that was for the one before.
    send(&mut driver, &question);
    send(&mut driver, &question);
    driver.set(0x070, 0);
    driver.start(0);
    add_room(&mut driver, 4);
    assert_eq!(receive(&mut driver), None);
    let answer = Guest::new().ask(&mut driver, 1001, b"again\r\n\r\n");
    assert_eq!(answer, b"9");
}

/// Passes time, and frames, between a guest and a neighbour without a card.
fn exchange(guest: &mut Guest, neighbour: &mut Detour, now: Instant) {
    for _ in 0..100 {
        guest.poll();
        while let Some(frame) = guest.wire.outbox.pop_front() {
            assert!(neighbour.wants(&frame));
            neighbour.take_at(frame, now);
        }
        while let Some(frame) = neighbour.next_frame() {
            guest.wire.inbox = Some(frame);
            guest.poll();
        }
    }
}

#[test]
fn connections_are_few_and_end() {
    let (mut guest, mut neighbour) = (Guest::new(), neighbour());
    let handles: Vec<_> = (1000..1040)
        .map(|port| guest.connect(NEIGHBOUR, port))
        .collect();
    exchange(&mut guest, &mut neighbour, Instant::ZERO);
    let states = |guest: &mut Guest, wanted| {
        let states = handles.iter().map(|handle| guest.socket(*handle).state());
        states.filter(|state| *state == wanted).count()
    };
    assert_eq!(states(&mut guest, State::Established), 30);
    assert_eq!(states(&mut guest, State::Closed), 10, "refused");
    assert_eq!((neighbour.counts.opened, neighbour.counts.closed), (30, 0));
    // They say nothing for too long.
    neighbour.turn_at(Instant::from_millis(29_999));
    exchange(&mut guest, &mut neighbour, Instant::from_millis(29_999));
    assert_eq!(neighbour.counts.closed, 0);
    neighbour.turn_at(Instant::from_millis(30_000));
    exchange(&mut guest, &mut neighbour, Instant::from_millis(30_000));
    assert_eq!(neighbour.counts.closed, 30);
    assert_eq!(states(&mut guest, State::Closed), 40);
    let late = guest.connect(NEIGHBOUR, 2000);
    exchange(&mut guest, &mut neighbour, Instant::from_millis(30_001));
    assert_eq!(guest.socket(late).state(), State::Established);
}

#[test]
fn what_is_not_answered_is_said_again() {
    let (mut guest, mut neighbour) = (Guest::new(), neighbour());
    let handle = guest.connect(NEIGHBOUR, 1000);
    exchange(&mut guest, &mut neighbour, Instant::ZERO);
    guest.socket(handle).send_slice(b"x\r\n\r\n").expect("sent");
    guest.poll();
    let request = guest.wire.outbox.pop_front().expect("a segment");
    neighbour.take_at(request, Instant::from_millis(10));
    // All of it is lost, until the timer has rung.
    assert!(neighbour.has_frames());
    while neighbour.next_frame().is_some() {}
    rustix::event::poll(
        &mut [rustix::event::PollFd::from_borrowed_fd(
            neighbour.timer(),
            rustix::event::PollFlags::IN,
        )],
        None,
    )
    .expect("it rings");
    neighbour.turn_at(Instant::from_millis(5000));
    assert!(neighbour.has_frames());
    exchange(&mut guest, &mut neighbour, Instant::from_millis(5000));
    let answer = guest
        .socket(handle)
        .recv(|bytes| (bytes.len(), bytes.to_vec()));
    assert_eq!(answer, Ok(b"5".to_vec()));
}

#[test]
fn frames_that_make_no_sense_do_no_harm() {
    let (mut guest, mut neighbour) = (Guest::new(), neighbour());
    // Real ones, to be spoiled.
    let mut frames = vec![arp(1, NEIGHBOUR), arp(2, NEIGHBOUR), arp(9, NEIGHBOUR)];
    let handle = guest.connect(NEIGHBOUR, 1000);
    for _ in 0..20 {
        guest.poll();
        while let Some(frame) = guest.wire.outbox.pop_front() {
            frames.push(frame.clone());
            neighbour.take_at(frame, Instant::ZERO);
        }
        while let Some(frame) = neighbour.next_frame() {
            guest.wire.inbox = Some(frame);
            guest.poll();
        }
        let _ = guest.socket(handle).send_slice(b"long");
    }
    assert!(frames.len() > 10);
    // xorshift; Marsaglia, 2003.
    let mut random = 0x2545_f491_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for round in 0..60_000_i64 {
        let mut frame = frames[next(frames.len())].clone();
        for _ in 0..next(4) {
            let at = next(frame.len());
            frame[at] = next(256) as u8;
        }
        if next(4) == 0 {
            frame.truncate(next(frame.len() + 1));
        }
        if frame.len() > 34 && frame[12..14] == [8, 0] && next(8) != 0 {
            // The IP header's checksum is looked at, so most have it right.
            frame[24..26].fill(0);
            let words = frame[14..34].chunks(2);
            let sum: u32 = words
                .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
                .sum();
            let check = !((sum & 0xffff) + (sum >> 16)) as u16;
            frame[24..26].copy_from_slice(&check.to_be_bytes());
        }
        let _ = neighbour.wants(&frame);
        neighbour.take_at(frame, Instant::from_millis(round));
        if next(3) == 0 {
            while neighbour.next_frame().is_some() {}
        }
    }
    // It is still there.
    let now = Instant::from_millis(200_000);
    neighbour.turn_at(now);
    let mut guest = Guest::new();
    let handle = guest.connect(NEIGHBOUR, 5000);
    exchange(
        &mut guest,
        &mut neighbour,
        now + Duration::from_secs(31).into(),
    );
    guest.socket(handle).send_slice(b"x\r\n\r\n").expect("sent");
    exchange(
        &mut guest,
        &mut neighbour,
        now + Duration::from_secs(32).into(),
    );
    let answer = guest
        .socket(handle)
        .recv(|bytes| (bytes.len(), bytes.to_vec()));
    assert_eq!(answer, Ok(b"5".to_vec()));
    drop(guest);
}
