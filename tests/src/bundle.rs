//! An OCI bundle and the runtime's root beside it ([`Bundle`]): a root file system with the machine's
//! static busybox, `config.json` as `gamut oci spec` writes it with the test's changes, a control group
//! of its own. When the value goes, every container of the root is removed, and whatever is still there
//! then is a failure of the test. Beside it stands [`crate::Gamut`], the same for the engine.

use crate::host::{Company, Host, test_dir};
use crate::outcome::Outcome;
use crate::patience::{eventually, limit};
use crate::skip::skipped;
use crate::{census, cgroup, gamut};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The container that most tests have.
pub const ID: &str = "c";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\n";
/// Lists `www` in a group: an OCI runtime does not care.
const GROUP: &str = "root:x:0:\nwww:x:33:\nextra:x:777:www,root\n";

/// A bundle, and a runtime root, on a host of its own.
#[derive(Debug)]
pub struct Bundle {
    pub host: Host,
    /// What each command is called by: none, or words that end in calling the rest.
    pub by: Vec<String>,
    binary: PathBuf,
    dir: TempDir,
    config: RefCell<Value>,
    commands: Cell<usize>,
}

/// A command whose streams go to files, so that a container which keeps them open holds nothing up.
#[derive(Debug)]
pub struct Spoken {
    line: String,
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Bundle {
    /// A fresh bundle on a fresh host. `None`: this machine can't; it has been said.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("needs root");
            return None;
        }
        let host = Host::enter(Company::Welcome)
            .unwrap_or_else(|error| panic!("cannot make a host for the test: {error}"));
        let dir = tempfile::Builder::new()
            .prefix("gamut-test-oci-")
            .tempdir_in(test_dir())
            .expect("a directory for the test");
        let bundle = Self {
            host,
            by: Vec::new(),
            binary: gamut::binary(),
            dir,
            config: RefCell::new(Value::Null),
            commands: Cell::new(0),
        };
        bundle.fill();
        Some(bundle)
    }

    fn fill(&self) {
        let root = self.rootfs();
        for dir in [
            "bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var",
        ] {
            fs::create_dir_all(root.join(dir)).expect("a directory of the root");
        }
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let busybox = std::env::split_paths(&paths)
            .map(|dir| dir.join("busybox"))
            .find(|path| path.exists())
            .expect("busybox-static is installed: lab/need image");
        fs::copy(&busybox, root.join("bin/busybox")).expect("a copy of busybox");
        let listed = Command::new(&busybox).arg("--list").output();
        for name in String::from_utf8_lossy(&listed.expect("busybox runs").stdout).lines() {
            if name != "busybox" {
                symlink("busybox", root.join("bin").join(name)).expect("a link");
            }
        }
        fs::write(root.join("etc/passwd"), PASSWD).expect("a file of the root");
        fs::write(root.join("etc/group"), GROUP).expect("a file of the root");
        let path = self.path().to_string_lossy().into_owned();
        self.call(&["spec", "--bundle", &path]).ok();
        let written = fs::read(self.path().join("config.json")).expect("spec writes it");
        *self.config.borrow_mut() = serde_json::from_slice(&written).expect("spec writes JSON");
        self.set(|config| {
            config["process"]["terminal"] = json!(false);
            config["root"]["readonly"] = json!(false);
            config["linux"]["cgroupsPath"] = json!(format!("/{}", self.name()));
            // On a host with groups of version 1, `spec` writes none.
            let namespaces = config["linux"]["namespaces"].as_array_mut();
            let namespaces = namespaces.expect("spec lists namespaces");
            if !namespaces.iter().any(|one| one["type"] == "cgroup") {
                namespaces.push(json!({"type": "cgroup"}));
            }
        });
    }

    /// Everything of this test on disk.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The test's own name, in the path of its control group and nobody else's.
    pub fn name(&self) -> String {
        let name = self.dir().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The bundle's directory.
    pub fn path(&self) -> PathBuf {
        self.dir().join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// Where the runtime keeps its containers.
    pub fn state_dir(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// The program under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Has all commands run by a copy of the program.
    pub fn use_copy(&mut self) -> &Path {
        let copy = self.dir().join("gamut-copy");
        fs::copy(&self.binary, &copy).expect("a copy of the program");
        self.binary = copy;
        &self.binary
    }

    /// Changes `config.json`.
    pub fn set(&self, change: impl FnOnce(&mut Value)) {
        let mut config = self.config.borrow_mut();
        change(&mut config);
        let text = serde_json::to_vec_pretty(&*config).expect("JSON can be written");
        fs::write(self.path().join("config.json"), text).expect("config.json can be written");
    }

    /// `config.json` as it is now, to be put back by [`Self::set`].
    pub fn config(&self) -> Value {
        self.config.borrow().clone()
    }

    /// One value of `config.json`, by JSON pointer; the objects above it must be there.
    pub fn put(&self, pointer: &str, value: Value) {
        let (above, name) = pointer.rsplit_once('/').expect("a pointer begins with /");
        self.set(|config| match config.pointer_mut(above) {
            Some(object) => object[name] = value,
            None => panic!("config.json has no {above}"),
        });
    }

    /// Adds a mount.
    pub fn mount(&self, destination: &str, kind: &str, source: &str, options: &[&str]) {
        let mount =
            json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.set(|config| {
            let mounts = config["mounts"].as_array_mut();
            mounts.expect("spec has mounts").push(mount);
        });
    }

    /// The same names in all sets of capabilities that count for a root user.
    pub fn capabilities(&self, names: &[&str]) {
        self.put(
            "/process/capabilities",
            json!({"bounding": names, "effective": names, "permitted": names}),
        );
    }

    /// The container's program is this shell script.
    pub fn script(&self, script: &str) {
        self.put("/process/args", json!(["sh", "-c", script]));
    }

    /// `gamut oci --root STATE WORDS`.
    pub fn command(&self, words: &[&str]) -> Command {
        let state = self.state_dir().to_string_lossy().into_owned();
        self.plain(&[&["--root", &state], words].concat())
    }

    /// `gamut oci WORDS`, its root where it finds it.
    pub fn plain(&self, words: &[&str]) -> Command {
        let mut command = match self.by.split_first() {
            None => Command::new(&self.binary),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(&self.binary);
                command
            }
        };
        command.arg("oci").args(words).current_dir(self.dir());
        command
    }

    /// Starts a command, its input empty unless it has one.
    pub fn spawn(&self, mut command: Command, stdin: Stdio) -> Spoken {
        let number = self.commands.get();
        self.commands.set(number + 1);
        let file = |kind: &str| self.dir().join(format!("said-{number}.{kind}"));
        let (out, err) = (file("out"), file("err"));
        let open = |path: &Path| Stdio::from(File::create(path).expect("a file for the output"));
        command.stdin(stdin).stdout(open(&out)).stderr(open(&err));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        let line = format!("{command:?}");
        Spoken {
            line,
            child,
            out,
            err,
        }
    }

    /// Runs `gamut oci WORDS` to its end.
    #[track_caller]
    pub fn call(&self, words: &[&str]) -> Outcome {
        self.spawn(self.command(words), Stdio::null()).finish()
    }

    /// `gamut oci VERB FLAGS --bundle … ID`.
    #[track_caller]
    pub fn make(&self, verb: &str, flags: &[&str], id: &str) -> Outcome {
        let path = self.path().to_string_lossy().into_owned();
        self.call(&[&[verb, "--bundle", &path], flags, &[id]].concat())
    }

    /// Runs a script as the container's program, in the foreground.
    #[track_caller]
    pub fn run(&self, script: &str) -> Outcome {
        self.script(script);
        self.make("run", &[], ID)
    }

    /// What a script prints as the container's program.
    #[track_caller]
    pub fn inside(&self, script: &str) -> String {
        self.run(script).ok().text().to_owned()
    }

    /// A container that does nothing until it is killed; its pid.
    #[track_caller]
    pub fn idle(&self) -> i32 {
        self.script("trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done");
        self.make("run", &["--detach"], ID).ok();
        self.pid(ID)
    }

    /// What a script prints in the running container.
    #[track_caller]
    pub fn exec(&self, script: &str) -> String {
        let outcome = self.call(&["exec", ID, "sh", "-c", script]);
        outcome.ok().text().to_owned()
    }

    #[track_caller]
    pub fn state(&self, id: &str) -> Value {
        self.call(&["state", id]).ok().json()
    }

    #[track_caller]
    pub fn status(&self, id: &str) -> String {
        self.state(id)["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[track_caller]
    pub fn pid(&self, id: &str) -> i32 {
        let pid = self.state(id)["pid"].as_i64().unwrap_or(0);
        assert!(pid > 0, "{id} has no process");
        pid as i32
    }

    /// Waits until the container's status is this.
    pub fn until(&self, id: &str, status: &str) {
        crate::patience::until(&format!("{id} is {status}"), || self.status(id) == status);
    }

    #[track_caller]
    pub fn delete(&self, id: &str) {
        self.call(&["delete", "--force", id]).ok();
    }

    /// What the runtime has left: one line each.
    pub fn residue(&self) -> Vec<String> {
        let (name, dir) = (self.name(), self.dir().to_string_lossy().into_owned());
        let own = std::process::id().to_string();
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").expect("proc is mounted").flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            if pid.parse::<i32>().is_err() || pid == own {
                continue;
            }
            let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
            let text = |file: &str| String::from_utf8_lossy(&read(file)).into_owned();
            let state = text("stat");
            let gone = state
                .rsplit_once(") ")
                .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
            let ours = [text("cgroup"), text("cmdline")];
            if !gone && ours.iter().any(|text| text.contains(&name)) {
                left.push(format!("process: {} ({pid})", text("comm").trim()));
            }
        }
        let groups = cgroup::list(|group| group.contains(&name)).into_iter();
        left.extend(groups.map(|group| format!("control group: {group}")));
        let mounts = census::mounts()
            .into_iter()
            .filter(|mount| mount.contains(&dir));
        left.extend(mounts.map(|mount| format!("mount: {mount}")));
        let kept = fs::read_dir(self.state_dir())
            .into_iter()
            .flatten()
            .flatten();
        let kept = kept.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // Compiled filters are kept for the next container.
        left.extend(
            kept.filter(|name| name != ".filters")
                .map(|name| format!("directory: {name}")),
        );
        left
    }

    /// Nothing of any container is left; waits a little for what is still ending.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let began = Instant::now();
        loop {
            let left = self.residue();
            if left.is_empty() {
                return;
            }
            let patient = began.elapsed() < Duration::from_secs(10);
            assert!(patient, "left behind:\n{}", left.join("\n"));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn clear(&self) {
        for entry in fs::read_dir(self.state_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            let id = entry.file_name().to_string_lossy().into_owned();
            if id != ".filters" {
                let words = ["delete", "--force", &id];
                let _ = self.spawn(self.command(&words), Stdio::null()).child.wait();
            }
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.clear();
        if !thread::panicking() {
            self.assert_nothing_left();
            return;
        }
        // The test has failed: no second panic, but leave the machine as it was.
        for group in cgroup::list(|group| group.contains(&self.name())) {
            let dir = Path::new("/sys/fs/cgroup").join(group);
            let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            let pids = inside.lines().filter_map(|line| line.parse().ok());
            for pid in pids.filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            // A group is busy until its dead have been reaped.
            let busy = || fs::remove_dir(&dir).is_err() && dir.exists();
            let mut tries = 0..100;
            while busy() && tries.next().is_some() {
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Spoken {
    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if began.elapsed() < limit() => thread::sleep(Duration::from_millis(1)),
                None => {
                    let _ = self.child.kill();
                    panic!(
                        "it did not end in {:?}: {}\n{}",
                        limit(),
                        self.line,
                        said(&self.err)
                    );
                }
            }
        };
        let code = status.code();
        Outcome {
            code: code.unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            out: said(&self.out),
            err: said(&self.err),
            line: self.line,
        }
    }
}

fn said(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// A command of an OCI runtime has failed with status 1, and says these words.
#[track_caller]
pub fn fails(outcome: Outcome, words: &[&str]) -> Outcome {
    says(outcome.code(1), words)
}

/// `exec` has failed itself: 255, as runc has it, which few programs give.
#[track_caller]
pub fn exec_fails(outcome: Outcome, words: &[&str]) -> Outcome {
    says(outcome.code(255), words)
}

#[track_caller]
fn says(outcome: Outcome, words: &[&str]) -> Outcome {
    let lower = outcome.err.to_lowercase();
    for word in words {
        let there = lower.contains(&word.to_lowercase());
        assert!(there, "the error does not say {word:?}\n{}", outcome.told());
    }
    assert!(
        !lower.contains("panicked at"),
        "a panic\n{}",
        outcome.told()
    );
    outcome
}

/// Whom a runtime gives a terminal, or the descriptor of a seccomp listener.
#[derive(Debug)]
pub struct Receiver {
    listener: UnixListener,
    pub path: String,
}

impl Receiver {
    pub fn new(path: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let path = path.to_string_lossy().into_owned();
        Self { listener, path }
    }

    /// What was sent over the next connection: the bytes, and the descriptor beside them.
    pub fn receive(&self) -> (Vec<u8>, OwnedFd) {
        let (stream, _) = eventually("somebody connects", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("a socket");
        let mut buffer = vec![0; 64 << 10];
        let (length, descriptors) =
            gamut_sys::socket::receive(stream.as_fd(), &mut buffer).expect("a message");
        buffer.truncate(length);
        let descriptor = descriptors.into_iter().next();
        (buffer, descriptor.expect("a descriptor beside the message"))
    }
}
