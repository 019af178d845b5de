//! The contract of a cell, held against [`Microvm`] with the agent in a machine: a real kernel in QEMU, with
//! its files from our file system device. Without jails, which are the engine's.
//!
//! The kernel is `GAMUT_GUEST_KERNEL`, or what the lab has.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use gamut_plan::cell::{CellError, Connect, StartError};
use gamut_plan::guest::{CONTROL_PORT, SHARE_TAG};
use gamut_plan::host::{HostFacts, Missing, Weight};
use gamut_plan::launch::LaunchPlan;
use gamut_plan::level::Level;
use gamut_sys::socket;
use gamut_virtio::fs::{self, Fs};
use gamut_virtio::vhost_user::server::Server;
use gamut_vmm::boot::{BootError, Loading};
use gamut_vmm::cell::{Export, Guest, Microvm, Monitor, Remote, Spawn};
use gamut_vmm::qemu::Program;
use gamut_vmm::wire::{Answer, Discovery, MAX_PACKET_BYTES, MachineConfig, Pages};
use gamut_vmm::{initramfs, monitor, wire};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::UnshareFlags;

#[path = "../../container/tests/lab/mod.rs"]
mod lab;

const LAB_KERNEL: &str = "/var/cache/gamut-lab/kernel/vmlinux";
const BE_THE_MONITOR: &str = "--be-the-monitor";
const BE_THE_FILES: &str = "--be-the-files";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some(BE_THE_MONITOR) => be_the_monitor(),
        Some(BE_THE_FILES) => be_the_files(&words[2..]),
        _ => lab::run::<Microvm<InQemu>>(Level::Microvm),
    }
}

fn search_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

fn kernel() -> PathBuf {
    std::env::var_os("GAMUT_GUEST_KERNEL").map_or(PathBuf::from(LAB_KERNEL), PathBuf::from)
}

fn be_the_monitor() -> ExitCode {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let program = Program::find(&search_path()).expect("QEMU");
    let jail = || Ok::<(), BootError>(());
    monitor::run_in_qemu(socket.expect("a descriptor"), &program, jail).into()
}

/// Serves a tree of the exports, which are names and paths by turns.
fn be_the_files(exports: &[String]) -> ExitCode {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    // It is unsafe because of FILES only.
    #[expect(deprecated)]
    rustix::thread::unshare(UnshareFlags::NEWNS).expect("mounts of our own");
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("mounts of our own");
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), c"").expect("/run");
    for [name, source] in exports.as_chunks::<2>().0 {
        let target = Path::new("/run").join(name);
        if Path::new(source).is_dir() {
            std::fs::create_dir(&target).expect("a directory");
        } else {
            File::create(&target).expect("a file");
        }
        mount_bind(source, &target).expect("a bind");
    }
    let open = |path: &str, flags: OFlags| {
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).expect(path)
    };
    let device = Fs::new(fs::Export {
        tag: SHARE_TAG.into(),
        root: open("/run", OFlags::PATH),
        descriptors: open("/proc/self/fd", OFlags::PATH),
        private: std::ffi::CString::new(Export::UPPER).expect("a name"),
    });
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let server = Server::new(device.expect("a device"), socket.expect("a descriptor"));
    let mut server = server.expect("a server");
    loop {
        let mut fds = [PollFd::from_borrowed_fd(server.events(), PollFlags::IN)];
        poll(&mut fds, None).expect("poll");
        if server.handle().is_err() {
            return ExitCode::SUCCESS;
        }
    }
}

#[derive(Debug)]
struct InQemu;

/// A monitor and what serves its files.
#[derive(Debug)]
struct WithFiles {
    monitor: Remote,
    files: Child,
}

impl Monitor for WithFiles {
    fn stream(&self, port: u32, descriptor: OwnedFd) -> Result<(), CellError> {
        self.monitor.stream(port, descriptor)
    }

    fn pid(&self) -> i32 {
        self.monitor.pid()
    }

    fn end(&mut self) -> Result<(), CellError> {
        let ended = self.monitor.end();
        let _ = self.files.kill();
        let _ = self.files.wait();
        ended
    }

    fn last_words(&self) -> Option<String> {
        self.monitor.last_words()
    }
}

