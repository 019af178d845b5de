//! The resolver of a container on networks with names: answers what its networks know, and has others
//! answer the rest, without ever waiting for them.
//!
//! It is asked at [`ADDRESS`] in the container's network namespace, where its [`Sockets`] are made and from
//! where the packet filter leads the questions to them: port 53 stays free for whoever serves names in
//! the container. Whoever holds it waits for its descriptor and calls [`Resolver::on_ready`].

mod clients;
mod gated;
mod upstream;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, acceptfrom_with, bind,
    getsockname, listen, recvfrom, sendto, socket_with,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::egress::Gate;
use crate::error::NetworkError;
use crate::link;
use crate::names::Names;
use crate::network::Network;
use crate::nft::{self, Table};
use crate::slots::{LISTENER, Name, Slots};
use clients::Client;
use upstream::{Exchange, Step};
use wire::{Query, TTL_S, Wanted};

pub use upstream::{HostFile, Upstream};

/// Docker's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const STREAMS: u64 = u64::MAX - 1;
const TIMER: u64 = u64::MAX - 2;
const OF_EXCHANGE: u64 = 0;
const OF_CLIENT: u64 = 1;

/// With more on their way, questions are answered with a failure. Each takes a descriptor.
const EXCHANGES: usize = 256;
const CLIENTS: usize = 64;
/// Questions taken in one go.
const DATAGRAMS: usize = 64;
const EVENTS: usize = 64;
/// Any message.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Questions of the machine at `source` are led nowhere any more.
pub fn forget_machine(table: &str, source: Ipv4Addr) -> Result<(), NetworkError> {
    Table::open(table)?.forget_machine(source)
}

/// Where questions arrive.
#[derive(Debug)]
pub struct Sockets {
    datagrams: OwnedFd,
    streams: OwnedFd,
}

impl Sockets {
    /// Makes them in `netns`, whose loopback is up, and leads there what is sent to [`ADDRESS`].
    pub fn inside(netns: BorrowedFd<'_>) -> Result<Sockets, NetworkError> {
        link::within(netns, || {
            let (sockets, ports) = Sockets::make(ADDRESS).map_err(NetworkError::Resolver)?;
            nft::lead_questions(ADDRESS, ports)?;
            Ok(sockets)
        })?
    }

    /// Makes them on the host, for a machine at `source`, whose kernel is not the host's: what it asks of
    /// the bridge's address is led there.
    pub fn on_host(network: &Network, source: Ipv4Addr) -> Result<Sockets, NetworkError> {
        let address = network.gateway4;
        let (sockets, ports) = Sockets::make(address).map_err(NetworkError::Resolver)?;
        let targets = ports.map(|port| (address, port).into());
        Table::open(&network.table)?.lead_machine(source, targets)?;
        Ok(sockets)
    }

    fn make(address: Ipv4Addr) -> Result<(Sockets, [u16; 2]), Errno> {
        let open = |kind| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
            bind(&socket, &SocketAddr::from((address, 0)))?;
            let own = SocketAddr::try_from(getsockname(&socket)?)?;
            Ok((socket, own.port()))
        };
        let (datagrams, udp) = open(SocketType::DGRAM)?;
        let (streams, tcp) = open(SocketType::STREAM)?;
        listen(&streams, CLIENTS as i32)?;
        Ok((Sockets { datagrams, streams }, [udp, tcp]))
    }
}

/// A network whose names are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// A name of the network may be followed by it.
    pub network: String,
    pub names: Names,
}

/// Who has asked.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Datagram(SocketAddr),
    Stream(Name),
}

/// The resolver of one container.
#[derive(Debug)]
pub struct Resolver {
    sockets: Sockets,
    zones: Vec<Zone>,
    upstream: Upstream,
    /// `None`: every name may be asked for.
    gate: Option<Gate>,
    epoll: OwnedFd,
    timer: OwnedFd,
    is_timer_set: bool,
    exchanges: Slots<Exchange<Asker>>,
    clients: Slots<Client>,
    /// By how much the next answer's addresses are turned.
    turn: usize,
    scratch: Vec<u8>,
}

