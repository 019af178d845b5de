//! A real kernel in QEMU, on any machine. Its first process is this very program, told by the kernel's
//! command line to be the test [`guest::inside`]: it finds disks by their partitions, and talks over vsock.
//!
//! The kernel is `GAMUT_GUEST_KERNEL`, or what the lab has.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gamut_sys::socket;
use gamut_vmm::boot::BootError;
use gamut_vmm::initramfs;
use gamut_vmm::monitor::{self, EXIT_ABANDONED, EXIT_REFUSED, EXIT_RESET};
use gamut_vmm::qemu::{PROGRAM, Program};
use gamut_vmm::wire::{
    self, Access, Answer, Content, Discovery, Disk, Loading, MAX_PACKET_BYTES, MachineConfig,
    Network, Pages,
};

mod guest;

const IS_MONITOR: &str = "GAMUT_TEST_QEMU_MONITOR";
const LAB_KERNEL: &str = "/var/cache/gamut-lab/kernel/vmlinux";
const PORT: u32 = 1;
const MIB: u64 = 1 << 20;

#[test]
fn process() {
    if std::env::var_os(IS_MONITOR).is_some() {
        let socket = std::io::stdin().as_fd().try_clone_to_owned();
        let jail = || Ok::<(), BootError>(());
        let path = std::env::var_os("PATH").expect("a search path");
        let program = Program::find(&path).expect("QEMU");
        let status = monitor::run_in_qemu(socket.expect("a descriptor"), &program, jail);
        std::process::exit(status.into());
    }
}

/// A machine's monitor, and the guest's connection.
struct Machine {
    child: Child,
    socket: OwnedFd,
    serial: std::io::PipeReader,
    guest: UnixStream,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kernel() -> Option<File> {
    let path =
        std::env::var_os("GAMUT_GUEST_KERNEL").map_or(PathBuf::from(LAB_KERNEL), PathBuf::from);
    let kernel = File::open(&path);
    if kernel.is_err() {
        eprintln!("skipped: no guest kernel at {}", path.display());
    }
    kernel.ok()
}

fn has_qemu() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = Program::find(&path).is_ok();
    if !found {
        eprintln!("skipped: no {PROGRAM} here");
    }
    found
}

fn disk(serial: &str, content: Content, files: u32) -> Disk {
    Disk {
        serial: serial.to_owned(),
        access: match content {
            Content::Partitions => Access::ReadOnly,
            Content::Whole => Access::ReadWrite,
        },
        content,
        files,
    }
}

fn file(text: &str) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.set_len(MIB).expect("its length");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn config() -> MachineConfig {
    // What the kernel does not know is the first process's.
    let test = "--exact qemu::guest::inside --ignored --nocapture";
    MachineConfig {
        vcpus: 2,
        memory_mib: 256,
        pages: Pages::Base,
        discovery: Discovery::CommandLine,
        kernel_loading: Loading::Read,
        initramfs_loading: Loading::Read,
        command_line: format!("console=ttyS0 reboot=t panic=-1 quiet {test}"),
        disks: vec![
            disk("root", Content::Partitions, 2),
            disk("data", Content::Whole, 1),
        ],
        network: None,
        share: None,
    }
}

fn memory_file(bytes: &[u8]) -> File {
    let file = rustix::fs::memfd_create(c"initramfs", rustix::fs::MemfdFlags::CLOEXEC);
    let mut file = File::from(file.expect("a file"));
    file.write_all(bytes).expect("written");
    file
}

impl Machine {
    /// `None`, with a word about it, where it cannot be tried.
    fn boot(config: MachineConfig, files: Vec<File>) -> Option<(Self, Answer)> {
        let kernel = kernel()?;
        if !has_qemu() {
            return None;
        }
        let program = std::env::current_exe().expect("this program");
        let init = std::fs::read(&program).expect("read");
        let initramfs = initramfs::build(&init, &[]).expect("an archive");
        let (socket, other) = socket::pair().expect("sockets");
        let (serial, output) = std::io::pipe().expect("a pipe");
        let child = Command::new(program)
            .args(["--exact", "qemu::process", "--nocapture"])
            .env(IS_MONITOR, "")
            .stdin(Stdio::from(other))
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        let (guest, end) = UnixStream::pair().expect("sockets");
        guest
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a limit");
        let machine = Self {
            child,
            socket,
            serial,
            guest,
        };
        // It may be there before the machine is.
        let mut descriptors = vec![
            OwnedFd::from(kernel),
            memory_file(&initramfs).into(),
            output.into(),
        ];
        descriptors.extend(files.into_iter().map(OwnedFd::from));
        let command = wire::Command::Boot(Box::new(config));
        let answer = machine.ask_with(&command, &descriptors);
        machine.say(&wire::Command::Stream { port: PORT }, &[end.into()]);
        Some((machine, answer))
    }

