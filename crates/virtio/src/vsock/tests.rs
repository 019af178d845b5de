//! Streams both ways, with real Unix sockets on the side of the host.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use tempfile::TempDir;

use super::connection::BUFFER_BYTES;
use super::host::CONNECTIONS_MAX;
use super::packet::{
    CREDIT_REQUEST, CREDIT_UPDATE, REQUEST, RESPONSE, RST, RW, SHUTDOWN, SHUTDOWN_BOTH,
    SHUTDOWN_RECEIVE, SHUTDOWN_SEND, STREAM,
};
use super::*;
use crate::driver::{Driver, Part};

const CID: u64 = 52;

/// What a first connection gets.
#[derive(Debug)]
struct Once(Option<OwnedFd>);

impl Peer for Once {
    fn connect(&mut self, _port: u32) -> Option<OwnedFd> {
        self.0.take()
    }
}

struct Guest {
    driver: Driver<Vsock>,
    directory: TempDir,
}

impl Guest {
    fn started() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("v");
        let listener = UnixListener::bind(&path).expect("bound");
        let sockets = UnixSockets::new(path, listener);
        Self::with(Box::new(sockets), directory)
    }

    fn with(peer: Box<dyn Peer>, directory: TempDir) -> Self {
        let vsock = Vsock::new(CID, peer).expect("a device");
        Self {
            driver: Driver::started(vsock, u64::MAX),
            directory,
        }
    }

    /// One that has been joined with this, by its port 1000.
    fn joined(fd: impl Into<OwnedFd>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut guest = Self::with(Box::new(Once(Some(fd.into()))), directory);
        guest.send(header(REQUEST, 1000, 80), &[]);
        guest.expect(RESPONSE);
        guest
    }

    /// Somebody on the host connects, and says this.
    fn dialled(&mut self, greeting: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(self.directory.path().join("v")).expect("connected");
        stream.write_all(greeting).expect("said");
        self.driver.run();
        stream
    }

    fn listen(&self, port: u32) -> UnixListener {
        let path = self.directory.path().join(format!("v_{port}"));
        UnixListener::bind(path).expect("bound")
    }

    fn send(&mut self, header: Header, data: &[u8]) {
        let bytes = header.to_bytes();
        let parts = [Part::Out(&bytes), Part::Out(data)];
        self.driver
            .request(TRANSMIT, &parts[..1 + usize::from(!data.is_empty())]);
    }

    /// The next packet for it, if there is one.
    fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let next = self.driver.used(RECEIVE).or_else(|| {
            self.driver.add(RECEIVE, &[Part::In(44), Part::In(4096)]);
            self.driver.kick(RECEIVE);
            self.driver.used(RECEIVE)
        });
        let (length, bytes) = next.map(|(_, length, bytes)| (length as usize, bytes))?;
        let header = Header::parse(bytes[..44].try_into().expect("a header"));
        assert_eq!((header.source_cid, header.destination_cid), (HOST_CID, CID));
        assert_eq!(header.length as usize + 44, length);
        Some((header, bytes[44..length].to_vec()))
    }

    fn expect(&mut self, operation: u16) -> (Header, Vec<u8>) {
        let (header, data) = self.receive().expect("a packet");
        assert_eq!(header.operation, operation, "{header:?}");
        (header, data)
    }
}

fn header(operation: u16, source_port: u32, destination_port: u32) -> Header {
    Header {
        source_cid: CID,
        destination_cid: HOST_CID,
        source_port,
        destination_port,
        kind: STREAM,
        operation,
        buffer_bytes: 1 << 20,
        ..Header::default()
    }
}

fn data(source_port: u32, destination_port: u32, length: usize) -> Header {
    Header {
        length: length as u32,
        ..header(RW, source_port, destination_port)
    }
}

/// A connection that the guest has opened, to port 80 from port 1000.
fn opened() -> (Guest, UnixStream) {
    let mut guest = Guest::started();
    let listener = guest.listen(80);
    guest.send(header(REQUEST, 1000, 80), &[]);
    let (stream, _) = listener.accept().expect("accepted");
    let (response, _) = guest.expect(RESPONSE);
    assert_eq!(
        (response.source_port, response.destination_port),
        (80, 1000)
    );
    assert_eq!(response.buffer_bytes, BUFFER_BYTES);
    (guest, stream)
}

