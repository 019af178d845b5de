//! The count of everything the engine may not leave behind: mounts, control groups, links, packet
//! filter rules, loop devices, processes, the namespaces and descriptors they hold, and directories of
//! its state.

use crate::cgroup;
use crate::gamut::Gamut;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

/// What there is at one moment. Kind → item → how many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    counts: BTreeMap<&'static str, BTreeMap<String, usize>>,
}

impl Census {
    /// Counts on the host of `gamut`'s test: mounts and network exactly, the rest as far as it is this
    /// engine root's.
    pub fn take(gamut: &Gamut) -> Self {
        let mut census = Self::default();
        census.add("mount", mounts());
        census.add("link", links());
        census.add("packet filter", rules());
        census.add("loop device", loop_devices(gamut));
        let ids = gamut.ids();
        census.add(
            "control group",
            cgroup::list(|name| ids.iter().any(|id| name.contains(id.as_str()))),
        );
        let processes = processes(gamut);
        census.add(
            "namespace",
            processes
                .iter()
                .flat_map(|(pid, _)| namespaces(*pid))
                .collect::<BTreeSet<_>>(),
        );
        census.add(
            "process",
            processes
                .into_iter()
                .map(|(pid, name)| format!("{name} ({pid})")),
        );
        census.add(
            "directory",
            directories(gamut.root(), 3)
                .into_iter()
                .chain(directories(gamut.runroot(), 3)),
        );
        census
    }

    /// As [`Census::take`], with every control group of the machine whose name says gamut. For a test
    /// that runs alone.
    pub fn take_machine(gamut: &Gamut) -> Self {
        let mut census = Self::take(gamut);
        census.add("control group", cgroup::list(|name| name.contains("gamut")));
        census
    }

    fn add(&mut self, kind: &'static str, items: impl IntoIterator<Item = String>) {
        let counts = self.counts.entry(kind).or_default();
        for item in items {
            *counts.entry(item).or_default() += 1;
        }
    }

    /// What is in `after` and not here, or fewer times here; one line each.
    pub fn grown(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, items) in &after.counts {
            for (item, count) in items {
                let before = self
                    .counts
                    .get(kind)
                    .and_then(|items| items.get(item))
                    .copied()
                    .unwrap_or(0);
                if *count > before {
                    lines.push(format!("{kind}: {item} ({before} before, {count} now)"));
                }
            }
        }
        lines
    }
}

/// What belongs to a gamut root after all its containers are removed, and so is left behind: one line each.
pub fn residue(gamut: &Gamut) -> Vec<String> {
    let ids = gamut.ids();
    let mut left: Vec<String> = processes(gamut)
        .into_iter()
        .map(|(pid, name)| format!("process: {name} ({pid})"))
        .collect();
    left.extend(
        cgroup::list(|name| ids.iter().any(|id| name.contains(id.as_str())))
            .into_iter()
            .map(|name| format!("control group: {name}")),
    );
    // Images stay mounted as long as they are there.
    let images = gamut.runroot().join("images");
    let (images, others): (Vec<_>, Vec<_>) = mounts_of(gamut)
        .into_iter()
        .partition(|mount| mount.starts_with(&*images.to_string_lossy()));
    left.extend(others.iter().map(|mount| format!("mount: {mount}")));
    // And they have their loop devices, where they have any.
    if images.is_empty() {
        let devices = loop_devices(gamut);
        left.extend(devices.iter().map(|file| format!("loop device: {file}")));
    }
    left.extend(
        links()
            .into_iter()
            .filter(|link| link.starts_with("veth"))
            .map(|link| format!("link: {link}")),
    );
    left.extend(
        rules()
            .into_iter()
            .filter(|rule| rule.contains("dnat to"))
            .map(|rule| format!("packet filter: {rule}")),
    );
    left
}

/// Each mount of this thread's namespace: where, of what kind, from what (proc_pid_mountinfo(5)).
pub fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").expect("proc is mounted");
    let line = |line: &str| {
        let (own, filesystem) = line.split_once(" - ")?;
        Some(format!(
            "{} {}",
            own.split(' ').nth(4)?,
            filesystem.split(' ').take(2).collect::<Vec<_>>().join(" ")
        ))
    };
    text.lines().filter_map(line).collect()
}

