//! A neighbour in the monitor: an address on the guest's network that is answered here, and that the link
//! never hears of. What the guest sends to it is taken out of its frames, and its own frames go before the link's.
//!
//! It speaks ARP, and TCP on one port; the stack is the crate smoltcp. A connection is one request and one
//! answer, which a [`Service`] gives. All that a guest can make it keep is bounded: connections, their bytes,
//! their time, and frames that wait.

mod wire;

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};

use crate::timer::Timer;
pub(super) use wire::Wire;

/// The most that a client says before it is answered.
pub const REQUEST_BYTES_MAX: usize = 4096;
/// So many at once; the next one is refused.
const CONNECTIONS_MAX: usize = 30;
/// How long a connection may last, whatever happens on it.
const LIFE: Duration = Duration::from_secs(30);
/// What is on its way to a client.
const SEND_BYTES: usize = 16 << 10;
/// The shortest time that the timer is set to.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Of IP packets to the guest: what every card takes, unless it has said less.
const MTU: std::ops::RangeInclusive<u16> = 576..=1500;

/// As much of a frame as says whose it is: Ethernet, and an ARP packet.
pub(super) const START_BYTES: usize = 42;
// IEEE 802.3, 3.2.6; RFC 826; RFC 791, 3.1.
const SOURCE: std::ops::Range<usize> = 6..12;
const TYPE_OFFSET: usize = 12;
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// Of an IPv4 address on Ethernet.
const ARP_REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];
const ARP_TARGET_OFFSET: usize = 38;
const IPV4_PROTOCOL_OFFSET: usize = 23;
const IPV4_SOURCE: std::ops::Range<usize> = 26..30;
const IPV4_TARGET_OFFSET: usize = 30;
const PROTOCOL_TCP: u8 = 6;

/// What is found behind the address.
pub trait Service: Send + fmt::Debug {
    /// What a client gets for what it has said, which begins with its connection; `None`: it has more to
    /// say. With [`REQUEST_BYTES_MAX`] it has not. The connection is closed behind the answer.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>>;
}

/// How a detour is made.
#[derive(Debug)]
pub struct Neighbour {
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    /// Of TCP.
    pub port: u16,
    /// The card's, if it has one.
    pub mtu: Option<u16>,
    /// Where sequence numbers begin.
    pub seed: u64,
    pub service: Box<dyn Service>,
}

/// The neighbour, on its card.
pub struct Detour {
    mac: [u8; 6],
    address: Ipv4Addr,
    port: u16,
    service: Box<dyn Service>,
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    connections: Vec<Connection>,
    timer: Timer,
    began: std::time::Instant,
    pub(super) counts: Counts,
}

/// What it has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Frames that were taken, and those of them that nobody here understands.
    pub(super) taken: u64,
    pub(super) dropped: u64,
    pub(super) sent_packets: u64,
    pub(super) sent_bytes: u64,
    pub(super) opened: u64,
    pub(super) closed: u64,
}

#[derive(Debug)]
struct Connection {
    handle: SocketHandle,
    /// `None`: it waits for a client.
    ends_at: Option<Instant>,
    /// How much of the request the service has seen.
    seen_bytes: usize,
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    bytes: Vec<u8>,
    sent: usize,
}

