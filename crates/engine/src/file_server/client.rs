//! Starting a file server, and ending it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use gamut_container::jail::Access;
use gamut_sys::socket;
use gamut_sys::spawn::{self, Spawned};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::process::{Signal, WaitOptions};

use super::wire::{Answer, MAX_PACKET_BYTES, Told};
use super::{At, FileServerError};

/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a machine is to see of the host's files.
#[derive(Debug)]
pub struct Served {
    /// By which the guest mounts the tree.
    pub tag: String,
    /// The share that nobody else changes while the machine runs: an overlay's upper and work directory.
    pub private: String,
    pub shares: Vec<Shared>,
    /// Files by which the workload's control groups are entered.
    pub groups: Vec<OwnedFd>,
}

/// A directory or a single file of the host.
#[derive(Debug)]
pub struct Shared {
    /// In the tree's root.
    pub name: String,
    /// From [`detached`].
    pub tree: OwnedFd,
    pub access: Access,
}

/// What `path` names and is mounted below it, as mounts that are attached nowhere; links are followed.
///
/// # Errors
/// Of open_tree(2).
pub fn detached(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, path, flags)
}

/// A file server that runs; it is ended by being dropped.
#[derive(Debug)]
pub struct FileServer {
    process: Spawned,
    /// The server ends when this is closed.
    control: OwnedFd,
}

impl FileServer {
    /// Starts a server and tells it to serve `machine`, one end of a pair of Unix stream sockets whose other end
    /// the machine's monitor gets. It gets ready by itself: [`Self::ready`].
    ///
    /// # Errors
    /// [`FileServerError`]; then there is no process left.
    pub fn start(served: &Served, machine: BorrowedFd<'_>) -> Result<Self, FileServerError> {
        let (control, theirs) = socket::pair().at("make a socket")?;
        let process = spawn::own_program(c"gamut-fs", theirs.as_fd(), None, Vec::new())
            .at("start a process")?;
        drop(theirs);
        let server = Self { process, control };
        tell(server.control.as_fd(), served, machine)?;
        Ok(server)
    }

    /// Waits until it is jailed and serves.
    ///
    /// # Errors
    /// [`FileServerError`].
    pub fn ready(&self) -> Result<(), FileServerError> {
        wait(self.control.as_fd())
    }

    /// Readable when the server has ended: then the machine's files are gone.
    #[must_use]
    pub fn exit_fd(&self) -> BorrowedFd<'_> {
        self.process.pidfd.as_fd()
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = rustix::process::pidfd_send_signal(&self.process.pidfd, Signal::KILL);
        // Who waits for all its children may have waited for this one.
        let _ = rustix::process::waitpid(Some(self.process.pid), WaitOptions::empty());
    }
}

/// Says what is to be served; a server that is gone by then is heard of by [`wait`].
pub fn tell(
    control: BorrowedFd<'_>,
    served: &Served,
    machine: BorrowedFd<'_>,
) -> Result<(), FileServerError> {
    for share in &served.shares {
        let told = Told::Share {
            name: share.name.clone(),
            access: share.access,
        };
        send(control, &told, share.tree.as_fd())?;
    }
    for group in &served.groups {
        send(control, &Told::Group, group.as_fd())?;
    }
    let told = Told::Serve {
        tag: served.tag.clone(),
        private: served.private.clone(),
    };
    send(control, &told, machine)
}

fn send(
    control: BorrowedFd<'_>,
    told: &Told,
    descriptor: BorrowedFd<'_>,
) -> Result<(), FileServerError> {
    let packet =
        serde_json::to_vec(told).map_err(|error| FileServerError::Told(error.to_string()))?;
    match socket::send(control, &[&packet], &[descriptor]) {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(errno).at("pass a descriptor"),
    }
}

/// Waits for the one answer.
pub fn wait(control: BorrowedFd<'_>) -> Result<(), FileServerError> {
    let limit = Timespec::try_from(PATIENCE).map_err(|_| Errno::INVAL);
    let limit = limit.at("wait")?;
    let mut waited_for = [PollFd::from_borrowed_fd(control, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| poll(&mut waited_for, Some(&limit))).at("wait")?;
    if ready == 0 {
        return Err(FileServerError::Silent);
    }
    let mut buffer = [0; MAX_PACKET_BYTES];
    let received = match socket::receive(control, &mut buffer) {
        // It ended before it had read everything; what it said comes after that (unix(7)).
        Err(Errno::CONNRESET) => socket::receive(control, &mut buffer),
        other => other,
    };
    let Ok((length, _)) = received else {
        return Err(FileServerError::Silent);
    };
    match serde_json::from_slice(&buffer[..length]) {
        Ok(Answer::Serving) => Ok(()),
        Ok(Answer::Refused { reason, hint }) => Err(FileServerError::Refused { reason, hint }),
        Err(_) => Err(FileServerError::Silent),
    }
}
