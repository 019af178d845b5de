//! The seccomp(2) system call: attaching a classic BPF program to the calling thread.
//!
//! [`Program`] is checked as far as its form goes; the kernel checks the rest when it attaches it.
//! [`set_filter`] may be called between clone and exec: it takes a borrowed slice and allocates
//! nothing.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

/// `BPF_MAXINSNS`: the longest program that the kernel takes, in instructions.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// One classic BPF instruction: `struct sock_filter` of `include/uapi/linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Instruction {
    /// Class, size, mode and operation (`BPF_LD | BPF_W | BPF_ABS` and so on).
    pub code: u16,
    /// How many instructions to skip when a conditional jump's test is true.
    pub jt: u8,
    /// How many to skip when it is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// The size of [`Instruction`] in bytes.
pub const INSTRUCTION_BYTES: usize = size_of::<Instruction>();

const _: () = assert!(INSTRUCTION_BYTES == 8 && align_of::<Instruction>() == 4);

/// Why bytes or instructions are not a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramError {
    /// There is no instruction.
    Empty,
    /// More instructions than [`MAX_INSTRUCTIONS`]; how many there are.
    TooLong(usize),
    /// The bytes are not a whole number of instructions; how many bytes there are.
    Ragged(usize),
}

impl std::fmt::Display for ProgramError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("a seccomp program needs at least one instruction"),
            Self::TooLong(count) => write!(
                f,
                "a seccomp program has at most {MAX_INSTRUCTIONS} instructions, this one {count}"
            ),
            Self::Ragged(bytes) => {
                write!(f, "{bytes} bytes are no whole number of BPF instructions")
            }
        }
    }
}

impl std::error::Error for ProgramError {}

/// A program of 1 to [`MAX_INSTRUCTIONS`] instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// Takes the instructions if there are not too few and not too many.
    ///
    /// # Errors
    /// [`ProgramError::Empty`] or [`ProgramError::TooLong`].
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, ProgramError> {
        match instructions.len() {
            0 => Err(ProgramError::Empty),
            count if count > MAX_INSTRUCTIONS => Err(ProgramError::TooLong(count)),
            _ => Ok(Self(instructions)),
        }
    }

    /// Reads what [`Self::to_bytes`] wrote on a machine of the same byte order.
    ///
    /// # Errors
    /// [`ProgramError`] by the length; the instructions themselves are left to the kernel.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProgramError> {
        let (chunks, rest) = bytes.as_chunks::<INSTRUCTION_BYTES>();
        if !rest.is_empty() {
            return Err(ProgramError::Ragged(bytes.len()));
        }
        if chunks.len() > MAX_INSTRUCTIONS {
            return Err(ProgramError::TooLong(chunks.len()));
        }
        let one = |&[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; INSTRUCTION_BYTES]| Instruction {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        };
        Self::new(chunks.iter().map(one).collect())
    }

    /// The instructions as the kernel lays them out, 8 bytes each, in this machine's byte order.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let bytes = size_of_val(self.0.as_slice());
        // SAFETY: from_raw_parts needs `bytes` readable, initialised bytes behind the pointer for
        // the life of the borrow. They are the vector's own storage, borrowed through `self`; the
        // struct is repr(C) with fields of 2+1+1+4 bytes in a size of 8, so none is padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast::<u8>(), bytes) }
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

/// The `SECCOMP_FILTER_FLAG_*` bits of seccomp(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Give the filter to every thread of the process.
    pub const TSYNC: Self = Self(1);
    /// Log every verdict but allow, as far as `actions_logged` lets it.
    pub const LOG: Self = Self(1 << 1);
    /// Leave speculative store bypass on.
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    /// Return a descriptor on which a supervisor receives notifications.
    pub const NEW_LISTENER: Self = Self(1 << 3);
    /// A received notification is interrupted only by fatal signals (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);

    /// Fail with `ESRCH` instead of a thread's id, which could be taken for a listener (Linux 5.7).
    const TSYNC_ESRCH: Self = Self(1 << 4);

    /// The kernel's bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From the kernel's bits; `None` if one is not of the five above.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits & !0b10_1111 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;
const GET_NOTIF_SIZES: u32 = 3;

