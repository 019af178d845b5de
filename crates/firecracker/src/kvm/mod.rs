//! Machines on KVM, in this process: [`build`](build::build) makes one, and a thread serves its devices, so
//! that neither a slow client of the API holds up the guest, nor a busy guest a client.

mod build;
mod counters;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gamut_spec::Fault;
use gamut_virtio::balloon::Balloon;
use gamut_virtio::block::Block;
use gamut_virtio::device::Device;
use gamut_virtio::mmio::Mmio;
use gamut_virtio::net::Net;
use gamut_vmm::machine::{End, Running};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::machine::{Backend, Blueprint, Limits, Machine, MachineError, Outcome};
use crate::model::BalloonStatistics;
use build::Devices;

/// Pages of 4 KiB.
const PAGES_PER_MIB: u32 = 256;

/// What the processors' threads and the devices' may ask of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// What they need, and nothing else.
    Filtered,
    /// `--no-seccomp`.
    Free,
}

/// KVM.
#[derive(Debug)]
pub struct Kvm {
    confinement: Confinement,
}

impl Kvm {
    #[must_use]
    pub fn new(confinement: Confinement) -> Self {
        Self { confinement }
    }
}

impl Backend for Kvm {
    fn open_tap(&self, name: &str) -> Result<OwnedFd, Errno> {
        gamut_sys::tap::open(name)
    }

    fn start(&mut self, blueprint: Blueprint) -> Result<Box<dyn Machine>, MachineError> {
        Ok(Box::new(Guest::start(blueprint, self.confinement)?))
    }
}

/// A machine that has begun.
#[derive(Debug)]
struct Guest {
    devices: Devices,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread of the devices and the API's have in common.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Raised for the thread: the state has changed.
    changed: OwnedFd,
    /// Raised by the thread: the guest has ended.
    ended: OwnedFd,
}

#[derive(Debug)]
struct State {
    running: Running,
    wanted: Wanted,
    outcome: Option<Outcome>,
    /// Between two questions to the guest about its memory; zero: none is asked.
    interval: Duration,
}

/// What the devices do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Serve,
    Pause,
    Stop,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        raise(&self.changed);
    }
}

fn raise(event: &OwnedFd) {
    // Only a counter at its end refuses, and that one is raised already.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

fn lock<D: Device>(device: &Mutex<Mmio<D>>) -> MutexGuard<'_, Mmio<D>> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of_fault(error: &dyn Fault) -> MachineError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !reason.ends_with(&words) {
            reason = format!("{reason}: {words}");
        }
        source = cause.source();
    }
    MachineError {
        reason,
        hint: error.hint(),
    }
}

impl Guest {
    fn start(blueprint: Blueprint, confinement: Confinement) -> Result<Self, MachineError> {
        let interval_s = blueprint.balloon.map_or(0, |balloon| balloon.interval_s);
        let (machine, devices) = build::build(blueprint)?;
        let filters = build::Filters::new(confinement)?;
        let running = machine
            .start(&filters.vcpu)
            .map_err(|error| of_fault(&error))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = || eventfd(0, flags).map_err(MachineError::new);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                running,
                wanted: Wanted::Serve,
                outcome: None,
                interval: Duration::from_secs(interval_s.into()),
            }),
            changed: event()?,
            ended: event()?,
        });
        let thread = std::thread::Builder::new().name("devices".to_owned());
        let (theirs, balloon) = (Arc::clone(&shared), devices.balloon.clone());
        let body = move || {
            let outcome = match filters.devices.apply() {
                Ok(()) => serve(&theirs, balloon.as_deref()),
                Err(error) => Some(Outcome::Failed(format!(
                    "the kernel refuses a filter: {error}"
                ))),
            };
            theirs.state().outcome = outcome;
            raise(&theirs.ended);
        };
        let thread = thread.spawn(body).map_err(MachineError::new)?;
        shared.state().running.resume();
        Ok(Self {
            devices,
            shared,
            thread: Some(thread),
        })
    }

    fn drive(&self, id: &str) -> Result<MutexGuard<'_, Mmio<Block>>, MachineError> {
        find(&self.devices.drives, id)
    }

    fn network(&self, id: &str) -> Result<MutexGuard<'_, Mmio<Net>>, MachineError> {
        find(&self.devices.networks, id)
    }

    fn balloon(&self) -> Result<MutexGuard<'_, Mmio<Balloon>>, MachineError> {
        let balloon = self.devices.balloon.as_deref();
        balloon.map(lock).ok_or_else(no_device)
    }
}

fn no_device() -> MachineError {
    MachineError::new("Device not found")
}

fn find<'a, D: Device>(
    devices: &'a [(String, Arc<Mutex<Mmio<D>>>)],
    id: &str,
) -> Result<MutexGuard<'a, Mmio<D>>, MachineError> {
    let found = devices.iter().find(|(known, _)| known == id);
    found.map(|(_, device)| lock(device)).ok_or_else(no_device)
}

