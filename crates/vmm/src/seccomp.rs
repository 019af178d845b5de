//! What the threads of a monitor may ask of the kernel: one list for the vCPUs' and one for the event
//! loop's, with what a device does in both, because a vCPU that tells a device to begin has it look at its
//! queues at once. A call that is on neither ends the process: nothing else is to be expected of a monitor
//! whose guest has taken it over.

use std::sync::Arc;

use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// A filter, ready to be put on.
#[derive(Debug, Clone)]
pub struct Filter(Option<Arc<BpfProgram>>);

/// What devices do, and what a thread needs to live.
const BOTH: [libc::c_long; 36] = [
    // Files, taps, pipes and sockets that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_fstat,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_timerfd_settime,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    // Memory and locks of the process.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // Signals, and the end.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What holding the vCPUs takes, and waiting for both the guest and the host.
const EVENT_LOOP: [libc::c_long; 6] = [
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
];

/// What having a process takes: to look for its end, and to end it.
const PROCESS: [libc::c_long; 4] = [
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_pidfd_send_signal,
];

// Requests of ioctl(2): `linux/kvm.h`, `linux/if_tun.h`, `asm-generic/ioctls.h`.
const KVM_RUN: u64 = 0xae80;
const TUNSETOFFLOAD: u64 = 0x4004_54d0;
const FIONBIO: u64 = 0x5421;

impl Filter {
    /// All is allowed: for whoever says so.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A vCPU's.
    ///
    /// # Errors
    /// The filter cannot be made: the lists are wrong.
    pub fn vcpu() -> Result<Self, Error> {
        Self::new(&[], &[KVM_RUN, TUNSETOFFLOAD, FIONBIO])
    }

    /// The event loop's.
    ///
    /// # Errors
    /// As [`Filter::vcpu`].
    pub fn event_loop() -> Result<Self, Error> {
        Self::new(&EVENT_LOOP, &[TUNSETOFFLOAD, FIONBIO])
    }

    /// The event loop's beside QEMU, which gives memory and eventfds as it goes.
    ///
    /// # Errors
    /// As [`Filter::vcpu`].
    pub fn event_loop_beside_qemu() -> Result<Self, Error> {
        let more = [EVENT_LOOP.as_slice(), &PROCESS].concat();
        Self::new(&more, &[FIONBIO])
    }

    fn new(more: &[libc::c_long], requests: &[u64]) -> Result<Self, Error> {
        let plain = BOTH.iter().chain(more).map(|&call| (call, Vec::new()));
        let compared = |argument, operator, value| {
            let condition =
                SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
            SeccompRule::new(vec![condition])
        };
        let requests: Result<Vec<_>, BackendError> = requests
            .iter()
            .map(|&request| compared(1, SeccompCmpOp::Eq, request))
            .collect();
        // Memory that is not to be executed.
        let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        let inert = compared(2, executable, 0)?;
        let unix = compared(0, SeccompCmpOp::Eq, libc::AF_UNIX as u64)?;
        let narrowed = [
            (libc::SYS_ioctl, requests?),
            (libc::SYS_mmap, vec![inert.clone()]),
            (libc::SYS_mprotect, vec![inert]),
            (libc::SYS_socket, vec![unix]),
        ];
        let filter = SeccompFilter::new(
            plain.chain(narrowed).collect(),
            SeccompAction::KillProcess,
            SeccompAction::Allow,
            TargetArch::x86_64,
        )?;
        Ok(Self(Some(Arc::new(filter.try_into()?))))
    }

    /// Puts it on the calling thread, for good.
    ///
    /// # Errors
    /// The kernel has no seccomp(2).
    pub fn apply(&self) -> Result<(), Error> {
        match &self.0 {
            Some(program) => seccompiler::apply_filter(program),
            None => Ok(()),
        }
    }
}