/// Attaches `program` to the calling thread (with [`Flags::TSYNC`] to all of its process).
/// The descriptor is there exactly if [`Flags::NEW_LISTENER`] was asked for; it is close-on-exec.
/// Allocates nothing and takes no lock.
///
/// # Errors
/// `EACCES`: neither no_new_privs nor `CAP_SYS_ADMIN`; `EINVAL`: the kernel refuses the program or
/// a flag; `ENOMEM`: together with the thread's other filters it is over 32768 instructions;
/// `ESRCH`: another thread can't be synchronised; `EBUSY`: a listener exists already.
pub fn set_filter(program: &[Instruction], flags: Flags) -> rustix::io::Result<Option<OwnedFd>> {
    let Ok(count) = u16::try_from(program.len()) else {
        return Err(Errno::INVAL);
    };
    let descriptor = libc::sock_fprog {
        len: count,
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    let bits = if flags.contains(Flags::TSYNC) {
        flags.with(Flags::TSYNC_ESRCH).bits()
    } else {
        flags.bits()
    };
    // SAFETY: seccomp(2) with SECCOMP_SET_MODE_FILTER reads a sock_fprog and `len` sock_filters
    // behind it: `descriptor` lives through the call, and its pointer and length are those of a
    // borrowed slice of a repr(C) type of the same layout; the kernel only reads it.
    let returned = unsafe { seccomp(SET_MODE_FILTER, bits, (&raw const descriptor).cast()) }?;
    if flags.contains(Flags::NEW_LISTENER) {
        // SAFETY: from_raw_fd needs an open descriptor that nobody else owns. With NEW_LISTENER
        // and (if TSYNC) TSYNC_ESRCH, a success is always a new descriptor.
        Ok(Some(unsafe { OwnedFd::from_raw_fd(returned) }))
    } else {
        Ok(None)
    }
}

/// Whether the kernel knows the filter verdict `action` (a `SECCOMP_RET_*` value).
///
/// # Errors
/// `ENOSYS` or `EINVAL` where the kernel has no seccomp(2) or not this operation (before 4.14).
pub fn action_available(action: u32) -> rustix::io::Result<bool> {
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32, which lives through the call.
    match unsafe { seccomp(GET_ACTION_AVAIL, 0, (&raw const action).cast()) } {
        Ok(_) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The sizes of the kernel's notification structures, in bytes (`struct seccomp_notif_sizes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct NotifSizes {
    /// `struct seccomp_notif`: what a supervisor receives.
    pub notif_bytes: u16,
    /// `struct seccomp_notif_resp`: what it answers.
    pub response_bytes: u16,
    /// `struct seccomp_data`: the call within the notification.
    pub data_bytes: u16,
}

/// Asks how large the notification structures are.
///
/// # Errors
/// `EINVAL` where the kernel has no user notification (before 5.0).
pub fn notif_sizes() -> rustix::io::Result<NotifSizes> {
    let mut sizes = NotifSizes::default();
    // SAFETY: SECCOMP_GET_NOTIF_SIZES writes three u16 into the struct it is given: `sizes` is
    // that struct by repr(C), is borrowed mutably and lives through the call.
    unsafe { seccomp(GET_NOTIF_SIZES, 0, (&raw mut sizes).cast_const().cast()) }?;
    Ok(sizes)
}

/// seccomp(2); on success the non-negative value it returns.
///
/// # Safety
/// `args` must be what `operation` takes, valid for its reads and writes.
unsafe fn seccomp(
    operation: u32,
    flags: u32,
    args: *const libc::c_void,
) -> rustix::io::Result<i32> {
    // SAFETY: the system call reads or writes only behind `args`, which the caller vouches for;
    // the other arguments are numbers.
    let returned = unsafe { libc::syscall(libc::SYS_seccomp, operation, flags, args) };
    if returned < 0 {
        // Reads errno; the error type holds a number and allocates nothing.
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    i32::try_from(returned).map_err(|_| Errno::OVERFLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RET: u16 = 0x06;
    const RET_ALLOW: u32 = 0x7fff_0000;

    fn ret(k: u32) -> Instruction {
        Instruction {
            code: RET,
            jt: 0,
            jf: 0,
            k,
        }
    }

    #[test]
    fn a_program_survives_its_bytes() {
        let program = Program::new(vec![
            Instruction {
                code: 0x20,
                jt: 1,
                jf: 255,
                k: 0x8000_0001,
            },
            ret(RET_ALLOW),
        ])
        .unwrap();
        assert_eq!(program.as_bytes().len(), 16);
        assert_eq!(Program::from_bytes(program.as_bytes()), Ok(program));
    }

    #[test]
    fn the_length_is_checked() {
        assert_eq!(Program::new(vec![]), Err(ProgramError::Empty));
        assert_eq!(Program::from_bytes(&[]), Err(ProgramError::Empty));
        assert_eq!(Program::from_bytes(&[0; 12]), Err(ProgramError::Ragged(12)));
        let long = MAX_INSTRUCTIONS + 1;
        assert_eq!(
            Program::new(vec![ret(0); long]),
            Err(ProgramError::TooLong(long))
        );
        assert_eq!(
            Program::from_bytes(&vec![0; long * 8]),
            Err(ProgramError::TooLong(long))
        );
        assert_eq!(
            set_filter(&vec![ret(0); 70_000], Flags::NONE).unwrap_err(),
            Errno::INVAL
        );
    }

    #[test]
    fn the_kernel_answers_questions() {
        assert_eq!(action_available(RET_ALLOW), Ok(true));
        assert_eq!(action_available(0x1234_0000), Ok(false));
        let sizes = notif_sizes().unwrap();
        assert!(sizes.notif_bytes >= 80 && sizes.response_bytes >= 24 && sizes.data_bytes >= 64);
    }

    /// Filters belong to a thread: what is attached here dies with it.
    fn in_own_thread(body: impl FnOnce() + Send + 'static) {
        std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            body();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_filter_attaches() {
        in_own_thread(|| {
            let listener = set_filter(&[ret(RET_ALLOW)], Flags::SPEC_ALLOW.with(Flags::LOG));
            assert!(matches!(listener, Ok(None)));
        });
    }

    #[test]
    fn a_listener_is_handed_out() {
        in_own_thread(|| {
            let flags = Flags::NEW_LISTENER.with(Flags::WAIT_KILLABLE_RECV);
            let listener = set_filter(&[ret(RET_ALLOW)], flags).unwrap().unwrap();
            assert!(
                rustix::io::fcntl_getfd(&listener)
                    .unwrap()
                    .contains(rustix::io::FdFlags::CLOEXEC)
            );
        });
    }

    #[test]
    fn a_bad_program_is_refused() {
        in_own_thread(|| {
            let jump_out = Instruction {
                code: 0x05,
                jt: 0,
                jf: 0,
                k: 9,
            };
            assert_eq!(
                set_filter(&[jump_out, ret(0)], Flags::NONE).unwrap_err(),
                Errno::INVAL
            );
            assert_eq!(set_filter(&[], Flags::NONE).unwrap_err(), Errno::INVAL);
        });
    }
}
