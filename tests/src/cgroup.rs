//! A process's control groups as the host sees them, on version 1, hybrid and version 2 alike.

use std::fs;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Whether this machine has the unified hierarchy only (cgroups(7), "Cgroups version 2").
pub fn unified() -> bool {
    Path::new(MOUNT).join("cgroup.controllers").exists()
}

/// The directory of the group that `pid` is in for `controller`.
pub fn directory(pid: i32, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .unwrap_or_else(|error| panic!("the groups of {pid}: {error}"));
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let path = path.trim_start_matches('/');
        if unified() && controllers.is_empty() {
            return Path::new(MOUNT).join(path);
        }
        if !unified() && controllers.split(',').any(|name| name == controller) {
            return Path::new(MOUNT).join(controller).join(path);
        }
    }
    panic!("{pid} is in no group of {controller}:\n{text}")
}

/// A control file of the group of `pid`: `v1` under the controller's own hierarchy, `v2` in the unified one.
/// Without surrounding white space.
pub fn read(pid: i32, controller: &str, v1: &str, v2: &str) -> String {
    let path = directory(pid, controller).join(if unified() { v2 } else { v1 });
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

/// Whether the machine's kernel has this control file at all, judged by any group below the root.
pub fn has(controller: &str, v1: &str, v2: &str) -> bool {
    let (root, name) = match unified() {
        true => (PathBuf::from(MOUNT), v2),
        false => (Path::new(MOUNT).join(controller), v1),
    };
    if root.join(name).exists() {
        return true;
    }
    let children = fs::read_dir(&root).into_iter().flatten().flatten();
    children
        .map(|entry| entry.path().join(name))
        .any(|path| path.exists())
}

/// Every group directory of the machine, relative to the mount, that `wanted` accepts.
pub fn list(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let (mut found, mut waiting) = (Vec::new(), vec![PathBuf::from(MOUNT)]);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                let name = path
                    .strip_prefix(MOUNT)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                if wanted(&name) {
                    found.push(name);
                }
                waiting.push(path);
            }
        }
    }
    found
}
