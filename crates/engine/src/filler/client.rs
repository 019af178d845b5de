//! Speaking to the filler, and starting it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gamut_spec::digest::Digest;
use gamut_sys::socket;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::server::LOCK;
use super::wire::{MAX_PACKET_BYTES, Progress, Reply, Request, SOCKET_NAME};
use super::{PROGRAM_NAME, journal};
use crate::dirs::Dirs;
use crate::error::EngineError;

/// How long a filler may take to answer, or to be replaced by another.
const PATIENCE: Duration = Duration::from_secs(20);

/// Has all layers that are not whole watched and filled; starts the filler if there is none. As long as
/// anybody holds the returned descriptor, nobody reads what is not there.
///
/// # Errors
/// [`EngineError::Filler`].
pub(crate) fn serve(dirs: &Dirs) -> Result<OwnedFd, EngineError> {
    let began = Instant::now();
    loop {
        let connection = match connect(dirs) {
            Some(connection) => connection,
            None => spawn(dirs)?,
        };
        match ask(&connection, &Request::Serve) {
            Ok((Reply::Serving, Some(group))) => return Ok(group),
            Ok((Reply::Refused(reason), _)) => return Err(EngineError::Filler(reason)),
            // One that was about to end, or a second one that was not needed.
            Ok(_) | Err(_) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(_) => return Err(EngineError::Filler("it does not answer".into())),
            Err(errno) => return Err(EngineError::Filler(errno.to_string())),
        }
    }
}

/// Whether layers are being filled, or were by one that has been killed.
pub(crate) fn is_busy(dirs: &Dirs) -> bool {
    dirs.filler().join(journal::NAME).exists()
}

/// Starts a filler where one has been killed. What one has left is seen by one look at a file.
pub(crate) fn revive(dirs: &Dirs) {
    if !is_busy(dirs) {
        return;
    }
    let lock = std::fs::File::open(dirs.filler().join(LOCK));
    let shared = FlockOperation::NonBlockingLockShared;
    if lock.is_ok_and(|lock| rustix::fs::flock(&lock, shared).is_ok()) {
        // Whoever needs it will be told why it cannot be.
        let _ = serve(dirs);
    }
}

/// Tells the filler, if there is one, that layers may be gone.
pub(crate) fn look(dirs: &Dirs) {
    if let Some(connection) = connect(dirs) {
        let _ = ask(&connection, &Request::Look);
    }
}

/// How far a layer is; `None`: there is no filler, or it has nothing to do with the layer.
pub(crate) fn progress(dirs: &Dirs, layer: &Digest) -> Option<Progress> {
    let connection = connect(dirs)?;
    match ask(&connection, &Request::Progress(layer.clone())) {
        Ok((Reply::Progress(progress), _)) => Some(progress),
        _ => None,
    }
}

/// Has the filler, if there is one, come to its end, and waits for that.
pub(crate) fn end(dirs: &Dirs) {
    if let Some(connection) = connect(dirs) {
        let _ = ask(&connection, &Request::End);
    }
    let Ok(lock) = std::fs::File::open(dirs.filler().join(LOCK)) else {
        return;
    };
    let began = Instant::now();
    let shared = FlockOperation::NonBlockingLockShared;
    while rustix::fs::flock(&lock, shared).is_err() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn connect(dirs: &Dirs) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(dirs.filler(), flags, Mode::empty()).ok()?;
    socket::connect(directory.as_fd(), SOCKET_NAME).ok()
}

/// Starts a filler, and gives its first connection.
fn spawn(dirs: &Dirs) -> Result<OwnedFd, EngineError> {
    let failed = |error: std::io::Error| EngineError::Filler(error.to_string());
    let (ours, theirs) = socket::pair().map_err(|errno| failed(errno.into()))?;
    Command::new("/proc/self/exe")
        .arg0(PROGRAM_NAME)
        .args([&dirs.root, &dirs.run_root])
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    Ok(ours)
}

/// One question, one answer. An answer that does not come is [`Errno::TIMEDOUT`].
fn ask(connection: &OwnedFd, request: &Request) -> Result<(Reply, Option<OwnedFd>), Errno> {
    let text = serde_json::to_vec(request).map_err(|_| Errno::INVAL)?;
    socket::send(connection.as_fd(), &[&text], &[])?;
    rustix::net::sockopt::set_socket_timeout(
        connection,
        rustix::net::sockopt::Timeout::Recv,
        Some(PATIENCE),
    )?;
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let (length, descriptors) = match socket::receive(connection.as_fd(), &mut packet) {
        Ok((0, _)) => return Err(Errno::CONNRESET),
        Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT),
        other => other?,
    };
    let reply = serde_json::from_slice(packet.get(..length).unwrap_or_default());
    let reply = reply.map_err(|_| Errno::BADMSG)?;
    Ok((reply, descriptors.into_iter().next()))
}

/// Answers a client that could not be served at all.
pub(super) fn refuse(connection: &OwnedFd, error: &EngineError) {
    let reply = Reply::Refused(error.to_string());
    let text = serde_json::to_vec(&reply).unwrap_or_default();
    let _ = socket::send(connection.as_fd(), &[&text], &[]);
}
