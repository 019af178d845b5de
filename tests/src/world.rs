//! The neighbour: a second machine on the wire, as far as the test's host can tell. It is a network
//! namespace joined to the host's by a veth pair. The host has 192.0.2.1 and 2001:db8::1 on it and a
//! default route to the neighbour, which is 192.0.2.2 and 2001:db8::2 (RFC 5737, RFC 3849).

use crate::host::ip;
use gamut_sys::process::{namespace, unshare};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The host's own addresses on the wire.
pub const HOST4: &str = "192.0.2.1";
pub const HOST6: &str = "2001:db8::1";
/// The neighbour's.
pub const WORLD4: &str = "192.0.2.2";
pub const WORLD6: &str = "2001:db8::2";
/// Where the neighbour tells each caller the address it came from ([`crate::whoami`]).
pub const WHOAMI: u16 = 7007;

type Job = Box<dyn FnOnce() + Send>;

/// The neighbouring machine. It goes away with the value.
#[derive(Debug)]
pub struct World {
    jobs: mpsc::Sender<Job>,
}

impl World {
    /// Makes the neighbour and the wire to it. The calling thread must be on its own [`crate::Host`].
    pub fn new() -> Self {
        let (jobs, work) = mpsc::channel::<Job>();
        let (ready, up) = mpsc::channel();
        let (wired, wire) = mpsc::channel::<()>();
        thread::spawn(move || {
            // Of this thread only.
            unshare(namespace::NET).expect("a network namespace");
            ready
                .send(rustix::thread::gettid().as_raw_nonzero())
                .expect("the maker waits");
            if wire.recv().is_err() {
                return; // the maker failed
            }
            for words in [
                "link set lo up",
                "link set world up",
                "addr add 192.0.2.2/24 dev world",
                "addr add 2001:db8::2/64 dev world nodad",
            ] {
                ip(words);
            }
            let _whoami = crate::whoami::serve(WHOAMI).expect("a port in a fresh namespace");
            ready
                .send(rustix::thread::gettid().as_raw_nonzero())
                .expect("the maker waits");
            work.into_iter().for_each(|job| job());
        });
        let thread = up.recv().expect("the neighbour starts");
        ip("link add uplink type veth peer name world");
        ip(&format!("link set world netns {thread}"));
        for words in [
            "link set uplink up",
            "addr add 192.0.2.1/24 dev uplink",
            "addr add 2001:db8::1/64 dev uplink nodad",
        ] {
            ip(words);
        }
        ip("route add default via 192.0.2.2");
        ip("-6 route add default via 2001:db8::2");
        wired.send(()).expect("the neighbour waits");
        up.recv().expect("the neighbour comes up");
        Self { jobs }
    }

    /// Runs `job` on the neighbour and returns what it returns.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = mpsc::channel();
        let job = Box::new(move || {
            // The receiver is gone only if the test has failed already.
            let _ = sender.send(job());
        });
        self.jobs.send(job).expect("the neighbour is up");
        result.recv().expect("the job ended without a panic")
    }

    /// Connects from the neighbour and returns everything the other side sends after `hello`.
    pub fn talk(&self, address: &str, port: u16, hello: &str) -> std::io::Result<String> {
        let (target, hello) = (
            SocketAddr::new(address.parse().expect("an address"), port),
            hello.to_owned(),
        );
        self.run(move || talk(target, &hello))
    }

    /// The same with one datagram each way.
    pub fn ask(&self, address: &str, port: u16) -> std::io::Result<String> {
        let target = SocketAddr::new(address.parse().expect("an address"), port);
        self.run(move || ask(target, "hello"))
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Connects, says `hello`, and reads to the end.
pub fn talk(target: SocketAddr, hello: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(hello.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// Sends a datagram and returns the answer.
pub fn ask(target: SocketAddr, hello: &str) -> std::io::Result<String> {
    let any: IpAddr = if target.is_ipv4() {
        [0, 0, 0, 0].into()
    } else {
        [0u16; 8].into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(target)?;
    socket.send(hello.as_bytes())?;
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
