//! Making a process in new namespaces, and turning it into a program.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mm::Advice;
use rustix::process::Pid;

use crate::mount::last_errno;
use crate::turn::begin_elsewhere;

/// Namespaces to create, `CLONE_NEW*` of clone(2).
pub mod namespace {
    pub const TIME: u64 = libc::CLONE_NEWTIME as u64;
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    pub const NET: u64 = libc::CLONE_NEWNET as u64;
}

/// Which side of a [`clone3`] the caller is on.
#[derive(Debug)]
pub enum Side {
    Parent {
        child: Pid,
        /// Refers to the child for as long as it is open; readable when the child has ended.
        pidfd: OwnedFd,
    },
    Child,
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Whose child a [`clone3`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lineage {
    Child,
    /// The caller's parent's, who alone can reap it.
    Sibling,
}

const CLONE_PIDFD: u64 = libc::CLONE_PIDFD as u64;
const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process in the given new namespaces, and, on cgroup v2, in the given cgroup.
///
/// The child is a copy of the caller (no shared memory). See clone(2), `clone3`.
///
/// # Errors
/// `EAGAIN`: too many processes; `ENOMEM`: also the pid namespace of a dead init; `ENOSPC`: too
/// deep or too many namespaces; `EPERM`: not allowed to make one; `EBUSY`/`EOPNOTSUPP`: that
/// cgroup cannot hold a process.
///
/// # Safety
/// The calling process must have a single thread: the child has only the calling one, so a lock
/// that another thread held would stay locked for ever.
pub unsafe fn clone3(
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    lineage: Lineage,
) -> Result<Side, Errno> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: namespaces | CLONE_PIDFD,
        pidfd: &raw mut pidfd as u64,
        ..CloneArgs::default()
    };
    match lineage {
        Lineage::Child => args.exit_signal = libc::SIGCHLD as u64,
        // Its end is told as the caller's own.
        Lineage::Sibling => args.flags |= CLONE_PARENT,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a live clone_args (linux/sched.h, CLONE_ARGS_SIZE_VER2) and `pidfd` a
    // live int. Without CLONE_VM the child runs on a copy of this stack, so returning twice is as
    // sound as fork; the caller vouches for the single thread.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(last_errno()),
        0 => Ok(Side::Child),
        pid => {
            let child = Pid::from_raw(pid as i32).ok_or(Errno::INVAL)?;
            begin_elsewhere(child);
            // SAFETY: the kernel has just stored a descriptor of ours there (CLONE_PIDFD).
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent { child, pidfd })
        }
    }
}

/// A NUL-terminated array of C strings, as `execve` wants it; built before the clone.
#[derive(Debug)]
pub struct StringArray {
    /// The strings live here, unmoved; `pointers` point into them.
    _strings: Vec<std::ffi::CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringArray {
    #[must_use]
    pub fn new(strings: Vec<std::ffi::CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(ptr::null());
        StringArray {
            _strings: strings,
            pointers,
        }
    }

    /// The array, for as long as this lives.
    pub(crate) fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr()
    }
}

/// Replaces the program of this process; execve(2). Returns only on failure. Allocates nothing.
///
/// # Errors
/// `ENOENT`: no such file, or its interpreter is missing; `EACCES`: not executable, or no regular
/// file; `ENOEXEC`: an unknown format; `E2BIG`; `ETXTBSY`.
#[must_use]
pub fn execve(path: &CStr, args: &StringArray, env: &StringArray) -> Errno {
    // SAFETY: all three are NUL-terminated as execve wants, and live across the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    last_errno()
}

