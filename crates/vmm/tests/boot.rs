//! A real kernel in a machine of ours, under the monitor's filters, with a first process that tells what it
//! finds. It wants a KVM with a processor behind it (`lab/kvm` has one), and files by name: a kernel
//! (`GAMUT_TEST_KERNEL`), a distribution's, which unpacks itself (`GAMUT_TEST_BZIMAGE`), and the example
//! `guest` (`GAMUT_TEST_GUEST`).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use gamut_virtio::fs::{Export, Fs};
use gamut_virtio::vhost_user::server::Server;
use gamut_vmm::monitor::EXIT_TRIPLE_FAULT;
use gamut_vmm::probe::{Support, probe};
use gamut_vmm::wire::{
    self, Access, Answer, Content, Discovery, Disk, Loading, MachineConfig, Network, Pages,
};

use rustix::event::{PollFd, PollFlags};
use tempfile::TempDir;

use crate::monitor::Monitor;

/// What a boot that hangs is given.
const PATIENCE: Duration = Duration::from_secs(60);
const TAP: &str = "gamut-test";

/// The kernel that the variable names, and an initramfs.
fn files(kernel: &str) -> Option<(File, File)> {
    let skip = |why: &str| {
        eprintln!("skipped: {why}");
        None
    };
    let (Some(kernel), Some(guest)) = (
        std::env::var_os(kernel),
        std::env::var_os("GAMUT_TEST_GUEST"),
    ) else {
        return skip(&format!("no {kernel} and GAMUT_TEST_GUEST"));
    };
    match probe() {
        Support::Usable => {}
        other => return skip(&format!("no KVM for kernels here: {other:?}")),
    }
    let guest = std::fs::read(guest).expect("the guest");
    let archive = gamut_vmm::initramfs::build(&guest, &[]).expect("an initramfs");
    let mut initramfs = tempfile::tempfile().expect("a file");
    initramfs.write_all(&archive).expect("written");
    Some((File::open(kernel).expect("the kernel"), initramfs))
}

fn file_of(byte: u8, length: usize) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&vec![byte; length]).expect("written");
    std::io::Seek::rewind(&mut file).expect("rewound");
    file
}

/// A directory that a thread serves until nobody asks any more.
fn share() -> (OwnedFd, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("upper")).expect("made");
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    let fs = Fs::new(Export {
        tag: "gamut".to_owned(),
        root: File::open(directory.path()).expect("open").into(),
        descriptors: File::open("/proc/self/fd").expect("open").into(),
        private: c"upper".to_owned(),
    });
    let mut server = Server::new(fs.expect("a device"), theirs.into()).expect("a server");
    std::thread::spawn(move || {
        while server.handle().is_ok() {
            let mut fds = [PollFd::from_borrowed_fd(server.events(), PollFlags::IN)];
            rustix::event::poll(&mut fds, None).expect("poll");
        }
    });
    (ours.into(), directory)
}

/// A machine that runs, and its guest's ear.
struct Guest {
    monitor: Monitor,
    control: BufReader<UnixStream>,
    writable: File,
    directory: TempDir,
}

impl Guest {
    fn boot(vcpus: u8) -> Option<Self> {
        let (kernel, initramfs) = files("GAMUT_TEST_KERNEL")?;
        let disk = |serial: &str, access, content, files| Disk {
            serial: serial.to_owned(),
            access,
            content,
            files,
        };
        let config = MachineConfig {
            vcpus,
            memory_mib: 256,
            pages: Pages::Base,
            discovery: Discovery::CommandLine,
            kernel_loading: Loading::Read,
            initramfs_loading: Loading::Read,
            command_line: "console=ttyS0 reboot=t panic=-1 quiet".to_owned(),
            disks: vec![
                disk("root", Access::ReadOnly, Content::Partitions, 3),
                disk("data", Access::ReadWrite, Content::Whole, 1),
            ],
            network: Some(Network {
                mac: [2, 0, 0, 0, 0, 9],
                mtu: 1500,
            }),
            share: Some("gamut".to_owned()),
        };
        let (share, directory) = share();
        let writable = file_of(0, 1 << 20);
        let tap = gamut_sys::tap::open(TAP).expect("a tap");
        for command in ["addr add 10.99.0.1/24 dev", "link set up dev"] {
            let words = command.split(' ').chain([TAP]);
            let status = Command::new("ip").args(words).status().expect("ip");
            assert!(status.success(), "{command}");
        }
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let descriptors = vec![
            kernel.into(),
            initramfs.into(),
            file_of(b'a', 5000).into(),
            file_of(b'b', 3 << 20).into(),
            file_of(b'c', 4096).into(),
            writable.try_clone().expect("a descriptor").into(),
            tap,
            share,
        ];
        let began = Instant::now();
        let mut monitor = Monitor::start();
        monitor.stream(1, theirs.into());
        let answer = monitor.boot_with(config, descriptors);
        assert_eq!(answer, Answer::Done);
        ours.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut guest = Self {
            monitor,
            control: BufReader::new(ours),
            writable,
            directory,
        };
        assert_eq!(guest.ask("processors"), vcpus.to_string());
        eprintln!("up after {:?}", began.elapsed());
        Some(guest)
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.control.get_mut(), "{question}").expect("asked");
        let mut line = String::new();
        if self.control.read_line(&mut line).is_err() || line.is_empty() {
            panic!(
                "{question}: no answer; it said: {}",
                self.monitor.said_so_far()
            );
        }
        line.trim_end().to_owned()
    }
}

