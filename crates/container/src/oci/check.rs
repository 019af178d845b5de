//! What a configuration may say, before anything is made: what can be honoured, or else which
//! property cannot, by its name. Runtime specification 1.3, "Configuration" and "Linux Container
//! Configuration"; words that engines look for are runc's. `docs/oci-spec.md` has every property.

use std::path::Path;

use gamut_plan::sysctl::namespace_of;
use oci_spec::runtime::{
    Hook, Linux, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, Mount, Process, Spec,
};

use super::hooks::Stage;
use super::{net_devices, proc_mount, supervisor};
use crate::launch::{manner, mounts};

/// Everything that is wrong with a configuration ends the creation with the first of it.
pub(super) fn check(spec: &Spec) -> Result<(), String> {
    check_version(spec.version())?;
    let root = spec.root().as_ref();
    let root = root.ok_or("it names no root file system")?;
    if root.path().as_os_str().is_empty() {
        return Err("the path of the root file system is empty".into());
    }
    if spec.vm().is_some() {
        return Err("vm: this is no virtual machine".into());
    }
    let linux = spec.linux().as_ref().ok_or("it has no Linux section")?;
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    check_namespaces(namespaces)?;
    check_own(linux, namespaces)?;
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        check_mount(mount)?;
    }
    check_linux(linux)?;
    net_devices::check(linux.net_devices().as_ref(), namespaces)?;
    supervisor::check(linux.seccomp().as_ref())?;
    let mut sysctls: Vec<_> = linux.sysctl().iter().flat_map(|map| map.keys()).collect();
    sysctls.sort();
    for name in sysctls {
        check_sysctl(name, namespaces)?;
    }
    for (has, uts) in [
        (spec.hostname().as_ref(), "hostname"),
        (spec.domainname().as_ref(), "domainname"),
    ] {
        if has.is_some_and(|name| !name.is_empty()) && !lists(namespaces, LinuxNamespaceType::Uts) {
            return Err(format!(
                "unable to set {uts} without a private UTS namespace"
            ));
        }
    }
    check_hooks(spec)?;
    let annotations = spec.annotations().as_ref();
    if annotations.is_some_and(|all| all.contains_key("")) {
        return Err("annotations: a key is empty".into());
    }
    match spec.process() {
        Some(process) => check_process(process),
        None => Ok(()),
    }
}

