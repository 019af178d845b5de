//! The engines of the field with gamut as their runtime: podman, buildah, docker, containerd. They are
//! brought up by `lab/engines`, in namespaces of their own; a command among them is a shell's line.

use crate::outcome::Outcome;
use crate::patience::eventually;
use crate::skip::skipped;
use crate::terminal::Terminal;
use crate::user::Caller;
use serde_json::Value;
use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The script that knows where the engines are.
const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/peers");
/// Which of its peers they are (`GAMUT_PEERS`).
const INSTANCE: &str = "engines";

/// After how many seconds a command hangs, for certain: a busy machine is ten times slower than a quiet one.
const HANGS_S: &str = "400";

/// The image that every engine has: busybox under all its names, users `root` and `user` (1000, also in 2000).
pub const IMAGE: &str = "localhost/bb";

/// One engine's command line, as one test uses it. In every line that it is given, `@` is the name of the
/// test: what is named so is no other test's.
#[derive(Debug)]
pub struct Engine {
    program: &'static str,
    name: String,
    /// Lines for the end, last first.
    endings: RefCell<Vec<String>>,
}

impl Engine {
    /// `program` for the test `name`. `None`: the engines are not up; it has been said.
    pub fn new(program: &'static str, name: &str) -> Option<Self> {
        let engine = Self {
            program,
            name: name.to_owned(),
            endings: RefCell::default(),
        };
        if engine.beside("true").code == 0 {
            return Some(engine);
        }
        skipped("the engines are not up: `lab/engines up`");
        None
    }

    /// Runs `LINE` in a shell among the engines.
    pub fn beside(&self, line: &str) -> Outcome {
        let line = line.replace('@', &self.name);
        let output = Command::new(PEERS)
            .args(["run", "timeout", HANGS_S, "sh", "-c", &line])
            .env("GAMUT_PEERS", INSTANCE)
            .stdin(Stdio::null())
            .output();
        let (code, out, err) = match output {
            Ok(output) => {
                let killed = || 128 + output.status.signal().unwrap_or(0);
                let code = output.status.code().unwrap_or_else(killed);
                (code, output.stdout, output.stderr)
            }
            // A machine may have the tests, and not the lab.
            Err(error) => (127, Vec::new(), error.to_string().into_bytes()),
        };
        Outcome {
            line,
            code,
            out: String::from_utf8_lossy(&out).into_owned(),
            err: String::from_utf8_lossy(&err).into_owned(),
        }
    }

    /// Runs `PROGRAM LINE`.
    pub fn call(&self, line: &str) -> Outcome {
        self.beside(&format!("{} {line}", self.program))
    }

    /// What `PROGRAM LINE` prints, without the white space around it.
    #[track_caller]
    pub fn says(&self, line: &str) -> String {
        self.call(line).ok().text().to_owned()
    }

    /// `PROGRAM LINE` on a terminal of 24 × 80.
    pub fn terminal(&self, line: &str) -> Terminal {
        let line = format!("{} {line}", self.program).replace('@', &self.name);
        let words = ["run", "sh", "-c", &line].map(str::to_owned);
        let environment = [("GAMUT_PEERS".to_owned(), INSTANCE.to_owned())];
        Terminal::open(Caller::Root, PEERS, &words, &environment, (24, 80)).expect("a terminal")
    }

    /// `PROGRAM LINE` when the test has ended, however it has: before what was said earlier. Now as well:
    /// an earlier run may have been killed.
    pub fn at_end(&self, line: &str) {
        self.call(line);
        self.endings.borrow_mut().push(line.to_owned());
    }

    /// A container of the test's name that idles, with these flags; it is removed at the end.
    #[track_caller]
    pub fn idle(&self, flags: &str) {
        self.start(flags, "sleep 100000");
    }

    /// A container of the test's name that runs in the background; it is removed at the end.
    #[track_caller]
    pub fn start(&self, flags: &str, command: &str) {
        // podman would give it ten seconds; docker does not, and has no such option.
        let now = if self.program == "podman" { "-t 0" } else { "" };
        self.at_end(&format!("rm -f -v {now} @"));
        self.call(&format!("run -d --name @ {flags} {IMAGE} {command}"))
            .ok();
    }

    /// What `inspect` says of a container.
    #[track_caller]
    pub fn inspect(&self, container: &str) -> Value {
        self.call(&format!("container inspect {container}"))
            .ok()
            .json()[0]
            .clone()
    }

    /// The host's number of a container's first process.
    #[track_caller]
    pub fn pid(&self, container: &str) -> i32 {
        let pid = self.inspect(container)["State"]["Pid"].as_i64();
        match pid {
            Some(pid @ 1..) => i32::try_from(pid).expect("the kernel's numbers are small"),
            _ => panic!("{container} has no process: {pid:?}"),
        }
    }

    /// Waits until `inspect` has `wanted` at a place such as `/State/Status`; all of it then.
    #[track_caller]
    pub fn becomes(&self, container: &str, place: &str, wanted: impl Into<Value>) -> Value {
        let wanted = wanted.into();
        eventually(
            &format!("{}: {container}: {place} is {wanted}", self.name),
            || {
                let all = self.inspect(container);
                (all.pointer(place) == Some(&wanted)).then_some(all)
            },
        )
    }

    /// Writes a file of the test below `/peers/@`, which is removed at the end; the directory on the host.
    #[track_caller]
    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        let cache = std::env::var("GAMUT_CACHE").unwrap_or("/var/cache/gamut-lab".to_owned());
        let directory = PathBuf::from(format!("{cache}/peers-{INSTANCE}/data")).join(&self.name);
        let file = directory.join(path);
        std::fs::create_dir_all(file.parent().expect("it is in a directory"))
            .and_then(|()| std::fs::write(&file, text))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        directory
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for line in self.endings.take().iter().rev() {
            self.call(line);
        }
        self.beside("rm -rf /peers/@");
    }
}

/// A field of `/proc/PID/status` (proc_pid_status(5)), without the white space around it.
#[track_caller]
pub fn status(pid: i32, field: &str) -> String {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let of = |line: &str| {
        Some(
            line.strip_prefix(field)?
                .strip_prefix(':')?
                .trim()
                .to_owned(),
        )
    };
    text.lines()
        .find_map(of)
        .unwrap_or_else(|| panic!("{path} has no {field}"))
}

/// What `/proc/PID/ns/NAME` is.
#[track_caller]
pub fn namespace(pid: i32, name: &str) -> PathBuf {
    let path = format!("/proc/{pid}/ns/{name}");
    std::fs::read_link(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
