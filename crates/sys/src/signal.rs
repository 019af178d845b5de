//! Signals as descriptors, and the signal state that a new program must not inherit.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::mount::last_errno;

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: a sigset_t is plain data for which all zeroes is a value; sigemptyset then fills it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live sigset_t.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in signals {
        // SAFETY: `set` is a live, initialised sigset_t; a bad number only makes it return -1.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    set
}

/// Blocks `signals` for this thread and returns a non-blocking descriptor that reads them;
/// signalfd(2). One read yields one or more `signalfd_siginfo` of 128 bytes, signal number first.
///
/// # Errors
/// `EMFILE`, `ENOMEM`.
pub fn descriptor(signals: &[i32]) -> Result<OwnedFd, Errno> {
    let set = set_of(signals);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(last_errno());
    }
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: signalfd has just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the signal numbers that wait in a [`descriptor`]; empty when none does.
///
/// # Errors
/// Those of read(2), `EAGAIN` left out.
pub fn drain(descriptor: &OwnedFd) -> Result<Vec<i32>, Errno> {
    let mut buffer = [0u8; 128 * 8];
    match rustix::io::read(descriptor, &mut buffer) {
        Ok(length) => Ok(buffer[..length]
            .as_chunks::<128>()
            .0
            .iter()
            .map(|info| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
            .collect()),
        Err(Errno::AGAIN) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Unblocks every signal and sets each to its default action, as a fresh program expects them.
/// Allocates nothing.
///
/// The Rust runtime ignores SIGPIPE, and the keeper blocks signals; both survive `execve`.
pub fn reset_for_exec() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code; SIGKILL, SIGSTOP and libc's own signals refuse it.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let none = set_of(&[]);
    // SAFETY: `none` is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
}

/// Has each of `signals` end this process at once, with 128 and its number as status. That is more
/// than their default action, which the kernel spares the first process of a pid namespace. `execve`
/// resets it (signal(7)). Allocates nothing.
pub fn end_on(signals: &[i32]) {
    extern "C" fn end(signal: libc::c_int) {
        // SAFETY: _exit is async-signal-safe and runs no code of this process.
        unsafe { libc::_exit(128 + signal) };
    }
    for signal in signals {
        // SAFETY: the handler above is a function of the type that signal(2) wants, for as long as
        // the program is; it touches no state that it could find half changed.
        unsafe { libc::signal(*signal, end as *const () as libc::sighandler_t) };
    }
}

/// Makes a broken pipe end the process as Unix filters expect (`gamut ps | head`).
pub fn default_sigpipe() {
    // SAFETY: SIG_DFL installs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// A signal by number, real-time ones included; `None` outside 1–64.
#[must_use]
pub fn from_number(number: i32) -> Option<rustix::process::Signal> {
    if !(1..=64).contains(&number) {
        return None;
    }
    // SAFETY: from_raw_unchecked wants a number that is a signal and not one that libc keeps for
    // itself (32, 33): those only make a thread of the *target* run its libc's handler, and the
    // target is another program.
    Some(unsafe { rustix::process::Signal::from_raw_unchecked(number) })
}
