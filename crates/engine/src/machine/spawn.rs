//! Starting the processes of a machine, from the keeper: a control group of the host's, the monitor, and the
//! server of the guest's files. All of them end with the keeper.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use gamut_container::cgroup::{Cgroup, CgroupError, Hierarchies, Needs};
use gamut_container::jail;
use gamut_plan::cell::{CellError, Connect, StartError};
use gamut_plan::guest::{CONTROL_PORT, ROOT_SERIAL, SHARE_TAG};
use gamut_plan::host::{HostFacts, Missing, Weight};
use gamut_plan::launch::{LaunchPlan, MachinePlan, NetworkPlan};
use gamut_spec::Fault;
use gamut_sys::{socket, spawn};
use gamut_vmm::cell::{Export, Guest, Monitor, Remote, Spawn};
use gamut_vmm::probe::{self, Support};
use gamut_vmm::qemu::Program;
use gamut_vmm::wire::{
    Access, Answer, Command, Content, Disk, Loading, MAX_PACKET_BYTES, MachineConfig, Network,
    Pages,
};
use oci_spec::runtime::{LinuxResources, LinuxResourcesBuilder};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use super::monitor::{PROGRAM_WORD, QEMU_VARIABLE};
use crate::file_server::FileServerError;
use crate::file_server::client::{FileServer, Served, Shared, detached};

/// What the guest's kernel is told. It goes down by the keyboard controller, the way that takes the fewest
/// instructions; where there is none it falls back to a triple fault. On a busy host the timer's interrupts
/// come in clumps: its test would take that for broken hardware.
const COMMAND_LINE: &str =
    "console=ttyS0 reboot=k panic=-1 quiet random.trust_cpu=on no_timer_check";
/// How long a monitor may take until its guest begins.
const PATIENCE: Duration = Duration::from_secs(60);

/// What runs a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BackEnd {
    Kvm,
    /// Emulated.
    Qemu(Program),
}

impl BackEnd {
    /// The best that this host has, and why it is not KVM; the error says what it lacks for any.
    pub(crate) fn choose(support: Support) -> Result<(Self, Option<String>), Missing> {
        let reason = match support {
            Support::Usable => return Ok((Self::Kvm, None)),
            Support::Missing => "there is no /dev/kvm".to_owned(),
            Support::Denied => "/dev/kvm may not be opened".to_owned(),
            Support::EmulatesRing0 => {
                "/dev/kvm is there, and emulates kernels' code instruction by instruction"
                    .to_owned()
            }
            Support::Broken(error) => format!("/dev/kvm fails: {error}"),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        match Program::find(&path) {
            Ok(program) => Ok((Self::Qemu(program), Some(reason))),
            Err(error) => Err(Missing {
                what: format!(
                    "hardware for virtual machines ({reason}), and an emulator ({error})"
                ),
                remedy: error.hint().unwrap_or_default(),
                weight: Weight::Fatal,
            }),
        }
    }
}

/// Machines as processes of this host.
#[derive(Debug)]
pub(crate) struct Processes {
    monitor: Remote,
    /// Dropped, it ends.
    files: Option<FileServer>,
    group: Option<Cgroup>,
    /// What is said once per run.
    warnings: Vec<String>,
}

impl Monitor for Processes {
    fn stream(&self, port: u32, descriptor: OwnedFd) -> Result<(), CellError> {
        self.monitor.stream(port, descriptor)
    }

    fn pid(&self) -> i32 {
        self.monitor.pid()
    }

    fn end(&mut self) -> Result<(), CellError> {
        let ended = self.monitor.end();
        drop(self.files.take());
        let removed = match self.group.take() {
            Some(group) => group.remove().map_err(|error| CellError::Refused {
                act: "remove the cgroup".into(),
                reason: error.to_string(),
                hint: error.hint(),
            }),
            None => Ok(()),
        };
        ended.and(removed)
    }

    fn last_words(&self) -> Option<String> {
        self.monitor.last_words()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }
}

impl Spawn for Processes {
    type Monitor = Self;

    fn probe(_host: &HostFacts) -> Vec<Missing> {
        match BackEnd::choose(probe::probe()) {
            Ok((_, None)) => Vec::new(),
            Ok((_, Some(reason))) => vec![Missing {
                what: format!("hardware for virtual machines ({reason}); QEMU emulates it, slowly"),
                remedy: "use a host with KVM (a virtual one with nested virtualization)".into(),
                weight: Weight::Partial,
            }],
            Err(missing) => vec![missing],
        }
    }

