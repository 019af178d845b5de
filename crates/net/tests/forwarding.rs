//! Forwarding in user space: what the kernel cannot lead to a container.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gamut_net::forward::Forwarder;
use gamut_net::{HostPort, Protocol, Publish, ports};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lab::{Lab, listen};

/// A thread that does what a keeper's event loop does.
struct Loop {
    forwarder: Arc<Mutex<Forwarder>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Loop {
    /// Forwards a free port of `ip` to `target`. Gives the port's address.
    fn new(ip: &str, protocol: Protocol, target: SocketAddr) -> (Loop, SocketAddr) {
        let publish = Publish {
            host_ip: Some(ip.parse().unwrap()),
            host_port: HostPort::Ephemeral,
            container_port: target.port(),
            protocol,
        };
        let reserved = ports::reserve(&publish).unwrap().remove(0);
        let host = reserved.binding.host;
        let forwarder = Arc::new(Mutex::new(Forwarder::new(reserved, target).unwrap()));
        let stop = Arc::new(AtomicBool::new(false));
        let (inside, until) = (forwarder.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let mut forwarder = inside.lock().unwrap();
                let mut wait = [PollFd::new(&*forwarder, PollFlags::IN)];
                let timeout = Timespec {
                    tv_sec: 0,
                    tv_nsec: 5_000_000,
                };
                poll(&mut wait, Some(&timeout)).unwrap();
                forwarder.on_ready().unwrap();
                drop(forwarder);
                std::thread::yield_now();
            }
        });
        let thread = Some(thread);
        let forwarding = Loop {
            forwarder,
            stop,
            thread,
        };
        (forwarding, host)
    }

    /// Waits until all visits have ended.
    fn quiet(&self) {
        while self.forwarder.lock().unwrap().visits() > 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let joined = self.thread.take().unwrap().join();
        assert!(joined.is_ok() || std::thread::panicking());
    }
}

/// A server that sends back what it is sent, all of it after the visitor's end.
fn echo_after_end() -> SocketAddr {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut all = Vec::new();
                if stream.read_to_end(&mut all).is_ok() {
                    let _ = stream.write_all(&all);
                }
            });
        }
    });
    address
}

#[test]
fn each_end_is_passed_on_by_itself_and_nothing_is_lost() {
    let (forwarding, host) = Loop::new("127.0.0.1", Protocol::Tcp, echo_after_end());
    // More than every buffer on the way holds, so that both directions have to wait.
    let sent: Vec<u8> = (0..20_000_000_u32)
        .map(|at| ((at * 7) >> 3) as u8)
        .collect();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(sent == back);
    forwarding.quiet();
}

#[test]
fn many_visitors_at_once_and_then_none() {
    let (forwarding, host) = Loop::new("127.0.0.1", Protocol::Tcp, echo_after_end());
    // More than it serves at once.
    let mut streams: Vec<_> = (0..300)
        .map(|_| TcpStream::connect(host).unwrap())
        .collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&number.to_ne_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    for (number, mut stream) in streams.into_iter().enumerate() {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, number.to_ne_bytes());
    }
    forwarding.quiet();
}

#[test]
fn a_target_that_refuses_resets_the_visitor() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (forwarding, host) = Loop::new("127.0.0.1", Protocol::Tcp, nobody);
    let mut stream = TcpStream::connect(host).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    forwarding.quiet();
}

#[test]
fn a_visitor_who_breaks_off_is_broken_off_behind_too() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (forwarding, host) = Loop::new("127.0.0.1", Protocol::Tcp, server.local_addr().unwrap());
    let stream = TcpStream::connect(host).unwrap();
    let (mut behind, _) = server.accept().unwrap();
    behind.write_all(b"unread").unwrap();
    while stream.peek(&mut [0; 6]).unwrap() < 6 {}
    // Closing with something unread is a reset.
    drop(stream);
    let error = behind.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    forwarding.quiet();
}

#[test]
fn datagrams_find_their_way_back() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (_forwarding, host) = Loop::new("127.0.0.1", Protocol::Udp, server.local_addr().unwrap());
    // More visitors than it remembers.
    let visitors: Vec<_> = (0..300_u32)
        .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
        .collect();
    for (number, visitor) in visitors.iter().enumerate() {
        for length in [0, 8, 60_000] {
            let mut datagram = number.to_ne_bytes().repeat(length / 8);
            visitor.send_to(&datagram, host).unwrap();
            let mut buffer = vec![0; 65_536];
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..length], datagram);
            datagram.reverse();
            server.send_to(&datagram, from).unwrap();
            let (length, from) = visitor.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&datagram[..], host));
        }
    }
}

#[test]
fn the_hosts_own_ipv6_loopback_reaches_a_container() {
    let Some(lab) = Lab::new() else { return };
    let container = lab.container(2);
    let server = listen(&container.netns, "0.0.0.0:80");
    let target = SocketAddr::new(container.ipv4.into(), 80);
    // The thread of the loop is in the same namespace: threads inherit it.
    let (_forwarding, host) = Loop::new("::1", Protocol::Tcp, target);
    let mut stream = TcpStream::connect(host).unwrap();
    let (mut behind, _) = server.accept().unwrap();
    stream.write_all(b"ping").unwrap();
    let mut buffer = [0; 4];
    behind.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"ping");
}
