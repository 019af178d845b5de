//! The bpf(2) system call, as far as a cgroup device program needs it: load a program of type
//! `BPF_PROG_TYPE_CGROUP_DEVICE`, attach it to a cgroup, find what is attached, detach it.
//!
//! Numbers and layouts are those of `include/uapi/linux/bpf.h`. Every command passes a structure
//! that ends where its own fields end; the kernel takes the rest of `union bpf_attr` as zero.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_PROG_QUERY: libc::c_int = 16;

const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
const BPF_F_REPLACE: u32 = 1 << 2;

/// How much of the verifier's explanation is kept when a program is refused.
const LOG_BYTES: usize = 16 * 1024;
/// The kernel's `BPF_CGROUP_MAX_PROGS`: more cannot be attached to one cgroup.
const MAX_ATTACHED: usize = 64;

/// One eBPF instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation: class, source and kind.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub registers: u8,
    /// Jump distance in instructions, counted from the next one, or a memory offset in bytes.
    pub offset: i16,
    /// The constant operand.
    pub immediate: i32,
}

/// Why a program was not loaded.
#[derive(Debug)]
pub struct LoadError {
    /// `EPERM`: no CAP_BPF + CAP_NET_ADMIN (or CAP_SYS_ADMIN); `EINVAL`/`EACCES`: the verifier
    /// refused; `ENOSYS`: a kernel without BPF.
    pub error: io::Error,
    /// What the verifier said; empty when it never ran.
    pub log: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.error)?;
        match self.log.trim().lines().last() {
            Some(line) => write!(f, " ({line})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The head of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a cgroup device program. The kernel verifies it; it is freed when the descriptor is
/// closed and no cgroup has it attached.
///
/// # Errors
/// See [`LoadError`]. A refused program is loaded a second time only to get the verifier's log.
pub fn load_device_program(program: &[Insn]) -> Result<OwnedFd, LoadError> {
    match load(program, &mut []) {
        Ok(fd) => Ok(fd),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => {
            let mut log = vec![0u8; LOG_BYTES];
            load(program, &mut log).map_err(|error| {
                let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
                let log = String::from_utf8_lossy(&log[..end]).into_owned();
                LoadError { error, log }
            })
        }
        Err(error) => Err(LoadError {
            error,
            log: String::new(),
        }),
    }
}

fn load(program: &[Insn], log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
        kern_version: 0,
        prog_flags: 0,
        prog_name: *b"gamut_devices\0\0\0",
    };
    // SAFETY: bpf(2) with BPF_PROG_LOAD reads `insn_cnt` instructions at `insns`, a C string at
    // `license`, and writes at most `log_size` bytes at `log_buf`. All three outlive the call:
    // `program` and `log` are borrowed for its length with exactly those sizes, the license is
    // static. Success is a new descriptor that nobody else owns.
    unsafe { call_for_fd(BPF_PROG_LOAD, &mut attr) }
}

/// Attaches `program` to the cgroup v2 directory `cgroup`, beside what its ancestors have
/// (`BPF_F_ALLOW_MULTI`: every program must allow an access). With `replace`, it takes the place
/// of that program of the same cgroup in one step (Linux 5.6).
///
/// # Errors
/// `EPERM`: no privilege, or an ancestor's program forbids others; `EBADF`: not a cgroup v2
/// directory; `ENOENT`: `replace` isn't attached here.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI | replace.map_or(0, |_| BPF_F_REPLACE),
        replace_bpf_fd: replace.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: bpf(2) with BPF_PROG_ATTACH holds no pointers; the descriptors are borrowed.
    unsafe { call(BPF_PROG_ATTACH, &mut attr) }.map(drop)
}

/// Detaches `program` from the cgroup v2 directory `cgroup`.
///
/// # Errors
/// `ENOENT`: it isn't attached there.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = AttachAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    // SAFETY: bpf(2) with BPF_PROG_DETACH holds no pointers; the descriptors are borrowed.
    unsafe { call(BPF_PROG_DETACH, &mut attr) }.map(drop)
}

/// The ids of the device programs attached to the cgroup v2 directory `cgroup` itself.
///
/// # Errors
/// `EPERM`: no CAP_NET_ADMIN/CAP_SYS_ADMIN; `EINVAL`/`ENOSYS`: a kernel without cgroup BPF.
pub fn attached_device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MAX_ATTACHED];
    let mut attr = QueryAttr {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: MAX_ATTACHED as u32,
        padding: 0,
    };
    // SAFETY: bpf(2) with BPF_PROG_QUERY writes at most `prog_cnt` u32s at `prog_ids`, which is
    // an array of that many that outlives the call, and updates `attr` itself.
    unsafe { call(BPF_PROG_QUERY, &mut attr) }?;
    let count = (attr.prog_cnt as usize).min(MAX_ATTACHED);
    Ok(ids[..count].to_vec())
}

/// Opens a loaded program by its id.
///
/// # Errors
/// `ENOENT`: no such program any more; `EPERM`: no CAP_SYS_ADMIN.
pub fn open_program(id: u32) -> io::Result<OwnedFd> {
    let mut attr = IdAttr {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: bpf(2) with BPF_PROG_GET_FD_BY_ID holds no pointers. Success is a new descriptor
    // that nobody else owns.
    unsafe { call_for_fd(BPF_PROG_GET_FD_BY_ID, &mut attr) }
}

/// # Safety
/// `A` must be the layout of `union bpf_attr` for `command`, pointers in it valid as the command
/// wants them.
unsafe fn call<A>(command: libc::c_int, attr: &mut A) -> io::Result<libc::c_long> {
    let attr: *mut A = attr;
    // SAFETY: bpf(2) reads and writes `size` bytes at `attr`, which is exactly one `A`; what the
    // pointers inside must be is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<A>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// # Safety
/// As [`call`], and `command` must return a new descriptor.
unsafe fn call_for_fd<A>(command: libc::c_int, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise is passed on.
    let fd = unsafe { call(command, attr) }? as RawFd;
    // SAFETY: the caller promises that success is a new descriptor, so this is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_kernels_offsets() {
        assert_eq!(size_of::<Insn>(), 8);
        assert_eq!(std::mem::offset_of!(LoadAttr, log_buf), 32);
        assert_eq!(std::mem::offset_of!(LoadAttr, prog_name), 48);
        assert_eq!(size_of::<LoadAttr>(), 64);
        assert_eq!(size_of::<AttachAttr>(), 20);
        assert_eq!(std::mem::offset_of!(QueryAttr, prog_ids), 16);
        assert_eq!(size_of::<QueryAttr>(), 32);
    }

    #[test]
    fn a_program_without_an_exit_is_refused_with_the_verifiers_words() {
        // mov r0, 1 and nothing more.
        let refused = load_device_program(&[Insn {
            code: 0xb7,
            registers: 0,
            offset: 0,
            immediate: 1,
        }]);
        let error = refused.expect_err("a program must end in exit");
        if matches!(error.error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) {
            eprintln!("skipped: bpf(2) is not for us here: {error}");
            return;
        }
        assert!(!error.log.is_empty(), "{error:?}");
    }
}
