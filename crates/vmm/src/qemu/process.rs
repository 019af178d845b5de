//! QEMU's process: started with its descriptors, listened to, and ended with its machine.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::CapabilitySet;

use super::{Handed, Program, QemuError, VERSION_MIN, Version};

/// How much of what QEMU complains about is kept: the end of it.
const COMPLAINTS_BYTES_MAX: usize = 4096;

/// Whether it may say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    GoesOn,
    Over,
}

impl Program {
    /// Asks it for its version.
    pub(super) fn version(&self) -> Result<Version, QemuError> {
        let output = Command::new(self.path())
            .arg("--version")
            .env_clear()
            .output();
        let output = output.map_err(|source| self.not_started(source))?;
        let version = parse_version(&String::from_utf8_lossy(&output.stdout));
        let version = version.ok_or(QemuError::Language)?;
        (version >= VERSION_MIN)
            .then_some(version)
            .ok_or(QemuError::Old(version))
    }

    fn not_started(&self, source: std::io::Error) -> QemuError {
        QemuError::Spawn {
            program: self.path().to_owned(),
            source,
        }
    }
}

/// `QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)`, and a line of copyright.
fn parse_version(text: &str) -> Option<Version> {
    let (_, text) = text.split_once(" version ")?;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(Version { major, minor })
}

#[derive(Debug)]
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // A monitor that has given up its ids may not: then QEMU ends with the monitor, at once.
        if self.0.kill().is_ok() {
            // It fails only for a process that has been waited for.
            let _ = self.0.wait();
        }
    }
}

/// The process. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Killed,
    pidfd: OwnedFd,
    stderr: OwnedFd,
    complaints: Vec<u8>,
}

impl Process {
    /// Its standard output goes to `serial`.
    pub(super) fn spawn(
        program: &Program,
        arguments: Vec<OsString>,
        handed: Handed,
        serial: Option<OwnedFd>,
    ) -> Result<Self, QemuError> {
        let (stderr, complaints) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        gamut_sys::socket::set_nonblocking(&stderr)?;
        let mut command = Command::new(program.path());
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.stdout(serial.map_or_else(Stdio::null, Stdio::from));
        command.stderr(complaints);
        gamut_sys::command::pass_on(&mut command, &handed.0)?;
        gamut_sys::command::die_with_starter(&mut command);
        if rustix::process::geteuid().is_root() {
            // For the way into its empty root.
            let kept = CapabilitySet::SYS_CHROOT;
            gamut_sys::command::limit_capabilities(&mut command, kept);
        }
        // With the command go our handles to what is QEMU's now, so that an end of it can be seen.
        let child = command.spawn();
        let child = child.map_err(|source| program.not_started(source))?;
        let child = Killed(child);
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&child.0), PidfdFlags::empty())?;
        Ok(Self {
            child,
            pidfd,
            stderr,
            complaints: Vec::new(),
        })
    }

    /// Readable when it has ended.
    pub(super) fn end(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Readable when it has said something.
    pub(super) fn words(&self) -> BorrowedFd<'_> {
        self.stderr.as_fd()
    }

    /// Takes what it has said.
    pub(super) fn listen(&mut self) -> Speech {
        let mut piece = [0; 1024];
        loop {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.stderr, &mut piece)) {
                Ok(0) => return Speech::Over,
                Ok(length) => self.complaints.extend_from_slice(&piece[..length]),
                Err(_) => return Speech::GoesOn,
            }
            let surplus = self.complaints.len().saturating_sub(COMPLAINTS_BYTES_MAX);
            self.complaints.drain(..surplus);
        }
    }

    /// In its own words, why it has ended.
    pub(super) fn last_words(&mut self) -> String {
        self.listen();
        let words = String::from_utf8_lossy(&self.complaints);
        let words: Vec<&str> = words.lines().map(|line| line.trim()).collect();
        let words = words.join("; ").replace("qemu-system-x86_64: ", "");
        match self.child.0.try_wait() {
            Ok(Some(status)) if words.is_empty() => status.to_string(),
            _ => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let told = [
            (
                "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022",
                Some((7, 2)),
            ),
            ("QEMU emulator version 10.0.0\n", Some((10, 0))),
            ("QEMU emulator version 11.1-rc2", Some((11, 1))),
            ("QEMU emulator version unknown", None),
            ("", None),
        ];
        for (text, version) in told {
            let version = version.map(|(major, minor)| Version { major, minor });
            assert_eq!(parse_version(text), version, "{text}");
        }
        assert!(
            Version { major: 8, minor: 0 }
                < Version {
                    major: 10,
                    minor: 0
                }
        );
    }
}
