//! Speaking to a keeper: what every front end does with a workload goes through here.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use gamut_plan::cell::{Exit, Limits};
use gamut_plan::launch::{ExecPlan, RootPlan};
use gamut_plan::request::StopTimeout;
pub use gamut_plan::wire::{Attached, Starter};
use gamut_plan::wire::{MAX_PACKET_BYTES, Mark, Reply, Request, SOCKET_NAME, stream};
use gamut_plan::{Stats, Status};
use gamut_sys::own_program;
use gamut_sys::socket::Patience;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub use crate::client_error::ClientError;
use crate::dirs::{Container, Dirs};
use crate::keeper::PROGRAM_NAME;

/// What a keeper sends, one packet at a time.
#[derive(Debug)]
pub enum Event {
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Reply(Reply),
    /// The keeper closed the connection.
    End,
}

/// A connection to a keeper.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    /// What arrived while an answer was awaited.
    early: VecDeque<Event>,
    /// Room for a packet.
    packet: Vec<u8>,
}

/// A workload that has been started.
#[derive(Debug, Clone)]
pub struct Started {
    pub pid: i32,
    pub trace: Vec<Mark>,
    pub warnings: Vec<String>,
}

/// An exec'd process.
#[derive(Debug)]
pub struct Executed {
    pub pid: i32,
    /// The master of its terminal, if it was asked for.
    pub terminal: Option<OwnedFd>,
}

