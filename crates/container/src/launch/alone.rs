//! What the child does for a container without a keeper: it says when all is ready, and waits for
//! another process to give the word.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_sys::{process, signal};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;

use super::program::{Life, Program};
use super::step::{At, Failure, Phase, PhaseMark, Step};

/// A container that lives without a keeper: an OCI runtime makes it, goes away, and starts it by
/// another process.
#[derive(Debug)]
pub(crate) struct Alone {
    /// Listens for the word to start.
    pub(crate) start: OwnedFd,
    /// Where the root lies on the host, if hooks run when the mounts are made: they look for it there.
    pub(crate) hooks: Option<CString>,
    /// Whether the network namespace is a new one.
    pub(crate) loopback: bool,
    /// The name of its session keyring.
    pub(crate) keyring: Option<CString>,
    pub(crate) root_propagation: Option<MountPropagationFlags>,
    pub(crate) program: Told,
}

/// Whether it has been said what is to run: a container may be made without that, and not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Yes,
    NotYet,
}

/// What ends a process that waits for its start, as a process without a namespace of its own: HUP, INT,
/// QUIT, TERM; signal(7).
const ENDING: [i32; 4] = [1, 2, 3, 15];

impl Alone {
    pub(super) fn begin(&self) -> Result<(), Failure> {
        if let Some(name) = &self.keyring {
            match process::join_session_keyring(name) {
                Ok(()) | Err(Errno::NOSYS) => {}
                Err(errno) => return Err(errno).at(Step::Keyring),
            }
        }
        if self.loopback {
            gamut_sys::interface::loopback_up().at(Step::Loopback)?;
        }
        Ok(())
    }

    /// Says that all is ready, and waits for whoever starts the program, to whom a failure is told.
    pub(super) fn wait(
        &self,
        program: &Program,
        runtime: BorrowedFd<'_>,
    ) -> Result<OwnedFd, Failure> {
        if self.program == Told::Yes {
            program.look_for()?;
        }
        // Whoever reads what the runtime writes, or waits for its end, must not wait for this.
        program.take_streams()?;
        Life::ItsOwn.apply()?;
        let kept = [self.start.as_fd(), runtime];
        process::close_all_but(3 + program.preserved, kept).at(Step::Descriptors)?;
        // The first of a pid namespace is hit by what it handles only. `execve` puts that back.
        signal::end_on(&ENDING);
        rustix::io::write(runtime, &PhaseMark::now(Phase::AwaitsStart)).at(Step::Start)?;
        let flags = rustix::net::SocketFlags::CLOEXEC;
        rustix::io::retry_on_intr(|| rustix::net::accept_with(&self.start, flags)).at(Step::Start)
    }
}
