//! The system calls that nobody in a jail makes: those that reach other processes, make connections,
//! mounts or namespaces, start programs, or are large parts of the kernel that nobody here needs. All of
//! them fail with `EPERM`. (Signals are not among them: who is alone in a pid namespace reaches nobody by them,
//! and one monitor has an emulator for a child.) It is a list of what is forbidden, because several programs share it; what a
//! thread may call is its own filter's business.

use gamut_plan::caps::CapSet;
use gamut_sys::seccomp::Program;

use crate::seccomp::rule::{Action, Condition, Test};
use crate::seccomp::{Policy, SeccompError, Subject, compile};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Whether a process makes files by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    None,
    Served,
}

impl From<bool> for Files {
    fn from(served: bool) -> Self {
        match served {
            true => Self::Served,
            false => Self::None,
        }
    }
}

/// Forbidden to everybody.
const DENIED: &[&str] = &[
    // Others: processes, and those that speak by sockets, queues and keys.
    "accept",
    "accept4",
    "add_key",
    "bind",
    "connect",
    "get_mempolicy",
    "kcmp",
    "keyctl",
    "listen",
    "migrate_pages",
    "move_pages",
    "mq_open",
    "msgget",
    "pidfd_getfd",
    "process_madvise",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "request_key",
    "rt_sigqueueinfo",
    "semget",
    "shmget",
    "socket",
    "tkill",
    // Mounts, namespaces and roots.
    "chroot",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "pivot_root",
    "setns",
    "umount",
    "umount2",
    "unshare",
    "listmount",
    "statmount",
    // Programs.
    "execve",
    "execveat",
    "personality",
    "uselib",
    // The machine.
    "acct",
    "adjtimex",
    "clock_adjtime",
    "clock_settime",
    "delete_module",
    "finit_module",
    "init_module",
    "ioperm",
    "iopl",
    "kexec_file_load",
    "kexec_load",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "setdomainname",
    "sethostname",
    "settimeofday",
    "stime",
    "swapoff",
    "swapon",
    "syslog",
    "vhangup",
    // Large parts of the kernel.
    "bpf",
    "fanotify_init",
    "inotify_init",
    "inotify_init1",
    "io_setup",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "lookup_dcookie",
    "modify_ldt",
    "name_to_handle_at",
    "nfsservctl",
    "open_by_handle_at",
    "perf_event_open",
    "sysfs",
    "userfaultfd",
    "vm86",
    "vm86old",
];

/// Forbidden to those who serve no files.
const DENIED_WITHOUT_FILES: &[&str] = &[
    "chmod",
    "chown",
    "creat",
    "fchmodat",
    "fchmodat2",
    "fchownat",
    "lchown",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "setfsgid",
    "setfsuid",
    "setxattr",
    "symlink",
    "symlinkat",
    "truncate",
    "unlink",
    "unlinkat",
];

/// `CLONE_NEW*` of clone(2), all of them.
const NAMESPACES: u64 = 0x7e02_0080;

/// The filter of a process with these capabilities.
pub(super) fn program(capabilities: CapSet, files: Files) -> Result<Program, SeccompError> {
    let Some(Subject { arch, .. }) = crate::launch::privileges::subject(capabilities) else {
        return Err(SeccompError::Action("this machine".to_owned()));
    };
    let mut policy = Policy::new(arch, Action::Allow);
    let more = match files {
        Files::None => DENIED_WITHOUT_FILES,
        Files::Served => &[],
    };
    for name in DENIED.iter().chain(more) {
        policy.add_rule(name, Action::Errno(EPERM), Vec::new())?;
    }
    // Threads are made by clone3, whose flags no filter sees: a C library falls back to clone.
    policy.add_rule("clone3", Action::Errno(ENOSYS), Vec::new())?;
    for bit in (0..64).filter(|bit| NAMESPACES >> bit & 1 == 1) {
        let flag = 1 << bit;
        let is_set = Condition {
            argument: 0,
            test: Test::Masked {
                mask: flag,
                value: flag,
            },
        };
        policy.add_rule("clone", Action::Errno(EPERM), vec![is_set])?;
    }
    compile(&policy)
}