    fn say(&self, command: &wire::Command, descriptors: &[OwnedFd]) {
        let bytes = serde_json::to_vec(command).expect("JSON");
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        // A monitor that has refused is gone.
        let _ = socket::send(self.socket.as_fd(), &[&bytes], &descriptors);
    }

    fn ask_with(&self, command: &wire::Command, descriptors: &[OwnedFd]) -> Answer {
        self.say(command, descriptors);
        let mut bytes = vec![0; MAX_PACKET_BYTES];
        let (length, _) = socket::receive(self.socket.as_fd(), &mut bytes).expect("an answer");
        serde_json::from_slice(&bytes[..length]).expect("JSON")
    }

    fn ask(&self, command: &wire::Command) -> Answer {
        self.ask_with(command, &[])
    }

    /// A line of the guest's.
    fn hear(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            match self.guest.read(&mut byte) {
                Ok(1) if byte[0] == b'\n' => return String::from_utf8(line).expect("text"),
                Ok(1) => line.push(byte[0]),
                other => {
                    let status = self.child.try_wait();
                    let _ = self.child.kill();
                    let mut said = String::new();
                    let _ = self.serial.read_to_string(&mut said);
                    panic!("{other:?} from the guest ({status:?}), whose messages were:\n{said}");
                }
            }
        }
    }

    fn tell(&mut self, line: &str) -> String {
        writeln!(self.guest, "{line}").expect("said");
        self.hear()
    }

    fn status(&mut self) -> Option<i32> {
        self.child.wait().expect("waited").code()
    }
}

#[test]
fn linux_finds_its_disks_and_its_host_and_lives_through_a_pause() {
    let begin = Instant::now();
    let written = file("three");
    let files = vec![
        file("one"),
        file("two"),
        written.try_clone().expect("a handle"),
    ];
    let Some((mut machine, answer)) = Machine::boot(config(), files) else {
        return;
    };
    assert_eq!(answer, Answer::Done);
    eprintln!("QEMU is there after {} ms", begin.elapsed().as_millis());
    assert_eq!(machine.hear(), "cpus 0-1");
    eprintln!(
        "the guest is there after {} ms",
        begin.elapsed().as_millis()
    );
    // Devices are found in no order.
    let root = if machine.tell("show /sys/block/vda/serial") == "root" {
        "a"
    } else {
        "b"
    };
    let data = if root == "a" { "b" } else { "a" };
    assert_eq!(
        machine.tell(&format!("show /sys/block/vd{root}/serial")),
        "root"
    );
    assert_eq!(
        machine.tell(&format!("show /sys/block/vd{data}/serial")),
        "data"
    );
    assert_eq!(
        machine.tell(&format!("read /dev/vd{root}1")),
        format!("one {MIB}")
    );
    assert_eq!(
        machine.tell(&format!("read /dev/vd{root}2")),
        format!("two {MIB}")
    );
    assert_eq!(
        machine.tell(&format!("read /dev/vd{data}")),
        format!("three {MIB}")
    );
    assert_eq!(
        machine.tell(&format!("write /dev/vd{data} four")),
        "written"
    );
    let mut now = [0; 4];
    written.read_exact_at(&mut now, 0).expect("read");
    assert_eq!(&now, b"four");
    for round in 0..2 {
        assert_eq!(machine.ask(&wire::Command::Pause), Answer::Done);
        writeln!(machine.guest, "are you there? {round}").expect("said");
        let short = Some(Duration::from_millis(200));
        machine.guest.set_read_timeout(short).expect("a limit");
        assert!(machine.guest.read(&mut [0]).is_err(), "it stands still");
        assert_eq!(machine.ask(&wire::Command::Resume), Answer::Done);
        let long = Some(Duration::from_secs(120));
        machine.guest.set_read_timeout(long).expect("a limit");
        assert_eq!(machine.hear(), format!("are you there? {round}"));
    }
    assert_eq!(
        machine.tell(&format!("read /dev/vd{data}")),
        format!("four {MIB}")
    );
    assert_eq!(
        machine.ask(&wire::Command::Balloon { mib: 64 }),
        Answer::Done
    );
    let Answer::Metrics(metrics) = machine.ask(&wire::Command::Metrics) else {
        panic!("no metrics");
    };
    let names: Vec<_> = metrics.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["disk:root", "disk:data", "vsock"]);
    let long = "x".repeat(100_000);
    assert_eq!(machine.tell(&long), long);
    writeln!(machine.guest, "end").expect("said");
    assert_eq!(machine.status(), Some(EXIT_RESET.into()));
}