/// Marks every descriptor from `first` up as close-on-exec; close_range(2), Linux 5.11.
///
/// What the caller inherited from who knows whom must not reach a workload (CVE-2024-21626).
///
/// # Errors
/// `EINVAL` or `ENOSYS` on an older kernel.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: takes three integers and touches no memory; marking changes no descriptor's owner.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Puts copies of three descriptors at 0, 1 and 2, without close-on-exec. Allocates nothing.
///
/// # Errors
/// `EMFILE`, `EBUSY` of dup2(2).
pub fn install_stdio(
    stdin: BorrowedFd<'_>,
    stdout: BorrowedFd<'_>,
    stderr: BorrowedFd<'_>,
) -> Result<(), Errno> {
    // A source that sits at 0..=2 would be overwritten before its turn: lift it out first.
    let mut sources = [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()];
    for source in &mut sources {
        if *source <= 2 {
            // SAFETY: fcntl with F_DUPFD_CLOEXEC takes integers only and returns a new descriptor,
            // which lives until the exec that this is called for.
            let lifted = unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, 3) };
            if lifted < 0 {
                return Err(last_errno());
            }
            *source = lifted;
        }
    }
    for (target, source) in sources.into_iter().enumerate() {
        // SAFETY: dup2 takes two integers; 0, 1 and 2 are nobody's OwnedFd in this house.
        if unsafe { libc::dup2(source, target as i32) } < 0 {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// Creates new namespaces for the caller; unshare(2).
///
/// # Errors
/// As [`clone3`].
///
/// # Panics
/// Never: a descriptor table is not among the flags, which is what makes unshare unsafe.
pub fn unshare(namespaces: u64) -> Result<(), Errno> {
    let allowed = namespace::TIME
        | namespace::MOUNT
        | namespace::CGROUP
        | namespace::UTS
        | namespace::IPC
        | namespace::USER
        | namespace::PID
        | namespace::NET;
    // SAFETY: unshare is unsafe for CLONE_FILES only (it would split the descriptor table);
    // the mask leaves nothing but namespaces.
    let result = unsafe { libc::unshare((namespaces & allowed) as i32) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Joins namespaces: of a process, by its pidfd (Linux 5.8), or one by its own descriptor.
///
/// # Errors
/// `EINVAL`: the descriptor is neither, or a user namespace that the caller is already in;
/// `EPERM`.
pub fn join(of: BorrowedFd<'_>, namespaces: u64) -> Result<(), Errno> {
    // SAFETY: setns takes two integers and touches no memory.
    let result = unsafe { libc::setns(of.as_raw_fd(), namespaces as i32) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Gives this process a session keyring of its own, keyrings(7): the one that it was started with
/// belongs to somebody else.
///
/// # Errors
/// `ENOSYS` in a kernel without keys; `EDQUOT` past the user's quota.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: keyctl(2) reads the name, which is a C string, and nothing else of ours.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if result >= 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Ends this process at once, without running destructors or flushing anything; _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(status) }
}

/// Waits until `fd` is readable or `timeout` is over, with as little memory as can be: freed heap
/// memory (malloc_trim(3)), the stack that no call is using, and the program's own code and
/// constants are let go of first; what is needed again comes back from the page cache. For a
/// process that has done the most of its work and now waits, perhaps for months.
#[inline(never)]
pub fn rest(fd: BorrowedFd<'_>, timeout: Option<&Timespec>) {
    let mut ranges = [(0, 0); 8];
    if let Ok(maps) = std::fs::read_to_string("/proc/self/maps") {
        let found = maps
            .lines()
            .filter_map(|line| unused_stack(line).or_else(|| unwritten(line)));
        for (slot, range) in ranges.iter_mut().zip(found) {
            *slot = range;
        }
    }
    let mut waited_for = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    // SAFETY: malloc_trim may be called at any time from any thread.
    unsafe { libc::malloc_trim(0) };
    // From here on only system calls are made, all from this function: each other page of code
    // that runs would bring its neighbours back, too.
    for (start, length) in ranges {
        // SAFETY: MADV_DONTNEED drops pages, and loses what was written to private ones. A range
        // is either stack that ends well below every frame of this thread, which is the one whose
        // stack it is (see `unused_stack`), and holds what calls that have returned left there; or
        // a private mapping of a file that was never writable (see `unwritten`), so the next
        // access finds the same bytes in the file, which stays as long as it is mapped. An unused
        // slot has no length.
        let _ = unsafe { rustix::mm::madvise(start as *mut _, length, Advice::LinuxDontNeed) };
    }
    // Who waits looks again what has happened, so that an error is no more than an early end.
    let _ = rustix::event::poll(&mut waited_for, timeout);
}

/// The part of the stack that lies below the calls being made, if a line of proc_pid_maps(5) is the
/// stack of the calling thread. Room is left for what is called from here.
fn unused_stack(line: &str) -> Option<(usize, usize)> {
    const ROOM: usize = 4 << 10;
    const PAGE: usize = 4096;
    let here = (&raw const line) as usize;
    let (start, end) = line
        .strip_suffix("[stack]")?
        .split_once(' ')?
        .0
        .split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let used_from = here.checked_sub(ROOM)? / PAGE * PAGE;
    let length = used_from.checked_sub(start)?;
    (here < end && length > 0).then_some((start, length))
}

/// The range of a line of proc_pid_maps(5) if it is code, or the constants at the file's start: a
/// later read-only range may be one that relocation wrote to before it was sealed.
fn unwritten(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let access = fields.next()?;
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let of_file = fields.nth(1)? != "0";
    let start = usize::from_str_radix(start, 16).ok()?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    let never_written = access == "r-xp" || (access == "r--p" && offset == 0);
    (of_file && never_written).then_some((start, length))
}

/// Closes every descriptor from `first` up but two. For a child between clone and exec: what it
/// shares with its parent is left to the parent.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_all_but(first: u32, kept: [BorrowedFd<'_>; 2]) -> Result<(), Errno> {
    let mut kept = kept.map(|fd| fd.as_raw_fd() as u32);
    close_between(first, &mut kept)
}

/// Closes every descriptor from `first` up but these. For a process that goes into a jail, or into
/// another program: whatever else it owns it must neither use nor drop from here on.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_others(first: u32, kept: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    close_between(first, &mut kept)
}

/// Closes what lies between the kept ones. Allocates nothing.
fn close_between(first: u32, kept: &mut [u32]) -> Result<(), Errno> {
    kept.sort_unstable();
    let mut from = first;
    for kept in kept {
        if from < *kept {
            close_range(from, *kept - 1)?;
        }
        from = from.max(*kept + 1);
    }
    close_range(from, u32::MAX)
}

fn close_range(from: u32, to: u32) -> Result<(), Errno> {
    // SAFETY: takes three integers. This process neither reads nor drops what owns the closed
    // descriptors: the callers of `close_all_but` and `close_others` have been told so.
    let result = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// Closes every descriptor from `first` up. For the start of `main` only, of a process that was
/// made to be a keeper: what it inherited by accident must not live as long as a workload.
///
/// # Errors
/// `ENOSYS` before Linux 5.9.
pub fn close_inherited(first: u32) -> Result<(), Errno> {
    // SAFETY: takes three integers. At the start of main nothing of this process owns a
    // descriptor above the standard ones, which is what `first` ≥ 3 leaves alone.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first.max(3), u32::MAX, 0) };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn only_what_was_never_writable_is_let_go() {
        let code = "0073b000-00a9f000 r-xp 0053a000 fe:00 5377 /usr/bin/gamut";
        assert_eq!(unwritten(code), Some((0x73_b000, 0x36_4000)));
        let constants = "00200000-0073b000 r--p 00000000 fe:00 5377 /usr/bin/gamut";
        assert!(unwritten(constants).is_some());
        for kept in [
            "00a9f000-00ae2000 r--p 0089d000 fe:00 5377 /usr/bin/gamut",
            "00ae2000-00ae4000 rw-p 008df000 fe:00 5377 /usr/bin/gamut",
            "7ffef4bd5000-7ffef4bd7000 r-xp 00000000 00:00 0 [vdso]",
            "nonsense",
        ] {
            assert_eq!(unwritten(kept), None, "{kept}");
        }
    }

    #[test]
    fn rest_ends_with_the_time_or_with_news() {
        let (ours, theirs) = crate::socket::pair().unwrap();
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        rest(ours.as_fd(), Some(&moment));
        drop(theirs);
        rest(ours.as_fd(), None);
    }

    #[test]
    fn only_the_stack_below_is_let_go() {
        let here = 0u8;
        let here = (&raw const here) as usize;
        let line =
            |start: usize, end: usize| format!("{start:x}-{end:x} rw-p 00000000 00:00 0   [stack]");
        let far_below = (here - 0x10_0000) & !0xfff;
        let (start, length) = unused_stack(&line(far_below, here + 4096)).unwrap();
        assert!(start + length < here && length % 4096 == 0);
        assert_eq!(unused_stack(&line(here + 4096, here + 8192)), None, "above");
        assert_eq!(
            unused_stack(&line(far_below, far_below + 1)),
            None,
            "another's"
        );
        assert_eq!(unused_stack("1000-2000 rw-p 00000000 00:00 0 [heap]"), None);
    }
}
