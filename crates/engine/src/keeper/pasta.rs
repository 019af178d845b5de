//! A network without privileges: pasta(1) stands between a workload's network namespace and the host's
//! sockets. What comes to a published port keeps its source address.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use gamut_plan::cell::StartError;
use gamut_plan::launch::{PastaPlan, PortBinding, Protocol};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::home::{self, FORWARDED_DNS};

/// How long it may take until it forwards.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// pasta, for as long as this is there.
#[derive(Debug)]
pub(super) struct Pasta {
    process: Child,
}

impl Drop for Pasta {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A namespace at a file of its own.
struct Shown<'a> {
    file: &'a Path,
}

impl<'a> Shown<'a> {
    fn at(file: &'a Path, namespace: BorrowedFd<'_>) -> Result<Shown<'a>, StartError> {
        // What a keeper that was killed has left.
        drop(Shown { file });
        File::create(file).map_err(|error| failed(error, None))?;
        let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
        rustix::mount::mount_bind(source, file).map_err(|errno| failed(errno, None))?;
        Ok(Shown { file })
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.file, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_file(self.file);
    }
}

/// A word of another process's, by name; fifo(7).
struct Fifo {
    path: PathBuf,
    reader: OwnedFd,
}

impl Fifo {
    fn make(path: PathBuf) -> Result<Fifo, Errno> {
        let _ = std::fs::remove_file(&path);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let reader = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Fifo { path, reader })
    }
}

impl Drop for Fifo {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed(reason: impl ToString, hint: Option<&str>) -> StartError {
    StartError::Step {
        step: "connect the container's network with pasta".into(),
        reason: reason.to_string(),
        hint: hint.map(str::to_owned),
    }
}

impl Pasta {
    /// Starts it for a network namespace, and waits until it forwards. Without most of its capabilities it
    /// may not look into the directories of /proc, so it finds the namespace mounted at `file` meanwhile.
    pub(super) fn start(
        netns: BorrowedFd<'_>,
        file: &Path,
        plan: &PastaPlan,
        ports: &[PortBinding],
    ) -> Result<Pasta, StartError> {
        let words = |protocol| specifications(ports, protocol);
        let mut options = vec!["--no-map-gw".to_owned()];
        for (flag, protocol) in [("-t", Protocol::Tcp), ("-u", Protocol::Udp)] {
            for word in words(protocol) {
                options.extend([flag.to_owned(), word]);
            }
        }
        // What the host's loopback has is not for the workload.
        options.extend(["-T", "none", "-U", "none"].map(str::to_owned));
        options.extend(["--dns-forward".to_owned(), FORWARDED_DNS.to_string()]);
        options.extend(plan.options.iter().cloned());
        let shown = Shown::at(file, netns)?;
        Pasta::serve(shown.file, &options)
    }

    fn serve(netns: &Path, options: &[String]) -> Result<Pasta, StartError> {
        // It writes its process id there when it is ready.
        let word =
            Fifo::make(netns.with_extension("ready")).map_err(|errno| failed(errno, None))?;
        let mut errors = Errors::new()?;
        let mut command = home::pasta(netns);
        command
            .arg("--foreground")
            .arg("--pid")
            .arg(&word.path)
            .args(options)
            .stderr(errors.stdio()?);
        gamut_sys::command::die_with_starter(&mut command);
        let process = command.spawn().map_err(not_run)?;
        let mut pasta = Pasta { process };
        if pasta.is_ready(word.reader.as_fd()) {
            return Ok(pasta);
        }
        let _ = pasta.process.kill();
        let _ = pasta.process.wait();
        Err(errors.told())
    }

    fn is_ready(&self, ready: BorrowedFd<'_>) -> bool {
        let Some(pid) = Pid::from_raw(self.process.id() as i32) else {
            return false;
        };
        let Ok(ended) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
            return false;
        };
        let ended: OwnedFd = ended;
        let mut both = [
            PollFd::new(&ready, PollFlags::IN),
            PollFd::new(&ended, PollFlags::IN),
        ];
        let polled = rustix::io::retry_on_intr(|| rustix::event::poll(&mut both, Some(&PATIENCE)));
        polled.is_ok() && both[0].revents().contains(PollFlags::IN)
    }
}

