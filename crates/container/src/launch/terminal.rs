//! Pseudo-terminals from a container's own devpts, pty(7).

use std::os::fd::{BorrowedFd, OwnedFd};

use gamut_plan::cell::StartError;
use rustix::fs::{Mode, OFlags};
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
