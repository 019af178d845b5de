//! Privileges: capabilities, the filter, what is masked, which devices may be touched.

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use super::{DeviceKind, DrawError, Drawing, system};
use crate::caps::CapSet;
use crate::launch::SeccompPlan;
use crate::request::{self, Capability, DeviceRuleKind, SystemPaths, UserNamespace};

pub(super) struct Security {
    pub(super) capabilities: CapSet,
    pub(super) seccomp: SeccompPlan,
    pub(super) masked_paths: Vec<String>,
    pub(super) readonly_paths: Vec<String>,
}

/// Files of /proc and /sys that tell of the host or reach into it; Docker's list (moby,
/// `oci/defaults.go`).
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

pub(super) fn draw(
    drawing: &Drawing<'_>,
    warnings: &mut Vec<String>,
) -> Result<Security, DrawError> {
    let asked = &drawing.request.security;
    let host = CapSet::from_bits(drawing.host.capabilities);
    let owns_itself = system::owns_itself(drawing);
    let wanted = if asked.privileged {
        CapSet::ALL
    } else if owns_itself {
        CapSet::ALL.adjusted(&[], &system::WITHOUT.map(str::to_owned))?
    } else {
        let names = |list: &[Capability]| -> Vec<String> {
            list.iter()
                .map(|one| match one {
                    Capability::All => "ALL".into(),
                    Capability::Named(name) => name.clone(),
                })
                .collect()
        };
        CapSet::DOCKER_DEFAULT.adjusted(
            &names(&asked.capabilities_add),
            &names(&asked.capabilities_drop),
        )?
    };
    let bounded = wanted.within(host);
    // "All" means all that there are; only what was named is worth a word.
    let named: Vec<&str> = asked
        .capabilities_add
        .iter()
        .filter_map(|one| match one {
            Capability::Named(name) => Some(name.as_str()),
            Capability::All => None,
        })
        .collect();
    let missing = bounded
        .missing
        .iter()
        .filter(|one| named.contains(&one.name()));
    warnings.extend(missing.map(|one| {
        format!(
            "this host cannot give {}: the container runs without it",
            one.name()
        )
    }));
    let open = asked.privileged || owns_itself || asked.system_paths == SystemPaths::Unconfined;
    let list = |paths: &[&str]| -> Vec<String> {
        let kept = paths.iter().filter(|path| {
            let is_opened = |pattern: &String| matches(pattern, path);
            !open && !asked.unmasked.iter().any(is_opened)
        });
        kept.map(|path| (*path).to_owned()).collect()
    };
    let mut masked_paths = list(&MASKED);
    masked_paths.extend(asked.masked.iter().cloned());
    Ok(Security {
        capabilities: bounded.granted,
        seccomp: seccomp(drawing),
        masked_paths,
        readonly_paths: list(&READONLY),
    })
}

/// Whether a path is what a pattern of `--unmask` means: `*` is any part of a name, as in a shell.
fn matches(pattern: &str, path: &str) -> bool {
    fn name(pattern: &str, text: &str) -> bool {
        match pattern.split_once('*') {
            None => pattern == text,
            Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
                (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|tail| name(after, tail)))
            }),
        }
    }
    let (patterns, names) = (pattern.split('/'), path.split('/'));
    patterns.clone().count() == names.clone().count()
        && patterns
            .zip(names)
            .all(|(pattern, text)| name(pattern, text))
}

fn seccomp(drawing: &Drawing<'_>) -> SeccompPlan {
    match &drawing.request.security.seccomp {
        request::Seccomp::Profile { json } => SeccompPlan::File(json.clone()),
        request::Seccomp::Unconfined => SeccompPlan::Unconfined,
        // A profile that is asked for by name is kept even with `--privileged`, as Docker does.
        _ if drawing.request.security.privileged => SeccompPlan::Unconfined,
        // Engines inside filter their own; the user namespace is the boundary.
        _ if system::owns_itself(drawing) => SeccompPlan::Unconfined,
        _ => SeccompPlan::Default,
    }
}

pub(super) fn device_nodes(drawing: &Drawing<'_>) -> Vec<LinuxDevice> {
    if drawing.host.home.is_some() {
        // Where none can be made, the host's are mounted.
        return Vec::new();
    }
    drawing
        .devices
        .iter()
        .filter_map(|node| {
            LinuxDeviceBuilder::default()
                .path(node.path.clone())
                .typ(device_type(node.kind))
                .major(i64::from(node.major))
                .minor(i64::from(node.minor))
                .file_mode(node.mode)
                .uid(node.uid)
                .gid(node.gid)
                .build()
                .ok()
        })
        .collect()
}

fn device_type(kind: DeviceKind) -> LinuxDeviceType {
    match kind {
        DeviceKind::Block => LinuxDeviceType::B,
        DeviceKind::Character => LinuxDeviceType::C,
    }
}

/// What every container may touch: any node may be made, these may be opened (moby,
/// `oci/defaults.go`): null, zero, full, random, urandom, tty, console, ptmx, the pts.
const ALLOWED: [(Option<i64>, Option<i64>); 8] = [
    (Some(1), Some(3)),
    (Some(1), Some(5)),
    (Some(1), Some(7)),
    (Some(1), Some(8)),
    (Some(1), Some(9)),
    (Some(5), Some(0)),
    (Some(5), Some(2)),
    (Some(136), None),
];

/// The device controller's rules, in order; the last that matches wins.
pub(super) fn device_rules(drawing: &Drawing<'_>) -> Result<Vec<LinuxDeviceCgroup>, DrawError> {
    if drawing.request.security.privileged {
        return Ok(vec![rule(true, LinuxDeviceType::A, (None, None), "rwm")?]);
    }
    let mut rules = vec![rule(false, LinuxDeviceType::A, (None, None), "rwm")?];
    rules.push(rule(true, LinuxDeviceType::C, (None, None), "m")?);
    rules.push(rule(true, LinuxDeviceType::B, (None, None), "m")?);
    for numbers in ALLOWED {
        rules.push(rule(true, LinuxDeviceType::C, numbers, "rwm")?);
    }
    for node in &drawing.devices {
        let numbers = (Some(i64::from(node.major)), Some(i64::from(node.minor)));
        rules.push(rule(true, device_type(node.kind), numbers, &node.access)?);
    }
    for asked in &drawing.request.security.device_rules {
        let kind = match asked.kind {
            DeviceRuleKind::All => LinuxDeviceType::A,
            DeviceRuleKind::Block => LinuxDeviceType::B,
            DeviceRuleKind::Character => LinuxDeviceType::C,
        };
        let numbers = (asked.major.map(i64::from), asked.minor.map(i64::from));
        rules.push(rule(true, kind, numbers, &asked.access.letters())?);
    }
    Ok(rules)
}

fn rule(
    allow: bool,
    typ: LinuxDeviceType,
    (major, minor): (Option<i64>, Option<i64>),
    access: &str,
) -> Result<LinuxDeviceCgroup, DrawError> {
    let mut builder = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .typ(typ)
        .access(access);
    if let Some(major) = major {
        builder = builder.major(major);
    }
    if let Some(minor) = minor {
        builder = builder.minor(minor);
    }
    Ok(builder.build()?)
}

/// Whether the workload has ids of its own.
pub(super) fn own_users(drawing: &Drawing<'_>) -> bool {
    matches!(
        drawing.request.namespaces.user,
        Some(UserNamespace::Auto | UserNamespace::Private)
    )
}