fn not_run(error: std::io::Error) -> StartError {
    let hint = "install passt, which it is part of; or give `--network none` or `host`";
    failed(format!("cannot run pasta: {error}"), Some(hint))
}

/// What it says of what went wrong.
struct Errors(File);

impl Errors {
    fn new() -> Result<Errors, StartError> {
        let made = rustix::fs::memfd_create(c"pasta", rustix::fs::MemfdFlags::CLOEXEC);
        let made = made.map_err(|errno| failed(errno, None))?;
        Ok(Errors(File::from(made)))
    }

    fn stdio(&self) -> Result<Stdio, StartError> {
        let copy = self.0.try_clone().map_err(|error| failed(error, None))?;
        Ok(Stdio::from(copy))
    }

    fn told(&mut self) -> StartError {
        let mut text = String::new();
        let _ = self.0.rewind();
        let _ = self.0.read_to_string(&mut text);
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        let reason = last.unwrap_or("it ended without a word").trim();
        failed(reason, hint(&text))
    }
}

/// Leads bridge networks of a home out, by a pasta that all of them share: it stays for as long as the home
/// does.
pub(super) fn lead_out() -> Result<(), StartError> {
    let Some(resident) = gamut_container::home::resident() else {
        return Ok(());
    };
    if !gamut_container::home::has_route() {
        return Ok(());
    }
    let has_way_out = || gamut_net::home::has_way_out().map_err(super::network::failed);
    if has_way_out()? {
        return Ok(());
    }
    let network = resident.home.network();
    let lock = network.with_extension("lock");
    let lock = File::create(lock).map_err(|error| failed(error, None))?;
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(|e| failed(e, None))?;
    // Somebody else may have been first.
    if has_way_out()? {
        return Ok(());
    }
    let mut errors = Errors::new()?;
    let mut command = home::pasta(&network);
    let none = ["-t", "none", "-u", "none", "-T", "none", "-U", "none"];
    command
        .args(none)
        .arg("--no-map-gw")
        .stderr(errors.stdio()?);
    // It goes into the background when it forwards.
    match command.status().map_err(not_run)?.success() {
        true => Ok(()),
        false => Err(errors.told()),
    }
}

/// What may be behind its words.
fn hint(text: &str) -> Option<&'static str> {
    if text.contains("tun") {
        return Some(
            "users need access to /dev/net/tun, which udev gives: as root, `chmod 0666 /dev/net/tun`",
        );
    }
    if text.contains("bind") || text.contains("Permission denied") {
        return Some(
            "ports below net.ipv4.ip_unprivileged_port_start (1024) are root's: publish a higher one, or \
             lower that setting",
        );
    }
    text.contains("routable").then_some(
        "the host has no default route: give `--network none`, or `pasta:` with `-i` and `-a`",
    )
}

/// `[ADDRESS/]PORT:PORT`, one for each port of a protocol; `none` if there is none. Of a port at every
/// address there are two bindings, one of each family, and one word.
fn specifications(ports: &[PortBinding], protocol: Protocol) -> Vec<String> {
    let mut words = Vec::new();
    for port in ports.iter().filter(|port| port.protocol == protocol) {
        let (outside, inside) = (port.host.port(), port.container_port);
        let address = port.host.ip();
        let word = match address.is_unspecified() {
            true => format!("{outside}:{inside}"),
            false => format!("{address}/{outside}:{inside}"),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.is_empty() {
        words.push("none".into());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_told_as_pasta_wants_them() {
        let port = |host: &str, container_port, protocol| PortBinding {
            protocol,
            host: host.parse().unwrap(),
            container_port,
        };
        let ports = [
            port("0.0.0.0:8080", 80, Protocol::Tcp),
            port("[::]:8080", 80, Protocol::Tcp),
            port("127.0.0.1:53", 5353, Protocol::Udp),
        ];
        assert_eq!(specifications(&ports, Protocol::Tcp), ["8080:80"]);
        assert_eq!(specifications(&ports, Protocol::Udp), ["127.0.0.1/53:5353"]);
        assert_eq!(specifications(&ports[..1], Protocol::Udp), ["none"]);
    }
}
