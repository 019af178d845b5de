//! The server: a Unix socket, a few connections, one thread. It also waits for what its owner names, so that
//! the same thread notices a machine's end.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Connection, Expectation, Progress, Request, Response, Status, read_request};

/// The most connections at a time; Firecracker's number.
pub const CONNECTIONS_MAX: usize = 10;
/// How long a client may take to accept an answer before it is dropped: one that does not read must not stop
/// the others.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// What answers.
pub trait Handler {
    fn handle(&mut self, request: &Request) -> Response;

    /// A request that could not be read, for the records.
    fn refused(&mut self, reason: &str);

    /// What else is waited for.
    fn waits_for(&self) -> Option<BorrowedFd<'_>>;

    /// When to be woken by time.
    fn alarm(&self) -> Option<Instant>;

    /// One of both has happened.
    fn wake(&mut self) -> Outlook;
}

/// Whether the server goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    GoOn,
    End,
}

/// The listening socket, whose name goes with it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// The device and the inode of the name, so that nobody else's is removed.
    identity: Option<(u64, u64)>,
    body_bytes_max: usize,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// What has come, and is not yet a whole request.
    received: Vec<u8>,
    /// It was told to go on with its body.
    was_encouraged: bool,
}

/// Whether a client is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Yes,
    No,
}

impl Server {
    /// Binds `path`.
    ///
    /// # Errors
    /// Those of bind(2): `EADDRINUSE` if there is anything of that name.
    pub fn bind(path: &Path, body_bytes_max: usize) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: identity(path),
            body_bytes_max,
            clients: Vec::new(),
        })
    }

    /// Serves until the handler has enough.
    ///
    /// # Errors
    /// Those of poll(2) that do not go away.
    pub fn run(&mut self, handler: &mut dyn Handler) -> io::Result<()> {
        loop {
            let ready = self.wait(handler)?;
            if ready.woken && handler.wake() == Outlook::End {
                return Ok(());
            }
            // Backwards, because one that goes makes those behind it move.
            for index in ready.clients.into_iter().rev() {
                if self.clients[index].serve(handler, self.body_bytes_max) == Keep::No {
                    self.clients.remove(index);
                }
            }
            if ready.listener {
                self.accept()?;
            }
            // A request may have ended it.
            if handler.wake() == Outlook::End {
                return Ok(());
            }
        }
    }

    fn wait(&self, handler: &dyn Handler) -> io::Result<Ready> {
        let timeout = handler
            .alarm()
            .map(|alarm| alarm.saturating_duration_since(Instant::now()))
            // A timeout that is cut to whole milliseconds would wake too early, for nothing.
            .map(|left| left.min(Duration::from_secs(3600)) + Duration::from_millis(1))
            .and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        for client in &self.clients {
            fds.push(PollFd::new(&client.stream, PollFlags::IN));
        }
        if let Some(fd) = handler.waits_for() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let (clients, others) = fds[1..].split_at(self.clients.len());
        let clients = clients.iter().enumerate();
        let clients = clients
            .filter(|(_, fd)| is_ready(fd))
            .map(|(index, _)| index);
        Ok(Ready {
            listener: is_ready(&fds[0]),
            clients: clients.collect(),
            woken: others.iter().any(is_ready)
                || handler.alarm().is_some_and(|alarm| alarm <= Instant::now()),
        })
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The client has gone again, or there are no descriptors just now.
                Err(_) => return Ok(()),
            };
            stream.set_nonblocking(true)?;
            stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
            let mut client = Client {
                stream,
                received: Vec::new(),
                was_encouraged: false,
            };
            if self.clients.len() < CONNECTIONS_MAX {
                self.clients.push(client);
            } else {
                let busy = Response::fault(Status::ServiceUnavailable, "Server is full.");
                client.write(&busy.to_bytes(Connection::Close));
            }
        }
    }

    /// The descriptor on which clients arrive.
    #[must_use]
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Between the two somebody could bind the name anew; it would be a strange moment to do so.
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

struct Ready {
    listener: bool,
    clients: Vec<usize>,
    woken: bool,
}

impl Client {
    /// Reads what has come and answers all requests in it.
    fn serve(&mut self, handler: &mut dyn Handler, body_bytes_max: usize) -> Keep {
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece) {
            Ok(0) => return Keep::No,
            Ok(length) => self.received.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Keep::Yes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Keep::Yes,
            Err(_) => return Keep::No,
        }
        loop {
            match read_request(&self.received, body_bytes_max) {
                Ok(Progress::Whole { request, length }) => {
                    self.received.drain(..length);
                    self.was_encouraged = false;
                    let response = handler.handle(&request);
                    let is_written = self.write(&response.to_bytes(request.connection));
                    if is_written == Keep::No || request.connection == Connection::Close {
                        return Keep::No;
                    }
                }
                Ok(Progress::Body(Expectation::Continue)) if !self.was_encouraged => {
                    self.was_encouraged = true;
                    return self.write(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                Ok(Progress::Head | Progress::Body(_)) => return Keep::Yes,
                Err(error) => {
                    let reason = error.to_string();
                    handler.refused(&reason);
                    let refusal = Response::fault(Status::BadRequest, &reason);
                    self.write(&refusal.to_bytes(Connection::Close));
                    return Keep::No;
                }
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Keep {
        // Blocking, but not for long: the write timeout.
        let is_written = self.stream.set_nonblocking(false).is_ok()
            && self.stream.write_all(bytes).is_ok()
            && self.stream.set_nonblocking(true).is_ok();
        if is_written { Keep::Yes } else { Keep::No }
    }
}
