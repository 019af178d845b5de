//! Both ends at once: the driver of the tests behind the front end, and a device behind the back end on a
//! thread of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::front::{Remote, RemoteError};
use super::message::{Acknowledge, Header, VringState};
use super::server::{ServeError, Server};
use super::socket::Socket;
use super::table::Table;
use super::*;
use crate::block::{Access, Block, Cache, Disk};
use crate::device::{Counter, Device, Kind};
use crate::driver::{Driver, Part};
use crate::entropy::Entropy;
use crate::memory::{Memory, Pages, Region};
use crate::mmio::{F_EVENT_IDX, F_VERSION_1};
use crate::rate::Limiter;

type End = (ServeError, Vec<Counter>);

/// Serves until the front end is gone.
fn serve<D: Device + 'static>(device: D, socket: OwnedFd) -> JoinHandle<End> {
    let mut server = Server::new(device, socket).expect("a server");
    std::thread::spawn(move || {
        loop {
            let mut fds = [PollFd::from_borrowed_fd(server.events(), PollFlags::IN)];
            rustix::event::poll(&mut fds, None).expect("poll");
            if let Err(error) = server.handle() {
                return (error, server.counters());
            }
        }
    })
}

fn pair() -> (OwnedFd, OwnedFd) {
    let (front, back) = UnixStream::pair().expect("sockets");
    (front.into(), back.into())
}

fn entropy() -> Entropy {
    Entropy::new(Limiter::unlimited().expect("a timer"))
}

fn disk() -> Block {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(1 << 20).expect("its length");
    Block::new(Disk {
        image: file.into(),
        access: Access::ReadOnly,
        cache: Cache::Writeback,
        id: "root".to_owned(),
        queues: 1,
        limiter: Limiter::unlimited().expect("a timer"),
    })
    .expect("a disk")
}

/// As the device itself would be driven.
fn driver(wanted: u64) -> (Driver<Remote>, JoinHandle<End>) {
    let (front, back) = pair();
    let server = serve(entropy(), back);
    let remote = Remote::new(Kind::Entropy, Vec::new(), vec![256], front).expect("a device");
    (Driver::started(remote, wanted), server)
}

