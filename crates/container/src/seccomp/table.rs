//! System calls by name and number, over the data of [`super::numbers`].

use std::cmp::Ordering;

use super::Arch;
use super::numbers::{CALLS, NONE};

/// A system call that at least one known architecture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall(u16);

impl Syscall {
    /// The call of this name; `None` if there is none on any known architecture.
    #[must_use]
    pub const fn named(name: &str) -> Option<Self> {
        let (mut low, mut high) = (0, CALLS.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match compare(CALLS[middle].0.as_bytes(), name.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                #[expect(clippy::cast_possible_truncation, reason = "486 entries")]
                Ordering::Equal => return Some(Self(middle as u16)),
            }
        }
        None
    }

    /// The call with this number (without [`Arch::base`]) on `arch`. Where a number has two names
    /// it is the first by the alphabet.
    #[must_use]
    pub fn numbered(arch: Arch, number: u32) -> Option<Self> {
        if number == NONE {
            return None;
        }
        Self::all().find(|call| call.number(arch) == Some(number))
    }

    /// Every call there is, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).map(Self).take(CALLS.len())
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        CALLS[self.0 as usize].0
    }

    /// Its number on `arch`, without [`Arch::base`].
    #[must_use]
    pub const fn number(self, arch: Arch) -> Option<u32> {
        let numbers = &CALLS[self.0 as usize].1;
        let number = match arch {
            Arch::X86_64 => numbers[0],
            Arch::X86 => numbers[1],
            Arch::X32 => numbers[2],
            Arch::Aarch64 => numbers[3],
            Arch::Arm => numbers[4],
        };
        if number == NONE { None } else { Some(number) }
    }

    /// On i386 the calls for sockets and System V IPC also go through one multiplexing call each:
    /// that call and the value of its first argument (socketcall(2), ipc(2);
    /// `include/uapi/linux/net.h` and `ipc.h`).
    #[must_use]
    pub fn multiplexed(self, arch: Arch) -> Option<(Self, u64)> {
        if arch != Arch::X86 {
            return None;
        }
        MULTIPLEXED
            .iter()
            .find(|&&(name, _, _)| name == self.name())
            .and_then(|&(_, through, selector)| Some((Self::named(through)?, selector)))
    }
}

/// The calls of these names; a name that does not exist stops the build.
pub(super) const fn resolve<const N: usize>(names: [&str; N]) -> [Syscall; N] {
    let mut calls = [Syscall(0); N];
    let mut at = 0;
    while at < N {
        calls[at] = match Syscall::named(names[at]) {
            Some(call) => call,
            None => panic!("no such system call"),
        };
        at += 1;
    }
    calls
}

/// `(call, the call it goes through, the selector in argument 0)`.
static MULTIPLEXED: &[(&str, &str, u64)] = &[
    ("socket", "socketcall", 1),
    ("bind", "socketcall", 2),
    ("connect", "socketcall", 3),
    ("listen", "socketcall", 4),
    ("accept", "socketcall", 5),
    ("getsockname", "socketcall", 6),
    ("getpeername", "socketcall", 7),
    ("socketpair", "socketcall", 8),
    ("send", "socketcall", 9),
    ("recv", "socketcall", 10),
    ("sendto", "socketcall", 11),
    ("recvfrom", "socketcall", 12),
    ("shutdown", "socketcall", 13),
    ("setsockopt", "socketcall", 14),
    ("getsockopt", "socketcall", 15),
    ("sendmsg", "socketcall", 16),
    ("recvmsg", "socketcall", 17),
    ("accept4", "socketcall", 18),
    ("recvmmsg", "socketcall", 19),
    ("sendmmsg", "socketcall", 20),
    ("semop", "ipc", 1),
    ("semget", "ipc", 2),
    ("semctl", "ipc", 3),
    ("semtimedop", "ipc", 4),
    ("msgsnd", "ipc", 11),
    ("msgrcv", "ipc", 12),
    ("msgget", "ipc", 13),
    ("msgctl", "ipc", 14),
    ("shmat", "ipc", 21),
    ("shmdt", "ipc", 22),
    ("shmget", "ipc", 23),
    ("shmctl", "ipc", 24),
];

/// `[u8]::cmp`, which is not const.
const fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let mut at = 0;
    while at < left.len() && at < right.len() {
        if left[at] != right[at] {
            return if left[at] < right[at] {
                Ordering::Less
            } else {
                Ordering::Greater
            };
        }
        at += 1;
    }
    if left.len() == right.len() {
        Ordering::Equal
    } else if left.len() < right.len() {
        Ordering::Less
    } else {
        Ordering::Greater
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_numbers_are_unique() {
        assert!(CALLS.is_sorted_by(|left, right| left.0 < right.0));
        for arch in Arch::ALL {
            let mut numbers: Vec<_> = Syscall::all()
                .filter(|call| call.name() != "sync_file_range2") // arm's second name for 341
                .filter_map(|call| call.number(arch))
                .collect();
            numbers.sort_unstable();
            let count = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "{arch}");
            assert!(count > 320, "{arch}: {count}");
        }
    }

    #[test]
    fn names_and_numbers_lead_back() {
        for call in Syscall::all() {
            assert_eq!(Syscall::named(call.name()), Some(call));
            for arch in Arch::ALL {
                if let Some(number) = call.number(arch) {
                    let back = Syscall::numbered(arch, number).unwrap();
                    assert_eq!(back.number(arch), Some(number));
                }
            }
        }
        assert_eq!(Syscall::named("frobnicate"), None);
        assert_eq!(Syscall::numbered(Arch::X86_64, 400), None);
        assert_eq!(Syscall::numbered(Arch::X86_64, NONE), None);
    }

    #[test]
    fn numbers_agree_with_the_c_library() {
        let known = [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("seccomp", libc::SYS_seccomp),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("rt_sigreturn", libc::SYS_rt_sigreturn),
            ("preadv2", libc::SYS_preadv2),
            ("statx", libc::SYS_statx),
        ];
        for (name, number) in known {
            let call = Syscall::named(name).unwrap();
            assert_eq!(
                call.number(Arch::native().unwrap()).map(i64::from),
                Some(number)
            );
        }
    }

    #[test]
    fn newest_calls_have_one_number_everywhere() {
        for (name, number) in [
            ("pidfd_send_signal", 424),
            ("removexattrat", 466),
            ("file_setattr", 469),
            ("listns", 470),
        ] {
            for arch in Arch::ALL {
                assert_eq!(
                    Syscall::named(name).unwrap().number(arch),
                    Some(number),
                    "{name} {arch}"
                );
            }
        }
    }

    #[test]
    fn every_multiplexed_call_exists() {
        let through = Syscall::all().filter(|call| call.multiplexed(Arch::X86).is_some());
        // `send`, `recv` and the like have no number of their own on x86, but on arm they have.
        assert_eq!(through.count(), MULTIPLEXED.len());
    }
}