#[test]
fn a_guest_reaches_a_socket_of_the_host() {
    let (mut guest, mut stream) = opened();
    assert_eq!(guest.driver.config::<8>(0), CID.to_le_bytes());
    guest.send(data(1000, 80, 5), b"hello, and more than it says");
    let mut five = [0; 5];
    stream.read_exact(&mut five).expect("read");
    assert_eq!(&five, b"hello");
    stream.write_all(b"world").expect("written");
    guest.driver.run();
    assert_eq!(guest.expect(RW).1, b"world");
    assert!(guest.receive().is_none());
    drop(stream);
    guest.driver.run();
    assert_eq!(guest.expect(SHUTDOWN).0.flags, SHUTDOWN_BOTH);
    guest.send(header(RST, 1000, 80), &[]);
    assert_eq!(guest.driver.counter("connections"), 0);
    assert!(guest.receive().is_none());
}

#[test]
fn the_host_reaches_a_port_of_the_guest() {
    let mut guest = Guest::started();
    let mut stream = guest.dialled(b"CONN");
    assert!(guest.receive().is_none());
    stream.write_all(b"ECT 22\nearly").expect("said");
    guest.driver.run();
    let (request, _) = guest.expect(REQUEST);
    assert_eq!(
        (request.source_port, request.destination_port),
        (1 << 30, 22)
    );
    assert!(guest.receive().is_none(), "no data before the answer");
    guest.send(header(RESPONSE, 22, 1 << 30), &[]);
    assert_eq!(guest.expect(RW).1, b"early");
    let mut line = String::new();
    let mut reader = BufReader::new(&stream);
    reader.read_line(&mut line).expect("a line");
    assert_eq!(line, "OK 1073741824\n");
    guest.send(data(22, 1 << 30, 2), b"hi");
    let mut two = [0; 2];
    reader.read_exact(&mut two).expect("read");
    assert_eq!(&two, b"hi");
    // A second one to the same port is another connection.
    let mut other = guest.dialled(b"CONNECT 22\n");
    assert_eq!(guest.expect(REQUEST).0.source_port, (1 << 30) + 1);
    guest.send(header(RST, 22, (1 << 30) + 1), &[]);
    assert_eq!(other.read(&mut two).expect("closed"), 0);
    assert_eq!(guest.driver.counter("connections"), 1);
}

#[test]
fn a_greeting_that_is_none_ends_the_connection() {
    let mut guest = Guest::started();
    for greeting in [&b"GET / HTTP/1.1\n"[..], b"CONNECT x\n", &[b'C'; 40]] {
        let mut stream = guest.dialled(greeting);
        let end = stream.read(&mut [0]);
        // What was not read makes the end a reset.
        assert!(!matches!(end, Ok(1..)), "{greeting:?}");
    }
    drop(guest.dialled(b"CONNECT 2"));
    guest.driver.run();
    assert_eq!(guest.driver.counter("connections"), 0);
    assert!(guest.receive().is_none());
}

#[test]
fn nobody_there_is_a_reset() {
    let mut guest = Guest::started();
    guest.send(header(REQUEST, 1000, 81), &[]);
    let (reset, _) = guest.expect(RST);
    assert_eq!((reset.source_port, reset.destination_port), (81, 1000));
    assert_eq!(guest.driver.counter("refused"), 1);
}

#[test]
fn the_guest_gets_no_more_than_it_has_room_for() {
    let (mut guest, mut stream) = opened();
    let credit = |operation, buffer_bytes, forwarded| Header {
        buffer_bytes,
        forwarded,
        ..header(operation, 1000, 80)
    };
    guest.send(credit(CREDIT_UPDATE, 10, 0), &[]);
    stream.write_all(b"0123456789abcdef").expect("written");
    guest.driver.run();
    assert_eq!(guest.expect(RW).1, b"0123456789");
    guest.expect(CREDIT_REQUEST);
    assert!(guest.receive().is_none(), "it asks once");
    guest.send(credit(CREDIT_UPDATE, 10, 4), &[]);
    assert_eq!(guest.expect(RW).1, b"abcd");
    // Forwarded more than it was sent: nothing for it.
    guest.send(credit(CREDIT_UPDATE, 10, 1000), &[]);
    guest.expect(CREDIT_REQUEST);
    assert!(guest.receive().is_none());
    guest.send(credit(CREDIT_UPDATE, 10, 14), &[]);
    assert_eq!(guest.expect(RW).1, b"ef");
}

