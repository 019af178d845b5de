//! Where the contract of a cell is held against one: a root with a static shell, and a test program that
//! keeps one promise after the other in its one thread. It speaks enough of libtest's command line for cargo
//! and nextest ([`Asked`]).

use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use gamut_container::cgroup::{Cgroup, Hierarchies};
use gamut_plan::cell::Cell;
use gamut_plan::host::{HostFacts, Weight};
use gamut_plan::launch::{Durability, FilesPlan, RootPlan};
use gamut_plan::level::Level;
use gamut_plan::suite::{Ground, Place, promises};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// From Debian's package busybox-static: one file is a whole system.
const BUSYBOX: &str = "/bin/busybox";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Asked {
    names: Vec<String>,
    skipped: Vec<String>,
    list: bool,
    exact: bool,
    ignored: bool,
}

impl Asked {
    fn read(words: impl IntoIterator<Item = String>) -> Self {
        let mut asked = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => asked.list = true,
                "--exact" => asked.exact = true,
                "--ignored" => asked.ignored = true,
                "--skip" => asked.skipped.extend(words.next()),
                // Options of the harness whose values are no names.
                "--format" | "--color" | "--test-threads" | "--logfile" => drop(words.next()),
                option if option.starts_with('-') => {}
                _ => asked.names.push(word),
            }
        }
        asked
    }

    fn wants(&self, promise: &str) -> bool {
        let matches = |word: &String| match self.exact {
            true => promise == word,
            false => promise.contains(word.as_str()),
        };
        let named = self.names.is_empty() || self.names.iter().any(matches);
        // Nothing is marked to be ignored.
        named && !self.skipped.iter().any(matches) && !self.ignored
    }
}

