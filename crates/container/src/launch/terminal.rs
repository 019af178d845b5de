//! Pseudo-terminals from a container's own devpts, pty(7).

use std::os::fd::{BorrowedFd, OwnedFd};

use gamut_plan::cell::StartError;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::prepare::step_failed;

/// Both ends of a terminal.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) master: OwnedFd,
    pub(crate) slave: OwnedFd,
}

/// Makes a terminal in `devpts`; the other end is opened through the master (TIOCGPTPEER), never
/// by a path that the container could have replaced (CVE-2025-52565).
pub(crate) fn open(devpts: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<Pair, StartError> {
    let failed = |errno| step_failed("open a terminal", errno);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(devpts, c"ptmx", flags, Mode::empty()).map_err(failed)?;
    rustix::pty::unlockpt(&master).map_err(failed)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
    if rows != 0 && columns != 0 {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).map_err(failed)?;
    }
    Ok(Pair { master, slave })
}

/// Has the terminal end lines with a line feed alone, as engines expect of a runtime: they hand the
/// terminal on to others, which know of ends of lines themselves.
pub(crate) fn plain_lines(master: &OwnedFd) -> Result<(), StartError> {
    let failed = |errno| step_failed("set up the terminal", errno);
    let mut modes = rustix::termios::tcgetattr(master).map_err(failed)?;
    modes
        .output_modes
        .remove(rustix::termios::OutputModes::ONLCR);
    rustix::termios::tcsetattr(master, rustix::termios::OptionalActions::Now, &modes)
        .map_err(failed)
}

/// The devpts at /dev/pts of a container that somebody else made. The container could have put
/// anything there: it is one only if the kernel says so (CVE-2025-52565).
pub(crate) fn devpts_below(root: BorrowedFd<'_>) -> Result<OwnedFd, StartError> {
    // statfs(2), DEVPTS_SUPER_MAGIC.
    const DEVPTS: u64 = 0x1cd1;
    let failed = |errno| step_failed("open a terminal: the container's /dev/pts", errno);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(root, c"dev/pts", flags, Mode::empty(), resolve);
    let found = found.map_err(failed)?;
    let stat = rustix::fs::fstatfs(&found).map_err(failed)?;
    if stat.f_type as u64 == DEVPTS {
        Ok(found)
    } else {
        Err(failed(Errno::NODEV))
    }
}