#[test]
fn the_host_gets_all_in_its_own_time_and_the_guest_hears_of_room() {
    let (mut guest, mut stream) = opened();
    let block: Vec<u8> = (0..4096_u32).map(|at| (at % 241) as u8).collect();
    stream.set_nonblocking(true).expect("set");
    let (mut sent, mut told, mut text) = (0_u32, 0_u32, Vec::<u8>::new());
    let mut is_full = false;
    while text.len() < 400 * block.len() {
        // As a guest that keeps to its credit.
        while sent < 400 * 4096 && sent - told <= BUFFER_BYTES - 4096 {
            guest.send(data(1000, 80, 4096), &block);
            sent += 4096;
        }
        is_full |= sent < 400 * 4096;
        let mut piece = [0; 50_000];
        let length = stream.read(&mut piece).unwrap_or(0);
        text.extend(&piece[..length]);
        guest.driver.run();
        while let Some((header, _)) = guest.receive() {
            assert_eq!(header.operation, CREDIT_UPDATE);
            told = header.forwarded;
        }
    }
    assert!(is_full && text == block.repeat(400));
    guest.send(header(CREDIT_REQUEST, 1000, 80), &[]);
    assert_eq!(guest.expect(CREDIT_UPDATE).0.forwarded, sent);
}

#[test]
fn a_guest_that_overdraws_its_credit_is_cut_off() {
    let (mut guest, _stream) = opened();
    let block = [0; 60_000];
    for _ in 0..100 {
        guest.send(data(1000, 80, block.len()), &block);
        if guest.driver.counter("connections") == 0 {
            guest.expect(RST);
            return;
        }
    }
    panic!("all was kept");
}

#[test]
fn either_half_may_end_first() {
    let (mut guest, mut stream) = opened();
    let shutdown = |flags| Header {
        flags,
        ..header(SHUTDOWN, 1000, 80)
    };
    guest.send(data(1000, 80, 4), b"last");
    guest.send(shutdown(SHUTDOWN_SEND), &[]);
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("the end");
    assert_eq!(text, "last");
    stream.write_all(b"answer").expect("written");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    guest.driver.run();
    assert_eq!(guest.expect(RW).1, b"answer");
    guest.expect(SHUTDOWN);
    guest.send(shutdown(SHUTDOWN_BOTH), &[]);
    guest.expect(RST);
    assert_eq!(guest.driver.counter("connections"), 0);
}

#[test]
fn nonsense_is_answered_with_a_reset_or_not_at_all() {
    let (mut guest, _stream) = opened();
    for operation in [0, RESPONSE, RW, SHUTDOWN, CREDIT_UPDATE, CREDIT_REQUEST, 9] {
        guest.send(header(operation, 5, 6), &[]);
        let (reset, _) = guest.expect(RST);
        assert_eq!((reset.source_port, reset.destination_port), (6, 5));
    }
    // No such type of socket.
    let seqpacket = Header {
        kind: 2,
        ..header(REQUEST, 7, 80)
    };
    guest.send(seqpacket, &[]);
    assert_eq!(guest.expect(RST).0.kind, 2);
    // A reset of nothing, and what claims to come from, or go to, somebody else.
    guest.send(header(RST, 5, 6), &[]);
    for (source_cid, destination_cid) in [(CID + 1, HOST_CID), (CID, HOST_CID + 1)] {
        let stranger = Header {
            source_cid,
            destination_cid,
            ..header(REQUEST, 5, 80)
        };
        guest.send(stranger, &[]);
    }
    assert!(guest.receive().is_none());
    // A payload that is not there ends the connection it was for.
    guest.send(data(1000, 80, 100), b"short");
    guest.expect(RST);
    guest.driver.request(TRANSMIT, &[Part::Out(b"no header")]);
    assert_eq!(guest.driver.request(RECEIVE, &[Part::In(44)]).0, 0);
    assert_eq!(guest.driver.counter("broken_chains"), 2);
}

#[test]
fn refusals_that_nobody_takes_make_the_guest_wait() {
    let mut guest = Guest::started();
    let bytes = header(RW, 5, 6).to_bytes();
    let mut done = 0;
    for _ in 0..300 {
        guest.driver.add(TRANSMIT, &[Part::Out(&bytes)]);
        guest.driver.kick(TRANSMIT);
        if guest.driver.used(TRANSMIT).is_none() {
            break;
        }
        done += 1;
    }
    assert_eq!(done, 256);
    guest.expect(RST);
    assert!(guest.driver.used(TRANSMIT).is_some(), "there is room again");
    for _ in 0..256 {
        guest.expect(RST);
    }
    assert!(guest.receive().is_none());
}

