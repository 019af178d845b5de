//! The laboratory: a host, an outside client on a cable, containers on a bridge.

use std::io::{Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use gamut_net::link::{Inside, within};
use gamut_net::nft::Table;
use gamut_net::ports::Reserved;
use gamut_net::{Endpoint, Network, Publish, Reach, endpoint, ports};
use gamut_sys::netlink::{Protocol, Requests, Socket, flag, unshare_network};

pub(crate) const HOST4: &str = "192.0.2.1";
pub(crate) const CLIENT4: &str = "192.0.2.2";
pub(crate) const HOST6: &str = "2001:db8::1";
pub(crate) const CLIENT6: &str = "2001:db8::2";
/// How long something that must work may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long something that must not work is given.
const DOUBT: Duration = Duration::from_millis(400);

pub(crate) struct Lab {
    pub(crate) client: OwnedFd,
    pub(crate) network: Network,
}

pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) netns: OwnedFd,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
}

/// Whether the test can run; says so if not.
pub(crate) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: network namespaces need root");
    }
    root
}

pub(crate) fn network() -> Network {
    Network {
        table: "gamut-test".to_owned(),
        bridge: "gamut0".to_owned(),
        ipv4: "10.89.0.0/16".parse().unwrap(),
        gateway4: Ipv4Addr::new(10, 89, 0, 1),
        ipv6: Some((
            "fd00:89::/64".parse().unwrap(),
            "fd00:89::1".parse().unwrap(),
        )),
        reach: Reach::Outside,
        mtu: 1500,
    }
}

impl Lab {
    /// Moves the calling thread onto a new host and builds everything but the containers.
    pub(crate) fn new() -> Option<Lab> {
        if !root() {
            return None;
        }
        unshare_network().unwrap();
        let mut host = Socket::open(Protocol::Route).unwrap();
        let (client, mut inside) = Inside::create().unwrap();
        inside.loopback_up().unwrap();
        let mut far = within(client.as_fd(), || Socket::open(Protocol::Route).unwrap()).unwrap();
        loopback_up();
        cable(&mut host, &client);
        configure(&mut host, HOST4, HOST6);
        configure(&mut far, CLIENT4, CLIENT6);
        for end in [&mut host, &mut far] {
            settle(end);
        }
        await_ipv6(HOST6.parse().unwrap());
        within(client.as_fd(), || await_ipv6(CLIENT6.parse().unwrap())).unwrap();
        let network = network();
        network.ensure().unwrap();
        Some(Lab { client, network })
    }

    /// A container with the `number`th address.
    pub(crate) fn container(&self, number: u8) -> Container {
        let id = format!("{number:02x}").repeat(32);
        let ipv4 = Ipv4Addr::new(10, 89, 0, number);
        let mut ensured = self.network.ensure().unwrap();
        let endpoint = Endpoint::at(&self.network, &id, ipv4);
        let (netns, mut inside) = Inside::create().unwrap();
        let attached = endpoint::attach_inside(&mut ensured, netns.as_fd(), &mut inside, &endpoint);
        let ipv6 = attached.unwrap().ipv6.unwrap();
        await_ipv6(self.network.ipv6.unwrap().1);
        within(netns.as_fd(), || await_ipv6(ipv6)).unwrap();
        Container {
            id,
            netns,
            ipv4,
            ipv6,
        }
    }

    /// Holds and publishes the value of `-p`.
    pub(crate) fn publish(&self, container: &Container, text: &str) -> Vec<Reserved> {
        let wishes = Publish::parse(text).unwrap();
        let held: Vec<_> = wishes
            .iter()
            .flat_map(|wish| ports::reserve(wish).unwrap())
            .collect();
        let bindings: Vec<_> = held.iter().map(|one| one.binding).collect();
        let (v4, v6) = (container.ipv4, Some(container.ipv6));
        endpoint::publish(
            &mut self.network.ensure().unwrap(),
            &container.id,
            &bindings,
            v4,
            v6,
        )
        .unwrap();
        held
    }

    pub(crate) fn unpublish(&self, container: &Container, held: Vec<Reserved>) {
        let bindings: Vec<_> = held.iter().map(|one| one.binding).collect();
        let (v4, v6) = (container.ipv4, Some(container.ipv6));
        drop(endpoint::unpublish(&self.network, &container.id, &bindings, v4, v6).unwrap());
    }

    pub(crate) fn table(&self) -> Table<'_> {
        Table::open(&self.network.table).unwrap()
    }
}

/// A TCP server inside a namespace.
pub(crate) fn listen(netns: &OwnedFd, address: impl ToSocketAddrs + Send) -> TcpListener {
    within(netns.as_fd(), || TcpListener::bind(address).unwrap()).unwrap()
}

