//! A monitor in a process of its own, with its filters on, as whoever starts it sees it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use gamut_sys::socket;
use gamut_vmm::boot::BootError;
use gamut_vmm::monitor::{self, EXIT_ABANDONED, EXIT_REFUSED, EXIT_RESET};
use gamut_vmm::probe::{Support, probe};
use gamut_vmm::wire::{
    self, Access, Answer, Content, Discovery, Disk, Loading, MAX_PACKET_BYTES, MachineConfig, Pages,
};

use crate::machine::{Entry, elf};
use crate::payloads::{COUNT, LINE};

const IS_MONITOR: &str = "GAMUT_TEST_MONITOR";

#[test]
fn process() {
    if std::env::var_os(IS_MONITOR).is_some() {
        let socket = std::io::stdin().as_fd().try_clone_to_owned();
        let jail = || Ok::<(), BootError>(());
        let status = monitor::run(socket.expect("a descriptor"), jail);
        std::process::exit(status.into());
    }
}

pub(crate) struct Monitor {
    child: Child,
    socket: OwnedFd,
    said: std::io::PipeReader,
    serial: Option<OwnedFd>,
}

impl Monitor {
    /// One that has been told nothing yet.
    pub(crate) fn start() -> Self {
        let (socket, other) = socket::pair().expect("sockets");
        let (said, serial) = std::io::pipe().expect("a pipe");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "monitor::process", "--nocapture"])
            .env(IS_MONITOR, "")
            .stdin(Stdio::from(other))
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        Self {
            child,
            socket,
            said,
            serial: Some(serial.into()),
        }
    }

    /// Kernel and initramfs, then what is behind the serial port.
    pub(crate) fn boot_with(
        &mut self,
        config: MachineConfig,
        mut descriptors: Vec<OwnedFd>,
    ) -> Answer {
        descriptors.insert(2, self.serial.take().expect("it boots once"));
        let command = wire::Command::Boot(Box::new(config));
        self.send(&command, &descriptors);
        self.answer()
    }

    /// With a program for a kernel, and one disk of this; and what it says to that.
    fn boot(program: &[u8], disk: Vec<File>) -> Option<(Self, Answer)> {
        if let missing @ (Support::Missing | Support::Denied) = probe() {
            eprintln!("skipped: no KVM here: {missing:?}");
            return None;
        }
        let config = MachineConfig {
            vcpus: 1,
            memory_mib: 32,
            pages: Pages::Base,
            discovery: Discovery::CommandLine,
            kernel_loading: Loading::Read,
            initramfs_loading: Loading::Read,
            command_line: "said".to_owned(),
            disks: vec![Disk {
                serial: "root".to_owned(),
                access: Access::ReadOnly,
                content: Content::Partitions,
                files: disk.len() as u32,
            }],
            network: None,
            share: None,
        };
        let initramfs = tempfile::tempfile().expect("a file");
        let mut descriptors = vec![OwnedFd::from(elf(program, Entry::Long)), initramfs.into()];
        descriptors.extend(disk.into_iter().map(OwnedFd::from));
        let mut monitor = Self::start();
        let answer = monitor.boot_with(config, descriptors);
        Some((monitor, answer))
    }

    pub(crate) fn ask(&self, command: &wire::Command) -> Answer {
        self.send(command, &[]);
        self.answer()
    }

    /// What the guest's next connection to `port` is joined with.
    pub(crate) fn stream(&self, port: u32, fd: OwnedFd) {
        self.send(&wire::Command::Stream { port }, &[fd]);
    }

    fn send(&self, command: &wire::Command, descriptors: &[OwnedFd]) {
        let bytes = serde_json::to_vec(command).expect("JSON");
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        socket::send(self.socket.as_fd(), &[&bytes], &descriptors).expect("sent");
    }

    fn answer(&self) -> Answer {
        let mut bytes = vec![0; MAX_PACKET_BYTES];
        let (length, _) = socket::receive(self.socket.as_fd(), &mut bytes).expect("an answer");
        serde_json::from_slice(&bytes[..length]).expect("JSON")
    }

    /// All that the guest has said on its serial port, when the monitor is gone.
    pub(crate) fn said(&mut self) -> String {
        let mut said = Vec::new();
        self.said.read_to_end(&mut said).expect("read");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// As far as it got; then it is gone.
    pub(crate) fn said_so_far(&mut self) -> String {
        let _ = self.child.kill();
        self.said()
    }

    pub(crate) fn status(&mut self) -> Option<i32> {
        self.child.wait().expect("waited").code()
    }
}

fn layer() -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(4096).expect("grown");
    file
}

#[test]
fn it_boots_what_it_is_told_and_ends_with_its_guest() {
    let layers = (0..40).map(|_| layer()).collect();
    let Some((mut monitor, answer)) = Monitor::boot(LINE, layers) else {
        return;
    };
    assert_eq!(answer, Answer::Done);
    let said = monitor.said();
    assert!(
        said.starts_with("said acpi=off pci=off virtio_mmio.device=4K@0xd0000000:5 "),
        "{said}"
    );
    assert_eq!(monitor.status(), Some(EXIT_RESET.into()));
}

#[test]
fn it_does_as_it_is_asked_and_ends_with_whoever_asks() {
    let Some((mut monitor, answer)) = Monitor::boot(COUNT, vec![layer()]) else {
        return;
    };
    assert_eq!(answer, Answer::Done);
    for command in [
        wire::Command::Pause,
        wire::Command::Pause,
        wire::Command::Balloon { mib: 8 },
        wire::Command::Resume,
    ] {
        assert_eq!(monitor.ask(&command), Answer::Done, "{command:?}");
    }
    let Answer::Metrics(metrics) = monitor.ask(&wire::Command::Metrics) else {
        panic!("no metrics");
    };
    let names: Vec<_> = metrics.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["disk:root", "vsock", "entropy", "balloon", "vcpus"]);
    let (_, gone) = socket::pair().expect("sockets");
    drop(std::mem::replace(&mut monitor.socket, gone));
    assert_eq!(monitor.status(), Some(EXIT_ABANDONED.into()));
}

#[test]
fn it_says_why_it_cannot_be() {
    let Some((mut monitor, answer)) = Monitor::boot(LINE, Vec::new()) else {
        return;
    };
    let Answer::Refused { reason, .. } = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(
        reason,
        "disk root: 0 files are not between 1 and 128 partitions"
    );
    assert_eq!(monitor.status(), Some(EXIT_REFUSED.into()));
}