/// The thread's body: devices are served until the guest ends, or the machine is dropped.
fn serve(shared: &Shared, balloon: Option<&Mutex<Mmio<Balloon>>>) -> Option<Outcome> {
    // It is a duplicate, because the machine is locked while it is served only.
    let events = shared.state().running.events().try_clone_to_owned();
    let events = match events {
        Ok(events) => events,
        Err(error) => return Some(Outcome::Failed(error.to_string())),
    };
    let mut asked = Instant::now();
    loop {
        let (wanted, interval) = {
            let state = shared.state();
            (state.wanted, state.interval)
        };
        if wanted == Wanted::Stop {
            return None;
        }
        let is_asked = wanted == Wanted::Serve && !interval.is_zero();
        let pause = is_asked.then(|| interval.saturating_sub(asked.elapsed()));
        wait(&events, &shared.changed, wanted, pause);
        if wanted == Wanted::Pause {
            continue;
        }
        if is_asked && asked.elapsed() >= interval {
            asked = Instant::now();
            if let Some(balloon) = balloon {
                lock(balloon).device_mut().ask();
            }
        }
        match shared.state().running.dispatch() {
            Ok(None) => {}
            // Linux goes down by either, as its `reboot=` says.
            Ok(Some(End::Reset | End::TripleFault)) => return Some(Outcome::Shutdown),
            Ok(Some(End::Broken { what })) => return Some(Outcome::Failed(what.to_owned())),
            Err(errno) => return Some(Outcome::Failed(errno.to_string())),
        }
    }
}

fn wait(events: &OwnedFd, changed: &OwnedFd, wanted: Wanted, pause: Option<Duration>) {
    let timeout = pause.and_then(|pause| Timespec::try_from(pause).ok());
    let mut fds = vec![PollFd::new(changed, PollFlags::IN)];
    if wanted == Wanted::Serve {
        fds.push(PollFd::new(events, PollFlags::IN));
    }
    // What fails here fails again, with a word, where something is done.
    let _ = poll(&mut fds, timeout.as_ref());
    let is_changed = !fds[0].revents().is_empty();
    if is_changed {
        let _ = rustix::io::read(changed, &mut [0; 8]);
    }
}

impl Machine for Guest {
    fn pause(&mut self) -> Result<(), MachineError> {
        let mut state = self.shared.state();
        state.wanted = Wanted::Pause;
        // Devices are not served while the state is locked, and not after it.
        state.running.pause();
        drop(state);
        self.shared.tell();
        Ok(())
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        let mut state = self.shared.state();
        state.wanted = Wanted::Serve;
        state.running.resume();
        drop(state);
        self.shared.tell();
        Ok(())
    }

    fn send_ctrl_alt_del(&mut self) -> Result<(), MachineError> {
        self.shared.state().running.press_ctrl_alt_del();
        Ok(())
    }

    fn set_balloon(&mut self, target_mib: u32) -> Result<(), MachineError> {
        let pages = target_mib.saturating_mul(PAGES_PER_MIB);
        self.balloon()?.device_mut().set_target(pages);
        Ok(())
    }

    fn set_balloon_interval(&mut self, interval_s: u16) -> Result<(), MachineError> {
        self.shared.state().interval = Duration::from_secs(interval_s.into());
        self.shared.tell();
        Ok(())
    }

    fn balloon_statistics(&mut self) -> Result<BalloonStatistics, MachineError> {
        let balloon = self.balloon()?;
        let (target_pages, actual_pages) = balloon.device().pages();
        let told = balloon.device().statistics().iter();
        let told: Vec<_> = told.map(|number| (number.tag, number.value)).collect();
        Ok(BalloonStatistics::new(target_pages, actual_pages, &told))
    }

    fn replace_drive(&mut self, id: &str, file: File) -> Result<(), MachineError> {
        let replaced = self.drive(id)?.device_mut().replace(file);
        replaced.map_err(MachineError::new)
    }

    fn limit_drive(&mut self, id: &str, limits: Limits) -> Result<(), MachineError> {
        let [bytes, operations] = limits;
        let mut drive = self.drive(id)?;
        drive.device_mut().limiter_mut().update(bytes, operations);
        Ok(())
    }

    fn limit_network(
        &mut self,
        id: &str,
        receive: Limits,
        transmit: Limits,
    ) -> Result<(), MachineError> {
        let mut network = self.network(id)?;
        let limiters = network.device_mut().limiters_mut();
        for (limiter, [bytes, operations]) in limiters.into_iter().zip([receive, transmit]) {
            limiter.update(bytes, operations);
        }
        Ok(())
    }

    fn counters(&mut self) -> Vec<(String, Vec<(String, u64)>)> {
        counters::named(self.shared.state().running.metrics())
    }

    fn ended(&self) -> BorrowedFd<'_> {
        self.shared.ended.as_fd()
    }

    fn outcome(&mut self) -> Option<Outcome> {
        self.shared.state().outcome.clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.shared.state().wanted = Wanted::Stop;
        self.shared.tell();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
