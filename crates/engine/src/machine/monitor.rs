//! The process that is a machine: the binary by another name. Its standard input is the socket by which it
//! is told what to be ([`gamut_vmm::wire`]). When it has all descriptors that it will ever need it goes into
//! a jail, and its guest begins.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use gamut_container::caps::CapSet;
use gamut_container::jail::{Jail, JailError, Kept, NOBODY, Network, Root};
use gamut_vmm::monitor;
use gamut_vmm::qemu::Program;
use rustix::fs::{Mode, OFlags};

/// The name under which the binary is a monitor: its `argv[0]`.
pub const PROGRAM_NAME: &str = "gamut-monitor";
pub(super) const PROGRAM_WORD: &CStr = c"gamut-monitor";
/// Its environment names QEMU's program by this, if that is to be the machine; else KVM is.
pub(super) const QEMU_VARIABLE: &str = "GAMUT_QEMU";
/// A descriptor for each device, queue, vCPU, and connection of the guest's.
const DESCRIPTORS_MAX: u64 = 16_384;

/// Is a machine to its end.
#[must_use]
pub fn run() -> ExitCode {
    let _ = rustix::thread::set_name(c"gamut-monitor");
    let Ok(socket) = take_socket() else {
        return ExitCode::FAILURE;
    };
    let status = match std::env::var_os(QEMU_VARIABLE) {
        None => monitor::run(socket, jail),
        Some(path) => match Program::find(directory_of(&path)) {
            Ok(program) => monitor::run_in_qemu(socket, &program, jail),
            Err(_) => monitor::EXIT_REFUSED,
        },
    };
    ExitCode::from(status)
}

fn directory_of(program: &OsStr) -> &OsStr {
    let directory = std::path::Path::new(program).parent();
    directory.map_or(OsStr::new("/"), |path| path.as_os_str())
}

fn take_socket() -> rustix::io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    Ok(socket)
}

/// Nothing is left but the descriptors. The network namespace is a new one, too: a TAP device works by its
/// descriptor.
fn jail() -> Result<(), JailError> {
    let jail = Jail {
        root: Root::Empty,
        network: Network::None,
        groups: &[],
        uid: NOBODY,
        gid: NOBODY,
        capabilities: CapSet::EMPTY,
        descriptors_max: DESCRIPTORS_MAX,
        kept: Kept::Own,
    };
    jail.enter()
}
