//! What the promises have in common: a request becomes a plan, a plan a running workload, and
//! whatever happens the workload is destroyed.

use std::cell::Cell as Counter;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use gamut_spec::image::{ContainerConfig, ImageConfig, RootFs};

use super::Ground;
use crate::cell::{Cell, CellFds, Connect, Exit, ProcessId, StartError};
use crate::draw::{Drawing, draw};
use crate::launch::{ExecPlan, LaunchPlan, NetworkPlan, Trace};
use crate::request::{AfterExit, LogConfig, Network, NetworkMode, Process, RunRequest};

/// How long anything may take that must happen; nothing is faster for its being shorter.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The workload's host name.
pub(super) const HOSTNAME: &str = "the-suite";

/// Rows and columns of terminals.
pub(super) const SIZE: (u16, u16) = (31, 97);

/// What stands for a machine's device among the networks that were asked for.
pub(super) const TAP: &str = "tap";

/// One promise's workplace.
pub(super) struct Bench<'a, C> {
    ground: &'a dyn Ground,
    ids: Counter<u32>,
    level: PhantomData<C>,
}

impl<'a, C: Cell> Bench<'a, C> {
    pub(super) fn new(ground: &'a dyn Ground) -> Self {
        Bench {
            ground,
            ids: Counter::new(0),
            level: PhantomData,
        }
    }

    /// Whether the level's workloads share no kernel with the host.
    pub(super) fn has_own_kernel(&self) -> bool {
        self.ground.level().has_own_kernel()
    }

    pub(super) fn kill(&self, pid: i32) {
        self.ground.kill(pid);
    }

    /// A plan for `sh -c SCRIPT`.
    pub(super) fn script(&self, script: &str) -> LaunchPlan {
        self.plan(&["sh", "-c", script], |_| ())
    }

    /// A plan for a program and its arguments; `change` says what else is asked for.
    pub(super) fn plan(
        &self,
        command: &[&str],
        change: impl FnOnce(&mut RunRequest),
    ) -> LaunchPlan {
        self.ids.set(self.ids.get() + 1);
        let id = format!("{:064x}", self.ids.get());
        let mut request = request(command);
        change(&mut request);
        let place = self.ground.place(&id);
        let network = match request.network.mode {
            NetworkMode::Host => NetworkPlan::Host,
            _ => NetworkPlan::None,
        };
        let drawn = draw(Drawing {
            id: &id,
            name: "suite",
            level: self.ground.level(),
            request: &request,
            image: &image(),
            host: &self.ground.host(),
            hostname: HOSTNAME,
            cgroup_parent: &self.ground.cgroup_parent(),
            root: place.root,
            network,
            files: place.files,
            mount_sources: Vec::new(),
            image_volumes: Vec::new(),
            devices: Vec::new(),
            block_devices: Vec::new(),
            user_range: None,
            secrets: (Vec::new(), Vec::new()),
            terminal_size: Some(SIZE),
            log_path: "/dev/null".into(),
            trace: Trace::Off,
            own_program: std::path::Path::new("/proc/self/exe"),
            machine: self.ground.machine(),
        });
        drawn.expect("a plan").plan
    }

    /// Starts a plan that must start, with its streams where the test reads them.
    pub(super) fn start(&self, plan: &LaunchPlan) -> (Workload<C>, Ends) {
        let (fds, ends) = pipes();
        let cell = C::start(plan, fds, &mut Calls::default()).expect("a start");
        (Workload(cell), ends)
    }

    /// Starts a plan with a terminal and without streams.
    pub(super) fn start_on_terminal(&self, plan: &LaunchPlan) -> Workload<C> {
        let started = C::start(plan, CellFds::default(), &mut Calls::default());
        Workload(started.expect("a start on a terminal"))
    }

    /// Starts a plan that must not start; what is left is part of the promise.
    pub(super) fn refuse(&self, plan: &LaunchPlan) -> StartError {
        self.refuse_with(plan, &mut Calls::default())
    }

    pub(super) fn refuse_with(&self, plan: &LaunchPlan, connect: &mut Calls) -> StartError {
        let before = self.ground.census();
        let (fds, ends) = pipes();
        let started = C::start(plan, fds, connect);
        let error = match started {
            Ok(cell) => {
                drop(Workload(cell));
                panic!("it started")
            }
            Err(error) => error,
        };
        drop(ends);
        assert_eq!(
            self.ground.census(),
            before,
            "a failed start leaves something behind: {error}"
        );
        error
    }

    /// Waits for a process's end by its descriptor, then asks for it.
    pub(super) fn wait(&self, workload: &mut Workload<C>, of: ProcessId) -> Exit {
        self.wait_unasked(workload, of);
        let exit = workload.0.try_wait(of).expect("an answer");
        exit.expect("an exit after the descriptor said so")
    }