impl Drop for WithFiles {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn failed(step: &str, reason: impl ToString) -> StartError {
    StartError::Step {
        step: step.into(),
        reason: reason.to_string(),
        hint: None,
    }
}

fn memory_file(bytes: &[u8]) -> OwnedFd {
    let file = rustix::fs::memfd_create(c"guest", MemfdFlags::CLOEXEC).expect("a file");
    let mut file = File::from(file);
    file.write_all(bytes).expect("written");
    file.into()
}

fn config() -> MachineConfig {
    MachineConfig {
        vcpus: 2,
        memory_mib: 256,
        pages: Pages::Base,
        discovery: Discovery::CommandLine,
        command_line: "console=ttyS0 reboot=t panic=-1 quiet".into(),
        kernel_loading: Loading::Read,
        initramfs_loading: Loading::Read,
        disks: Vec::new(),
        network: None,
        share: Some(SHARE_TAG.into()),
    }
}

/// Ourselves by another first word, with this as standard input.
fn become_another(word: &str, arguments: &[&OsStr], stdin: OwnedFd) -> Result<Child, StartError> {
    Command::new("/proc/self/exe")
        .arg(word)
        .args(arguments)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| failed("start a process", error))
}

fn boot(monitor: BorrowedFd<'_>, parts: &[BorrowedFd<'_>]) -> Result<(), StartError> {
    let command = wire::Command::Boot(Box::new(config()));
    let packet = serde_json::to_vec(&command).expect("JSON");
    socket::send(monitor, &[&packet], parts).map_err(|e| failed("tell the monitor", e))?;
    let mut answer = vec![0; MAX_PACKET_BYTES];
    let heard = socket::receive(monitor, &mut answer);
    let (length, _) = heard.map_err(|e| failed("hear the monitor", e))?;
    match serde_json::from_slice(&answer[..length]) {
        Ok(Answer::Done) => Ok(()),
        other => Err(failed("boot", format!("{other:?}"))),
    }
}

impl Spawn for InQemu {
    type Monitor = WithFiles;

    fn probe(_host: &HostFacts) -> Vec<Missing> {
        let mut missing = Vec::new();
        let mut lack = |what: String, remedy: &str| {
            missing.push(Missing {
                what,
                remedy: remedy.into(),
                weight: Weight::Fatal,
            });
        };
        if !kernel().exists() {
            lack(
                format!("a guest kernel at {}", kernel().display()),
                "build one",
            );
        }
        if Program::find(&search_path()).is_err() {
            lack("QEMU".into(), "install the package qemu-system-x86");
        }
        missing
    }

    fn spawn(
        _plan: &LaunchPlan,
        guest: &Guest,
        control: OwnedFd,
        connect: &mut dyn Connect,
    ) -> Result<WithFiles, StartError> {
        let _tap = connect.tap()?;
        let (files_here, files_there) = std::os::unix::net::UnixStream::pair().expect("sockets");
        let exports: Vec<&OsStr> = guest
            .exports
            .iter()
            .flat_map(|export| [OsStr::new(&export.name), export.source.as_os_str()])
            .collect();
        let files = become_another(BE_THE_FILES, &exports, files_there.into())?;
        let (ours, theirs) = socket::pair().expect("sockets");
        let child = become_another(BE_THE_MONITOR, &[], theirs)?;
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).expect("a process");
        let console = memory_file(b"");
        let to_console = console.try_clone().expect("a copy");
        let machine = WithFiles {
            monitor: Remote::new(pid, pidfd, ours, Some(console)),
            files,
        };
        let agent = std::fs::read(env!("CARGO_BIN_EXE_gamut-agent")).expect("the agent");
        let archive = memory_file(&initramfs::build(&agent, &[]).expect("an archive"));
        let kernel = File::open(kernel()).expect("a kernel");
        let parts = [
            kernel.as_fd(),
            archive.as_fd(),
            to_console.as_fd(),
            files_here.as_fd(),
        ];
        boot(machine.monitor.socket(), &parts)?;
        let registered = machine.stream(CONTROL_PORT, control);
        registered.map_err(|e| failed("register the control connection", e))?;
        Ok(machine)
    }
}
