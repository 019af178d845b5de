//! Children: those of the OCI runtime, which we start, and those of the containers, which are handed to us
//! when the runtime ends (we are their subreaper). One place waits for all, because `waitpid(-1)` takes
//! whoever comes.

use std::collections::HashMap;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{WaitOptions, WaitStatus};

use crate::message::Timestamp;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// As a shell says it: 128 and the signal for one that was killed.
    pub status: u32,
    pub at: Timestamp,
}

/// Whom we have started and wait for.
#[derive(Debug, Default)]
pub struct Reaper {
    commands: Mutex<HashMap<u32, Sender<u32>>>,
}

impl Reaper {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Sender<u32>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a program; its exit status comes out of the receiver. (Never wait for the `Child` itself.)
    ///
    /// # Errors
    /// Those of fork and exec.
    pub fn spawn(&self, command: &mut Command) -> std::io::Result<(Child, Receiver<u32>)> {
        let (sender, receiver) = channel();
        // Held over the start, so that nobody is reaped before we know that it is ours.
        let mut commands = self.lock();
        let child = command.spawn()?;
        commands.insert(child.id(), sender);
        Ok((child, receiver))
    }

    /// Takes all who have ended, tells those who wait for a program of theirs, and gives back the others.
    pub fn reap(&self) -> Vec<(u32, Exit)> {
        let mut commands = self.lock();
        let mut others = Vec::new();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(code) = code(status) else { continue };
            let pid = pid.as_raw_nonzero().get().unsigned_abs();
            match commands.remove(&pid) {
                // Who no longer waits does not want to know.
                Some(sender) => drop(sender.send(code)),
                None => {
                    let at = Timestamp::now();
                    others.push((pid, Exit { status: code, at }));
                }
            }
        }
        others
    }
}

fn code(status: WaitStatus) -> Option<u32> {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    status
        .exit_status()
        .or_else(signal)
        .and_then(|code| u32::try_from(code).ok())
}
