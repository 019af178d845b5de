//! A command on a pseudo-terminal, as a person at a keyboard has it.

use crate::patience::{eventually, limit};
use crate::user::{Caller, USER};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// A running command and the keyboard and screen it is attached to.
#[derive(Debug)]
pub struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<String>>,
    /// How much of the screen [`Terminal::expect`] has already matched.
    seen: usize,
    child: Child,
}

impl Terminal {
    /// Starts `program words` for a caller with the terminal as its controlling one, rows × columns
    /// characters.
    pub fn open(
        caller: Caller,
        program: &str,
        words: &[String],
        env: &[(String, String)],
        (rows, columns): (u16, u16),
    ) -> std::io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let theirs = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().map_err(std::io::Error::other)?)?;
        tcsetwinsize(&ours, size(rows, columns))?;
        // setsid(1) makes the terminal the controlling one, so that a change of size sends SIGWINCH.
        if caller == Caller::User {
            std::os::unix::fs::fchown(&theirs, Some(USER), None)?;
        }
        let mut command = Command::new("setsid");
        caller.calls(&mut command);
        let child = command
            .args(["--ctty", "--wait", program])
            .args(words)
            .envs(env.iter().cloned())
            .stdin(Stdio::from(theirs.try_clone()?))
            .stdout(Stdio::from(theirs.try_clone()?))
            .stderr(Stdio::from(theirs))
            .spawn()?;
        let keyboard = File::from(ours);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (keyboard.try_clone()?, Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails with EIO when the last process on the terminal is gone.
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                to.lock()
                    .expect("no panic while writing")
                    .push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Ok(Self {
            keyboard,
            screen,
            seen: 0,
            child,
        })
    }

    /// Types `keys`.
    pub fn send(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal is open");
    }

    /// Waits until `text` appears after what was matched before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let began = Instant::now();
        loop {
            let screen = self.screen();
            if let Some(at) = screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(
                began.elapsed() < limit(),
                "{text:?} never appeared; the screen:\n{screen}"
            );
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Changes the window's size, as dragging its corner does.
    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(&self.keyboard, size(rows, columns)).expect("the terminal is open");
    }

    /// Everything shown so far.
    pub fn screen(&self) -> String {
        self.screen.lock().expect("no panic while writing").clone()
    }

    /// Waits for the command's end; its exit code.
    pub fn wait(mut self) -> i32 {
        let status = eventually("the command on the terminal ends", || {
            self.child.try_wait().ok().flatten()
        });
        status.code().unwrap_or(-1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Already ended in most tests; then this does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