/// Connects from a namespace, through whatever is between, to `server`, sends bytes both ways, and
/// gives the client's address as the server sees it.
pub(crate) fn visit(netns: &OwnedFd, to: &str, server: &TcpListener) -> IpAddr {
    let to: SocketAddr = to.parse().unwrap();
    let stream = within(netns.as_fd(), || TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
    exchange(
        stream.unwrap_or_else(|error| panic!("{to}: {error}")),
        server,
    )
}

/// [`visit`] from the host.
pub(crate) fn visit_from_host(to: &str, server: &TcpListener) -> IpAddr {
    let to: SocketAddr = to.parse().unwrap();
    let stream = TcpStream::connect_timeout(&to, PATIENCE);
    exchange(
        stream.unwrap_or_else(|error| panic!("{to}: {error}")),
        server,
    )
}

fn exchange(mut stream: TcpStream, server: &TcpListener) -> IpAddr {
    let (mut accepted, peer) = server.accept().unwrap();
    for end in [&stream, &accepted] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut buffer = [0; 4];
    stream.write_all(b"ping").unwrap();
    accepted.read_exact(&mut buffer).unwrap();
    accepted.write_all(b"pong").unwrap();
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"pong");
    peer.ip()
}

/// Whether a connection from the namespace is refused or gets no answer.
pub(crate) fn is_shut(netns: &OwnedFd, to: &str) -> bool {
    let to: SocketAddr = to.parse().unwrap();
    within(netns.as_fd(), || {
        TcpStream::connect_timeout(&to, DOUBT).is_err()
    })
    .unwrap()
}

/// A UDP socket inside a namespace.
pub(crate) fn datagrams(netns: &OwnedFd, address: &str) -> UdpSocket {
    let socket = within(netns.as_fd(), || UdpSocket::bind(address).unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a datagram to `to` and one back; gives the sender as the server sees it.
pub(crate) fn visit_udp(client: &UdpSocket, to: &str, server: &UdpSocket) -> IpAddr {
    let mut buffer = [0; 16];
    client.send_to(b"ping", to).unwrap();
    let (length, peer) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"ping");
    server.send_to(b"pong", peer).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"pong");
    assert_eq!(
        from,
        to.parse::<SocketAddr>().unwrap(),
        "the answer's sender"
    );
    peer.ip()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn header(index: u32, up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8] = up.into();
    header[12] = up.into();
    header
}

/// Puts the loopback of the calling thread's namespace up.
pub(crate) fn loopback_up() {
    link_up(&mut Socket::open(Protocol::Route).unwrap(), 1);
}

fn link_up(socket: &mut Socket, index: u32) {
    let mut requests = Requests::new();
    requests.add(16, 0, |message| message.raw(&header(index, true)));
    socket.run_all(&mut requests).unwrap();
}

/// A veth pair, `out0` at both ends, to the other namespace.
fn cable(socket: &mut Socket, far: &OwnedFd) {
    let mut requests = Requests::new();
    requests.add(16, flag::CREATE | flag::EXCL, |message| {
        message.raw(&header(0, true));
        message.text(3, "out0");
        message.nest(18, |message| {
            message.text(1, "veth");
            message.nest(2, |message| {
                message.nest(1, |message| {
                    message.raw(&header(0, false));
                    message.text(3, "out0");
                    message.u32(28, far.as_raw_fd().cast_unsigned());
                });
            });
        });
    });
    socket.run_all(&mut requests).unwrap();
}

fn configure(socket: &mut Socket, ipv4: &str, ipv6: &str) {
    let index = rustix::net::netdevice::name_to_index(&*socket, "out0").unwrap();
    let ipv4: Ipv4Addr = ipv4.parse().unwrap();
    let ipv6: Ipv6Addr = ipv6.parse().unwrap();
    link_up(socket, index);
    let mut requests = Requests::new();
    for (family, bits, address) in [(2, 24, &ipv4.octets()[..]), (10, 64, &ipv6.octets()[..])] {
        requests.add(20, flag::CREATE | flag::EXCL, |message| {
            let mut header = [0; 8];
            header[..3].copy_from_slice(&[family, bits, 2]);
            header[4..].copy_from_slice(&index.to_ne_bytes());
            message.raw(&header);
            message.bytes(1, address);
            message.bytes(2, address);
        });
    }
    socket.run_all(&mut requests).unwrap();
}

/// Waits until the calling thread's namespace has taken an IPv6 address into use, which the kernel
/// does in a worker of its own: its local route is the last that it makes.
pub(crate) fn await_ipv6(address: Ipv6Addr) {
    let digits: String = address
        .octets()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    let local = format!("{digits} 80 ");
    loop {
        let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap();
        if routes.lines().any(|route| route.starts_with(&local)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks for the link, which makes the kernel notice its carrier.
fn settle(socket: &mut Socket) {
    let index = rustix::net::netdevice::name_to_index(&*socket, "out0").unwrap();
    let mut requests = Requests::new();
    requests.add(18, 0, |message| message.raw(&header(index, false)));
    socket.query(&mut requests, |_, _| Ok(())).unwrap();
}

/// Adds a route by way of the host, as a neighbour would who knows about the bridge.
pub(crate) fn route_by_way_of_host(netns: &OwnedFd, network: &str, bits: u8) {
    let network: Ipv4Addr = network.parse().unwrap();
    let host: Ipv4Addr = HOST4.parse().unwrap();
    let mut socket = within(netns.as_fd(), || Socket::open(Protocol::Route).unwrap()).unwrap();
    let mut requests = Requests::new();
    requests.add(24, flag::CREATE | flag::EXCL, |message| {
        message.raw(&[2, bits, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        message.bytes(1, &network.octets());
        message.bytes(5, &host.octets());
    });
    socket.run_all(&mut requests).unwrap();
}
