//! Questions that others answer: each has a socket of its own on its way to a server, so that who would
//! forge an answer has to guess a port besides the number.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType};

use super::wire;
use crate::files;
use crate::forward::connect;

/// How long one server has.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many are asked, one after the other (as resolv.conf(5)'s `MAXNS`).
const SERVERS: usize = 3;
const HOST_FILE: &str = "/etc/resolv.conf";

/// Who is asked for what no container is called.
#[derive(Debug)]
pub enum Upstream {
    /// The host's servers, as its file has them at the time.
    Host(HostFile),
    /// These.
    Given(Vec<IpAddr>),
    /// Nobody: the network has no way out, and neither have its questions.
    Nobody,
}

/// The host's `/etc/resolv.conf`, read again when it has changed.
#[derive(Debug, Default)]
pub struct HostFile {
    seen: Option<(u64, i64, i64)>,
    servers: Vec<IpAddr>,
}

impl Upstream {
    pub(super) fn servers(&mut self) -> Vec<SocketAddr> {
        let servers = match self {
            Upstream::Host(file) => file.servers(),
            Upstream::Given(servers) => servers.as_slice(),
            Upstream::Nobody => &[],
        };
        let servers = servers.iter().take(SERVERS);
        servers.map(|server| (*server, 53).into()).collect()
    }
}

impl HostFile {
    fn servers(&mut self) -> &[IpAddr] {
        let metadata = std::fs::metadata(HOST_FILE);
        let now = metadata.map(|file| (file.ino(), file.mtime(), file.mtime_nsec()));
        let now = now.ok();
        if now.is_none() || now != self.seen || self.servers.is_empty() {
            let text = std::fs::read_to_string(HOST_FILE).unwrap_or_default();
            self.servers = files::servers(&text);
            if self.servers.is_empty() {
                self.servers = files::public_servers();
            }
            self.seen = now;
        }
        &self.servers
    }
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Exchange<C> {
    /// Who has asked, and under which number.
    pub(super) client: C,
    pub(super) number: [u8; 2],
    /// With a number of our own.
    query: Vec<u8>,
    /// Those that have not been asked yet, the next one last.
    left: Vec<SocketAddr>,
    by: By,
    pub(super) until: Instant,
}

#[derive(Debug)]
enum By {
    Datagram(OwnedFd),
    Stream {
        socket: OwnedFd,
        unsent: Vec<u8>,
        read: Vec<u8>,
    },
}

/// What came of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    Answer(Vec<u8>),
    /// This server does not answer; its answer, if it has given one after all.
    Next(Option<Vec<u8>>),
}

impl<C> Exchange<C> {
    /// Asks the first of `servers`; `None` if nobody can be asked.
    pub(super) fn begin(
        client: C,
        mut query: Vec<u8>,
        mut servers: Vec<SocketAddr>,
        kind: SocketType,
    ) -> Option<Exchange<C>> {
        let number = [*query.first()?, *query.get(1)?];
        let mut own = [0; 2];
        // For so few bytes it does not come short.
        rustix::rand::getrandom(&mut own, rustix::rand::GetRandomFlags::empty()).ok()?;
        query[..2].copy_from_slice(&own);
        servers.reverse();
        let by = next(&mut servers, &query, kind)?;
        Some(Exchange {
            client,
            number,
            query,
            left: servers,
            by,
            until: Instant::now() + PATIENCE,
        })
    }

    /// Asks the next server; whether there was one.
    pub(super) fn go_on(&mut self) -> bool {
        let kind = match self.by {
            By::Datagram(_) => SocketType::DGRAM,
            By::Stream { .. } => SocketType::STREAM,
        };
        match next(&mut self.left, &self.query, kind) {
            Some(by) => {
                self.by = by;
                self.until = Instant::now() + PATIENCE;
                true
            }
            None => false,
        }
    }

    /// The question, with a number of our own.
    pub(super) fn query(&self) -> &[u8] {
        &self.query
    }

    /// Whether it waits for the way to a server.
    pub(super) fn has_unsent(&self) -> bool {
        matches!(&self.by, By::Stream { unsent, .. } if !unsent.is_empty())
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self.by, By::Stream { .. })
    }

    pub(super) fn on_ready(&mut self, scratch: &mut [u8]) -> Step {
        let answer = match &mut self.by {
            By::Datagram(socket) => {
                match rustix::net::recv(&*socket, &mut *scratch, RecvFlags::empty()) {
                    Ok((length, _)) => scratch[..length].to_vec(),
                    Err(Errno::AGAIN | Errno::INTR) => return Step::Wait,
                    Err(_) => return Step::Next(None),
                }
            }
            By::Stream {
                socket,
                unsent,
                read,
            } => match on_stream(socket, unsent, read, scratch) {
                Ok(Some(answer)) => answer,
                Ok(None) => return Step::Wait,
                Err(_) => return Step::Next(None),
            },
        };
        if !wire::is_answer_to(&answer, &self.query) {
            return Step::Wait;
        }
        let mut answer = answer;
        answer[..2].copy_from_slice(&self.number);
        match wire::is_refusal(&answer) {
            true => Step::Next(Some(answer)),
            false => Step::Answer(answer),
        }
    }
}

impl<C> AsFd for Exchange<C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.by {
            By::Datagram(socket) | By::Stream { socket, .. } => socket.as_fd(),
        }
    }
}

/// Sends what is unsent, reads what there is; the answer once it is whole.
fn on_stream(
    socket: &OwnedFd,
    unsent: &mut Vec<u8>,
    read: &mut Vec<u8>,
    scratch: &mut [u8],
) -> Result<Option<Vec<u8>>, Errno> {
    if !unsent.is_empty() {
        match rustix::net::send(socket, unsent, SendFlags::NOSIGNAL) {
            Ok(length) => drop(unsent.drain(..length)),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
    loop {
        match rustix::net::recv(socket, &mut *scratch, RecvFlags::empty()) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok((length, _)) => read.extend_from_slice(&scratch[..length]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        if let Some(message) = super::clients::take_message(read) {
            return Ok(Some(message));
        }
    }
}

fn next(left: &mut Vec<SocketAddr>, query: &[u8], kind: SocketType) -> Option<By> {
    while let Some(server) = left.pop() {
        let Ok(socket) = connect(server, kind) else {
            continue;
        };
        if kind == SocketType::STREAM {
            // A query is no longer than the message it came in, whose length has 16 bits.
            let mut unsent = (query.len() as u16).to_be_bytes().to_vec();
            unsent.extend_from_slice(query);
            return Some(By::Stream {
                socket,
                unsent,
                read: Vec::new(),
            });
        }
        if rustix::net::send(&socket, query, SendFlags::NOSIGNAL).is_ok() {
            return Some(By::Datagram(socket));
        }
    }
    None
}