    fn spawn(
        plan: &LaunchPlan,
        guest: &Guest,
        control: OwnedFd,
        connect: &mut dyn Connect,
    ) -> Result<Self, StartError> {
        let machine = plan.machine.as_ref().ok_or_else(|| StartError::Request {
            message: "the plan has no machine in it".into(),
            hint: None,
        })?;
        let support = super::kvm::support(&plan.files.cache);
        let (back_end, reason) =
            BackEnd::choose(support).map_err(|missing| StartError::Request {
                message: format!("this host lacks {}", missing.what),
                hint: Some(missing.remedy),
            })?;
        let warnings = reason.map(|reason| {
            format!(
                "this machine is emulated, and slow: {reason}; `gamut doctor` says what would help"
            )
        });
        let tap = connect.tap()?;
        let group = group(plan)?;
        let (server, files) = serve(guest, &group)?;
        let (ours, theirs) = socket::pair().map_err(call("make a socket pair"))?;
        let (words, console) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(call("make a pipe"))?;
        socket::set_nonblocking(&words).map_err(call("make a pipe"))?;
        let spawned =
            spawn::own_program(PROGRAM_WORD, theirs.as_fd(), None, environment(&back_end))
                .map_err(call("start the monitor"))?;
        drop(theirs);
        group
            .attach(spawned.pid)
            .map_err(|error| group_failed(&error))?;
        let monitor = Remote::new(spawned.pid, spawned.pidfd, ours, Some(words));
        let mut processes = Self {
            monitor,
            files: None,
            group: Some(group),
            warnings: warnings.into_iter().collect(),
        };
        let given = Given {
            console,
            control,
            files,
            tap,
        };
        // Both get ready at the same time, and the server's reasons come before those of who waits for it.
        let begun = boot(plan, machine, given, &processes.monitor)
            .and_then(|()| server.ready().map_err(|error| serve_failed(&error)))
            .and_then(|()| begins(&processes.monitor));
        processes.files = Some(server);
        if let Err(error) = begun {
            let _ = processes.end();
            return Err(error);
        }
        Ok(processes)
    }
}

/// What a machine gets besides the files of its plan.
struct Given {
    console: OwnedFd,
    /// The agent's connection.
    control: OwnedFd,
    /// To the server of the guest's files.
    files: OwnedFd,
    tap: Option<OwnedFd>,
}

fn call(step: &'static str) -> impl Fn(Errno) -> StartError {
    move |errno| StartError::Step {
        step: step.into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: None,
    }
}

fn environment(back_end: &BackEnd) -> Vec<CString> {
    match back_end {
        BackEnd::Kvm => Vec::new(),
        BackEnd::Qemu(program) => {
            let path = program.path().as_os_str().as_bytes();
            let entry = [QEMU_VARIABLE.as_bytes(), b"=", path].concat();
            // A path has no zero byte in it.
            CString::new(entry).into_iter().collect()
        }
    }
}

/// The group of the machine's processes on the host. Processor time is the host's to give; memory has been
/// given with the machine's size, and the number of processes is the guest's business.
fn group(plan: &LaunchPlan) -> Result<Cgroup, StartError> {
    let failed = |error: CgroupError| group_failed(&error);
    let hierarchies = Hierarchies::discover().map_err(failed)?;
    let limits = host_limits(plan);
    let linux = plan.spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_ref());
    let path = path.map_or_else(
        || format!("gamut/{}", plan.id),
        |path| path.to_string_lossy().trim_matches('/').to_owned(),
    );
    if let Ok(stale) = Cgroup::open(&hierarchies, &path) {
        // Left over by a keeper that was killed: the start holds the container's lock.
        let _ = stale.kill_all();
        let _ = stale.remove();
    }
    let group = Cgroup::create(&hierarchies, &path, &Needs::of(&limits)).map_err(failed)?;
    match group.apply(&limits) {
        Ok(_) => Ok(group),
        Err(error) => {
            let _ = group.remove();
            Err(failed(error))
        }
    }
}

fn host_limits(plan: &LaunchPlan) -> LinuxResources {
    let linux = plan.spec.linux().as_ref();
    let cpu = linux
        .and_then(|linux| linux.resources().as_ref())
        .and_then(|resources| resources.cpu().clone());
    let builder = LinuxResourcesBuilder::default();
    let builder = match cpu {
        Some(cpu) => builder.cpu(cpu),
        None => builder,
    };
    builder.build().unwrap_or_default()
}