impl Client {
    /// Of a keeper at the other end of `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Client {
            socket,
            early: VecDeque::new(),
            packet: Vec::new(),
        }
    }

    /// Starts a keeper that has nothing to keep yet; it goes away if this connection closes. It runs
    /// from a read-only mount of this program's file, where one can be made
    /// ([`gamut_sys::own_program`]).
    ///
    /// # Errors
    /// [`ClientError::Spawn`].
    pub fn spawn() -> Result<Client, ClientError> {
        let (ours, theirs) = gamut_sys::socket::pair().map_err(ClientError::Socket)?;
        let mut command = match own_program::read_only() {
            // The mount goes along: whoever lets go of it last waits for the kernel.
            Ok(file) => {
                let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
                command.stdout(Stdio::from(file));
                command
            }
            // Then the file is not the workload's to write.
            Err(_) => {
                let mut command = Command::new("/proc/self/exe");
                command.stdout(Stdio::null());
                command
            }
        };
        command
            .arg0(PROGRAM_NAME)
            .stdin(Stdio::from(theirs))
            .stderr(Stdio::null())
            .spawn()
            .map_err(ClientError::Spawn)?;
        Ok(Client::new(ours))
    }

    /// Connects to the keeper of a running container.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`] if there is none.
    pub fn connect(container: &Container) -> Result<Client, ClientError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(container.run(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Err(ClientError::NotRunning),
            Err(errno) => return Err(ClientError::Socket(errno)),
        };
        match gamut_sys::socket::connect(directory.as_fd(), SOCKET_NAME) {
            Ok(socket) => Ok(Client::new(socket)),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Err(ClientError::NotRunning),
            Err(errno) => Err(ClientError::Socket(errno)),
        }
    }

    fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let text = serde_json::to_vec(request).map_err(|e| ClientError::Answer(e.to_string()))?;
        self.send_packet(&[&text], descriptors)
    }

    fn send_packet(
        &self,
        parts: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        match gamut_sys::socket::send(self.socket.as_fd(), parts, descriptors) {
            Ok(()) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(ClientError::Gone),
            Err(errno) => Err(ClientError::Socket(errno)),
        }
    }

    /// The next packet; waits for it.
    ///
    /// # Errors
    /// [`ClientError::Answer`] for what cannot be read.
    pub fn event(&mut self) -> Result<Event, ClientError> {
        match self.early.pop_front() {
            Some(event) => Ok(event),
            None => self.receive().map(|(event, _)| event),
        }
    }

    fn receive(&mut self) -> Result<(Event, Vec<OwnedFd>), ClientError> {
        if self.packet.is_empty() {
            self.packet = vec![0; MAX_PACKET_BYTES];
        }
        let (length, descriptors) = loop {
            match gamut_sys::socket::receive(self.socket.as_fd(), &mut self.packet) {
                Ok((0, _)) => return Ok((Event::End, Vec::new())),
                Ok(received) => break received,
                // It ended with words of ours unread; that is told once, before its own last words.
                Err(Errno::CONNRESET) => {}
                Err(errno) => return Err(ClientError::Socket(errno)),
            }
        };
        let packet = self.packet.get(..length).unwrap_or_default();
        let event = match packet.split_first() {
            Some((&stream::STDOUT, bytes)) => Event::Stdout(bytes.to_vec()),
            Some((&stream::STDERR, bytes)) => Event::Stderr(bytes.to_vec()),
            _ => Event::Reply(
                serde_json::from_slice(packet).map_err(|e| ClientError::Answer(e.to_string()))?,
            ),
        };
        Ok((event, descriptors))
    }

    /// The next answer; output that comes before it is kept for [`Self::event`].
    fn answer(&mut self) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
        loop {
            match self.receive()? {
                (Event::Reply(reply), descriptors) => return Ok((reply, descriptors)),
                (Event::End, _) => return Err(ClientError::Gone),
                (output, _) => self.early.push_back(output),
            }
        }
    }

    pub(crate) fn done(&mut self, request: &Request) -> Result<(), ClientError> {
        self.send(request, &[])?;
        match self.answer()?.0 {
            Reply::Done => Ok(()),
            other => Err(refusal(other)),
        }
    }

    /// Tells a keeper without work that a workload with a network of its own is about to come.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn prepare(&self) -> Result<(), ClientError> {
        self.send(&Request::Prepare, &[])
    }

    /// Has a keeper without work mount the root of the container that is about to come.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn mount_root(&self, plan: RootPlan) -> Result<(), ClientError> {
        self.send(&Request::Root(plan), &[])
    }

    /// Has a keeper without work read the plan of the container that is about to come. It is no
    /// matter if it does not: the plan's document will be there.
    pub fn show_plan(&self, document: &[u8]) {
        let (before, after) = (br#"{"plan":"#, b"}");
        if before.len() + document.len() + after.len() <= MAX_PACKET_BYTES {
            let _ = self.send_packet(&[before, document, after], &[]);
        }
    }

    /// Output comes to [`Self::event`] from now on, and ends with [`Reply::Exited`].
    ///
    /// # Errors
    /// As all here: the keeper's refusal, or that it is gone.
    pub fn attach(&mut self, attached: Attached) -> Result<(), ClientError> {
        self.done(&Request::Attach(attached))
    }

    /// Has the keeper of a container that is forgotten remove what lies on disk of it.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn clear_away(&self) -> Result<(), ClientError> {
        self.send(&Request::ClearAway, &[])
    }

    /// Has the container's plan carried out, and hands over its lock, with what else the keeper has to
    /// hold as long as it lives, if anything. `before` is what its status was before the start was
    /// recorded.
    ///
    /// # Errors
    /// [`ClientError::Start`] with what failed.
    pub fn launch(
        &mut self,
        dirs: &Dirs,
        id: &str,
        client: Starter,
        (lock, guard): (OwnedFd, Option<BorrowedFd<'_>>),
        before: Status,
    ) -> Result<Started, ClientError> {
        let held: Vec<_> = std::iter::once(lock.as_fd()).chain(guard).collect();
        let (root, run_root) = (dirs.root.clone(), dirs.run_root.clone());
        self.send(
            &Request::Launch {
                root,
                run_root,
                id: id.to_owned(),
                client,
                before: Box::new(before),
            },
            &held,
        )?;
        // Its life is the keeper's now, not this process's.
        drop(lock);
        match self.answer()?.0 {
            Reply::Started {
                pid,
                trace,
                warnings,
            } => Ok(Started {
                pid,
                trace,
                warnings,
            }),
            other => Err(refusal(other)),
        }
    }

    /// Starts a further process; its streams are the given descriptors.
    ///
    /// # Errors
    /// [`ClientError::Start`] with what failed.
    pub fn exec(
        &mut self,
        plan: ExecPlan,
        streams: &[BorrowedFd<'_>],
    ) -> Result<Executed, ClientError> {
        self.send(&Request::Exec(Box::new(plan)), streams)?;
        match self.answer()? {
            (Reply::ExecStarted { pid }, descriptors) => Ok(Executed {
                pid,
                terminal: descriptors.into_iter().next(),
            }),
            (other, _) => Err(refusal(other)),
        }
    }

    /// Waits for the end of the process that this connection started, else of the first one.
    ///
    /// # Errors
    /// [`ClientError::Gone`] if the keeper died.
    pub fn wait(&mut self) -> Result<Exit, ClientError> {
        self.send(&Request::Wait, &[])?;
        self.exited()
    }

    /// Waits for the end of what was started or stopped on this connection.
    ///
    /// # Errors
    /// [`ClientError::Gone`] if the keeper died.
    pub fn exited(&mut self) -> Result<Exit, ClientError> {
        loop {
            match self.event()? {
                Event::Reply(Reply::Exited { exit }) => return Ok(exit),
                Event::Reply(Reply::Done) | Event::Stdout(_) | Event::Stderr(_) => {}
                Event::Reply(other) => return Err(refusal(other)),
                Event::End => return Err(ClientError::Gone),
            }
        }
    }

    /// # Errors
    /// [`ClientError::Cell`] if it cannot be sent.
    pub fn signal(&mut self, signal: i32) -> Result<(), ClientError> {
        self.done(&Request::Signal { signal })
    }

    /// Signals, waits, kills; returns when the container has ended. `None`: as planned.
    ///
    /// # Errors
    /// [`ClientError::Gone`] if the keeper died.
    pub fn stop(
        &mut self,
        signal: Option<i32>,
        timeout: Option<StopTimeout>,
    ) -> Result<Exit, ClientError> {
        self.send(&Request::Stop { signal, timeout }, &[])?;
        self.exited()
    }

    /// Checks the workload's health now; gives the check's exit status, -1 for one that could not be run.
    ///
    /// # Errors
    /// It has no check, or is paused.
    pub fn check(&mut self) -> Result<i32, ClientError> {
        self.send(&Request::Check, &[])?;
        match self.answer()?.0 {
            Reply::Checked { exit_code } => Ok(exit_code),
            Reply::Exited { .. } => Err(ClientError::NotRunning),
            other => Err(refusal(other)),
        }
    }

    /// Asks for the counters, which [`Self::stats`] waits for: of many keepers each works meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Gone`].
    pub fn ask_stats(&mut self) -> Result<(), ClientError> {
        self.send(&Request::Stats, &[])
    }

    /// The counters that were asked for.
    ///
    /// # Errors
    /// [`ClientError::Cell`] if they cannot be read.
    pub fn stats(&mut self) -> Result<Stats, ClientError> {
        match self.answer()?.0 {
            Reply::Stats(stats) => Ok(*stats),
            other => Err(refusal(other)),
        }
    }

    /// # Errors
    /// [`ClientError::Cell`] if the host refuses.
    pub fn update(&mut self, limits: Limits) -> Result<(), ClientError> {
        self.done(&Request::Update(Box::new(limits)))
    }

    /// # Errors
    /// [`ClientError::Cell`] if the host refuses.
    pub fn pause(&mut self) -> Result<(), ClientError> {
        self.done(&Request::Pause)
    }

    /// # Errors
    /// [`ClientError::Cell`] if the host refuses.
    pub fn resume(&mut self) -> Result<(), ClientError> {
        self.done(&Request::Resume)
    }

    /// Tells the size of the client's terminal; the answer comes to [`Self::event`].
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn send_resize(&self, rows: u16, columns: u16) -> Result<(), ClientError> {
        self.send(&Request::Resize { rows, columns }, &[])
    }

    /// Sends a signal without waiting for the answer, which comes to [`Self::event`].
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn send_signal(&self, signal: i32) -> Result<(), ClientError> {
        self.send(&Request::Signal { signal }, &[])
    }

    /// Gives up to [`stream::MAX_BYTES`] of input to the attached workload; `false` if it does not
    /// read now: try again when the connection is writable.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn try_send_input(&self, bytes: &[u8]) -> Result<bool, ClientError> {
        let parts: [&[u8]; 2] = [&[stream::STDIN], bytes];
        match gamut_sys::socket::send_with(self.socket.as_fd(), &parts, &[], Patience::Now) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(ClientError::Gone),
            Err(errno) => Err(ClientError::Socket(errno)),
        }
    }

    /// Whether [`Self::event`] has something that arrived while an answer was awaited.
    #[must_use]
    pub fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// # Errors
    /// The keeper is gone.
    pub fn end_input(&self) -> Result<(), ClientError> {
        self.send_packet(&[&[stream::STDIN_END]], &[])
    }
}

impl AsFd for Client {
    /// Readable when [`Client::event`] has something new.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn refusal(reply: Reply) -> ClientError {
    match reply {
        Reply::StartFailed(error) => ClientError::Start(error),
        Reply::Failed(error) => ClientError::Cell(error),
        Reply::Refused { reason } => ClientError::Refused(reason),
        other => ClientError::Answer(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_keeper_that_read_no_more_arrive() {
        let (ours, theirs) = gamut_sys::socket::pair().unwrap();
        let mut client = Client::new(ours);
        client.send_signal(1).unwrap();
        gamut_sys::socket::send(theirs.as_fd(), &[&[stream::STDOUT], b"bye"], &[]).unwrap();
        drop(theirs);
        assert!(matches!(client.event(), Ok(Event::Stdout(bytes)) if bytes == b"bye"));
        assert!(matches!(client.event(), Ok(Event::End)));
    }
}
