//! The process that holds a home: it makes the namespaces, is given its ids by who started it, and
//! then does nothing for as long as it is let.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gamut_sys::process::{self, namespace};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use super::{ALIVE, HOLDER, HomeError, NETWORK, writable};

/// What it is called by.
pub const PROGRAM_NAME: &str = "gamut-home";

/// What it does, in this order; how it says what failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Act {
    Unshare = 1,
    Propagation,
    Loopback,
    Network,
    Record,
}

impl Act {
    const ALL: [Act; 5] = [
        Act::Unshare,
        Act::Propagation,
        Act::Loopback,
        Act::Network,
        Act::Record,
    ];

    fn words(self) -> &'static str {
        match self {
            Act::Unshare => "make namespaces",
            Act::Propagation => "keep mounts from the host",
            Act::Loopback => "bring the loopback up",
            Act::Network => "keep the network",
            Act::Record => "write down who holds it",
        }
    }
}

/// One word of the holder's: four bytes, the act that failed and its errno.
pub(super) fn heard(socket: &mut UnixStream) -> Result<(), HomeError> {
    let mut word = [0; 4];
    socket.read_exact(&mut word).map_err(|_| HomeError::Gone)?;
    let failed = Act::ALL.into_iter().find(|act| *act as u8 == word[0]);
    match failed {
        None => Ok(()),
        Some(act) => Err(HomeError::Step {
            act: act.words(),
            errno: Errno::from_raw_os_error(i32::from(u16::from_le_bytes([word[2], word[3]]))),
        }),
    }
}

/// The holder, whose standard input leads to who started it.
#[must_use]
pub fn run() -> ExitCode {
    let directory: Option<OsString> = std::env::args_os().nth(1);
    let socket = rustix::stdio::stdin().try_clone_to_owned();
    let (Some(directory), Ok(socket)) = (directory, socket) else {
        return ExitCode::FAILURE;
    };
    let mut socket = UnixStream::from(socket);
    let mut said = |done: Result<(), (Act, Errno)>| {
        let word = match done {
            Ok(()) => [0; 4],
            Err((act, errno)) => {
                let [low, high] = (errno.raw_os_error() as u16).to_le_bytes();
                [act as u8, 0, low, high]
            }
        };
        socket.write_all(&word).is_ok() && done.is_ok()
    };
    let all = namespace::USER | namespace::MOUNT | namespace::NET;
    if !said(process::unshare(all).map_err(|errno| (Act::Unshare, errno))) {
        return ExitCode::FAILURE;
    }
    let mut word = [0; 4];
    if rustix::io::read(rustix::stdio::stdin(), &mut word) != Ok(4) {
        return ExitCode::FAILURE;
    }
    // Held open, and with it the lock, until the end.
    let settled = settle(&PathBuf::from(directory));
    let done = settled.as_ref().map(|_| ()).map_err(|failed| *failed);
    if !said(done) {
        return ExitCode::FAILURE;
    }
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(null.as_fd());
    }
    loop {
        rustix::event::pause();
    }
}

fn settle(directory: &Path) -> Result<std::fs::File, (Act, Errno)> {
    let failed = |act: Act| move |errno: Errno| (act, errno);
    let io_failed = |act: Act| {
        move |error: std::io::Error| (act, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    // What the host mounts later is seen here, and nothing the other way round.
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", propagation).map_err(failed(Act::Propagation))?;
    gamut_sys::interface::loopback_up().map_err(failed(Act::Loopback))?;
    let network = directory.join(NETWORK);
    writable(&network).map_err(io_failed(Act::Network))?;
    rustix::mount::mount_bind(c"/proc/self/ns/net", &network).map_err(failed(Act::Network))?;
    let alive = writable(&directory.join(ALIVE)).map_err(io_failed(Act::Record))?;
    rustix::fs::flock(&alive, FlockOperation::NonBlockingLockExclusive)
        .map_err(failed(Act::Record))?;
    let (holder, new) = (directory.join(HOLDER), directory.join("holder.new"));
    let written = std::fs::write(&new, std::process::id().to_string())
        .and_then(|()| std::fs::rename(&new, &holder));
    written.map_err(io_failed(Act::Record))?;
    Ok(alive)
}
