//! A keeper that is begun before this program has.
//!
//! A static program's C library asks the processor what it is, before anything else: some forty
//! CPUID instructions, each of which traps in a virtual machine, 0.2 ms in all. `gamut run` needs
//! two processes, and the second is what its time hangs on. So the binary's entry point is
//! `gamut_start` (`crates/cli/build.rs`): it looks at the arguments as the kernel has laid them out
//! (System V ABI for AMD64, 3.4.1), begins the keeper if they seem to ask for a workload, and jumps
//! to the C library's `_start`. Both then start at the same time, on two processors.
//!
//! Before `_start` there is no thread-local storage, and `memcpy`, `strlen` and their like cannot be
//! called (they are bound when `_start` has seen the processor). So nothing here is copied or
//! compared by more than a byte, which reading by `read_volatile` makes sure of.

use core::arch::{asm, global_asm};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Our end of the keeper's first connection; -1 if there is none.
static CONNECTION: AtomicI32 = AtomicI32::new(-1);

/// The connection of the keeper that was begun, if one was; to be taken once.
#[must_use]
pub fn keeper() -> Option<OwnedFd> {
    let descriptor = CONNECTION.swap(-1, Ordering::Relaxed);
    // SAFETY: `begin` has made this descriptor and told nobody else; the swap gives it away once.
    (descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

// `rdx` and `rsp` are the kernel's words to `_start`; the others may be anything there.
global_asm!(
    ".globl gamut_start",
    ".type gamut_start, @function",
    "gamut_start:",
    "xor ebp, ebp",
    "mov rbx, rdx",
    "mov r12, rsp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "mov rsp, r12",
    "mov rdx, rbx",
    "jmp _start",
    begin = sym begin,
);

/// What `begin` is given: the count of arguments, the arguments, a null pointer, the environment, a
/// null pointer.
type Stack = *const *const u8;

/// Begins a keeper if the arguments seem to ask for a workload. What fails leaves things as they
/// were: a keeper can be had later, too.
///
/// # Safety
/// `stack` is what the kernel gave this process (see [`Stack`]).
unsafe extern "C" fn begin(stack: Stack) {
    // SAFETY: the count is what `stack` points to.
    let count = unsafe { stack.read() } as usize;
    let arguments = stack.wrapping_add(1);
    // SAFETY: the arguments follow it, and live as long as the process.
    let words = unsafe { std::slice::from_raw_parts(arguments, count) };
    // SAFETY: they are C strings.
    if !unsafe { asks_for_a_workload(words) } || !is_root() {
        return;
    }
    let mut pair: u64 = 0;
    let (family, kind) = (
        libc::AF_UNIX as u64,
        libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
    );
    // SAFETY: socketpair(2) writes two ints, for which there is room.
    let made = unsafe {
        call(
            libc::SYS_socketpair,
            family,
            kind as u64,
            0,
            &raw mut pair as u64,
            0,
        )
    };
    if made < 0 {
        return;
    }
    let (ours, theirs) = (pair as u32 as i32, (pair >> 32) as i32);
    let file = read_only_program();
    // Who was called with a standard stream closed must not find one of these in its place.
    let begun = if file < 0 || ours < 3 || theirs < 3 || file < 3 {
        -1
    } else {
        // SAFETY: the environment follows the arguments and their null pointer; the kernel has laid
        // it out as it wants it back.
        unsafe { start(theirs, file, arguments.wrapping_add(count + 1)) }
    };
    close(file);
    close(theirs);
    if begun < 0 {
        close(ours);
    } else {
        begin_elsewhere(begun);
        CONNECTION.store(ours, Ordering::Relaxed);
    }
}

/// Whether this process is root, be it of a user namespace: another user's program starts over in one.
fn is_root() -> bool {
    // SAFETY: geteuid(2) takes nothing and touches no memory.
    unsafe { call(libc::SYS_geteuid, 0, 0, 0, 0, 0) == 0 }
}

/// As [`crate::own_program::read_only`]; a negative number if that cannot be.
fn read_only_program() -> i32 {
    let flags = libc::OPEN_TREE_CLONE as u64 | libc::OPEN_TREE_CLOEXEC as u64;
    let own = c"/proc/self/exe".as_ptr() as u64;
    // SAFETY: the path is a C string.
    let file = unsafe { call(libc::SYS_open_tree, libc::AT_FDCWD as u64, own, flags, 0, 0) };
    if file < 0 {
        return -1;
    }
    let attributes: [u64; 4] = [crate::mount::attr::RDONLY, 0, 0, 0];
    let (here, empty) = (file as u64, c"".as_ptr() as u64);
    let (attributes, length) = (&raw const attributes as u64, 32);
    let flags = libc::AT_EMPTY_PATH as u64;
    // SAFETY: a mount_attr of its first size (linux/mount.h), and a C string.
    let set = unsafe {
        call(
            libc::SYS_mount_setattr,
            here,
            empty,
            flags,
            attributes,
            length,
        )
    };
    if set < 0 {
        close(file as i32);
        return -1;
    }
    file as i32
}

/// Whether this is a command line of `gamut` with `run` among its first words, behind the global
/// flags and their values, or behind `container`; and not `gamut oci run`, which has no keeper, and
/// not a question what `run` does.
///
/// # Safety
/// `words` are C strings.
unsafe fn asks_for_a_workload(words: &[*const u8]) -> bool {
    let word_is = |index: usize, what: &[u8]| match words.get(index) {
        // SAFETY: the caller says that it is a C string.
        Some(&word) => unsafe { is(word, what) },
        None => false,
    };
    let Some(&program) = words.first() else {
        return false;
    };
    // SAFETY: as above.
    let name = unsafe { last_part(program) };
    // SAFETY: what follows in a C string is one, too.
    if !unsafe { is(name, b"gamut") } {
        return false;
    }
    let mut index = 1;
    while index <= 8 {
        if word_is(index, b"oci") {
            return false;
        }
        if word_is(index, b"run") {
            return !word_is(index + 1, b"--help") && !word_is(index + 2, b"--help");
        }
        index += 1;
    }
    false
}

/// # Safety
/// `word` is a C string.
unsafe fn is(word: *const u8, what: &[u8]) -> bool {
    let mut index = 0;
    while index < what.len() {
        // SAFETY: no byte before this one was the string's end. `what` has none in it.
        if unsafe { word.wrapping_add(index).read_volatile() } != what[index] {
            return false;
        }
        index += 1;
    }
    // SAFETY: as above.
    unsafe { word.wrapping_add(index).read_volatile() == 0 }
}

/// What follows the last slash.
///
/// # Safety
/// `path` is a C string.
unsafe fn last_part(path: *const u8) -> *const u8 {
    let (mut at, mut part) = (path, path);
    loop {
        // SAFETY: no byte before this one was the string's end.
        match unsafe { at.read_volatile() } {
            0 => return part,
            b'/' => part = at.wrapping_add(1),
            _ => {}
        }
        at = at.wrapping_add(1);
    }
}

/// Starts the program behind `file` as a keeper, with `connection` as its standard input and `file`
/// as its standard output ([`crate::own_program`]). Its process number; below zero: an error. What
/// fails after that is seen at the connection's other end.
///
/// # Safety
/// `environment` is a list of C strings ended by a null pointer, and stays.
unsafe fn start(connection: i32, file: i32, environment: Stack) -> i64 {
    struct Words([*const u8; 2]);
    // SAFETY: what is behind the pointers is constant.
    unsafe impl Sync for Words {}
    static WORDS: Words = Words([c"gamut-keeper".as_ptr().cast(), core::ptr::null()]);
    let begun: i64;
    // SAFETY: the child has this process's memory until it executes the program, and its stack
    // pointer, too; it touches neither: all that it needs is in registers, and signals have no
    // handlers yet. What the kernel reads of the memory (the words and the environment) stays as it
    // is. The parent goes on behind `2:`, having lost what a system call takes.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, {dup2}",
            "mov edi, {connection:e}",
            "xor esi, esi",
            "syscall",
            "mov eax, {dup2}",
            "mov edi, {file:e}",
            "mov esi, 1",
            "syscall",
            "mov eax, {execveat}",
            "mov edi, {file:e}",
            "mov rsi, {path}",
            "mov rdx, {words}",
            "mov r10, {environment}",
            "mov r8d, {empty_path}",
            "syscall",
            "mov eax, {exit}",
            "mov edi, 127",
            "syscall",
            "2:",
            dup2 = const libc::SYS_dup2,
            execveat = const libc::SYS_execveat,
            exit = const libc::SYS_exit_group,
            empty_path = const libc::AT_EMPTY_PATH,
            connection = in(reg) connection,
            file = in(reg) file,
            path = in(reg) c"".as_ptr(),
            words = in(reg) WORDS.0.as_ptr(),
            environment = in(reg) environment,
            inlateout("rax") libc::SYS_clone => begun,
            in("rdi") libc::CLONE_VM | libc::SIGCHLD,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            out("rcx") _,
            out("r11") _,
        );
    }
    begun
}

