//! The vCPUs: a thread for each, and one gate at which all of them can be held.
//!
//! A vCPU that runs is in the kernel, and comes out for a signal. Whoever wants them held sets the gate, and
//! sends the signal until each has arrived: one that comes between a look at the gate and the run is
//! lost, and the next is not.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_ioctls::{VcpuExit, VcpuFd};
use rustix::event::EventfdFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use super::bus::{Bus, Wish};
use super::{End, MachineError};
use crate::seccomp::Filter;

/// How long a vCPU is waited for before it gets another signal.
const NUDGE: Duration = Duration::from_millis(2);

const RUN: u8 = 0;
const HOLD: u8 = 1;
const STOP: u8 = 2;

/// What vCPUs and their machine share.
#[derive(Debug)]
pub(super) struct Gate {
    wanted: AtomicU8,
    state: Mutex<State>,
    changed: Condvar,
    /// Raised when the guest ends.
    over: OwnedFd,
    pub(super) exits: Exits,
}

#[derive(Debug, Default)]
struct State {
    /// How many are at the gate, or through with all.
    held: usize,
    end: Option<End>,
}

/// How often a vCPU came out, and for what.
#[derive(Debug, Default)]
pub(super) struct Exits {
    pub(super) ports: AtomicU64,
    pub(super) registers: AtomicU64,
    pub(super) others: AtomicU64,
}

impl Gate {
    /// Closed at first.
    pub(super) fn new() -> Result<Arc<Self>, MachineError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let over =
            rustix::event::eventfd(0, flags).map_err(|error| MachineError::Host(error.into()))?;
        Ok(Arc::new(Self {
            wanted: AtomicU8::new(HOLD),
            state: Mutex::default(),
            changed: Condvar::new(),
            over,
            exits: Exits::default(),
        }))
    }

    pub(super) fn over(&self) -> BorrowedFd<'_> {
        self.over.as_fd()
    }

    pub(super) fn end(&self) -> Option<End> {
        self.state().end
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the vCPUs are to be held; `false`: they are to end.
    fn pass(&self) -> bool {
        if self.wanted.load(Ordering::SeqCst) == RUN {
            return true;
        }
        let mut state = self.state();
        state.held += 1;
        self.changed.notify_all();
        loop {
            match self.wanted.load(Ordering::SeqCst) {
                HOLD => {
                    let waited = self.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
                RUN => {
                    state.held -= 1;
                    return true;
                }
                _ => return false,
            }
        }
    }

    /// The first end counts.
    fn finish(&self, end: End) {
        let mut state = self.state();
        state.end.get_or_insert(end);
        self.wanted.store(STOP, Ordering::SeqCst);
        self.changed.notify_all();
        drop(state);
        let _ = rustix::io::write(&self.over, &1_u64.to_ne_bytes());
    }
}

/// The threads.
#[derive(Debug)]
pub(super) struct Threads {
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<()>>,
}

impl Threads {
    /// One for each vCPU, held at the gate.
    pub(super) fn spawn(
        gate: &Arc<Gate>,
        vcpus: Vec<VcpuFd>,
        bus: &Arc<Bus>,
        filter: &Filter,
    ) -> Result<Self, MachineError> {
        extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        register_signal_handler(SIGRTMIN(), nothing)
            .map_err(|error| MachineError::Host(error.into()))?;
        let mut threads = Self {
            gate: Arc::clone(gate),
            threads: Vec::with_capacity(vcpus.len()),
        };
        for (vcpu, id) in vcpus.into_iter().zip(0..) {
            let (gate, bus, filter) = (Arc::clone(gate), Arc::clone(bus), filter.clone());
            let thread = std::thread::Builder::new().name(format!("vcpu{id}"));
            let body = move || {
                if filter.apply().is_err() {
                    gate.finish(End::Broken {
                        what: "the kernel refuses a filter",
                    });
                }
                run(vcpu, &gate, &bus);
            };
            // What is dropped on failure holds those that are there already.
            threads
                .threads
                .push(thread.spawn(body).map_err(MachineError::Host)?);
        }
        Ok(threads)
    }

    /// All of them stop, and have stopped when this returns.
    pub(super) fn hold(&self) {
        let held = self
            .gate
            .wanted
            .compare_exchange(RUN, HOLD, Ordering::SeqCst, Ordering::SeqCst);
        if held.is_ok() {
            self.nudge_until_held();
        }
    }

    /// They go on.
    pub(super) fn resume(&self) {
        let state = self.gate.state();
        let _ = self
            .gate
            .wanted
            .compare_exchange(HOLD, RUN, Ordering::SeqCst, Ordering::SeqCst);
        self.gate.changed.notify_all();
        drop(state);
    }

    fn nudge_until_held(&self) {
        let mut state = self.gate.state();
        while state.held < self.threads.len() {
            for thread in &self.threads {
                // A thread that is through needs none.
                let _ = thread.kill(SIGRTMIN());
            }
            let waited = self.gate.changed.wait_timeout(state, NUDGE);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let state = self.gate.state();
        self.gate.wanted.store(STOP, Ordering::SeqCst);
        self.gate.changed.notify_all();
        drop(state);
        self.nudge_until_held();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn run(mut vcpu: VcpuFd, gate: &Gate, bus: &Bus) {
    while gate.pass() {
        if let Some(end) = step(&mut vcpu, gate, bus) {
            gate.finish(end);
        }
    }
}

/// Into the guest, and what it comes out for.
fn step(vcpu: &mut VcpuFd, gate: &Gate, bus: &Bus) -> Option<End> {
    let exits = &gate.exits;
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    match vcpu.run() {
        Ok(VcpuExit::MmioRead(address, data)) => {
            count(&exits.registers);
            bus.read(address, data);
        }
        Ok(VcpuExit::MmioWrite(address, data)) => {
            count(&exits.registers);
            bus.write(address, data);
        }
        Ok(VcpuExit::IoIn(port, data)) => {
            count(&exits.ports);
            bus.port_read(port, data);
        }
        Ok(VcpuExit::IoOut(port, data)) => {
            count(&exits.ports);
            if bus.port_write(port, data) == Wish::Reset {
                return Some(End::Reset);
            }
        }
        Ok(VcpuExit::Shutdown) => return Some(End::TripleFault),
        Ok(VcpuExit::InternalError) => {
            return Some(End::Broken {
                what: "KVM cannot emulate an instruction",
            });
        }
        Ok(VcpuExit::FailEntry(..)) => {
            return Some(End::Broken {
                what: "the processor refuses the guest's state",
            });
        }
        Ok(_) => {
            count(&exits.others);
        }
        // A signal, or an event that KVM wants to look at again.
        Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
            vcpu.set_kvm_immediate_exit(0);
        }
        Err(_) => {
            return Some(End::Broken {
                what: "KVM_RUN has failed",
            });
        }
    }
    None
}