fn everything(vcpus: u8) {
    let Some(mut guest) = Guest::boot(vcpus) else {
        return;
    };
    // The disks, whose partitions are rounded up to whole blocks.
    assert_eq!(guest.ask("read /dev/vda1 5"), "aaaaa");
    assert_eq!(
        guest.ask("sum /dev/vda1"),
        format!("{} 8192", 5000 * u64::from(b'a'))
    );
    assert_eq!(
        guest.ask("sum /dev/vda2"),
        format!("{} {}", (3 << 20) * u64::from(b'b'), 3 << 20)
    );
    assert_eq!(guest.ask("read /dev/vda3 3"), "ccc");
    assert_eq!(guest.ask("file /sys/block/vda/serial"), "root");
    assert_eq!(guest.ask("file /sys/block/vda/ro"), "1");
    assert_eq!(guest.ask("write /dev/vdb written"), "written");
    let mut text = [0; 7];
    guest.writable.read_exact_at(&mut text, 0).expect("read");
    assert_eq!(&text, b"written");

    // Streams, which are told of before they are asked for.
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    guest.monitor.stream(1024, writer.into());
    let bytes = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("read");
        bytes.len()
    });
    assert_eq!(guest.ask("say 1024 1000000"), "said");
    assert_eq!(bytes.join().expect("joined"), 1_000_000);
    guest.monitor.stream(1025, file_of(7, 1_000_000).into());
    assert_eq!(guest.ask("hear 1025"), "7000000 1000000");
    assert!(guest.ask("hear 1026").contains("reset"), "nobody is there");

    // The network, both ways.
    let socket = UdpSocket::bind("10.99.0.1:7777").expect("bound");
    let echo = std::thread::spawn(move || {
        let mut text = [0; 2000];
        let (length, from) = socket.recv_from(&mut text).expect("received");
        socket.send_to(&text[..length], from).expect("sent");
    });
    assert_eq!(guest.ask("network"), "1400");
    echo.join().expect("joined");

    // The host's files.
    let path = guest.directory.path().to_owned();
    std::fs::write(path.join("of-host"), "from the host").expect("written");
    assert_eq!(guest.ask("share gamut"), "from the host");
    let text = std::fs::read_to_string(path.join("of-guest")).expect("read");
    assert_eq!(text, "from the guest");

    // Held and let go, it answers; memory that it has used and freed comes back.
    assert_eq!(guest.monitor.ask(&wire::Command::Pause), Answer::Done);
    assert_eq!(guest.monitor.ask(&wire::Command::Resume), Answer::Done);
    assert_eq!(guest.ask("use 100"), (100_u64 << 20).to_string());
    let began = Instant::now();
    while counter(&guest.monitor, "balloon", "reported_bytes") < 64 << 20 {
        let waited = began.elapsed();
        assert!(
            waited < PATIENCE,
            "{} {:?}",
            guest.ask("file /proc/buddyinfo"),
            guest.monitor.ask(&wire::Command::Metrics)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(counter(&guest.monitor, "disk:root", "errors"), 0);

    // And it goes down when its first process has nothing more to do.
    drop(guest.control);
    assert_eq!(guest.monitor.status(), Some(EXIT_TRIPLE_FAULT.into()));
    let said = guest.monitor.said();
    assert!(
        said.contains("guest: up") && said.contains("guest: done"),
        "{said}"
    );
}

fn counter(monitor: &Monitor, device: &str, name: &str) -> u64 {
    let Answer::Metrics(metrics) = monitor.ask(&wire::Command::Metrics) else {
        panic!("no metrics");
    };
    let device = metrics.iter().find(|(other, _)| other == device);
    let (_, counters) = device.expect("such a device");
    let counter = counters.iter().find(|(other, _)| other == name);
    counter.expect("such a counter").1
}

#[test]
fn a_kernel_finds_its_devices_with_one_processor() {
    everything(1);
}

#[test]
fn a_kernel_finds_its_devices_with_two_processors() {
    everything(2);
}

/// Its drivers are modules, so that its first process finds nothing but the serial port; and the devices, each
/// with its registers and its interrupt, that no driver has.
#[test]
fn a_distribution_s_kernel_unpacks_itself_and_begins() {
    let Some((kernel, initramfs)) = files("GAMUT_TEST_BZIMAGE") else {
        return;
    };
    let config = MachineConfig {
        vcpus: 2,
        memory_mib: 256,
        pages: Pages::Base,
        discovery: Discovery::Acpi,
        kernel_loading: Loading::Read,
        initramfs_loading: Loading::Read,
        command_line: "console=ttyS0 reboot=t panic=-1 quiet".to_owned(),
        disks: Vec::new(),
        network: None,
        share: None,
    };
    let mut monitor = Monitor::start();
    let answer = monitor.boot_with(config, vec![kernel.into(), initramfs.into()]);
    assert_eq!(answer, Answer::Done);
    assert_eq!(monitor.status(), Some(EXIT_TRIPLE_FAULT.into()));
    let said = monitor.said();
    assert!(said.contains("guest: up"), "{said}");
    // vsock, entropy and the balloon.
    let ports = "d0000000-d0000fff : LNRO0005:00 d0001000-d0001fff : LNRO0005:01 d0002000-d0002fff : LNRO0005:02";
    assert!(
        said.contains(&format!("guest: by ACPI: {ports}; 2 processors")),
        "{said}"
    );
}
