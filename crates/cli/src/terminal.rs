//! The user's terminal: raw mode that is always undone, its size, and who is one at all.
//!
//! Signals (SIGWINCH, and those to pass on) need a blocked mask and a signalfd, which `rustix`
//! lacks; the loop that attaches takes them from `sys`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// Rows and columns of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    pub rows: u16,
    pub columns: u16,
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    termios::isatty(fd)
}

/// The size of the terminal `fd`; `None` where it is none, or does not know (serial lines).
pub fn window_size(fd: impl AsFd) -> Option<WindowSize> {
    let size = termios::tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// What the terminal was before raw mode. It stands here, not in the guard, so that a panic can
/// find it: in release builds a panic aborts, and no destructor runs.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// A terminal in raw mode (termios(3), `cfmakeraw`); dropping it puts back what was.
#[derive(Debug)]
pub struct RawMode {
    _private: (),
}

impl RawMode {
    /// Makes the terminal `fd` raw. At most one guard lives at a time; a second call fails with
    /// [`io::ErrorKind::AlreadyExists`].
    pub fn enter(fd: impl AsFd) -> io::Result<Self> {
        change(fd, OptionalActions::Now, Termios::make_raw)?;
        Ok(Self { _private: () })
    }
}

/// A terminal that does not show what is typed, for passwords; dropping it puts back what was.
/// It and [`RawMode`] exclude each other.
#[derive(Debug)]
pub struct NoEcho {
    _private: (),
}

impl NoEcho {
    /// Hides what is typed on the terminal `fd` from now on; what was typed before is dropped.
    pub fn enter(fd: impl AsFd) -> io::Result<Self> {
        change(fd, OptionalActions::Flush, |modes| {
            modes.local_modes.remove(LocalModes::ECHO);
        })?;
        Ok(Self { _private: () })
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        restore();
    }
}

/// Changes the terminal's modes, having noted what they were.
fn change(fd: impl AsFd, when: OptionalActions, how: impl FnOnce(&mut Termios)) -> io::Result<()> {
    restore_on_panic();
    let fd = fd.as_fd().try_clone_to_owned()?;
    let before = termios::tcgetattr(&fd)?;
    let mut after = before.clone();
    how(&mut after);
    let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
    if saved.is_some() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    termios::tcsetattr(&fd, when, &after)?;
    *saved = Some((fd, before));
    Ok(())
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was before [`RawMode::enter`]; without one it does nothing. For
/// those who end the process without unwinding.
pub fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((fd, before)) = saved {
        // The terminal may have gone away; there is nothing to restore then.
        let _ = termios::tcsetattr(&fd, OptionalActions::Now, &before);
    }
}

fn restore_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Not `restore`: the panicking thread may hold the lock.
            if let Ok(mut saved) = SAVED.try_lock()
                && let Some((fd, before)) = saved.take()
            {
                let _ = termios::tcsetattr(&fd, OptionalActions::Now, &before);
            }
            next(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

    fn terminal() -> (OwnedFd, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
        (master, slave)
    }

    fn echoes(fd: &OwnedFd) -> bool {
        tcgetattr(fd)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    }

    #[test]
    fn raw_mode_is_undone() {
        let (_master, slave) = terminal();
        assert!(echoes(&slave));
        let guard = RawMode::enter(&slave).unwrap();
        assert!(!echoes(&slave));
        let second = RawMode::enter(&slave).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
        assert!(!echoes(&slave));
        drop(guard);
        assert!(echoes(&slave));
        // A panic, too; in the same test because there is one terminal at a time.
        let caught = std::panic::catch_unwind(|| {
            let guard = RawMode::enter(&slave).unwrap();
            std::mem::forget(guard);
            panic!("on purpose");
        });
        assert!(caught.is_err());
        assert!(echoes(&slave));
    }

    #[test]
    fn sizes_are_told_by_terminals_only() {
        let (_master, slave) = terminal();
        assert!(is_terminal(&slave));
        assert_eq!(window_size(&slave), None);
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).unwrap();
        assert_eq!(
            window_size(&slave),
            Some(WindowSize {
                rows: 24,
                columns: 80
            })
        );
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_terminal(&file));
        assert_eq!(window_size(&file), None);
    }
}
