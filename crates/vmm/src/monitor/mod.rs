//! The monitor: a process that has one machine, and does as it is told over a socket ([`crate::wire`]).
//!
//! It takes [`Command::Boot`] with the descriptors of all that the machine is made of, opens `/dev/kvm`,
//! builds the machine, and only then puts on its jail, which its caller brings: from then on it opens
//! nothing. Each thread gets its filter ([`crate::seccomp`]) before the guest's first instruction. It ends
//! with its guest, or when the socket is closed.
//!
//! [`control`] is the socket, [`kvm`] and [`qemu`] the machine as it is told, [`serve`] the loop, which any
//! [`Guest`] can be served by.

pub mod control;
mod disk;
mod kvm;
mod qemu;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_spec::fault::Fault;
use gamut_virtio::device::Counter;
use gamut_virtio::memory;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::machine::{End, Size};
use crate::qemu::Program;
use crate::seccomp::Filter;
use crate::wire::{Answer, Command, MachineConfig, Pages};
use control::{Control, Parts};

/// The process's exit status, as all of these: the guest has reset its machine.
pub const EXIT_RESET: u8 = 0;
/// The machine could not be; the answer to `Boot` says why.
pub const EXIT_REFUSED: u8 = 1;
/// Linux that goes down with `reboot=t`, or a broken guest.
pub const EXIT_TRIPLE_FAULT: u8 = 3;
/// The back end failed.
pub const EXIT_BROKEN: u8 = 4;
/// Whoever had the other end of the socket is gone.
pub const EXIT_ABANDONED: u8 = 5;

/// What a back end makes of a machine that runs.
pub trait Guest {
    /// Readable when [`Guest::dispatch`] has something to do.
    fn events(&self) -> BorrowedFd<'_>;

    /// Does it, without waiting, and some of it at a time; says how the guest ended if it did.
    ///
    /// # Errors
    /// The back end's own, after which nothing can be done.
    fn dispatch(&mut self) -> Result<Option<End>, Errno>;

    /// [`Command::Pause`], [`Command::Resume`], [`Command::Balloon`] and [`Command::Metrics`].
    fn command(&mut self, command: &Command) -> Answer;
}

/// A refusal that says why.
#[must_use]
pub fn refusal(error: &dyn Fault) -> Answer {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !reason.ends_with(&cause_text) {
            reason = format!("{reason}: {cause_text}");
        }
        source = cause.source();
    }
    Answer::Refused {
        reason,
        hint: error.hint(),
    }
}

/// Is a monitor until its guest ends; the process's exit status. `socket` is connected; `jail` is called
/// once, in a process of one thread, when all that needs the host's names is done. It must not fork: KVM
/// serves the process only that made the machine.
pub fn run<E: Fault>(socket: OwnedFd, jail: impl FnOnce() -> Result<(), E>) -> u8 {
    let (control, config, parts) = match take_boot(socket) {
        Ok(taken) => taken,
        Err(code) => return code,
    };
    let guest = kvm::build(&config, parts, &control)
        .map_err(|error| refusal(&error))
        .and_then(|machine| {
            jail().map_err(|error| refusal(&error))?;
            machine.start().map_err(|error| refusal(&error))
        });
    begin(&control, guest, Filter::event_loop())
}

/// As [`run`], with a machine in QEMU. That is started before the jail is put on, which is this process's
/// alone: QEMU needs its libraries and its firmware, and has a filter of its own.
pub fn run_in_qemu<E: Fault>(
    socket: OwnedFd,
    program: &Program,
    jail: impl FnOnce() -> Result<(), E>,
) -> u8 {
    let (control, config, parts) = match take_boot(socket) {
        Ok(taken) => taken,
        Err(code) => return code,
    };
    let guest = qemu::start(program, &config, parts, &control)
        .map_err(|error| refusal(&error))
        .and_then(|running| {
            jail().map_err(|error| refusal(&error))?;
            Ok(running)
        });
    begin(&control, guest, Filter::event_loop_beside_qemu())
}

/// Lets the guest go, and serves it; the exit status.
fn begin(
    control: &Control,
    guest: Result<impl Guest, Answer>,
    filter: Result<Filter, seccompiler::Error>,
) -> u8 {
    let guest = guest.and_then(|mut guest| {
        let filter = filter.and_then(|filter| filter.apply());
        filter.map_err(|_| Answer::Refused {
            reason: "the kernel refuses a filter".to_owned(),
            hint: None,
        })?;
        match guest.command(&Command::Resume) {
            Answer::Done => Ok(guest),
            refused => Err(refused),
        }
    });
    match guest {
        Ok(mut guest) => {
            control.answer(&Answer::Done);
            serve(control, &mut guest)
        }
        Err(answer) => {
            control.answer(&answer);
            EXIT_REFUSED
        }
    }
}

/// How large a machine is to be.
fn size(config: &MachineConfig) -> Size {
    Size {
        vcpus: config.vcpus,
        memory_mib: config.memory_mib,
        pages: match config.pages {
            Pages::Base => memory::Pages::Base,
            Pages::Huge => memory::Pages::Huge,
        },
    }
}

/// Counters, as they are answered.
fn metrics(devices: Vec<(String, Vec<Counter>)>) -> Answer {
    let devices = devices.into_iter().map(|(name, counters)| {
        let counters = counters.into_iter();
        let counters = counters.map(|(name, value)| (name.to_owned(), value));
        (name, counters.collect())
    });
    Answer::Metrics(devices.collect())
}

/// To what comes too late.
fn runs_already() -> Answer {
    Answer::Refused {
        reason: "the machine runs already".to_owned(),
        hint: None,
    }
}

/// The first packet, and what it is made of.
///
/// # Errors
/// The exit status: there was none, or it cannot be, which was answered.
pub fn take_boot(socket: OwnedFd) -> Result<(Control, Box<crate::wire::MachineConfig>, Parts), u8> {
    let control = Control::new(socket).map_err(|_| EXIT_ABANDONED)?;
    let (config, descriptors) = control.boot().ok_or(EXIT_ABANDONED)?;
    match Parts::sort(&config, descriptors) {
        Ok(parts) => Ok((control, config, parts)),
        Err(error) => {
            control.answer(&refusal(&error));
            Err(EXIT_REFUSED)
        }
    }
}

/// Does what is asked and what happens, to the end; the exit status.
pub fn serve(control: &Control, guest: &mut dyn Guest) -> u8 {
    loop {
        let is_over = {
            let mut fds = [
                PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(guest.events(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return EXIT_BROKEN,
            }
            // What was said comes before what happened: a stream is there before the guest is told of it.
            control.drain()
        };
        while let Some(command) = control.next() {
            control.answer(&guest.command(&command));
        }
        match guest.dispatch() {
            Ok(None) if !is_over => {}
            Ok(None) => return EXIT_ABANDONED,
            Ok(Some(End::Reset)) => return EXIT_RESET,
            Ok(Some(End::TripleFault)) => return EXIT_TRIPLE_FAULT,
            Ok(Some(End::Broken { .. })) | Err(_) => return EXIT_BROKEN,
        }
    }
}
