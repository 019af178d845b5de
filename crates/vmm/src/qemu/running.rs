//! A machine that runs in QEMU: the devices that are served to it, and its monitor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use gamut_virtio::device::Counter;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use serde_json::{Value, json};

use super::process::{Process, Speech};
use super::qmp::{Control, Word};
use super::{Machine, QemuError, Shared, arguments, errno, lock};
use crate::boot::Boot;
use crate::machine::End;

/// How long QEMU may take for an answer, its start included, on a host that is very busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Events that are taken at a time; then the owner has its turn.
const EVENTS_MAX: usize = 32;

// Marks in the epoll set; below them the devices, by index.
const CONTROL: u64 = u64::MAX;
const WORDS: u64 = u64::MAX - 1;
const END: u64 = u64::MAX - 2;

/// A machine with its QEMU. Dropped, it ends at once.
#[derive(Debug)]
pub struct Running {
    process: Process,
    control: Control,
    devices: Vec<(String, Shared)>,
    memory_mib: u32,
    epoll: OwnedFd,
    /// What QEMU has said last that was no event.
    word: Option<Word>,
    end: Option<End>,
}

pub(super) fn start(mut machine: Machine, boot: Boot) -> Result<Running, QemuError> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| errno(&error))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let control = Control::new(ours.into())?;
    let serial = machine.serial.take();
    let memory_mib = machine.size.memory_mib;
    let program = machine.program.clone();
    let version = program.version()?;
    let (arguments, handed, devices) = arguments::of(machine, boot, theirs.into(), version);
    let process = Process::spawn(&program, arguments, handed, serial)?;
    let add =
        |fd: BorrowedFd<'_>, mark| epoll::add(&epoll, fd, EventData::new_u64(mark), EventFlags::IN);
    add(control.events(), CONTROL)?;
    add(process.words(), WORDS)?;
    add(process.end(), END)?;
    for ((_, device), index) in devices.iter().zip(0..) {
        add(lock(device).events(), index)?;
    }
    let mut running = Running {
        process,
        control,
        devices,
        memory_mib,
        epoll,
        word: None,
        end: None,
    };
    running.greet()?;
    Ok(running)
}

impl Running {
    fn greet(&mut self) -> Result<(), QemuError> {
        match self.wait("start")? {
            Word::Greeting => self.ask("qmp_capabilities", Value::Null),
            _ => Err(QemuError::Language),
        }
    }

    /// Readable when [`Running::dispatch`] has something to do.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Serves what has happened to the devices, without waiting, and some of it at a time; says how the
    /// guest ended if it did.
    ///
    /// # Errors
    /// A device or QEMU's monitor cannot be served any more.
    pub fn dispatch(&mut self) -> Result<Option<End>, QemuError> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let room = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, room, Some(&zero)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut has_ended = false;
        for event in events {
            match event.data.u64() {
                CONTROL => self.listen()?,
                WORDS => self.hear()?,
                END => has_ended = true,
                index => self.serve(index as usize)?,
            }
        }
        if has_ended {
            // What it has said before it ended may still be there.
            self.listen()?;
            self.end.get_or_insert(End::Broken {
                what: "QEMU has ended",
            });
        }
        Ok(self.end)
    }

    /// What QEMU complains about.
    fn hear(&mut self) -> Result<(), QemuError> {
        if self.process.listen() == Speech::Over {
            epoll::delete(&self.epoll, self.process.words())?;
        }
        Ok(())
    }

    fn serve(&mut self, index: usize) -> Result<(), QemuError> {
        let Some((name, device)) = self.devices.get(index) else {
            return Ok(());
        };
        let served = lock(device).handle();
        let Err(source) = served else {
            return Ok(());
        };
        // QEMU that ends closes its sockets first, which is not the device's fault.
        let is_gone = matches!(
            source,
            gamut_virtio::vhost_user::server::ServeError::Socket(
                gamut_virtio::vhost_user::SocketError::Closed
            )
        );
        let name = name.clone();
        epoll::delete(&self.epoll, lock(device).events())?;
        if is_gone {
            return Ok(());
        }
        Err(QemuError::Device { name, source })
    }

    fn listen(&mut self) -> Result<(), QemuError> {
        while let Some(word) = self.control.next()? {
            match word {
                Word::Shutdown(reason) => self.end = Some(end(&reason)),
                Word::Event => {}
                word => self.word = Some(word),
            }
        }
        Ok(())
    }

    /// Stops all vCPUs, and the devices; they have stopped when this returns.
    ///
    /// # Errors
    /// QEMU has ended, or does not answer.
    pub fn pause(&mut self) -> Result<(), QemuError> {
        self.ask("stop", Value::Null)
    }

    /// Lets the vCPUs run.
    ///
    /// # Errors
    /// QEMU has ended, or does not answer.
    pub fn resume(&mut self) -> Result<(), QemuError> {
        self.ask("cont", Value::Null)
    }

    /// How much memory the guest is to give back, in MiB. It does so in its own time.
    ///
    /// # Errors
    /// QEMU has ended, or does not answer.
    pub fn balloon(&mut self, mib: u32) -> Result<(), QemuError> {
        let left_mib = self.memory_mib.saturating_sub(mib).max(1);
        let value = u64::from(left_mib) << 20;
        self.ask("balloon", json!({ "value": value }))
    }

    /// Every device's counters, by its name; QEMU's own devices have none.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, Vec<Counter>)> {
        let devices = self.devices.iter();
        devices
            .map(|(name, device)| (name.clone(), lock(device).counters()))
            .collect()
    }

    fn ask(&mut self, command: &'static str, arguments: Value) -> Result<(), QemuError> {
        self.word = None;
        self.control.say(command, &arguments)?;
        match self.wait(command)? {
            Word::Return => Ok(()),
            Word::Error(message) => Err(QemuError::Refused { command, message }),
            _ => Err(QemuError::Language),
        }
    }

    /// Serves the devices until QEMU has said something.
    fn wait(&mut self, command: &'static str) -> Result<Word, QemuError> {
        let begin = Instant::now();
        loop {
            let end = self.dispatch()?;
            if let Some(word) = self.word.take() {
                return Ok(word);
            }
            if end.is_some() {
                let message = self.process.last_words();
                return Err(QemuError::Ended { message });
            }
            let left = PATIENCE.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(QemuError::Silent { command });
            }
            let mut fds = [PollFd::from_borrowed_fd(self.events(), PollFlags::IN)];
            let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            match rustix::event::poll(&mut fds, Some(&left)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What QEMU calls it (`ShutdownCause` of its `qapi/run-state.json`). A triple fault is a reset to it.
fn end(reason: &str) -> End {
    match reason {
        "guest-reset" | "guest-shutdown" => End::Reset,
        "guest-panic" => End::TripleFault,
        _ => End::Broken {
            what: "QEMU was told to end",
        },
    }
}
