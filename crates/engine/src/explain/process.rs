//! What the kernel tells of the first process: namespaces, mounts, ids, privileges.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use gamut_plan::LaunchPlan;
use gamut_plan::caps::CapSet;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType};
use serde::Serialize;

/// One of the eight namespaces of a process.
#[derive(Debug, Clone, Serialize)]
pub struct Namespace {
    /// As in /proc/PID/ns: `pid`, `net`, …
    pub kind: &'static str,
    /// The number in `pid:[4026531836]`; `None`: it does not run.
    pub number: Option<u64>,
    pub host_number: Option<u64>,
    pub owner: Owner,
}

/// Whose namespace it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// The container's own.
    Own,
    Host,
    /// Another container's, by its id.
    Container(String),
    /// One that somebody else has made, by the path that was given.
    Path(PathBuf),
}

/// One mount, as the container sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    pub target: String,
    pub kind: String,
    pub source: String,
    pub options: String,
}

/// A range of ids: `inside` to `inside + count` are `outside` and on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IdMap {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// In JSON: lists of names, with `CAP_`. The system-call filter is drawn for the bounding set.
#[derive(Debug, Clone, Serialize)]
pub struct Capabilities {
    pub bounding: CapSet,
    pub effective: CapSet,
    pub permitted: CapSet,
    pub inheritable: CapSet,
    pub ambient: CapSet,
    /// What Docker's default has and the bounding set here has not.
    pub below_default: CapSet,
    /// The reverse.
    pub above_default: CapSet,
}

const KINDS: [(&str, LinuxNamespaceType); 8] = [
    ("mnt", LinuxNamespaceType::Mount),
    ("pid", LinuxNamespaceType::Pid),
    ("net", LinuxNamespaceType::Network),
    ("uts", LinuxNamespaceType::Uts),
    ("ipc", LinuxNamespaceType::Ipc),
    ("cgroup", LinuxNamespaceType::Cgroup),
    ("user", LinuxNamespaceType::User),
    ("time", LinuxNamespaceType::Time),
];

/// A file of /proc/PID; `None`: there is no such process any more.
fn file(pid: i32, name: &str) -> Option<String> {
    if pid <= 0 {
        return None;
    }
    std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok()
}

fn number(pid: &str, kind: &str) -> Option<u64> {
    // The namespace itself, not the link to it: its inode is the number.
    let metadata = std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(metadata.ino())
}

pub(super) fn namespaces(plan: &LaunchPlan, pid: i32) -> Vec<Namespace> {
    let made = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.namespaces().clone())
        .unwrap_or_default();
    KINDS
        .into_iter()
        .map(|(kind, of)| {
            let joined = plan.joins.iter().find(|join| join.namespace == of);
            let planned = match joined {
                Some(join) => Owner::Container(join.container.clone()),
                None => match made.iter().find(|n| n.typ() == of) {
                    Some(listed) => listed.path().clone().map_or(Owner::Own, Owner::Path),
                    None => Owner::Host,
                },
            };
            let number_of = (pid > 0).then(|| number(&pid.to_string(), kind)).flatten();
            let host_number = number("self", kind);
            // What is, before what was planned.
            let owner = match (number_of, host_number, planned) {
                (Some(ours), Some(hosts), _) if ours == hosts => Owner::Host,
                (Some(_), Some(_), Owner::Host) => Owner::Own,
                (_, _, planned) => planned,
            };
            Namespace {
                kind,
                number: number_of,
                host_number,
                owner,
            }
        })
        .collect()
}

pub(super) fn mounts(plan: &LaunchPlan, pid: i32) -> Vec<Mount> {
    if let Some(text) = file(pid, "mountinfo") {
        return text.lines().filter_map(mount).collect();
    }
    let planned = plan.spec.mounts().clone().unwrap_or_default();
    planned
        .iter()
        .map(|mount| Mount {
            target: mount.destination().display().to_string(),
            kind: mount.typ().clone().unwrap_or_default(),
            source: mount
                .source()
                .as_ref()
                .map(|source| source.display().to_string())
                .unwrap_or_default(),
            options: mount.options().clone().unwrap_or_default().join(","),
        })
        .collect()
}

