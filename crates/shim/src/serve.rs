//! The shim itself: one thread, which waits for calls, children, streams and memory, until the last
//! container is deleted.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::process::Signal;

use crate::arguments::Arguments;
use crate::container::State;
use crate::error::ShimError;
use crate::oom::{self, Watches};
use crate::publish::Publisher;
use crate::pump::{self, Pumps};
use crate::reaper::Reaper;
use crate::service::{Next, Shim};
use crate::ttrpc::peer::{Incoming, Peer};

const LISTENER: u64 = 0;
const CHILDREN: u64 = 1;
const FIRST_PEER: u64 = 2;
/// How long an answer may wait for room before its connection is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last events may take.
const LAST_EVENTS: Duration = Duration::from_secs(5);
/// After this long without news, the shim lets go of its memory.
const QUIET: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

struct Loop {
    shim: Arc<Shim>,
    epoll: Arc<OwnedFd>,
    listener: OwnedFd,
    children: OwnedFd,
    peers: HashMap<u64, Incoming>,
    last_peer: u64,
}

/// Serves until containerd has no more containers here.
///
/// # Errors
/// Standard input is no listening socket, or the kernel lacks something.
pub fn serve(arguments: &Arguments) -> Result<(), ShimError> {
    let listener = take_listener()?;
    // In lists of processes, where it would be `exe` after the link it was executed by. As much of its name
    // as the kernel keeps, as runc's shim is called there; not having it harms nobody.
    let _ = rustix::thread::set_name(c"containerd-shim");
    // First, so that every thread blocks the signal as well.
    let children = gamut_sys::signal::descriptor(&[Signal::CHILD.as_raw()])?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
    let address = std::env::var(crate::start::EVENTS).unwrap_or_default();
    let publisher = Publisher::start(&address, &arguments.namespace)
        .map_err(|source| ShimError::file("events", source))?;
    let shim = Arc::new(Shim {
        namespace: arguments.namespace.clone(),
        directory: directory_of(&arguments.socket),
        pumps: Pumps::new(Arc::clone(&epoll)),
        watches: Watches::new(Arc::clone(&epoll)),
        reaper: Reaper::default(),
        publisher: publisher.clone(),
        state: Mutex::new(State::default()),
    });
    let mut serving = Loop {
        shim,
        epoll,
        listener,
        children,
        peers: HashMap::new(),
        last_peer: FIRST_PEER,
    };
    serving.listen(serving.listener.as_fd(), LISTENER)?;
    serving.listen(serving.children.as_fd(), CHILDREN)?;
    let served = serving.run();
    // Before the events: who comes now gets a shim of his own.
    let _ = std::fs::remove_file(&arguments.socket);
    publisher.flush(LAST_EVENTS);
    served
}

fn directory_of(socket: &Path) -> PathBuf {
    socket
        .parent()
        .unwrap_or(Path::new(crate::start::SOCKETS))
        .to_owned()
}

/// Takes the socket out of standard input, which programs that are started inherit otherwise.
fn take_listener() -> Result<OwnedFd, ShimError> {
    let listener = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    if !rustix::net::sockopt::socket_acceptconn(&listener)? {
        return Err(ShimError::Usage(
            "standard input is no listening socket: `start` starts the shim".to_owned(),
        ));
    }
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&nothing)?;
    gamut_sys::socket::set_nonblocking(&listener)?;
    Ok(listener)
}

impl Loop {
    fn listen(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Errno> {
        let data = epoll::EventData::new_u64(token);
        epoll::add(&*self.epoll, fd, data, epoll::EventFlags::IN)
    }

    fn run(&mut self) -> Result<(), ShimError> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(16);
        let mut rested = false;
        loop {
            events.clear();
            let limit = (!rested).then_some(&QUIET);
            match epoll::wait(
                &*self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                limit,
            ) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if events.is_empty() {
                if !rested {
                    gamut_sys::process::rest(self.epoll.as_fd(), None);
                }
                rested = true;
                continue;
            }
            rested = false;
            for event in &events {
                // The field of a packed structure is copied, not borrowed.
                let data = event.data;
                if self.happened(data.u64())? == Next::End {
                    return Ok(());
                }
            }
        }
    }

    fn happened(&mut self, token: u64) -> Result<Next, ShimError> {
        match token {
            LISTENER => self.accept(),
            CHILDREN => {
                gamut_sys::signal::drain(&self.children)?;
                self.shim.reap();
            }
            token if token & pump::TOKEN != 0 => self.shim.pumps.ready(token),
            token if token & oom::TOKEN != 0 => {
                if let Some(container) = self.shim.watches.ready(token) {
                    self.shim.publish_oom(container);
                }
            }
            peer => return Ok(self.hear(peer)),
        }
        Ok(Next::Call)
    }

    fn accept(&mut self) {
        let Ok(socket) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) else {
            return;
        };
        let _ = set_socket_timeout(&socket, Timeout::Send, Some(SEND_TIMEOUT));
        let incoming = Incoming::new(Peer::new(socket));
        self.last_peer += 1;
        if self.listen(incoming.as_fd(), self.last_peer).is_ok() {
            self.peers.insert(self.last_peer, incoming);
        }
    }

    fn hear(&mut self, token: u64) -> Next {
        let Some(incoming) = self.peers.get_mut(&token) else {
            return Next::Call;
        };
        let heard = incoming.read();
        if heard.ended {
            let _ = epoll::delete(&*self.epoll, incoming.as_fd());
            self.peers.remove(&token);
        }
        let mut next = Next::Call;
        for (request, reply) in heard.calls {
            if self.shim.dispatch(request, reply) == Next::End {
                next = Next::End;
            }
        }
        next
    }
}
