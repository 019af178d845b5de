//! The `unified` map of the OCI runtime specification: v2 files by name.

use std::collections::HashMap;

use super::controller::ControllerSet;
use super::discover::Version;
use super::error::CgroupError;
use super::group::Cgroup;

/// Of the core's files, only those that limit; the others move processes or belong to us.
const CORE: [&str; 3] = [
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.pressure",
];

/// The v2 controllers that `unified` needs.
pub(super) fn controllers(unified: &HashMap<String, String>) -> ControllerSet {
    let mut set = ControllerSet::NONE;
    for key in unified.keys() {
        set = set.union(ControllerSet::from_v2_names(prefix(key)));
    }
    set
}

fn prefix(key: &str) -> &str {
    key.split_once('.').map_or("", |(prefix, _)| prefix)
}

/// Writes each value to its file; where a file takes several lines, one by one.
pub(super) fn apply(group: &Cgroup, unified: &HashMap<String, String>) -> Result<(), CgroupError> {
    let mut keys: Vec<&String> = unified.keys().collect();
    keys.sort_unstable();
    for key in keys {
        let fail = |problem| CgroupError::UnifiedKey {
            key: key.clone(),
            problem,
        };
        check(key).map_err(fail)?;
        let wanted = ControllerSet::from_v2_names(prefix(key));
        for controller in wanted.iter() {
            match group.ensure(controller)? {
                Some((Version::V2, _)) => {}
                Some((Version::V1, _)) => {
                    return Err(fail("this host has its controller on cgroup v1"));
                }
                None => return Err(fail("this host has no such controller")),
            }
        }
        let Some(dir) = group.v2_dir()? else {
            return Err(fail("this host has no cgroup v2 group for it"));
        };
        for line in unified[key].lines().filter(|line| !line.is_empty()) {
            match dir.write(key, line) {
                Err(error) if error.is_missing_file() => {
                    return Err(fail("the kernel has no such file"));
                }
                written => written?,
            }
        }
    }
    Ok(())
}

fn check(key: &str) -> Result<(), &'static str> {
    if key.is_empty() || key.contains('/') || key.chars().any(char::is_control) {
        return Err("it is not a file name");
    }
    match prefix(key) {
        "" => Err("it must start with a controller's name and a dot"),
        "cgroup" if !CORE.contains(&key) => Err("this file is not a limit"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::controller::Controller;
    use super::*;

    #[test]
    fn only_limits_are_taken() {
        for key in [
            "memory.high",
            "cgroup.max.depth",
            "hugetlb.2MB.max",
            "misc.max",
        ] {
            assert_eq!(check(key), Ok(()), "{key}");
        }
        for key in [
            "",
            "..",
            "a/b.c",
            "../memory.max",
            "memory",
            "cgroup.procs",
            "cgroup.kill",
            "a\n.b",
        ] {
            assert!(check(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn controllers_come_from_the_prefixes() {
        let map = HashMap::from([
            ("io.latency".to_owned(), String::new()),
            ("memory.high".to_owned(), String::new()),
            ("cgroup.max.depth".to_owned(), String::new()),
        ]);
        let wanted = ControllerSet::of(&[Controller::Block, Controller::Memory]);
        assert_eq!(controllers(&map), wanted);
    }
}