    /// Waits for a process's end by its descriptor, and leaves it untold.
    pub(super) fn wait_unasked(&self, workload: &Workload<C>, of: ProcessId) {
        let fd = workload.0.exit_fd(of).expect("a descriptor for the end");
        assert!(self.ground.readable(fd, PATIENCE), "it does not end");
    }

    /// Reads to the end of the stream.
    pub(super) fn read_all(&self, stream: &mut File) -> String {
        self.read_while(stream, |_| true)
    }

    /// How many bytes come to the end of the stream.
    pub(super) fn count_all(&self, stream: &mut File) -> usize {
        let mut buffer = vec![0; 1 << 16];
        let mut count = 0;
        loop {
            let ready = self.ground.readable(stream.as_fd(), PATIENCE);
            assert!(ready, "nothing comes after {count} bytes");
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => count += length,
                _ => return count,
            }
        }
    }

    /// Reads until `text` has come; what was read by then.
    pub(super) fn read_until(&self, stream: &mut File, text: &str) -> String {
        let read = self.read_while(stream, |read| !read.contains(text));
        assert!(read.contains(text), "no {text:?} in {read:?}");
        read
    }

    fn read_while(&self, stream: &mut File, more: impl Fn(&str) -> bool) -> String {
        let mut bytes = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if !more(&text) {
                return text;
            }
            let ready = self.ground.readable(stream.as_fd(), PATIENCE);
            assert!(ready, "nothing comes after {text:?}");
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => bytes.extend_from_slice(&buffer[..length]),
                // The master of a terminal that nobody holds open says EIO instead of an end.
                _ => return text,
            }
        }
    }

    /// Asks again until it holds.
    pub(super) fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "never came true: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A cell that is destroyed when its promise is kept or broken.
pub(super) struct Workload<C: Cell>(pub(super) C);

impl<C: Cell> Workload<C> {
    /// Starts a further process that must start.
    pub(super) fn exec(&mut self, plan: &ExecPlan) -> (ProcessId, Ends) {
        let (fds, ends) = pipes();
        (self.0.exec(plan, fds).expect("an exec"), ends)
    }
}

impl<C: Cell> Drop for Workload<C> {
    fn drop(&mut self) {
        let _ = self.0.destroy();
    }
}

/// A plan for `sh -c SCRIPT` in a running workload.
pub(super) fn exec_script(script: &str) -> ExecPlan {
    ExecPlan {
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        ..ExecPlan::default()
    }
}

/// Our ends of a process's streams.
pub(super) struct Ends {
    pub(super) stdin: Option<File>,
    pub(super) stdout: File,
    pub(super) stderr: File,
}

pub(super) fn pipes() -> (CellFds, Ends) {
    let pipe = || std::io::pipe().expect("a pipe");
    let ((stdin, our_stdin), (our_stdout, stdout), (our_stderr, stderr)) = (pipe(), pipe(), pipe());
    let fds = CellFds {
        stdin: Some(stdin.into()),
        stdout: Some(stdout.into()),
        stderr: Some(stderr.into()),
    };
    let ends = Ends {
        stdin: Some(OwnedFd::from(our_stdin).into()),
        stdout: OwnedFd::from(our_stdout).into(),
        stderr: OwnedFd::from(our_stderr).into(),
    };
    (fds, ends)
}

/// A network that notes what it was given, and fails if it is told to.
#[derive(Default)]
pub(super) struct Calls {
    /// What each descriptor was, as `/proc/self/fd` names it.
    pub(super) given: Vec<String>,
    pub(super) fail_with: Option<StartError>,
}

impl Connect for Calls {
    fn connect(&mut self, netns: BorrowedFd<'_>) -> Result<(), StartError> {
        let link = format!("/proc/self/fd/{}", netns.as_raw_fd());
        let target = std::fs::read_link(link).expect("a descriptor");
        self.given.push(target.display().to_string());
        self.fail_with.clone().map_or(Ok(()), Err)
    }

    fn tap(&mut self) -> Result<Option<OwnedFd>, StartError> {
        self.given.push(TAP.to_owned());
        self.fail_with.clone().map_or(Ok(None), Err)
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        variant: None,
        os_version: None,
        created: None,
        author: None,
        config: ContainerConfig::default(),
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: Vec::new(),
        },
        history: Vec::new(),
    }
}

fn request(command: &[&str]) -> RunRequest {
    RunRequest {
        process: Process {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..Process::default()
        },
        network: Network {
            mode: NetworkMode::None,
            ..Network::default()
        },
        logs: LogConfig::None,
        after_exit: AfterExit::Remove,
        ..RunRequest::of_image("suite".into())
    }
}