impl Resolver {
    /// Answers at `sockets` with the names of `zones`, the first that has one.
    pub fn new(
        sockets: Sockets,
        zones: Vec<Zone>,
        upstream: Upstream,
    ) -> Result<Resolver, NetworkError> {
        let make = || {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            let watch = |fd: BorrowedFd<'_>, token| {
                epoll::add(&epoll, fd, EventData::new_u64(token), EventFlags::IN)
            };
            watch(sockets.datagrams.as_fd(), LISTENER)?;
            watch(sockets.streams.as_fd(), STREAMS)?;
            watch(timer.as_fd(), TIMER)?;
            Ok((epoll, timer))
        };
        let (epoll, timer) = make().map_err(NetworkError::Resolver)?;
        Ok(Resolver {
            sockets,
            zones,
            upstream,
            gate: None,
            epoll,
            timer,
            is_timer_set: false,
            exchanges: Slots::new(),
            clients: Slots::new(),
            turn: 0,
            scratch: Vec::new(),
        })
    }

    /// Answers with the names of other networks from now on.
    pub fn set_zones(&mut self, zones: Vec<Zone>, upstream: Upstream) {
        self.zones = zones;
        self.upstream = upstream;
    }

    /// Does what can be done at once; to be called whenever the descriptor is readable. What fails is
    /// one answer's matter: who has asked asks again.
    pub fn on_ready(&mut self) {
        let mut events = [const {
            epoll::Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(0),
            }
        }; EVENTS];
        let immediately = rustix::event::Timespec::default();
        let Ok(count) = epoll::wait(&self.epoll, &mut events[..], Some(&immediately)) else {
            return;
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(SCRATCH_BYTES, 0);
        for event in &events[..count] {
            match event.data.u64() {
                LISTENER => self.on_datagrams(&mut scratch),
                STREAMS => self.accept(),
                TIMER => self.on_time(),
                token => match Name::of(token) {
                    (name, OF_EXCHANGE) => self.on_exchange(name, &mut scratch),
                    (name, _) => self.on_client(name, &mut scratch),
                },
            }
        }
        self.set_timer();
        self.scratch = scratch;
    }

    /// Lets go of memory that nothing needs just now.
    pub fn rest(&mut self) {
        self.scratch = Vec::new();
    }

    fn on_datagrams(&mut self, scratch: &mut [u8]) {
        for _ in 0..DATAGRAMS {
            let received = recvfrom(&self.sockets.datagrams, &mut *scratch, RecvFlags::empty());
            match received {
                Ok((length, _, Some(from))) => {
                    if let Ok(from) = SocketAddr::try_from(from) {
                        self.ask(&scratch[..length], Asker::Datagram(from));
                    }
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn ask(&mut self, message: &[u8], asker: Asker) {
        let Some(query) = Query::read(message) else {
            return;
        };
        let limit_bytes = match asker {
            Asker::Datagram(_) => query.datagram_bytes(),
            Asker::Stream(_) => usize::from(u16::MAX),
        };
        let known = self.own(&query, limit_bytes);
        if let Some(answer) = known.or_else(|| self.refusal(&query)) {
            return self.answer(asker, &answer);
        }
        let kind = match asker {
            Asker::Datagram(_) => SocketType::DGRAM,
            Asker::Stream(_) => SocketType::STREAM,
        };
        let servers = self.upstream.servers();
        let begun = match self.exchanges.len() < EXCHANGES {
            true => Exchange::begin(asker, message.to_vec(), servers, kind),
            false => None,
        };
        let Some(exchange) = begun else {
            return self.answer(asker, &query.failure());
        };
        let name = self.exchanges.insert(exchange);
        self.watch_exchange(name);
    }

    /// The answer of a network that has the name.
    fn own(&mut self, query: &Query, limit_bytes: usize) -> Option<Vec<u8>> {
        let (name, family): (_, fn(&IpAddr) -> bool) = match query.wanted() {
            Wanted::Ipv4(name) => (name, IpAddr::is_ipv4),
            Wanted::Ipv6(name) => (name, IpAddr::is_ipv6),
            Wanted::Other(name) => (name, |_| false),
            Wanted::Owner(address) => {
                let name = self.zones.iter().find_map(|zone| {
                    let name = zone.names.name_of(address)?;
                    Some(format!("{name}.{}", zone.network))
                })?;
                return Some(query.owner(&name, limit_bytes));
            }
            Wanted::Foreign => return None,
        };
        let mut addresses = self.zones.iter().find_map(|zone| {
            let found = zone.addresses_of(&name);
            (!found.is_empty()).then_some(found)
        })?;
        if !self.admit(&name, &mut addresses) {
            return Some(query.no_such_name());
        }
        addresses.retain(family);
        if !addresses.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            let turn = self.turn % addresses.len();
            addresses.rotate_left(turn);
        }
        Some(query.addresses(&addresses, limit_bytes))
    }

    fn answer(&mut self, asker: Asker, message: &[u8]) {
        match asker {
            Asker::Datagram(to) => {
                let _ = sendto(&self.sockets.datagrams, message, SendFlags::NOSIGNAL, &to);
            }
            Asker::Stream(name) => {
                let Some(client) = self.clients.get_mut(name) else {
                    return;
                };
                if client.send(message).is_err() {
                    self.clients.remove(name);
                } else if client.has_backlog() {
                    self.watch_client(name);
                }
            }
        }
    }

    fn on_exchange(&mut self, name: Name, scratch: &mut [u8]) {
        let Some(exchange) = self.exchanges.get_mut(name) else {
            return;
        };
        match exchange.on_ready(scratch) {
            Step::Wait if exchange.is_stream() => self.watch_exchange(name),
            Step::Wait => {}
            Step::Answer(answer) => self.end_exchange(name, Some(answer)),
            Step::Next(answer) => self.try_next(name, answer),
        }
    }

    /// Asks another server; if there is none, what the last one said is the answer.
    fn try_next(&mut self, name: Name, answer: Option<Vec<u8>>) {
        match self.exchanges.get_mut(name).map(Exchange::go_on) {
            Some(true) => self.watch_exchange(name),
            Some(false) => self.end_exchange(name, answer),
            None => {}
        }
    }

    fn end_exchange(&mut self, name: Name, answer: Option<Vec<u8>>) {
        let Some(exchange) = self.exchanges.remove(name) else {
            return;
        };
        let failure = || {
            let mut query = exchange.query().to_vec();
            query[..2].copy_from_slice(&exchange.number);
            Query::read(&query).map(|query| query.failure())
        };
        let answer = answer.filter(|answer| self.let_through(exchange.query(), answer));
        if let Some(answer) = answer.or_else(failure) {
            self.answer(exchange.client, &answer);
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok((socket, _)) = acceptfrom_with(&self.sockets.streams, flags) else {
            return;
        };
        if self.clients.len() >= CLIENTS {
            return;
        }
        let name = self.clients.insert(Client::new(socket));
        self.watch_client(name);
    }

    fn on_client(&mut self, name: Name, scratch: &mut [u8]) {
        let Some(client) = self.clients.get_mut(name) else {
            return;
        };
        match client.on_ready(scratch) {
            Ok(messages) => {
                for message in messages {
                    self.ask(&message, Asker::Stream(name));
                }
                self.watch_client(name);
            }
            Err(_) => drop(self.clients.remove(name)),
        }
    }

    fn on_time(&mut self) {
        self.is_timer_set = false;
        let mut expirations = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut expirations);
        let now = Instant::now();
        let late = |until: Instant| until <= now;
        let exchanges = self.exchanges.iter().filter(|(_, one)| late(one.until));
        let exchanges: Vec<Name> = exchanges.map(|(name, _)| name).collect();
        for name in exchanges {
            self.try_next(name, None);
        }
        let clients = self.clients.iter().filter(|(_, one)| late(one.until));
        let clients: Vec<Name> = clients.map(|(name, _)| name).collect();
        for name in clients {
            self.clients.remove(name);
        }
    }

    /// Wakes up when something is too late, at the earliest a quarter of a second from now.
    fn set_timer(&mut self) {
        if self.is_timer_set || (self.exchanges.len() == 0 && self.clients.len() == 0) {
            return;
        }
        let quarter = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 250_000_000,
        };
        let once = Itimerspec {
            it_interval: rustix::time::Timespec::default(),
            it_value: quarter,
        };
        let set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
        self.is_timer_set = set.is_ok();
    }

    fn watch_exchange(&mut self, name: Name) {
        let Some(exchange) = self.exchanges.get_mut(name) else {
            return;
        };
        let flags = match exchange.has_unsent() {
            true => EventFlags::OUT,
            false => EventFlags::IN,
        };
        watch(
            &self.epoll,
            exchange.as_fd(),
            name.token(OF_EXCHANGE),
            flags,
        );
    }

    fn watch_client(&mut self, name: Name) {
        let Some(client) = self.clients.get_mut(name) else {
            return;
        };
        let flags = match client.has_backlog() {
            true => EventFlags::IN | EventFlags::OUT,
            false => EventFlags::IN,
        };
        watch(&self.epoll, client.as_fd(), name.token(OF_CLIENT), flags);
    }
}

fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>, token: u64, flags: EventFlags) {
    let data = EventData::new_u64(token);
    if epoll::add(epoll, fd, data, flags) == Err(Errno::EXIST) {
        let _ = epoll::modify(epoll, fd, data, flags);
    }
}

impl Zone {
    /// A name stands for itself, or is followed by the network's.
    fn addresses_of(&self, name: &str) -> Vec<IpAddr> {
        let found = self.names.addresses_of(name);
        if !found.is_empty() {
            return found;
        }
        let network = self.network.to_ascii_lowercase();
        let first = name
            .strip_suffix(&network)
            .and_then(|n| n.strip_suffix('.'));
        first.map_or_else(Vec::new, |first| self.names.addresses_of(first))
    }
}

impl AsFd for Resolver {
    /// An epoll descriptor: readable when [`Resolver::on_ready`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
