//! The resolver: what it answers itself, what it has others answer, by datagrams and streams.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gamut_net::link::{Inside, within};
use gamut_net::names::{Called, Names};
use gamut_net::resolver::{ADDRESS, Resolver, Sockets, Upstream, Zone};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::lab::Lab;

/// A server of the outside, which is asked by the host.
const SERVER: &str = "127.0.0.53:53";

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

/// Answers that there is no such name, once by each transport.
fn server() -> [JoinHandle<()>; 2] {
    let datagrams = UdpSocket::bind(SERVER).unwrap();
    let streams = TcpListener::bind(SERVER).unwrap();
    let refuse = |query: &[u8]| {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[3] |= 3;
        answer
    };
    let by_datagram = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, from) = datagrams.recv_from(&mut buffer).unwrap();
        datagrams.send_to(&refuse(&buffer[..length]), from).unwrap();
    });
    let by_stream = std::thread::spawn(move || {
        let (mut stream, _) = streams.accept().unwrap();
        let query = read_framed(&mut stream);
        stream.write_all(&framed(&refuse(&query))).unwrap();
    });
    [by_datagram, by_stream]
}

/// Has the resolver work until the thread is done.
fn serve<T>(resolver: &mut Resolver, asker: JoinHandle<T>) -> T {
    let step = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    while !asker.is_finished() {
        let mut fds = [PollFd::new(&*resolver, PollFlags::IN)];
        if poll(&mut fds, Some(&step)).unwrap() > 0 {
            resolver.on_ready();
        }
    }
    asker.join().unwrap()
}

/// Runs in the container's namespace, on a thread of its own.
fn inside<T: Send + 'static>(
    netns: &OwnedFd,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let netns = netns.try_clone().unwrap();
    std::thread::spawn(move || within(netns.as_fd(), work).unwrap())
}

fn ask(query: Vec<u8>) -> Message {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect((ADDRESS, 53)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    socket.send(&query).unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn ask_by_stream(query: Vec<u8>) -> Message {
    let mut stream = TcpStream::connect(SocketAddr::from((ADDRESS, 53))).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // In pieces, and twice.
    let bytes = [framed(&query), framed(&query)].concat();
    stream.write_all(&bytes[..5]).unwrap();
    stream.write_all(&bytes[5..]).unwrap();
    let first = read_framed(&mut stream);
    assert_eq!(read_framed(&mut stream), first);
    Message::from_vec(&first).unwrap()
}

#[test]
fn questions_are_answered_from_names_and_by_others() {
    let Some(_lab) = Lab::new() else { return };
    let run_root = std::env::temp_dir().join(format!("gamut-resolving-{}", std::process::id()));
    std::fs::create_dir_all(run_root.join("c1")).unwrap();
    let lock = File::create(run_root.join("c1/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let address: IpAddr = "10.89.0.2".parse().unwrap();
    let names = Names::new(&run_root, "net");
    let called = Called {
        container_id: "c1",
        names: &["db".to_owned()],
        addresses: &[address],
    };
    names.register(called).unwrap();
    let (netns, mut way) = Inside::create().unwrap();
    way.loopback_up().unwrap();
    let sockets = Sockets::inside(netns.as_fd()).unwrap();
    let zone = Zone {
        network: "blue".to_owned(),
        names,
    };
    let upstream = Upstream::Given(vec!["127.0.0.53".parse().unwrap()]);
    let mut resolver = Resolver::new(sockets, vec![zone.clone()], upstream).unwrap();
    let mut at =
        |asked, by: fn(Vec<u8>) -> Message| serve(&mut resolver, inside(&netns, move || by(asked)));
    for by in [ask, ask_by_stream] {
        let answer = at(question("DB.Blue.", RecordType::A), by);
        assert_eq!(answer.metadata.id, 77);
        assert_eq!(answer.answers[0].data.ip_addr(), Some(address));
        let nothing = at(question("db.", RecordType::AAAA), by);
        assert_eq!(nothing.metadata.response_code, ResponseCode::NoError);
        assert!(nothing.answers.is_empty());
        let owner = at(question("2.0.89.10.in-addr.arpa.", RecordType::PTR), by);
        assert!(owner.answers[0].data.to_string().contains("db.blue."));
    }
    // The time of an answer, for who looks: with the test's own loop, threads and all.
    let started = Instant::now();
    let took = serve(
        &mut resolver,
        inside(&netns, || {
            let before = Instant::now();
            for _ in 0..200 {
                ask(question("db.", RecordType::A));
            }
            before.elapsed() / 200
        }),
    );
    println!("{took:?} an answer, {:?} in all", started.elapsed());
    let servers = server();
    let asked = question("nowhere.example.", RecordType::A);
    let answer = serve(&mut resolver, inside(&netns, move || ask(asked)));
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.metadata.id, 77);
    let asked = framed(&question("nowhere.example.", RecordType::A));
    let answer = serve(
        &mut resolver,
        inside(&netns, move || {
            let mut stream = TcpStream::connect(SocketAddr::from((ADDRESS, 53))).unwrap();
            stream.write_all(&asked).unwrap();
            Message::from_vec(&read_framed(&mut stream)).unwrap()
        }),
    );
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    for one in servers {
        one.join().unwrap();
    }
    // Nobody is there any more: that is said, and not waited for.
    let asked = question("nowhere.example.", RecordType::A);
    let answer = serve(&mut resolver, inside(&netns, move || ask(asked)));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    resolver.set_zones(Vec::new(), Upstream::Nobody);
    let asked = question("db.", RecordType::A);
    let answer = serve(&mut resolver, inside(&netns, move || ask(asked)));
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    drop(lock);
    std::fs::remove_dir_all(&run_root).unwrap();
}