/// A server of files, where there is one.
fn virtiofsd(directory: &Path) -> Option<(Child, UnixStream)> {
    let places = ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];
    let program = places.iter().find(|place| Path::new(place).exists());
    let Some(program) = program else {
        eprintln!("skipped: no virtiofsd here");
        return None;
    };
    let path = directory.join("socket");
    let mut child = Command::new(program)
        .arg(format!("--socket-path={}", path.display()))
        .args(["-o", "sandbox=chroot", "-o"])
        .arg(format!("source={}", directory.display()))
        .stderr(Stdio::null())
        .spawn()
        .expect("a process");
    for _ in 0..10_000 {
        if let Ok(stream) = UnixStream::connect(&path) {
            return Some((child, stream));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    panic!("virtiofsd does not listen: {:?}", child.wait());
}

/// A tap that is in a network namespace of its own, or nothing.
fn tap() -> Option<OwnedFd> {
    let opened = std::thread::spawn(|| {
        gamut_sys::process::unshare(gamut_sys::process::namespace::NET)?;
        gamut_sys::tap::open("tap0")
    });
    match opened.join().expect("a thread") {
        Ok(tap) => Some(tap),
        Err(error) => {
            eprintln!("skipped: no tap here: {error}");
            None
        }
    }
}

#[test]
fn linux_finds_its_network_card_and_the_hosts_files() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("file"), "of the host").expect("written");
    let Some(tap) = tap() else { return };
    let Some((mut server, share)) = virtiofsd(directory.path()) else {
        return;
    };
    let config = MachineConfig {
        vcpus: 1,
        disks: Vec::new(),
        network: Some(Network {
            mac: [2, 0x42, 1, 2, 3, 0xfe],
            mtu: 1400,
        }),
        share: Some("gamut".to_owned()),
        ..config()
    };
    let files = vec![tap.into(), OwnedFd::from(share).into()];
    if let Some((mut machine, answer)) = Machine::boot(config, files) {
        assert_eq!(answer, Answer::Done);
        assert_eq!(machine.hear(), "cpus 0");
        let interface = "/sys/class/net/eth0";
        let address = machine.tell(&format!("show {interface}/address"));
        assert_eq!(address, "02:42:01:02:03:fe");
        assert_eq!(machine.tell(&format!("show {interface}/mtu")), "1400");
        assert_eq!(machine.tell("mount gamut"), "Ok(())");
        assert_eq!(machine.tell("show /run/file"), "of the host");
        assert_eq!(machine.tell("make /run/new text"), "Ok(())");
        let made = std::fs::read_to_string(directory.path().join("new"));
        assert_eq!(made.expect("a file"), "text");
        writeln!(machine.guest, "end").expect("said");
        assert_eq!(machine.status(), Some(EXIT_RESET.into()));
    }
    let _ = server.kill();
    let _ = server.wait();
}

fn some_machine() -> Option<Machine> {
    let files = vec![file("one"), file("two"), file("three")];
    let (machine, answer) = Machine::boot(config(), files)?;
    assert_eq!(answer, Answer::Done);
    Some(machine)
}

/// Where proc(5) has the emulator, which is the monitor's only child.
fn emulator(machine: &Machine) -> PathBuf {
    let monitor = machine.child.id();
    let threads = std::fs::read_dir(format!("/proc/{monitor}/task")).expect("a monitor");
    let children = threads.map(|thread| {
        let path = thread.expect("a thread").path().join("children");
        std::fs::read_to_string(path).expect("children")
    });
    let children: String = children.collect();
    Path::new("/proc").join(children.trim())
}

#[test]
fn whoever_breaks_out_of_the_guest_finds_nothing() {
    let Some(machine) = some_machine() else {
        return;
    };
    let emulator = emulator(&machine);
    let status = std::fs::read_to_string(emulator.join("status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
    };
    assert_eq!(field("Seccomp:"), Some("2"));
    assert_eq!(field("NoNewPrivs:"), Some("1"));
    if rustix::process::geteuid().is_root() {
        assert_eq!(field("CapEff:"), Some("0000000000040000"), "CAP_SYS_CHROOT");
        let root = std::fs::read_link(emulator.join("root")).expect("its root");
        assert!(root.ends_with("fdinfo"), "{root:?}");
    }
}

#[test]
fn it_ends_with_whoever_asks_and_the_emulator_with_it() {
    for is_killed in [false, true] {
        let Some(mut machine) = some_machine() else {
            return;
        };
        let emulator = emulator(&machine);
        assert!(emulator.exists());
        if is_killed {
            machine.child.kill().expect("killed");
            assert_eq!(machine.status(), None);
        } else {
            let (_, gone) = socket::pair().expect("sockets");
            drop(std::mem::replace(&mut machine.socket, gone));
            assert_eq!(machine.status(), Some(EXIT_ABANDONED.into()));
        }
        while emulator.join("exe").read_link().is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn what_qemu_finds_wrong_is_the_answer() {
    let config = MachineConfig {
        memory_mib: u32::MAX,
        disks: Vec::new(),
        ..config()
    };
    let Some((mut machine, answer)) = Machine::boot(config, Vec::new()) else {
        return;
    };
    let Answer::Refused { reason, .. } = answer else {
        panic!("{answer:?}");
    };
    eprintln!("{reason}");
    assert!(reason.starts_with("QEMU has ended: "), "{reason}");
    assert_eq!(machine.status(), Some(EXIT_REFUSED.into()));
}