/// Serves what the guest has of the host's files; the monitor's end of the way there.
fn serve(guest: &Guest, group: &Cgroup) -> Result<(FileServer, OwnedFd), StartError> {
    let shares = guest.exports.iter().map(|export| {
        let tree = detached(&export.source).map_err(|errno| StartError::Step {
            step: format!("share `{}` with the machine", export.source.display()),
            reason: std::io::Error::from(errno).to_string(),
            hint: None,
        });
        Ok(Shared {
            name: export.name.clone(),
            tree: tree?,
            access: match export.access {
                Access::ReadOnly => jail::Access::ReadOnly,
                Access::ReadWrite => jail::Access::ReadWrite,
            },
        })
    });
    let served = Served {
        tag: SHARE_TAG.to_owned(),
        private: Export::UPPER.to_owned(),
        shares: shares.collect::<Result<_, StartError>>()?,
        groups: group.attach_files().map_err(|error| group_failed(&error))?,
    };
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(call("make a socket pair"))?;
    let server = FileServer::start(&served, theirs.as_fd());
    Ok((server.map_err(|error| serve_failed(&error))?, ours))
}

fn serve_failed(error: &FileServerError) -> StartError {
    StartError::Step {
        step: "serve files to the machine".into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}

fn group_failed(error: &CgroupError) -> StartError {
    StartError::Step {
        step: "set up the cgroup".into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}

fn open(path: &Path, what: &str) -> Result<OwnedFd, StartError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| StartError::Step {
        step: format!("open the {what} `{}`", path.display()),
        reason: std::io::Error::from(errno).to_string(),
        hint: None,
    })
}

/// Tells the monitor what to be.
fn boot(
    plan: &LaunchPlan,
    machine: &MachinePlan,
    given: Given,
    monitor: &Remote,
) -> Result<(), StartError> {
    monitor
        .stream(CONTROL_PORT, given.control)
        .map_err(|error| StartError::Step {
            step: "tell the monitor".into(),
            reason: error.to_string(),
            hint: error.hint(),
        })?;
    let mut descriptors = vec![
        open(&machine.kernel, "guest kernel")?,
        open(&machine.initramfs, "initramfs")?,
        given.console,
    ];
    for path in machine.images.iter().flatten() {
        descriptors.push(open(path, "image")?);
    }
    let disk = Disk {
        serial: ROOT_SERIAL.to_owned(),
        access: Access::ReadOnly,
        content: Content::Partitions,
        // As many as descriptors can be sent.
        files: machine.images.iter().flatten().count() as u32,
    };
    let network = match (&plan.network, &given.tap) {
        (NetworkPlan::Bridge(bridged), Some(_)) => bridged.way_out().map(|endpoint| Network {
            mac: endpoint.mac,
            mtu: u16::try_from(endpoint.mtu).unwrap_or(u16::MAX),
        }),
        _ => None,
    };
    descriptors.extend(given.tap);
    descriptors.push(given.files);
    let config = MachineConfig {
        vcpus: u8::try_from(machine.vcpus).unwrap_or(u8::MAX),
        memory_mib: u32::try_from(machine.memory_bytes >> 20).unwrap_or(u32::MAX),
        pages: Pages::Base,
        command_line: COMMAND_LINE.to_owned(),
        discovery: machine.discovery,
        kernel_loading: match machine.is_kernel_kept {
            true => Loading::Shown,
            false => Loading::Read,
        },
        // The cache's.
        initramfs_loading: Loading::Shown,
        disks: vec![disk],
        network,
        share: Some(SHARE_TAG.to_owned()),
    };
    let packet = serde_json::to_vec(&Command::Boot(Box::new(config)));
    let packet = packet.map_err(|error| StartError::Step {
        step: "tell the monitor".into(),
        reason: error.to_string(),
        hint: None,
    })?;
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    socket::send(monitor.socket(), &[&packet], &borrowed).map_err(call("tell the monitor"))?;
    Ok(())
}

/// Waits until the guest begins.
fn begins(monitor: &Remote) -> Result<(), StartError> {
    match answer(monitor.socket())? {
        Answer::Refused { reason, hint } => Err(StartError::Step {
            step: "make the machine".into(),
            reason,
            hint,
        }),
        Answer::Done | Answer::Metrics(_) => Ok(()),
    }
}

fn answer(monitor: BorrowedFd<'_>) -> Result<Answer, StartError> {
    let failed = |reason: &str| StartError::Step {
        step: "make the machine".into(),
        reason: reason.into(),
        hint: None,
    };
    let limit = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(monitor, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&limit)));
    if ready.map_err(call("wait for the monitor"))? == 0 {
        return Err(failed("its monitor does not answer"));
    }
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    let (length, _) = socket::receive(monitor, &mut buffer).map_err(call("hear the monitor"))?;
    if length == 0 {
        return Err(failed("its monitor has ended"));
    }
    serde_json::from_slice(&buffer[..length]).map_err(|_| failed("its monitor makes no sense"))
}
