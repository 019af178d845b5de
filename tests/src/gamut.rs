//! The engine as a program: a private root, the binary, and what it printed. When the value goes, every
//! container of the root is removed, and whatever is still there then is a failure of the test.

use crate::census;
use crate::host::{Company, Host, test_dir};
use crate::outcome::Outcome;
use crate::patience::limit;
use crate::skip::skipped;
use crate::terminal::Terminal;
use crate::user::{self, Caller};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The isolation level that the tests are run at, if it is not the default one: `GAMUT_TEST_LEVEL`.
pub fn level() -> Option<String> {
    std::env::var("GAMUT_TEST_LEVEL").ok()
}

/// One engine root on a host of its own.
#[derive(Debug)]
pub struct Gamut {
    pub host: Host,
    binary: PathBuf,
    dir: TempDir,
    caller: Caller,
    /// `--storage-driver`; empty: the best there is.
    driver: &'static str,
    /// Every container ID that this root has had, as far as anybody has seen it.
    ids: RefCell<BTreeSet<String>>,
}

impl Gamut {
    /// A fresh root on a fresh host, beside other tests. `None`: this machine can't; it has been said.
    pub fn new() -> Option<Self> {
        Self::start(Company::Welcome, Caller::usual())
    }

    /// The same, called by a user without privileges.
    pub fn of_user() -> Option<Self> {
        Self::start(Company::Welcome, Caller::User)
    }

    /// The same with a storage driver that it does not choose itself.
    pub fn with_driver(driver: &'static str) -> Option<Self> {
        let mut gamut = Self::new()?;
        gamut.driver = driver;
        Some(gamut)
    }

    /// The same as [`Gamut::new`], with no other test running.
    pub fn alone() -> Option<Self> {
        Self::start(Company::Alone, Caller::usual())
    }