/// A request there and back, in whatever time that takes.
fn request(driver: &mut Driver<Remote>, parts: &[Part<'_>]) -> u32 {
    driver.add(0, parts);
    driver.kick(0);
    let begin = Instant::now();
    loop {
        if let Some((_, length, _)) = driver.used(0) {
            return length;
        }
        assert!(begin.elapsed() < Duration::from_secs(100), "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_device_of_another_process_is_driven_like_one_of_ones_own() {
    for wanted in [0, u64::MAX] {
        let (mut driver, server) = driver(wanted);
        assert_eq!(driver.features & F_EVENT_IDX, wanted & F_EVENT_IDX);
        for _ in 0..300 {
            assert_eq!(request(&mut driver, &[Part::In(100)]), 100);
        }
        let mut line = [PollFd::from_borrowed_fd(
            driver.mmio.interrupt_line(),
            PollFlags::IN,
        )];
        rustix::event::poll(&mut line, None).expect("the line is raised");
        assert_eq!(driver.get(0x060), 1, "and says what for");
        drop(driver);
        let (error, counters) = server.join().expect("the server");
        assert!(matches!(error, ServeError::Socket(SocketError::Closed)));
        assert!(counters.contains(&("requests", 300)), "{counters:?}");
    }
}

#[test]
fn a_driver_may_begin_anew() {
    let (mut driver, _server) = driver(u64::MAX);
    for _ in 0..3 {
        assert_eq!(request(&mut driver, &[Part::In(10)]), 10);
        driver.set(0x070, 0);
        assert_eq!((driver.get(0x070), driver.get(0x060)), (0, 0));
        driver.start(u64::MAX);
    }
    assert_eq!(request(&mut driver, &[Part::In(10)]), 10);
}

#[test]
fn a_back_end_that_dies_is_noticed() {
    let (front, back) = pair();
    let server = serve(entropy(), back.try_clone().expect("a handle"));
    let remote = Remote::new(Kind::Entropy, Vec::new(), vec![256], front).expect("a device");
    let mut driver = Driver::started(remote, 0);
    rustix::net::shutdown(&back, rustix::net::Shutdown::Both).expect("shut down");
    server.join().expect("the server");
    driver.wait();
    assert_eq!(driver.get(0x070), 15 | 64);
    assert_eq!(driver.counter("losses"), 1);
    driver.set(0x070, 0);
    driver.negotiate(0);
    driver.set_up(0);
    driver.set(0x070, 15);
    assert_eq!(driver.get(0x070), 15 | 64, "nor does it come back");
}

#[test]
fn a_file_system_has_its_name() {
    let (front, back) = pair();
    // Two queues are wanted, and a network card would have them.
    let server = serve(entropy(), back);
    let refused = Remote::fs("gamut", front).expect_err("one queue");
    assert!(matches!(refused, RemoteError::Lacks("queues")));
    server.join().expect("the server");
    let (front, _back) = pair();
    let refused = Remote::fs(&"x".repeat(37), front).expect_err("too long");
    assert!(matches!(refused, RemoteError::Tag(_)));
}

/// A program of somebody else's, started to serve `directory`; `None`, with a word about it, without one.
fn virtiofsd(directory: &std::path::Path) -> Option<(std::process::Child, UnixStream)> {
    use std::process::{Command, Stdio};

    let places = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];
    let program = places
        .iter()
        .find(|place| std::fs::exists(place).is_ok_and(|is| is));
    let Some(program) = program else {
        eprintln!("skipped: no virtiofsd here");
        return None;
    };
    let path = directory.join("socket");
    let mut child = Command::new(program)
        .arg(format!("--socket-path={}", path.display()))
        .args(["-o", "sandbox=chroot", "-o"])
        .arg(format!("source={}", directory.display()))
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    for _ in 0..10_000 {
        if let Ok(stream) = UnixStream::connect(&path) {
            return Some((child, stream));
        }
        if child.try_wait().expect("waited").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    let _ = child.wait();
    eprintln!("skipped: virtiofsd cannot be started here");
    None
}

/// `linux/fuse.h`: FUSE_INIT, and an operation that there is none of.
#[test]
fn a_file_system_that_others_serve_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some((mut child, stream)) = virtiofsd(directory.path()) else {
        return;
    };
    let remote = Remote::fs("gamut", stream.into()).expect("a device");
    let mut driver = Driver::started(remote, F_EVENT_IDX);
    assert_eq!(&driver.config::<6>(0), b"gamut\0");
    assert_eq!(driver.config::<4>(36), 1_u32.to_le_bytes());
    let message = |operation: u32, body: &[u32]| {
        let length = 40 + body.len() as u32 * 4;
        let mut bytes = [length, operation, 7, 0].map(u32::to_le_bytes).concat();
        bytes.resize(40, 0);
        bytes.extend(body.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    };
    // Version 7.31, and no feature.
    let init = message(26, &[7, 31, 0, 0]);
    for (message, error) in [(init, 0), (message(9999, &[]), -libc::ENOSYS)] {
        driver.add(1, &[Part::Out(&message), Part::In(16), Part::In(64)]);
        driver.kick(1);
        let answer = loop {
            match driver.used(1) {
                Some((_, _, answer)) => break answer,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert_eq!(answer[4..8], i32::to_le_bytes(error));
        assert_eq!(answer[8..12], 7_u32.to_le_bytes());
    }
    driver.set(0x070, 0);
    assert_eq!(driver.get(0x070), 0);
    drop(driver);
    // It ends with its front end.
    child.wait().expect("waited");
}

/// A front end that says whatever it likes.
struct Raw(Socket);

impl Raw {
    fn started(device: impl Device + 'static) -> (Self, JoinHandle<End>) {
        let (front, back) = pair();
        (Self(Socket::new(front)), serve(device, back))
    }

    fn say(&mut self, request: Request, payload: &[u8]) {
        let header = Header::request(request, Acknowledge::Not, payload.len());
        self.0.send(header, payload, &[]).expect("said");
    }

    fn ask(&mut self, request: Request, payload: &[u8]) -> Vec<u8> {
        self.say(request, payload);
        self.0.receive().expect("an answer").expect("whole").payload
    }
}

#[test]
fn the_configuration_is_the_devices() {
    let (mut raw, _server) = Raw::started(disk());
    let mut question = vec![0; 12 + 8];
    question[4] = 8;
    let answer = raw.ask(Request::GetConfig, &question);
    assert_eq!(answer[..12], question[..12]);
    assert_eq!(answer[12..], (1_u64 << 20 >> 9).to_le_bytes());
    let features = raw.ask(Request::GetFeatures, &[]);
    let features = u64::from_le_bytes(features.try_into().expect("a number"));
    assert_eq!(features & F_VERSION_1, F_VERSION_1);
}

#[test]
fn what_makes_no_sense_ends_the_connection() {
    let state = |index, number| VringState { index, number }.to_bytes().to_vec();
    let refused: [(Request, Vec<u8>); 12] = [
        (Request::SetFeatures, u64::MAX.to_le_bytes().to_vec()),
        (Request::SetFeatures, vec![1, 2]),
        (
            Request::SetProtocolFeatures,
            u64::MAX.to_le_bytes().to_vec(),
        ),
        (Request::SetVringNum, state(0, 3)),
        (Request::SetVringNum, state(0, 1 << 16)),
        (Request::SetVringNum, state(7, 16)),
        (Request::SetVringAddr, vec![9; 40]),
        (Request::SetVringAddr, vec![0; 39]),
        // A table without its files, a kick without its eventfd.
        (Request::SetMemTable, vec![1; 40]),
        (Request::SetVringKick, vec![0; 8]),
        (Request::GetVringBase, state(1, 0)),
        (Request::GetConfig, vec![255; 300]),
    ];
    for (request, payload) in refused {
        let (mut raw, server) = Raw::started(disk());
        raw.say(request, &payload);
        let (error, _) = server.join().expect("the server");
        assert!(
            matches!(error, ServeError::Request(other) if other == request),
            "{request:?}: {error}"
        );
    }
}

#[test]
fn memory_that_may_shrink_is_refused() {
    let region = Region {
        guest_base: 0,
        size_bytes: 1 << 20,
    };
    let memory = Memory::new(&[region], Pages::Base).expect("memory");
    let (payload, files) = Table::payload(&memory);
    let unsealed = tempfile::tempfile().expect("a file");
    unsealed.set_len(1 << 20).expect("its length");
    let long = [payload[..16].to_vec(), (2_u64 << 20).to_le_bytes().to_vec()].concat();
    let long = [long, payload[24..].to_vec()].concat();
    for (payload, file, is_taken) in [
        (&payload, files[0], true),
        (&payload, unsealed.as_fd(), false),
        (&long, files[0], false),
    ] {
        let (front, back) = pair();
        let server = serve(disk(), back);
        let socket = Socket::new(front);
        let header = Header::request(Request::SetMemTable, Acknowledge::Not, payload.len());
        socket.send(header, payload, &[file]).expect("said");
        drop(socket);
        let (error, _) = server.join().expect("the server");
        assert_eq!(matches!(error, ServeError::Socket(_)), is_taken, "{error}");
    }
}

#[test]
fn bytes_without_sense_never_do_harm() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..200 {
        let (front, back) = pair();
        let server = serve(entropy(), back);
        let front = Socket::new(front);
        for _ in 0..20 {
            let request = Request::from_number(random() as u32 % 26).unwrap_or(Request::SetOwner);
            let payload: Vec<u8> = (0..random() % 48)
                .map(|_| (random() as u8) & (random() as u8) & 3)
                .collect();
            let header = Header::request(request, Acknowledge::Wanted, payload.len());
            if front.send(header, &payload, &[]).is_err() {
                break;
            }
        }
        drop(front);
        server.join().expect("it ends by itself");
    }
}