/// As `turn::begin_elsewhere`, where a machine has no more than 64 processors.
fn begin_elsewhere(child: i64) {
    let (mut cpus, mut cpu, mut now): (u64, u64, u64) = (0, 0, 0);
    let affinity = |of: i64, set: &mut u64| {
        let set = &raw mut *set as u64;
        // SAFETY: sched_getaffinity(2) writes a set of the size it is told.
        unsafe { call(libc::SYS_sched_getaffinity, of as u64, 8, set, 0, 0) }
    };
    let set_affinity = |set: &u64| {
        let set = &raw const *set as u64;
        // SAFETY: sched_setaffinity(2) reads a set of the size it is told.
        unsafe { call(libc::SYS_sched_setaffinity, child as u64, 8, set, 0, 0) }
    };
    // SAFETY: getcpu(2) writes an int, for which there is room.
    unsafe { call(libc::SYS_getcpu, &raw mut cpu as u64, 0, 0, 0, 0) };
    if affinity(0, &mut cpus) != 8 {
        return;
    }
    let others = cpus & !(1 << (cpu & 63));
    if others != 0 && set_affinity(&others) == 0 {
        set_affinity(&u64::MAX);
        if affinity(child, &mut now) != 8 || now != cpus {
            set_affinity(&cpus);
        }
    }
}