/// Those of them that have to do with this root.
pub fn mounts_of(gamut: &Gamut) -> Vec<String> {
    let root = gamut.dir().to_string_lossy().into_owned();
    let mut mounts = mounts();
    let program = format!("{root}/gamut ");
    mounts.retain(|mount| mount.contains(&root) && !mount.starts_with(&program));
    mounts
}

/// The files of this root that are loop devices: one line for each device (loop(4), sysfs).
pub fn loop_devices(gamut: &Gamut) -> Vec<String> {
    let dir = gamut.dir().to_string_lossy().into_owned();
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok())
        .map(|file| file.trim().to_owned())
        .filter(|file| file.contains(&dir))
        .collect()
}

/// The names of this thread's network links.
pub fn links() -> Vec<String> {
    let text = tool("ip", &["-o", "link", "show"]);
    // `7: veth12@if6: <…`: an index differs from run to run, a name need not.
    text.lines()
        .filter_map(|line| Some(line.split(": ").nth(1)?.split('@').next()?.to_owned()))
        .collect()
}

/// The lines of this thread's packet filter, counters left out.
pub fn rules() -> Vec<String> {
    tool("nft", &["--stateless", "list", "ruleset"])
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| line.len() > 1)
        .collect()
}

/// A program's output; empty if it is not installed or finds nothing.
fn tool(name: &str, words: &[&str]) -> String {
    let output = Command::new(name).args(words).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// The processes that belong to this root: by their environment, their arguments, their control groups
/// or the files they hold. `(pid, name)`.
pub fn processes(gamut: &Gamut) -> Vec<(i32, String)> {
    let ids = gamut.ids();
    let pids = fs::read_dir("/proc").expect("proc is mounted").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id() as i32;
    let ours = pids.filter(|pid| *pid != own && belongs(*pid, gamut, &ids) && !is_home(*pid));
    ours.map(|pid| {
        (
            pid,
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .unwrap_or_default()
                .trim()
                .to_owned(),
        )
    })
    .collect()
}

/// What holds the namespaces of a user without privileges, and leads the network out: they stay.
pub fn homes(gamut: &Gamut) -> Vec<i32> {
    let pids = fs::read_dir("/proc").expect("proc is mounted").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let none = BTreeSet::new();
    pids.filter(|pid| gamut.is_of_user() && is_home(*pid) && belongs(*pid, gamut, &none))
        .collect()
}

fn is_home(pid: i32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.starts_with(b"gamut-home\0") || contains(&line, b"/home/network\0")
}

fn belongs(pid: i32, gamut: &Gamut, ids: &BTreeSet<String>) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    if state.is_empty()
        || state
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
    {
        return false; // gone already; a zombie waits for its parent, which is counted itself
    }
    let dir = gamut.dir().as_os_str().as_bytes();
    let marker = gamut.marker();
    let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    if contains(&read("cmdline"), dir) || contains(&read("environ"), marker.as_bytes()) {
        return true;
    }
    let groups = read("cgroup");
    if ids.iter().any(|id| contains(&groups, id.as_bytes())) {
        return true;
    }
    // Its working directory and open files, but for the test itself, which holds some as well.
    let links = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut links = links.chain([Path::new("/proc").join(pid.to_string()).join("cwd")]);
    links.any(|link| {
        fs::read_link(link).is_ok_and(|target| contains(target.as_os_str().as_bytes(), dir))
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// The namespaces of a process that are not the test's own, as `net:[4026531840]`.
fn namespaces(pid: i32) -> Vec<String> {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let of = |who: &str, kind: &str| {
        fs::read_link(format!("/proc/{who}/ns/{kind}"))
            .ok()
            .map(|link| link.to_string_lossy().into_owned())
    };
    kinds
        .iter()
        .filter_map(|kind| {
            of(&pid.to_string(), kind).filter(|name| Some(name) != of("thread-self", kind).as_ref())
        })
        .collect()
}

/// How many descriptors a process holds.
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn directories(dir: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path().to_string_lossy().into_owned());
            if depth > 1 {
                found.extend(directories(&entry.path(), depth - 1));
            }
        }
    }
    found
}
