//! Docker's default policy: an allow-list that leaves out what reaches past a container (mounting,
//! modules, keyrings, other namespaces, the clock) and opens parts of it again to those who hold
//! the matching capability.
//!
//! Source: moby/profiles, `seccomp/default_linux.go` of autumn 2026. The rules for architectures
//! that gamut has no table for (s390x, riscv64, ppc64le) are not here. Change [`REVISION`] with the
//! data.

use super::table::resolve;
use super::{Action, Arch, Condition, KernelVersion, Policy, Rule, Subject, Syscall, Test};
use crate::caps::Capability;

/// Counts the changes of this file's data, so that cached programs of an older one are not used.
pub const REVISION: u32 = 1;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

impl Policy {
    /// Docker's default policy for a container with these capabilities on this host.
    #[must_use]
    pub fn docker_default(subject: &Subject) -> Self {
        let mut policy = Self::new(subject.arch, Action::Errno(EPERM));
        policy.arches.extend(subject.arch.companions());
        for group in GROUPS.iter().filter(|group| group.when.applies(subject)) {
            for &call in group.calls {
                group.grant.add_to(&mut policy, call);
            }
        }
        policy
    }
}

/// Calls that are treated alike.
struct Group {
    when: When,
    calls: &'static [Syscall],
    grant: Grant,
}