/// The first two numbers of a version that can be kept: semver.org, "MUST be in SemVer v2.0.0 format".
fn numbers(version: &str) -> Option<(u32, u32)> {
    let core = version.split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(|number| {
        let plain = number == "0" || !number.starts_with('0');
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        number.parse::<u32>().ok().filter(|_| plain && digits)
    });
    let (major, minor, _patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some((major, minor))
}

fn check_version(version: &str) -> Result<(), String> {
    match numbers(version) {
        Some((1, _)) => Ok(()),
        Some(_) => Err(format!(
            "ociVersion: `{version}` is no version 1 of the specification"
        )),
        None => Err(format!("ociVersion: `{version}` is no version")),
    }
}

/// Whether a limit of 0 processes means what it says: since 1.3; before, engines wrote it for none.
pub(super) fn counts_zero_pids(version: &str) -> bool {
    numbers(version).is_some_and(|version| version >= (1, 3))
}

/// Whether a configuration may use what is not known here, and is ignored for that.
pub(super) fn is_newer(version: &str) -> bool {
    let known = numbers(super::SPEC_VERSION);
    numbers(version).is_some_and(|version| known.is_none_or(|known| version > known))
}

fn lists(namespaces: &[LinuxNamespace], kind: LinuxNamespaceType) -> bool {
    namespaces.iter().any(|one| one.typ() == kind)
}

fn check_namespaces(namespaces: &[LinuxNamespace]) -> Result<(), String> {
    for (at, one) in namespaces.iter().enumerate() {
        if lists(&namespaces[..at], one.typ()) {
            return Err(format!("the namespace `{}` is listed twice", one.typ()));
        }
        if let Some(path) = one.path().as_ref().filter(|path| !path.is_absolute()) {
            return Err(format!(
                "the path of the namespace `{}` is not absolute: {}",
                one.typ(),
                path.display()
            ));
        }
    }
    Ok(())
}

/// What is for a namespace of the container's own needs that.
fn check_own(linux: &Linux, namespaces: &[LinuxNamespace]) -> Result<(), String> {
    let find = |kind| namespaces.iter().find(|one| one.typ() == kind);
    let given = |maps: &Option<Vec<_>>| maps.as_ref().is_some_and(|maps| !maps.is_empty());
    let maps = [given(linux.uid_mappings()), given(linux.gid_mappings())];
    match find(LinuxNamespaceType::User) {
        None if maps != [false, false] => {
            return Err(
                "user namespace mappings specified, but user namespace isn't enabled in the config"
                    .into(),
            );
        }
        Some(user) if user.path().is_none() && maps != [true, true] => {
            return Err("user namespaces enabled, but no namespace path to join nor mappings to apply \
                        specified: rootless container requires at least one UID mapping and one GID mapping"
                .into());
        }
        _ => {}
    }
    let offsets = linux.time_offsets().as_ref();
    let Some(offsets) = offsets.filter(|offsets| !offsets.is_empty()) else {
        return Ok(());
    };
    match find(LinuxNamespaceType::Time) {
        None => Err(
            "time namespace offsets specified, but time namespace isn't enabled in the config"
                .into(),
        ),
        Some(time) if time.path().is_some() => Err(
            "time namespace enabled, but both namespace path and time offsets specified -- you may \
             only provide one"
                .into(),
        ),
        // time_namespaces(7).
        Some(_) => match offsets.keys().find(|clock| !matches!(clock.as_str(), "monotonic" | "boottime")) {
            Some(clock) => Err(format!("timeOffsets: no clock `{clock}` can be set off")),
            None => Ok(()),
        },
    }
}

fn check_mount(mount: &Mount) -> Result<(), String> {
    proc_mount::check(mount)?;
    if mount.uid_mappings().is_some() != mount.gid_mappings().is_some() {
        return Err(format!(
            "the mount {} has one of uidMappings and gidMappings, and needs both",
            mount.destination().display()
        ));
    }
    Ok(())
}

fn check_linux(linux: &Linux) -> Result<(), String> {
    for (paths, name) in [
        (linux.masked_paths(), "maskedPaths"),
        (linux.readonly_paths(), "readonlyPaths"),
    ] {
        let mut paths = paths.iter().flatten();
        if let Some(path) = paths.find(|path| !path.starts_with('/')) {
            return Err(format!("{name}: `{path}` is not absolute"));
        }
    }
    for device in linux.devices().iter().flatten() {
        let path = device.path().display();
        if !device.path().is_absolute() {
            return Err(format!("the path of the device {path} is not absolute"));
        }
        if device.typ() == LinuxDeviceType::A {
            return Err(format!(
                "the device {path} is of no type: one of c, b, u and p"
            ));
        }
    }
    let personality = linux.personality().as_ref();
    let flags = personality.and_then(|personality| personality.flags().as_ref());
    if let Some(flag) = flags.and_then(|flags| flags.first()) {
        // "Currently no flag values are supported."
        return Err(format!(
            "personality: the specification has no flag `{flag}`"
        ));
    }
    let label = linux.mount_label().as_deref().unwrap_or_default();
    if !label.is_empty() && !manner::has_selinux() {
        return Err(format!(
            "mountLabel: the SELinux label `{label}` is asked for, and selinux is disabled or not supported"
        ));
    }
    match linux.intel_rdt() {
        Some(rdt) => crate::resctrl::check(rdt),
        None => Ok(()),
    }
}

/// Whether a kernel parameter is the container's own to set.
fn check_sysctl(name: &str, namespaces: &[LinuxNamespace]) -> Result<(), String> {
    let needed = match name.replace('/', ".").starts_with("user.") {
        // Limits of a user namespace: that of the host is not the container's to set.
        true => Some(LinuxNamespaceType::User),
        false => namespace_of(name),
    };
    match needed {
        Some(LinuxNamespaceType::Uts) if name == "kernel.hostname" => Err(format!(
            "sysctl {name:?} is not allowed: it is the field `hostname`"
        )),
        Some(needed) if !lists(namespaces, needed) => Err(format!(
            "sysctl {name:?} is not allowed without a namespace of its own: {needed}"
        )),
        Some(_) => Ok(()),
        None => Err(format!(
            "sysctl {name:?} is not in a separate kernel namespace"
        )),
    }
}

fn check_hooks(spec: &Spec) -> Result<(), String> {
    let hooks = spec.hooks().as_ref();
    for stage in Stage::ALL {
        for (index, hook) in stage.of(hooks).iter().enumerate() {
            check_hook(hook)
                .map_err(|reason| format!("{} hook #{index}: {reason}", stage.name()))?;
        }
    }
    Ok(())
}

fn check_hook(hook: &Hook) -> Result<(), String> {
    let path = hook.path();
    if !path.is_absolute() {
        return Err(format!("its path is not absolute: {}", path.display()));
    }
    match hook.timeout() {
        Some(timeout_s) if timeout_s <= 0 => {
            Err(format!("its timeout of {timeout_s} s is not above 0"))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_process(process: &Process) -> Result<(), String> {
    if process.args().as_deref().unwrap_or_default().is_empty() {
        return Err("process.args must not be empty".into());
    }
    if !process.cwd().is_absolute() {
        return Err("process.cwd must be an absolute path".into());
    }
    let mut kinds = Vec::new();
    for limit in process.rlimits().as_deref().unwrap_or_default() {
        if kinds.contains(&limit.typ()) {
            return Err(format!("rlimit type {} is specified twice", limit.typ()));
        }
        kinds.push(limit.typ());
    }
    let priority = process.io_priority().as_ref().map(|io| io.priority());
    if let Some(priority) = priority.filter(|priority| !(0..=7).contains(priority)) {
        return Err(format!("ioPriority.priority {priority} is not from 0 to 7"));
    }
    Ok(())
}

/// What is said in a configuration and means nothing: "Runtimes MAY log unknown properties".
pub(super) fn warnings(spec: &Spec) -> Vec<String> {
    let mut told = Vec::new();
    let version = spec.version();
    if is_newer(version) {
        let known = super::SPEC_VERSION;
        told.push(format!(
            "the configuration is of version {version} of the specification: what is newer in it than \
             {known} is passed over"
        ));
    }
    for mount in spec.mounts().iter().flatten() {
        let passed = mounts::passed_over(mount);
        if !passed.is_empty() {
            told.push(format!(
                "the bind {} is of no file system of its own, and has no {}",
                mount.destination().display(),
                passed.join(", ")
            ));
        }
    }
    told
}

/// Whether a root that nobody else has is changed to, or one in the mounts of others.
pub(super) fn own_mounts(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_deref());
    let mut listed = listed.unwrap_or_default().iter();
    listed.any(|one| one.typ() == LinuxNamespaceType::Mount && one.path().is_none())
}

/// The file of the mount namespace that a container is to join.
pub(super) fn mounts_of(spec: &Spec) -> Option<&Path> {
    let linux = spec.linux().as_ref();
    let mut listed = linux
        .and_then(|linux| linux.namespaces().as_deref())?
        .iter();
    listed
        .find(|one| one.typ() == LinuxNamespaceType::Mount)
        .and_then(|one| one.path().as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_of_three_numbers() {
        for good in [
            "1.0.0",
            "1.3.0",
            "1.0.2-dev",
            "1.2.1+dev",
            "1.1.0-rc.2",
            "1.99.0",
        ] {
            assert!(check_version(good).is_ok(), "{good}");
        }
        for bad in [
            "", "1", "1.2", "1.2.3.4", "1.02.0", "v1.2.0", "1.+2.0", "2.0.0", "0.5.0",
        ] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
        assert!(is_newer("1.4.0") && !is_newer("1.3.0") && !is_newer("1.3.7-dev"));
    }
}