/// A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)):
/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, target, options) = (before.next()?, before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, source) = (after.next()?, after.next()?);
    let source = match root {
        "/" => unescape(source),
        root => format!("{} of {}", unescape(root), unescape(source)),
    };
    Some(Mount {
        target: unescape(target),
        kind: kind.to_owned(),
        source,
        options: options.to_owned(),
    })
}

/// `\\040` and the like: a space, tab, newline or backslash in octal digits.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (code, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        plain = plain.replace(code, character);
    }
    plain
}

pub(super) fn id_maps(plan: &LaunchPlan, pid: i32) -> (Vec<IdMap>, Vec<IdMap>) {
    if let (Some(uids), Some(gids)) = (file(pid, "uid_map"), file(pid, "gid_map")) {
        return (parse_map(&uids), parse_map(&gids));
    }
    let linux = plan.spec.linux().as_ref();
    let planned = |maps: Option<Vec<LinuxIdMapping>>| match maps {
        Some(maps) => maps
            .iter()
            .map(|map| IdMap {
                inside: map.container_id(),
                outside: map.host_id(),
                count: map.size(),
            })
            .collect(),
        None => vec![IdMap {
            inside: 0,
            outside: 0,
            count: u32::MAX,
        }],
    };
    (
        planned(linux.and_then(|l| l.uid_mappings().clone())),
        planned(linux.and_then(|l| l.gid_mappings().clone())),
    )
}

/// `inside outside count`, a line each (user_namespaces(7)).
fn parse_map(text: &str) -> Vec<IdMap> {
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(IdMap {
            inside: next()?,
            outside: next()?,
            count: next()?,
        })
    };
    text.lines().filter_map(line).collect()
}

pub(super) fn capabilities(plan: &LaunchPlan, pid: i32) -> Capabilities {
    let status = file(pid, "status");
    let planned = plan
        .spec
        .process()
        .as_ref()
        .and_then(|p| p.capabilities().clone());
    let set = |field: &str, planned: Option<Vec<String>>| match &status {
        Some(status) => field_of(status, field).unwrap_or_default(),
        None => CapSet::EMPTY
            .adjusted(&planned.unwrap_or_default(), &[])
            .unwrap_or_default(),
    };
    let names = |set: &Option<oci_spec::runtime::Capabilities>| {
        let set = set.as_ref()?;
        Some(set.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let planned = planned.unwrap_or_default();
    let bounding = set("CapBnd", names(planned.bounding()));
    Capabilities {
        bounding,
        effective: set("CapEff", names(planned.effective())),
        permitted: set("CapPrm", names(planned.permitted())),
        inheritable: set("CapInh", names(planned.inheritable())),
        ambient: set("CapAmb", names(planned.ambient())),
        below_default: CapSet::DOCKER_DEFAULT.difference(bounding),
        above_default: bounding.difference(CapSet::DOCKER_DEFAULT),
    }
}

/// A line such as `CapEff:\t00000000a80425fb` (proc_pid_status(5)).
fn field_of(status: &str, field: &str) -> Option<CapSet> {
    let digits = value_of(status, field)?;
    u64::from_str_radix(digits, 16).ok().map(CapSet::from_bits)
}

fn value_of<'s>(status: &'s str, field: &str) -> Option<&'s str> {
    status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == field)
        .map(|(_, value)| value.trim())
}

pub(super) fn no_new_privileges(plan: &LaunchPlan, pid: i32) -> bool {
    match file(pid, "status") {
        Some(status) => value_of(&status, "NoNewPrivs") == Some("1"),
        None => plan
            .spec
            .process()
            .as_ref()
            .and_then(|p| p.no_new_privileges())
            .unwrap_or(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let line = "36 35 98:0 /a\\040b /mnt2 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(
            mount(line),
            Some(Mount {
                target: "/mnt2".into(),
                kind: "ext3".into(),
                source: "/a b of /dev/root".into(),
                options: "rw,noatime".into(),
            })
        );
        assert_eq!(mount("nonsense"), None);
    }

    #[test]
    fn maps_and_sets_are_read() {
        let whole = parse_map("         0          0 4294967295\n");
        assert_eq!(whole[0].count, u32::MAX);
        assert!(parse_map("x y z\n").is_empty());
        let status = "Name:\tsh\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\n";
        assert_eq!(field_of(status, "CapEff"), Some(CapSet::DOCKER_DEFAULT));
        assert_eq!(value_of(status, "NoNewPrivs"), Some("1"));
    }
}