/// The test program's `main`, for the level `C`.
pub(crate) fn run<C: Cell>(level: Level) -> ExitCode {
    let asked = Asked::read(std::env::args().skip(1));
    let mut list = promises::<C>();
    list.retain(|promise| asked.wants(promise.name));
    if asked.list {
        for promise in &list {
            println!("{}: test", promise.name);
        }
        return ExitCode::SUCCESS;
    }
    let lab = match Lab::open::<C>(level) {
        Ok(lab) => lab,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            println!(
                "test result: ok. 0 passed; 0 failed; {} ignored",
                list.len()
            );
            return ExitCode::SUCCESS;
        }
    };
    let mut failed = 0;
    for promise in &list {
        let kept = catch_unwind(AssertUnwindSafe(|| promise.hold(&lab))).is_ok();
        println!(
            "test {} ... {}",
            promise.name,
            if kept { "ok" } else { "FAILED" }
        );
        failed += usize::from(!kept);
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let passed = list.len() - failed;
    println!("test result: {verdict}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}

/// A scratch directory with an image's tree, and a cgroup to work below.
#[derive(Debug)]
struct Lab {
    level: Level,
    scratch: TempDir,
    host: HostFacts,
    hierarchies: Hierarchies,
    cgroup_parent: String,
}

impl Lab {
    /// # Errors
    /// Why the suite cannot run here.
    fn open<C: Cell>(level: Level) -> Result<Self, String> {
        let host = host();
        let lacks = C::probe(&host);
        if let Some(lack) = lacks.iter().find(|lack| lack.weight == Weight::Fatal) {
            return Err(format!("needs {}: {}", lack.what, lack.remedy));
        }
        if !is_static(Path::new(BUSYBOX)) {
            return Err(format!(
                "no static {BUSYBOX}: install the package busybox-static"
            ));
        }
        let hierarchies = Hierarchies::discover().map_err(|error| error.to_string())?;
        // Not /tmp: that may be a tmpfs without what an upper directory needs.
        let scratch = tempfile::Builder::new()
            .prefix("gamut-cell-")
            .tempdir_in("/var/tmp")
            .map_err(|error| format!("no directory in /var/tmp: {error}"))?;
        let tree = scratch.path().join("image");
        make_tree(&tree).map_err(|error| format!("no tree in {}: {error}", tree.display()))?;
        Ok(Self {
            level,
            scratch,
            host,
            hierarchies,
            cgroup_parent: format!("gamut-cell-{}", std::process::id()),
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let parent = Cgroup::open(&self.hierarchies, &self.cgroup_parent);
        if let Err(error) = parent.and_then(|parent| parent.remove()) {
            eprintln!("cannot clean up: {error}");
        }
    }
}

impl Ground for Lab {
    fn level(&self) -> Level {
        self.level
    }

    fn host(&self) -> HostFacts {
        self.host.clone()
    }

    fn cgroup_parent(&self) -> String {
        self.cgroup_parent.clone()
    }

    fn place(&self, id: &str) -> Place {
        let own = self.scratch.path().join(id);
        // The promise before this one used the same name.
        let _ = fs::remove_dir_all(&own);
        let folder = |name: &str| {
            let path = own.join(name);
            fs::create_dir_all(&path).expect("a directory");
            path
        };
        Place {
            root: RootPlan {
                lower: vec![self.scratch.path().join("image")],
                // Where a machine's root wants them, in one directory.
                upper: folder("upper/fs"),
                work: folder("upper/work"),
                durability: Durability::Durable,
            },
            files: FilesPlan {
                directory: folder("files"),
                cache: self.scratch.path().join("cache"),
                hosts: Some("127.0.0.1\tlocalhost\n".into()),
                hostname: None,
                resolv_conf: None,
            },
        }
    }

    fn readable(&self, fd: BorrowedFd<'_>, patience: Duration) -> bool {
        let timeout = Timespec::try_from(patience).expect("a time");
        let mut watched = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut watched, Some(&timeout)));
        ready.expect("poll") > 0
    }

    fn kill(&self, pid: i32) {
        let pid = Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, Signal::KILL).expect("a kill");
    }

    fn census(&self) -> Vec<String> {
        let mut found = Vec::new();
        let me = std::process::id();
        let children = fs::read_to_string(format!("/proc/self/task/{me}/children"));
        let children = children.unwrap_or_default();
        found.extend(
            children
                .split_whitespace()
                .map(|pid| format!("child {pid}")),
        );
        let groups = Cgroup::list(&self.hierarchies, &self.cgroup_parent).expect("groups");
        found.extend(groups.iter().map(|name| format!("cgroup {name}")));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let scratch = self.scratch.path().to_string_lossy().into_owned();
        let ours = mounts.lines().filter(|line| line.contains(&scratch));
        found.extend(ours.map(|line| format!("mount {line}")));
        for entry in fs::read_dir("/proc/self/fd").expect("descriptors") {
            let entry = entry.expect("a descriptor");
            // The directory that is being read is gone by now.
            if let Ok(target) = fs::read_link(entry.path()) {
                let number = entry.file_name();
                found.push(format!(
                    "descriptor {} {}",
                    number.display(),
                    target.display()
                ));
            }
        }
        found.retain(|line| !line.contains(&format!("/proc/{me}/fd")));
        found.sort();
        found
    }
}

fn host() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let capabilities = rustix::thread::capabilities(None).map_or(0, |sets| sets.permitted.bits());
    HostFacts {
        kernel: text(uname.release()),
        machine: text(uname.machine()),
        hostname: text(uname.nodename()),
        uid: rustix::process::geteuid().as_raw(),
        capabilities,
        cpus: rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count()),
        groups: u32::MAX,
        home: None,
    }
}

/// Whether the file needs no interpreter: PT_INTERP (elf(5)) names one by a path with `ld-`.
fn is_static(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap_or_default();
    let head = &bytes[..bytes.len().min(4096)];
    head.starts_with(b"\x7fELF") && !head.windows(4).any(|four| four == b"/ld-")
}

fn make_tree(tree: &Path) -> std::io::Result<()> {
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    let bin: PathBuf = tree.join("bin");
    fs::copy(BUSYBOX, bin.join("busybox"))?;
    for applet in ["sh", "cat", "dd", "hostname", "id", "sleep", "stty", "test"] {
        symlink("busybox", bin.join(applet))?;
    }
    let users = "root:x:0:0::/:/bin/sh\nsuite:x:1234:1234::/tmp:/bin/sh\n";
    fs::write(tree.join("etc/passwd"), users)?;
    fs::write(tree.join("etc/group"), "root:x:0:\nsuite:x:1234:\n")
}