/// For whom a group is there.
enum When {
    Always,
    /// This machine is one of these.
    On(&'static [Arch]),
    /// The kernel is at least that new.
    Since(KernelVersion),
    /// The container has the capability.
    Has(Capability),
    /// It does not.
    Lacks(Capability),
}

impl When {
    fn applies(&self, subject: &Subject) -> bool {
        match self {
            Self::Always => true,
            Self::On(arches) => arches.contains(&subject.arch),
            Self::Since(kernel) => subject.kernel >= *kernel,
            Self::Has(capability) => subject.caps.contains(*capability),
            Self::Lacks(capability) => !subject.caps.contains(*capability),
        }
    }
}

/// What a group gets.
enum Grant {
    Allow,
    /// Allowed if the first argument passes one of the tests.
    IfFirst(&'static [Test]),
    /// Refused with this error instead of `EPERM`.
    Refuse(u16),
}

impl Grant {
    fn add_to(&self, policy: &mut Policy, call: Syscall) {
        let mut add = |action, conditions| {
            policy.rules.push(Rule {
                call,
                action,
                conditions,
            });
        };
        match self {
            Self::Allow => add(Action::Allow, Vec::new()),
            Self::Refuse(errno) => add(Action::Errno(*errno), Vec::new()),
            Self::IfFirst(tests) => {
                for &test in *tests {
                    add(Action::Allow, vec![Condition { argument: 0, test }]);
                }
            }
        }
    }
}

/// `CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
/// CLONE_NEWNET` of `include/uapi/linux/sched.h`.
const NAMESPACES: u64 = 0x7e02_0000;

/// The address families of `include/linux/socket.h` that are open: those that a kernel may have,
/// without `AF_ALG` (38; the kernel's cryptography, a wide attack surface), without `AF_VSOCK` (40;
/// it reaches the host and its machines past the network namespace) and without families that are
/// gone (DECnet 12, Econet 19, ATMSVC 20, IrDA 23, WANPIPE 25, ISDN 34, CAIF 37).
const FAMILIES: &[Test] = &[
    Test::Lt(12),
    Test::Eq(13),
    Test::Eq(14),
    Test::Eq(15),
    Test::Eq(16),
    Test::Eq(17),
    Test::Eq(18),
    Test::Eq(21),
    Test::Eq(22),
    Test::Eq(24),
    Test::Eq(26),
    Test::Eq(27),
    Test::Eq(28),
    Test::Eq(29),
    Test::Eq(30),
    Test::Eq(31),
    Test::Eq(32),
    Test::Eq(33),
    Test::Eq(35),
    Test::Eq(36),
    Test::Eq(39),
    Test::Eq(41),
    Test::Eq(42),
    Test::Eq(43),
    Test::Eq(44),
    Test::Eq(45),
];

/// `PER_LINUX` and `PER_LINUX32`, each also with `UNAME26`, and the question for the current one
/// (personality(2)).
const PERSONALITIES: &[Test] = &[
    Test::Eq(0),
    Test::Eq(0x8),
    Test::Eq(0x2_0000),
    Test::Eq(0x2_0008),
    Test::Eq(0xffff_ffff),
];

const TRACING: &[Syscall] = &resolve(["ptrace", "process_vm_readv", "process_vm_writev"]);

#[rustfmt::skip]
static GROUPS: &[Group] = &[
    // Open files and their bytes.
    Group {
        when: When::Always,
        calls: &resolve([
            "open", "openat", "openat2", "creat", "close", "close_range", "read", "readv",
            "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev", "pwritev2",
            "lseek", "_llseek", "dup", "dup2", "dup3", "fcntl", "fcntl64", "ioctl", "flock",
            "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "fadvise64", "fadvise64_64",
            "readahead", "fallocate", "truncate", "truncate64", "ftruncate", "ftruncate64",
            "copy_file_range", "sendfile", "sendfile64", "splice", "tee", "vmsplice", "pipe",
            "pipe2", "cachestat", "name_to_handle_at", "memfd_create", "memfd_secret",
        ]),
        grant: Grant::Allow,
    },
    // Names, attributes and the tree of files.
    Group {
        when: When::Always,
        calls: &resolve([
            "access", "faccessat", "faccessat2", "chdir", "fchdir", "getcwd", "chmod", "fchmod",
            "fchmodat", "fchmodat2", "chown", "chown32", "fchown", "fchown32", "fchownat", "lchown",
            "lchown32", "stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "fstatat64",
            "newfstatat", "statx", "statfs", "statfs64", "fstatfs", "fstatfs64", "statmount",
            "listmount", "link", "linkat", "symlink", "symlinkat", "readlink", "readlinkat",
            "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir",
            "mknod", "mknodat", "getdents", "getdents64", "umask", "utime", "utimes", "futimesat",
            "utimensat", "utimensat_time64", "getxattr", "lgetxattr", "fgetxattr", "getxattrat",
            "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "listxattr", "llistxattr",
            "flistxattr", "listxattrat", "removexattr", "lremovexattr", "fremovexattr",
            "removexattrat",
        ]),
        grant: Grant::Allow,
    },
    // Waiting for events.
    Group {
        when: When::Always,
        calls: &resolve([
            "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64",
            "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait",
            "epoll_wait_old", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "signalfd",
            "signalfd4", "inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch",
            "fanotify_mark", "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents",
            "io_pgetevents", "io_pgetevents_time64",
        ]),
        grant: Grant::Allow,
    },
    // Memory.
    Group {
        when: When::Always,
        calls: &resolve([
            "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "madvise", "mincore", "msync",
            "mlock", "mlock2", "mlockall", "munlock", "munlockall", "mseal", "remap_file_pages",
            "membarrier", "map_shadow_stack", "pkey_alloc", "pkey_free", "pkey_mprotect",
            "process_mrelease",
        ]),
        grant: Grant::Allow,
    },
    // Processes, threads and their schedule.
    Group {
        when: When::Always,
        calls: &resolve([
            "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid",
            "waitpid", "getpid", "getppid", "gettid", "getpgid", "getpgrp", "setpgid", "getsid",
            "setsid", "prctl", "set_tid_address", "set_thread_area", "get_thread_area",
            "set_robust_list", "get_robust_list", "futex", "futex_time64", "futex_waitv",
            "futex_wait", "futex_wake", "futex_requeue", "rseq", "restart_syscall", "uretprobe",
            "pidfd_open", "pidfd_send_signal", "getpriority", "setpriority", "ioprio_get",
            "ioprio_set", "getcpu", "sched_yield", "sched_getaffinity", "sched_setaffinity",
            "sched_getattr", "sched_setattr", "sched_getparam", "sched_setparam",
            "sched_getscheduler", "sched_setscheduler", "sched_get_priority_max",
            "sched_get_priority_min", "sched_rr_get_interval", "sched_rr_get_interval_time64",
        ]),
        grant: Grant::Allow,
    },
    // Signals.
    Group {
        when: When::Always,
        calls: &resolve([
            "kill", "tkill", "tgkill", "pause", "sigaltstack", "sigprocmask", "sigreturn",
            "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
            "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo",
        ]),
        grant: Grant::Allow,
    },
    // Who one is, what one may do and use.
    Group {
        when: When::Always,
        calls: &resolve([
            "getuid", "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid",
            "getegid32", "getresuid", "getresuid32", "getresgid", "getresgid32", "getgroups",
            "getgroups32", "setuid", "setuid32", "setgid", "setgid32", "setreuid", "setreuid32",
            "setregid", "setregid32", "setresuid", "setresuid32", "setresgid", "setresgid32",
            "setfsuid", "setfsuid32", "setfsgid", "setfsgid32", "setgroups", "setgroups32",
            "capget", "capset", "seccomp", "landlock_create_ruleset", "landlock_add_rule",
            "landlock_restrict_self", "getrlimit", "ugetrlimit", "setrlimit", "prlimit64",
            "getrusage", "uname", "sysinfo", "getrandom",
        ]),
        grant: Grant::Allow,
    },
    // Time.
    Group {
        when: When::Always,
        calls: &resolve([
            "time", "gettimeofday", "times", "nanosleep", "alarm", "adjtimex", "clock_adjtime",
            "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
            "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer",
            "setitimer", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
            "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
            "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64",
        ]),
        grant: Grant::Allow,
    },
    // Sockets, once they are made.
    Group {
        when: When::Always,
        calls: &resolve([
            "accept", "accept4", "bind", "connect", "listen", "getpeername", "getsockname",
            "getsockopt", "setsockopt", "shutdown", "socketpair", "socketcall", "send", "sendto",
            "sendmsg", "sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64",
        ]),
        grant: Grant::Allow,
    },
    // System V and POSIX interprocess communication.
    Group {
        when: When::Always,
        calls: &resolve([
            "ipc", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop",
            "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget", "mq_open",
            "mq_unlink", "mq_notify", "mq_getsetattr", "mq_timedsend", "mq_timedsend_time64",
            "mq_timedreceive", "mq_timedreceive_time64",
        ]),
        grant: Grant::Allow,
    },
    Group {
        // Before 4.8 a tracer could slip past the filter.
        when: When::Since(KernelVersion { version: 4, patchlevel: 8 }),
        calls: TRACING,
        grant: Grant::Allow,
    },
    Group { when: When::Always, calls: &resolve(["socket"]), grant: Grant::IfFirst(FAMILIES) },
    Group { when: When::Always, calls: &resolve(["personality"]), grant: Grant::IfFirst(PERSONALITIES) },
    Group {
        when: When::On(&[Arch::Arm, Arch::Aarch64]),
        calls: &resolve([
            "arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush",
            "set_tls",
        ]),
        grant: Grant::Allow,
    },
    Group { when: When::On(&[Arch::X86_64, Arch::X32]), calls: &resolve(["arch_prctl"]), grant: Grant::Allow },
    Group {
        when: When::On(&[Arch::X86_64, Arch::X32, Arch::X86]),
        calls: &resolve(["modify_ldt"]),
        grant: Grant::Allow,
    },
    // Threads and processes are everybody's; new namespaces are not. What clone3 is asked for
    // stands in memory, out of a filter's sight: the C library falls back to clone.
    Group {
        when: When::Lacks(Capability::SysAdmin),
        calls: &resolve(["clone"]),
        grant: Grant::IfFirst(&[Test::Masked { mask: NAMESPACES, value: 0 }]),
    },
    Group { when: When::Lacks(Capability::SysAdmin), calls: &resolve(["clone3"]), grant: Grant::Refuse(ENOSYS) },
    Group {
        when: When::Has(Capability::SysAdmin),
        calls: &resolve([
            "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
            "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mount",
            "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl", "quotactl_fd",
            "setdomainname", "sethostname", "setns", "syslog", "umount", "umount2", "unshare",
        ]),
        grant: Grant::Allow,
    },
    Group { when: When::Has(Capability::DacReadSearch), calls: &resolve(["open_by_handle_at"]), grant: Grant::Allow },
    Group { when: When::Has(Capability::SysBoot), calls: &resolve(["reboot"]), grant: Grant::Allow },
    Group { when: When::Has(Capability::SysChroot), calls: &resolve(["chroot"]), grant: Grant::Allow },
    Group {
        when: When::Has(Capability::SysModule),
        calls: &resolve(["delete_module", "init_module", "finit_module"]),
        grant: Grant::Allow,
    },
    Group { when: When::Has(Capability::SysPacct), calls: &resolve(["acct"]), grant: Grant::Allow },
    Group { when: When::Has(Capability::SysPtrace), calls: TRACING, grant: Grant::Allow },
    Group {
        when: When::Has(Capability::SysPtrace),
        calls: &resolve(["kcmp", "pidfd_getfd", "process_madvise"]),
        grant: Grant::Allow,
    },
    Group { when: When::Has(Capability::SysRawio), calls: &resolve(["iopl", "ioperm"]), grant: Grant::Allow },
    Group {
        when: When::Has(Capability::SysTime),
        calls: &resolve(["settimeofday", "stime", "clock_settime", "clock_settime64"]),
        grant: Grant::Allow,
    },
    Group { when: When::Has(Capability::SysTtyConfig), calls: &resolve(["vhangup"]), grant: Grant::Allow },
    Group {
        when: When::Has(Capability::SysNice),
        calls: &resolve(["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
        grant: Grant::Allow,
    },
    Group { when: When::Has(Capability::Syslog), calls: &resolve(["syslog"]), grant: Grant::Allow },
    Group { when: When::Has(Capability::Bpf), calls: &resolve(["bpf"]), grant: Grant::Allow },
    Group { when: When::Has(Capability::Perfmon), calls: &resolve(["perf_event_open"]), grant: Grant::Allow },
];