#[test]
fn there_are_only_so_many_connections() {
    let mut guest = Guest::started();
    let listener = guest.listen(80);
    let mut streams = Vec::new();
    for port in 0..CONNECTIONS_MAX as u32 {
        guest.send(header(REQUEST, port, 80), &[]);
        streams.push(listener.accept().expect("accepted"));
        guest.expect(RESPONSE);
    }
    guest.send(header(REQUEST, 50_000, 80), &[]);
    guest.expect(RST);
    let mut stream = guest.dialled(b"");
    assert_eq!(stream.read(&mut [0]).expect("closed"), 0);
    // A reset of the device ends them all.
    guest.driver.set(0x070, 0);
    assert_eq!(guest.driver.counter("connections"), 0);
    let mut stream = &streams[7].0;
    assert_eq!(stream.read(&mut [0]).expect("closed"), 0);
    guest.driver.start(u64::MAX);
    guest.send(header(REQUEST, 1, 80), &[]);
    guest.expect(RESPONSE);
}

#[test]
fn a_pipe_takes_what_the_guest_says_and_ends_with_it() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut guest = Guest::joined(writer);
    guest.send(data(1000, 80, 5), b"hello");
    let shutdown = Header {
        flags: SHUTDOWN_SEND,
        ..header(SHUTDOWN, 1000, 80)
    };
    guest.send(shutdown, &[]);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the end");
    assert_eq!(text, "hello");
    guest.expect(RST);
    assert_eq!(guest.driver.counter("connections"), 0);
}

#[test]
fn a_full_pipe_holds_the_guest_by_its_credit_and_one_that_nobody_reads_is_a_reset() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut guest = Guest::joined(writer);
    let block = [7; 4096];
    for _ in 0..(16 + 15) {
        guest.send(data(1000, 80, block.len()), &block);
    }
    assert!(
        guest.receive().is_some(),
        "it heard of room at the beginning"
    );
    let mut all = vec![0; 31 * 4096];
    for piece in all.chunks_mut(4096) {
        reader.read_exact(piece).expect("read");
        guest.driver.run();
    }
    assert_eq!(all, vec![7; 31 * 4096]);
    while guest.receive().is_some() {}
    drop(reader);
    guest.driver.run();
    guest.expect(RST);
}

#[test]
fn a_pipe_gives_what_it_has_and_its_end_is_told_behind_it() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"early").expect("written");
    let mut guest = Guest::joined(reader);
    assert_eq!(guest.expect(RW).1, b"early");
    writer.write_all(b"late").expect("written");
    drop(writer);
    guest.driver.run();
    assert_eq!(guest.expect(RW).1, b"late");
    assert_eq!(guest.expect(SHUTDOWN).0.flags, SHUTDOWN_BOTH);
    guest.send(header(RST, 1000, 80), &[]);
    // What goes the other way is refused.
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let mut guest = Guest::joined(reader);
    guest.send(data(1000, 80, 2), b"no");
    guest.expect(RST);
    // And a guest that reads no more lets the writer know.
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let mut guest = Guest::joined(reader);
    let shutdown = Header {
        flags: SHUTDOWN_RECEIVE,
        ..header(SHUTDOWN, 1000, 80)
    };
    guest.send(shutdown, &[]);
    guest.expect(RST);
    let error = writer.write_all(b"x").expect_err("nobody reads");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_file_is_read_to_its_end_and_written_like_any_other() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&[9; 10_000]).expect("written");
    let reader = std::fs::File::open(file.path()).expect("open");
    let mut guest = Guest::joined(reader);
    let mut all = Vec::new();
    let flags = loop {
        let (header, data) = guest.receive().expect("a packet");
        match header.operation {
            RW => all.extend(data),
            _ => break header.flags,
        }
    };
    assert_eq!((all, flags), (vec![9; 10_000], SHUTDOWN_BOTH));
    let append = std::fs::OpenOptions::new().append(true).open(file.path());
    let mut guest = Guest::joined(append.expect("open"));
    guest.send(data(1000, 80, 4), b"tail");
    let length = std::fs::metadata(file.path()).expect("stat").len();
    assert_eq!(length, 10_004);
}
