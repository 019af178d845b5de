//! The default filter on this machine's kernel. A filter belongs to a thread, so each test attaches
//! it to one of its own, which takes it along when it ends.

use std::thread;

use gamut_sys::seccomp::{Flags, set_filter};
use rustix::io::Errno;

use super::{Arch, KernelVersion, Policy, Subject, Syscall, compile};
use crate::caps::{CapSet, Capability};

fn number(name: &str) -> i64 {
    let arch = Arch::native().unwrap();
    i64::from(Syscall::named(name).unwrap().number(arch).unwrap())
}

/// The calls that these tests make: with null and small numbers for arguments they touch no memory
/// of the process, whether the filter denies them or not.
const MADE: &[&str] = &[
    "bpf",
    "clone",
    "clone3",
    "close",
    "getpid",
    "io_uring_setup",
    "keyctl",
    "mount",
    "personality",
    "setns",
    "socket",
    "unshare",
    "rseq_slice_yield",
];

/// Makes one of these calls.
fn call(name: &str, arguments: [u64; 3]) -> Result<i64, Errno> {
    assert!(MADE.contains(&name));
    let [first, second, third] = arguments;
    // SAFETY: syscall(2) is as safe as the call that is made. Those of the list take numbers, or
    // addresses that are null here, which the kernel answers with an error; clone is only made
    // with a flag that the filter denies.
    let returned = unsafe { libc::syscall(number(name), first, second, third, 0, 0, 0) };
    if returned < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap());
    }
    Ok(returned)
}

/// Runs `body` in a thread under the default filter for `caps`.
fn filtered(caps: CapSet, body: impl FnOnce() + Send) {
    let release = rustix::system::uname();
    let subject = Subject {
        caps,
        arch: Arch::native().unwrap(),
        kernel: KernelVersion::from_release(release.release().to_str().unwrap()).unwrap(),
    };
    let program = compile(&Policy::docker_default(&subject)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let listener = set_filter(program.instructions(), Flags::SPEC_ALLOW).unwrap();
            assert!(listener.is_none());
            body();
        });
    });
}

#[test]
fn the_default_filter_denies_and_allows() {
    filtered(CapSet::DOCKER_DEFAULT, || {
        let expected: &[(&str, [u64; 3], Errno)] = &[
            ("unshare", [0, 0, 0], Errno::PERM),
            ("mount", [0, 0, 0], Errno::PERM),
            ("keyctl", [0, 0, 0], Errno::PERM),
            ("bpf", [999, 0, 0], Errno::PERM),
            ("io_uring_setup", [0, 0, 0], Errno::PERM),
            ("setns", [0, 0, 0], Errno::PERM),
            ("clone3", [0, 0, 0], Errno::NOSYS),
            ("clone", [0x1000_0000, 0, 0], Errno::PERM), // CLONE_NEWUSER
            ("socket", [40, 1, 0], Errno::PERM),         // AF_VSOCK
            ("socket", [38, 5, 0], Errno::PERM),         // AF_ALG
            ("socket", [(1 << 32) | 40, 1, 0], Errno::PERM),
            ("socket", [11, 99, 0], Errno::INVAL), // allowed; the kernel knows no type 99
            ("personality", [0x40000, 0, 0], Errno::PERM), // ADDR_NO_RANDOMIZE
            ("close", [9999, 0, 0], Errno::BADF),
        ];
        for (name, arguments, errno) in expected {
            let got = call(name, *arguments);
            assert_eq!(got, Err(*errno), "{name} {arguments:x?}");
        }
        let pid = i64::from(std::process::id());
        assert_eq!(call("getpid", [0; 3]), Ok(pid));
        assert_eq!(call("personality", [0xffff_ffff, 0, 0]), Ok(0));
        // Newer than the policy, so that it is said not to exist.
        assert_eq!(call("rseq_slice_yield", [0; 3]), Err(Errno::NOSYS));
        // A thread and a file are ordinary life.
        thread::spawn(|| std::fs::read("/proc/self/stat").unwrap())
            .join()
            .unwrap();
    });
}

#[test]
fn capabilities_open_the_filter() {
    filtered(CapSet::of(&[Capability::SysAdmin]), || {
        assert_eq!(call("unshare", [0; 3]), Ok(0));
        assert_eq!(call("setns", [9999, 0, 0]), Err(Errno::BADF));
    });
}

/// 32-bit calls come through their own entry and their own tree.
#[cfg(target_arch = "x86_64")]
#[test]
fn i386_calls_are_filtered_too() {
    /// `int 0x80` with one argument.
    fn call32(number: u32, first: u32) -> i32 {
        let returned: i32;
        // SAFETY: the calls made here take no address (getpid, unshare, clone3 denied); the
        // kernel's 32-bit entry clobbers r8 to r11 and keeps the rest; rbx is put back.
        unsafe {
            std::arch::asm!(
                "xchg {first:r}, rbx",
                "int 0x80",
                "xchg {first:r}, rbx",
                first = inout(reg) u64::from(first) => _,
                inlateout("eax") number => returned,
                in("ecx") 0, in("edx") 0, in("esi") 0, in("edi") 0,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        returned
    }

    let number = |name| Syscall::named(name).unwrap().number(Arch::X86).unwrap();
    if !std::fs::exists("/proc/sys/abi/vsyscall32").unwrap() {
        eprintln!("skipped: this kernel has no 32-bit system calls");
        return;
    }
    filtered(CapSet::DOCKER_DEFAULT, || {
        assert_eq!(
            u32::try_from(call32(number("getpid"), 0)),
            Ok(std::process::id())
        );
        assert_eq!(call32(number("unshare"), 0), -1);
        assert_eq!(call32(number("clone3"), 0), -38);
        assert_eq!(call32(number("socket"), 40), -1);
        assert_eq!(call32(469, 0), -38);
    });
}