impl fmt::Debug for Detour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detour")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("service", &self.service)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Detour {
    /// # Errors
    /// `EMFILE`, `ENOMEM`: its timer.
    pub fn new(neighbour: Neighbour) -> Result<Self, Errno> {
        let mtu = neighbour.mtu.unwrap_or(*MTU.end());
        let mut wire = Wire::new(mtu.clamp(*MTU.start(), *MTU.end()));
        let mac = HardwareAddress::Ethernet(EthernetAddress(neighbour.mac));
        let mut config = Config::new(mac);
        config.random_seed = neighbour.seed;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // All that a guest calls itself is on this cable. There is room for two addresses.
            let _ = addresses.push(IpCidr::new(neighbour.address.into(), 0));
        });
        Ok(Self {
            mac: neighbour.mac,
            address: neighbour.address,
            port: neighbour.port,
            service: neighbour.service,
            interface,
            wire,
            sockets: SocketSet::new(Vec::new()),
            connections: Vec::new(),
            timer: Timer::new()?,
            began: std::time::Instant::now(),
            counts: Counts::default(),
        })
    }

    /// Rings when there may be something to say.
    pub(super) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.fd()
    }

    /// Whether a frame is for the neighbour, by its first [`START_BYTES`].
    pub(super) fn wants(&self, start: &[u8]) -> bool {
        let target = match start.get(TYPE_OFFSET..TYPE_OFFSET + 2) {
            Some(kind) if kind == TYPE_ARP => ARP_TARGET_OFFSET,
            Some(kind) if kind == TYPE_IPV4 => IPV4_TARGET_OFFSET,
            _ => return false,
        };
        start.get(target..target + 4) == Some(&self.address.octets()[..])
    }

    /// Takes a frame that it wants.
    pub(super) fn take(&mut self, frame: Vec<u8>) {
        self.take_at(frame, self.now());
    }

    pub(super) fn take_at(&mut self, mut frame: Vec<u8>, now: Instant) {
        self.counts.taken += 1;
        if frame.get(TYPE_OFFSET..TYPE_OFFSET + 2) == Some(&TYPE_IPV4[..]) {
            if frame.get(IPV4_PROTOCOL_OFFSET) != Some(&PROTOCOL_TCP) {
                self.counts.dropped += 1;
                return;
            }
            if let Some(told) = self.told_by(&frame) {
                self.wire.inbox = Some(told);
                self.poll(now);
            }
            // A guest without a route of its own for the address sends it to its gateway.
            frame[..self.mac.len()].copy_from_slice(&self.mac);
        }
        self.wire.inbox = Some(frame);
        self.turn_at(now);
        // There is no room for an answer: as lost on a cable.
        if self.wire.inbox.take().is_some() {
            self.counts.dropped += 1;
        }
    }

    /// The ARP reply that whoever sent an IP packet would give: a guest need not answer questions from outside
    /// of its network.
    fn told_by(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (mac, address) = (frame.get(SOURCE)?, frame.get(IPV4_SOURCE)?);
        let own = self.address.octets();
        let ethernet = [&self.mac[..], mac, &TYPE_ARP].concat();
        let arp = [&ARP_REPLY[..], mac, address, &self.mac, &own].concat();
        Some([ethernet, arp].concat())
    }

    /// Whether it has something to say.
    pub(super) fn has_frames(&self) -> bool {
        !self.wire.outbox.is_empty()
    }

    /// The next frame for the guest.
    pub(super) fn next_frame(&mut self) -> Option<Vec<u8>> {
        if self.wire.outbox.is_empty() && self.wire.was_full {
            self.turn();
        }
        let frame = self.wire.outbox.pop_front()?;
        self.counts.sent_packets += 1;
        self.counts.sent_bytes += frame.len() as u64;
        Some(frame)
    }

    /// Looks at what has become due.
    pub(super) fn turn(&mut self) {
        self.turn_at(self.now());
    }

    /// The guest's driver begins anew: its connections are gone.
    pub(super) fn reset(&mut self) {
        for connection in self.connections.drain(..) {
            self.counts.closed += u64::from(connection.ends_at.is_some());
            self.sockets.remove(connection.handle);
        }
        self.wire.outbox.clear();
        self.wire.was_full = false;
        self.timer.set(None);
    }

    fn now(&self) -> Instant {
        let passed_us = self.began.elapsed().as_micros();
        Instant::from_micros(i64::try_from(passed_us).unwrap_or(i64::MAX))
    }

    pub(super) fn turn_at(&mut self, now: Instant) {
        self.wire.was_full = false;
        self.listen();
        self.poll(now);
        for index in 0..self.connections.len() {
            self.serve(index, now);
        }
        self.poll(now);
        self.forget();
        let pause = self.pause(now);
        self.timer.set(pause);
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
    }

    /// Somebody waits for the next client, if there may be one.
    fn listen(&mut self) {
        let is_open = self.connections.iter().any(|known| {
            let socket = self.sockets.get::<Socket>(known.handle);
            socket.state() == State::Listen
        });
        if is_open || self.connections.len() >= CONNECTIONS_MAX {
            return;
        }
        let received = SocketBuffer::new(vec![0; REQUEST_BYTES_MAX]);
        let sent = SocketBuffer::new(vec![0; SEND_BYTES]);
        let mut socket = Socket::new(received, sent);
        // A request waits for nothing, and neither does its answer.
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        // It refuses a second call, and port 0.
        if socket.listen((self.address, self.port)).is_ok() {
            self.connections.push(Connection {
                handle: self.sockets.add(socket),
                ends_at: None,
                seen_bytes: 0,
                answer: None,
            });
        }
    }

    fn serve(&mut self, index: usize, now: Instant) {
        let connection = &mut self.connections[index];
        let socket = self.sockets.get_mut::<Socket>(connection.handle);
        if socket.state() == State::Listen {
            // A client that took back its first word makes way for another.
            if connection.ends_at.take().is_some() {
                self.counts.closed += 1;
            }
            return;
        }
        let ends_at = *connection.ends_at.get_or_insert_with(|| {
            self.counts.opened += 1;
            now + LIFE.into()
        });
        if now >= ends_at {
            socket.abort();
            return;
        }
        if connection.answer.is_none() {
            connection.ask(socket, self.service.as_mut());
        }
        connection.send(socket);
    }

    /// Those that are over. One whose client knows that as well is not kept for late segments: none is late here.
    fn forget(&mut self) {
        let (sockets, counts) = (&mut self.sockets, &mut self.counts);
        let was_full = self.wire.was_full;
        self.connections.retain(|connection| {
            let is_over = match sockets.get::<Socket>(connection.handle).state() {
                State::Closed => true,
                State::TimeWait => !was_full,
                _ => false,
            };
            if is_over {
                sockets.remove(connection.handle);
                counts.closed += 1;
            }
            !is_over
        });
    }

    /// Until something becomes due by itself.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        let ends = self.connections.iter();
        let end = ends.filter_map(|connection| connection.ends_at).min();
        // While frames wait for the guest, it is the guest that is waited for.
        let due = if self.wire.was_full {
            None
        } else {
            self.interface.poll_at(now, &self.sockets)
        };
        let next = [end, due].into_iter().flatten().min()?;
        let pause_us = u64::try_from(next.total_micros().saturating_sub(now.total_micros()));
        Some(Duration::from_micros(pause_us.unwrap_or(0)).max(PAUSE_MIN))
    }
}

impl Connection {
    /// Asks for an answer to what is there, which stays where it is until there is one.
    fn ask(&mut self, socket: &mut Socket<'_>, service: &mut dyn Service) {
        let size = socket.recv_queue();
        let has_news = size > self.seen_bytes;
        self.seen_bytes = size;
        if has_news && let Ok(request) = socket.peek(size) {
            let is_all = request.len() >= REQUEST_BYTES_MAX;
            match service.answer(request) {
                Some(bytes) => self.answer = Some(Answer { bytes, sent: 0 }),
                None if is_all => socket.abort(),
                None => {}
            }
        }
        // It has hung up in the middle.
        if self.answer.is_none() && socket.state() == State::CloseWait {
            socket.close();
        }
    }

    fn send(&mut self, socket: &mut Socket<'_>) {
        let Some(answer) = &mut self.answer else {
            return;
        };
        // What else it says is not heard.
        let _ = socket.recv(|bytes| (bytes.len(), ()));
        let rest = answer.bytes.get(answer.sent..).unwrap_or_default();
        if let Ok(sent) = socket.send_slice(rest) {
            answer.sent += sent;
        }
        if answer.sent == answer.bytes.len() {
            socket.close();
        }
    }
}
