//! The file server: one small process for each machine that sees files of the host, its container's writable
//! layer and its binds. It serves one virtio-fs device over a vhost-user socket
//! ([`gamut_virtio::fs`], [`gamut_virtio::vhost_user`]).
//!
//! The guest chooses every request, so the process is jailed before it reads the first: its root is made of
//! the shares and nothing else, it is nobody, and of root's capabilities it has those that say whom a file
//! belongs to and what its mode is. It has no network, no /proc but the list of its own descriptors, and no
//! way to mount, to execute or to connect.
//!
//! The process is the binary by another name, as the keeper is ([`run`]); [`client`] starts it and [`wire`]
//! is what it is told. It ends with the machine, with its control socket, and with its parent.

pub mod client;
pub mod wire;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use gamut_container::caps::{CapSet, Capability};
use gamut_container::jail::{Jail, JailError, Kept, NOBODY, Network, Root, Share};
use gamut_spec::{Fault, Kind};
use gamut_sys::{process, socket};
use gamut_virtio::fs::{Export, Fs};
use gamut_virtio::vhost_user::server::Server;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use wire::{Answer, MAX_PACKET_BYTES, MAX_SHARES, Told};

/// The name under which the binary is a file server: its `argv[0]`. Its standard input is its control socket.
pub const PROGRAM_NAME: &str = "gamut-fs";

/// What it keeps: to make files that belong to others, and change them, whatever their modes say.
const KEPT: [Capability; 8] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Setuid,
    Capability::Setgid,
    Capability::Mknod,
    Capability::Setfcap,
];

/// Why there is no file server.
#[derive(Debug, thiserror::Error)]
pub enum FileServerError {
    #[error("cannot {step} for the file server")]
    Step { step: &'static str, source: Errno },
    #[error("the file server was told what makes no sense: {0}")]
    Told(String),
    #[error(transparent)]
    Jail(#[from] JailError),
    #[error("the file server says: {reason}")]
    Refused {
        reason: String,
        hint: Option<String>,
    },
    #[error("the file server ended before it served, or says nothing")]
    Silent,
}

impl Fault for FileServerError {
    fn kind(&self) -> Kind {
        match self {
            Self::Step { .. } | Self::Refused { .. } => Kind::HostLacks,
            Self::Jail(error) => error.kind(),
            Self::Silent => Kind::Unavailable,
            Self::Told(_) => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Jail(error) => error.hint(),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Step { .. } | Self::Silent | Self::Told(_) => None,
        }
    }
}

/// Names the step that failed.
trait At<T> {
    fn at(self, step: &'static str) -> Result<T, FileServerError>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: &'static str) -> Result<T, FileServerError> {
        self.map_err(|source| FileServerError::Step { step, source })
    }
}

/// Runs the file server to its end.
#[must_use]
pub fn run() -> ExitCode {
    if process::close_inherited(3).is_err() {
        return ExitCode::FAILURE;
    }
    let _ = rustix::thread::set_name(c"gamut-fs");
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else {
        return ExitCode::FAILURE;
    };
    match begin(control.as_fd()) {
        Ok(server) => {
            serve(server, control.as_fd());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let answer = Answer::Refused {
                reason: said(&error),
                hint: error.hint(),
            };
            // Who does not hear it sees the end.
            let _ = say(control.as_fd(), &answer);
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Hears what is to be served, and goes into the jail.
fn begin(control: BorrowedFd<'_>) -> Result<Server<Fs>, FileServerError> {
    let mut shares = Vec::new();
    let mut groups = Vec::new();
    let (socket, tag, private) = loop {
        match hear(control)? {
            (Told::Share { name, access }, tree) => {
                let name = c_string(name)?;
                shares.push(Share { name, tree, access });
                if shares.len() > MAX_SHARES {
                    return Err(FileServerError::Told("too many shares".into()));
                }
            }
            (Told::Group, file) => groups.push(file),
            (Told::Serve { tag, private }, socket) => break (socket, tag, c_string(private)?),
        }
    };
    let descriptors = own_descriptors().at("list descriptors")?;
    Jail {
        root: Root::Shares(&shares),
        network: Network::None,
        groups: &groups,
        uid: NOBODY,
        gid: NOBODY,
        capabilities: CapSet::of(&KEPT),
        descriptors_max: u64::MAX,
        kept: Kept::These(&[control, socket.as_fd(), descriptors.as_fd()]),
    }
    .enter()?;
    // They were closed behind their owners' backs, and must not be closed again.
    std::mem::forget((shares, groups));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty()).at("open the tree")?;
    let export = Export {
        tag,
        root,
        descriptors,
        private,
    };
    let device = Fs::new(export).at("serve the tree")?;
    let server = Server::new(device, socket).at("serve the tree")?;
    say(control, &Answer::Serving).at("answer")?;
    Ok(server)
}

/// `/proc/self/fd`, as a mount of its own from which nothing else can be reached.
fn own_descriptors() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, c"/proc/self/fd", flags)
}

/// One packet with its descriptor.
fn hear(control: BorrowedFd<'_>) -> Result<(Told, OwnedFd), FileServerError> {
    let mut buffer = [0; MAX_PACKET_BYTES];
    let (length, descriptors) = socket::receive(control, &mut buffer).at("listen")?;
    if length == 0 {
        return Err(FileServerError::Silent);
    }
    let told = serde_json::from_slice(&buffer[..length])
        .map_err(|error| FileServerError::Told(error.to_string()))?;
    match <[OwnedFd; 1]>::try_from(descriptors) {
        Ok([descriptor]) => Ok((told, descriptor)),
        Err(_) => Err(FileServerError::Told("not one descriptor".into())),
    }
}

fn say(control: BorrowedFd<'_>, answer: &Answer) -> Result<(), Errno> {
    let packet = serde_json::to_vec(answer).map_err(|_| Errno::INVAL)?;
    socket::send(control, &[&packet], &[])
}

fn c_string(text: String) -> Result<CString, FileServerError> {
    CString::new(text).map_err(|error| FileServerError::Told(error.to_string()))
}

/// Until the machine or whoever started this is gone.
fn serve(mut server: Server<Fs>, control: BorrowedFd<'_>) {
    loop {
        let mut waited_for = [
            PollFd::from_borrowed_fd(server.events(), PollFlags::IN),
            PollFd::from_borrowed_fd(control, PollFlags::IN),
        ];
        match poll(&mut waited_for, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let [_, of_control] = waited_for;
        if !of_control.revents().is_empty() || server.handle().is_err() {
            return;
        }
    }
}
