//! How the kernel schedules a process and places its memory, as far as rustix has no words for it.
//! All of it is for the calling thread, and nothing allocates.

use rustix::io::Errno;

use crate::mount::last_errno;

/// sched_setattr(2), `struct sched_attr` without the utilisation clamps.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// Filled in by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`, 1 to 99.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, as the next two: nanoseconds.
    pub runtime_ns: u64,
    pub deadline_ns: u64,
    pub period_ns: u64,
}

/// # Errors
/// `EINVAL`: a policy, flag or number that there is not; `EPERM`: CAP_SYS_NICE is missing; `EBUSY`:
/// no room for another deadline.
pub fn set_scheduler(attributes: &SchedulerAttributes) -> Result<(), Errno> {
    let mut given = *attributes;
    given.size = size_of::<SchedulerAttributes>() as u32;
    // SAFETY: sched_setattr reads `size` bytes of a sched_attr, here a live repr(C) value that says
    // its own size; the thread is the calling one.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const given, 0) };
    done(result)
}

/// ioprio_set(2): a class in bits 13 to 15, a level in those below.
///
/// # Errors
/// `EINVAL`; `EPERM` for the real-time class without CAP_SYS_NICE or CAP_SYS_ADMIN.
pub fn set_io_priority(priority: i32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: ioprio_set takes three integers and touches no memory.
    done(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) })
}

/// personality(2).
///
/// # Errors
/// `EINVAL`.
pub fn set_personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: personality takes an integer and touches no memory.
    done(i64::from(unsafe { libc::personality(persona.into()) }))
}

/// How many memory nodes [`set_memory_policy`] can name.
pub const MAX_NODES: usize = 1024;

/// A set of memory nodes, by number.
pub type Nodes = [u64; MAX_NODES / 64];

/// set_mempolicy(2): `mode` is `MPOL_*` with `MPOL_F_*`.
///
/// # Errors
/// `EINVAL`: a mode that there is not, or nodes that it does not take, or that this host lacks.
pub fn set_memory_policy(mode: i32, nodes: Option<&Nodes>) -> Result<(), Errno> {
    // The kernel reads one bit less than it is told.
    let (mask, bits) = nodes.map_or((std::ptr::null(), 0), |nodes| {
        (nodes.as_ptr(), MAX_NODES as u64 + 1)
    });
    // SAFETY: set_mempolicy reads `bits - 1` bits of the mask, which is exactly as long, or nothing
    // for a null mask of no bits.
    done(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })
}

fn done(result: i64) -> Result<(), Errno> {
    if result >= 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_them() {
        // In a thread: it keeps what is set.
        let set = || {
            let batch = SchedulerAttributes {
                policy: libc::SCHED_BATCH as u32,
                nice: 5,
                ..SchedulerAttributes::default()
            };
            set_scheduler(&batch).unwrap();
            set_io_priority((2 << 13) | 6).unwrap();
            set_personality(0).unwrap();
            set_memory_policy(0, None).unwrap();
            let nonsense = SchedulerAttributes {
                policy: 77,
                ..SchedulerAttributes::default()
            };
            assert_eq!(set_scheduler(&nonsense), Err(Errno::INVAL));
        };
        std::thread::spawn(set).join().unwrap();
    }
}