    fn start(company: Company, caller: Caller) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skipped("needs root");
            return None;
        }
        let binary = binary();
        assert!(
            binary.exists(),
            "there is no {}: cargo build -p gamut-cli, or set GAMUT_BIN",
            binary.display()
        );
        let host = Host::enter(company)
            .unwrap_or_else(|error| panic!("cannot make a host for the test: {error}"));
        let dir = tempfile::Builder::new()
            .prefix("gamut-test-")
            .tempdir_in(test_dir())
            .expect("a directory for the test");
        std::fs::create_dir(dir.path().join("home")).expect("a home for the test");
        let binary = match caller {
            Caller::Root => binary,
            Caller::User => user::settle(dir.path(), &binary)?,
        };
        Some(Self {
            host,
            caller,
            binary,
            dir,
            driver: "",
            ids: RefCell::default(),
        })
    }

    /// Everything of this test on disk.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> &'static Path {
        // Leaked on purpose, a few bytes per test: it keeps signatures plain.
        Box::leak(self.dir().join("root").into_boxed_path())
    }

    pub fn runroot(&self) -> &'static Path {
        Box::leak(self.dir().join("run").into_boxed_path())
    }

    /// A variable in the environment of every command of this root, and of what inherits from it.
    pub fn marker(&self) -> String {
        format!(
            "GAMUT_TEST={}",
            self.dir().file_name().unwrap_or_default().to_string_lossy()
        )
    }

    /// The IDs seen so far.
    pub fn ids(&self) -> BTreeSet<String> {
        self.ids.borrow().clone()
    }

    /// Whether a user without privileges calls it.
    pub fn is_of_user(&self) -> bool {
        self.caller == Caller::User
    }

    /// The full reference of one of the lab's images.
    pub fn image(&self, name: &str) -> String {
        self.host.registry.image(name)
    }

    /// Runs `gamut WORDS` to its end.
    pub fn call(&self, words: &[&str]) -> Outcome {
        self.spawn(words).finish()
    }

    /// Runs `gamut WORDS` with `input` on its standard input, then end of file.
    pub fn call_with_input(&self, words: &[&str], input: &str) -> Outcome {
        let mut running = self.spawn_with(words, Stdio::piped());
        running.type_in(input);
        running.finish()
    }

    /// `gamut run --rm --network none FLAGS busybox WORDS`.
    pub fn run(&self, flags: &[&str], words: &[&str]) -> Outcome {
        let image = self.image("busybox");
        self.call(
            &[
                &["run", "--rm", "--network", "none"],
                flags,
                &[&image],
                words,
            ]
            .concat(),
        )
    }

    /// What a shell script prints inside a container with these flags.
    #[track_caller]
    pub fn inside(&self, flags: &[&str], script: &str) -> String {
        self.run(flags, &["sh", "-c", script])
            .ok()
            .text()
            .to_owned()
    }

    /// `gamut run -d --network none FLAGS busybox WORDS`; the container's ID.
    #[track_caller]
    pub fn detached(&self, flags: &[&str], words: &[&str]) -> String {
        let image = self.image("busybox");
        let id = self
            .call(&[&["run", "-d", "--network", "none"], flags, &[&image], words].concat())
            .ok()
            .text()
            .to_owned();
        assert!(
            id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "not a container ID: {id:?}"
        );
        self.ids.borrow_mut().insert(id.clone());
        id
    }

    /// A container that does nothing until it is told to stop.
    #[track_caller]
    pub fn idle(&self, flags: &[&str]) -> String {
        self.detached(
            flags,
            &[
                "sh",
                "-c",
                "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done",
            ],
        )
    }

    /// What a shell script prints in a running container.
    #[track_caller]
    pub fn exec(&self, container: &str, script: &str) -> String {
        self.call(&["exec", container, "sh", "-c", script])
            .ok()
            .text()
            .to_owned()
    }

    /// `gamut inspect` of one object.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        self.call(&["inspect", container]).ok().json()[0].clone()
    }

    /// The host's number of a container's first process.
    #[track_caller]
    pub fn pid(&self, container: &str) -> i32 {
        let pid = self.inspect(container)["State"]["Pid"]
            .as_i64()
            .unwrap_or(0);
        assert!(pid > 0, "{container} has no process");
        pid as i32
    }

    /// Starts `gamut WORDS`, its input empty.
    pub fn spawn(&self, words: &[&str]) -> Running {
        self.spawn_with(words, Stdio::null())
    }

    /// Starts `gamut WORDS`; [`Running::type_in`] needs a piped `stdin`.
    pub fn spawn_with(&self, words: &[&str], stdin: Stdio) -> Running {
        let mut command = Command::new(&self.binary);
        command
            .args(self.words(words))
            .envs(self.environment())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.caller.calls(&mut command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", self.binary.display()));
        let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Running {
            line: format!("gamut {}", words.join(" ")),
            child,
            out,
            err,
        }
    }

    /// Starts `gamut WORDS` on a terminal of 24 × 80.
    pub fn terminal(&self, words: &[&str]) -> Terminal {
        let program = self.binary.to_string_lossy();
        Terminal::open(
            self.caller,
            &program,
            &self.words(words),
            &self.environment(),
            (24, 80),
        )
        .expect("a terminal")
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let (root, runroot) = (self.dir().join("root"), self.dir().join("run"));
        let own = [
            "--root",
            &root.to_string_lossy(),
            "--runroot",
            &runroot.to_string_lossy(),
        ]
        .map(str::to_owned);
        let driver = match self.driver {
            "" => None,
            driver => Some(format!("--storage-driver={driver}")),
        };
        let (verb, rest) = words.split_at(words.len().min(1));
        let level = level().filter(|_| matches!(verb, ["run" | "create"]));
        crate::words::log(words);
        own.into_iter()
            .chain(driver)
            .chain(verb.iter().map(|word| (*word).to_owned()))
            .chain(level.map(|level| format!("--isolation={level}")))
            .chain(rest.iter().map(|word| (*word).to_owned()))
            .collect()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let session = self
            .is_of_user()
            .then(|| user::session(self.dir()).to_string_lossy().into_owned());
        let home = self.dir().join("home").to_string_lossy().into_owned();
        let marker = self.marker();
        let (name, value) = marker.split_once('=').unwrap_or((&marker, ""));
        [
            ("HOME", home.as_str()),
            ("DOCKER_CONFIG", &format!("{home}/.docker")),
            ("TERM", "xterm"),
            (name, value),
        ]
        .into_iter()
        .chain(
            session
                .as_deref()
                .map(|session| ("XDG_RUNTIME_DIR", session)),
        )
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
    }

    /// Learns the IDs of all containers there are.
    pub fn learn_ids(&self) {
        let listed = self.call(&["ps", "-a", "-q", "--no-trunc"]);
        self.ids.borrow_mut().extend(
            listed
                .out
                .lines()
                .map(|id| id.trim().to_owned())
                .filter(|id| id.len() >= 12),
        );
    }

    /// Removes every container.
    pub fn clear(&self) {
        self.learn_ids();
        let listed = self.call(&["ps", "-a", "-q", "--no-trunc"]);
        let ids: Vec<&str> = listed.out.lines().collect();
        if !ids.is_empty() {
            self.call(&[&["rm", "-f", "-v"], ids.as_slice()].concat())
                .ok();
        }
    }

    /// Nothing of any container is left; waits a little for what is still ending.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let began = Instant::now();
        loop {
            let left = census::residue(self);
            if left.is_empty() {
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "left behind:\n{}",
                left.join("\n")
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// No container is listed and nothing of one is left: how it must be after a refused command.
    #[track_caller]
    pub fn assert_untouched(&self) {
        let listed = self.call(&["ps", "-a", "-q"]).ok();
        assert!(
            listed.out.is_empty(),
            "a container is left\n{}",
            listed.told()
        );
        self.assert_nothing_left();
    }
}

impl Drop for Gamut {
    fn drop(&mut self) {
        if thread::panicking() {
            // The test has failed: no second panic, but leave the machine as it was.
            let _ = self.spawn(&["pod", "rm", "--force", "--all"]).child.wait();
            let listed = self.spawn(&["ps", "-a", "-q"]).child.wait_with_output();
            let ids = listed
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .unwrap_or_default();
            for id in ids.lines() {
                let _ = self.spawn(&["rm", "-f", id]).child.wait();
            }
            for (pid, _) in census::processes(self) {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        } else {
            self.clear();
            self.assert_nothing_left();
            // The root's own parent group, too: a machine that tests for a year would have thousands.
            self.call(&["system", "reset", "--force"]).ok();
            let mounts = census::mounts_of(self);
            assert!(mounts.is_empty(), "still mounted: {mounts:#?}");
        }
        // The user's home.
        for pid in census::homes(self) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        // Mounts are in the test's own namespace and end with it, but they would keep the directory busy.
        for mount in census::mounts() {
            let place = mount.split(' ').next().unwrap_or_default();
            if Path::new(place).starts_with(self.dir()) {
                let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
            }
        }
    }
}

/// The binary under test: `GAMUT_BIN`, else the one built beside the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GAMUT_BIN") {
        return PathBuf::from(path);
    }
    let tests = std::env::current_exe().expect("the test has a file");
    tests
        .ancestors()
        .nth(2)
        .map_or_else(|| PathBuf::from("gamut"), |dir| dir.join("gamut"))
}

/// A command that has been started and not yet awaited.
#[derive(Debug)]
pub struct Running {
    line: String,
    pub child: Child,
    out: JoinHandle<String>,
    err: JoinHandle<String>,
}

impl Running {
    /// Writes all of `text` to its standard input and closes it.
    pub fn type_in(&mut self, text: &str) {
        let mut stdin = self.child.stdin.take().expect("its input is piped");
        // A command may end without reading its input: then there is nobody to write to.
        let _ = stdin.write_all(text.as_bytes());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end and for the end of its output, which nothing may hold open any longer.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => break status,
                None if began.elapsed() < limit() => thread::sleep(Duration::from_millis(2)),
                None => {
                    let _ = self.child.kill();
                    panic!("it did not end in {:?}: {}", limit(), self.line);
                }
            }
        };
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let closed = Instant::now();
        while !(self.out.is_finished() && self.err.is_finished()) {
            assert!(
                closed.elapsed() < Duration::from_secs(20),
                "it has ended, but something still holds its output: {}",
                self.line
            );
            thread::sleep(Duration::from_millis(2));
        }
        let text = |reader: JoinHandle<String>| reader.join().expect("reading does not panic");
        Outcome {
            line: self.line,
            code,
            out: text(self.out),
            err: text(self.err),
        }
    }
}

fn collect(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read before an error is what there is to show.
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