fn close(descriptor: i32) {
    if descriptor >= 0 {
        // SAFETY: only the owner of a descriptor calls this.
        unsafe { call(libc::SYS_close, descriptor as u64, 0, 0, 0, 0) };
    }
}

/// A system call without the C library, whose `errno` is thread-local; minus the error's number.
///
/// # Safety
/// As the call asks.
unsafe fn call(number: i64, a: u64, b: u64, c: u64, d: u64, e: u64) -> i64 {
    let result: i64;
    // SAFETY: syscall(2): the kernel keeps all registers but these three.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(words: &[&str]) -> bool {
        let words: Vec<std::ffi::CString> = words
            .iter()
            .map(|word| std::ffi::CString::new(*word).unwrap())
            .collect();
        let pointers: Vec<*const u8> = words.iter().map(|word| word.as_ptr().cast()).collect();
        // SAFETY: C strings, which live here.
        unsafe { asks_for_a_workload(&pointers) }
    }

    #[test]
    fn a_keeper_is_begun_for_who_runs_a_workload() {
        assert!(asks(&["gamut", "run", "image"]));
        assert!(asks(&[
            "/usr/bin/gamut",
            "--root",
            "/r",
            "container",
            "run",
            "--rm",
            "image"
        ]));
        assert!(asks(&["./gamut", "run"]));
        assert!(!asks(&["gamut"]));
        assert!(!asks(&[]));
        assert!(!asks(&["gamut", "start", "x"]));
        assert!(!asks(&["gamut", "runs"]));
        assert!(!asks(&["gamut", "ru"]));
        assert!(!asks(&["gamut", "run", "--help"]));
        assert!(!asks(&["gamut", "oci", "run", "x"]));
        assert!(!asks(&["gamut-oci", "run", "x"]));
        assert!(!asks(&["gamut/", "run", "x"]));
        assert!(!asks(&["containerd-shim-gamut-v2", "-id", "run"]));
        assert!(!asks(&[
            "gamut", "1", "2", "3", "4", "5", "6", "7", "8", "run"
        ]));
    }
}
