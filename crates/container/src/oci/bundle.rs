//! A bundle: a directory with `config.json` and a root file system. Runtime specification,
//! "Filesystem Bundle" and "Configuration".

use std::path::{Path, PathBuf};

use gamut_plan::launch::{
    FilesPlan, Grouping, Groups, Ids, LaunchPlan, LogPlan, NetworkPlan, Removal, RootPlan,
    SeccompPlan, Stdin, StopPlan, StreamsPlan, Terminal, Trace, UserPlan,
};
use gamut_plan::level::Level;
use gamut_plan::request::RestartPolicy;
use oci_spec::runtime::{
    LinuxDeviceCgroup, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, Process, Spec,
};
use serde_json::Value;

use super::check;
use super::error::OciError;
use crate::launch::operations::is_bind;

/// What a configuration asks for, and what of it was passed over.
#[derive(Debug)]
pub(super) struct Bundle {
    /// Absolute.
    pub(super) directory: PathBuf,
    pub(super) spec: Spec,
    pub(super) warnings: Vec<String>,
}

impl Bundle {
    pub(super) fn open(directory: &Path) -> Result<Bundle, OciError> {
        let directory = std::fs::canonicalize(directory)
            .map_err(|error| OciError::io("open the bundle", directory, error))?;
        let path = directory.join("config.json");
        let text = std::fs::read(&path).map_err(|error| OciError::io("read", &path, error))?;
        let refuse = |reason: String| OciError::Config {
            path: path.clone(),
            reason,
        };
        let mut warnings = Vec::new();
        let mut json: Value =
            serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        if let Some(process) = json.get_mut("process") {
            warnings.extend(ease_process(process));
        }
        warnings.extend(ease_linux(&mut json));
        let spec: Spec = serde_json::from_value(json).map_err(|error| refuse(error.to_string()))?;
        check::check(&spec).map_err(refuse)?;
        warnings.extend(check::warnings(&spec));
        let spec = settled(spec, &directory);
        Ok(Bundle {
            directory,
            spec,
            warnings,
        })
    }
}

impl Bundle {
    /// Tells the program of sockets that it inherits, if it is the first of a pid namespace: then its
    /// number is known, by which it sees that they are for it.
    pub(super) fn listen_on(&mut self, sockets: u32) {
        let linux = self.spec.linux().as_ref();
        let namespaces = linux.and_then(|linux| linux.namespaces().as_deref());
        let own = |n: &LinuxNamespace| n.typ() == LinuxNamespaceType::Pid && n.path().is_none();
        let first = namespaces.unwrap_or_default().iter().any(own);
        if let (true, true, Some(process)) = (sockets > 0, first, self.spec.process_mut()) {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend([format!("LISTEN_FDS={sockets}"), "LISTEN_PID=1".to_owned()]);
            process.set_env(Some(env));
        }
    }
}

/// A process as `exec --process` has it.
pub(super) fn process(path: &Path) -> Result<(Process, Vec<String>), OciError> {
    let refuse = |reason: String| OciError::Config {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read(path).map_err(|error| OciError::io("read", path, error))?;
    let mut json: Value =
        serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
    let warnings = ease_process(&mut json);
    let process = serde_json::from_value(json).map_err(|error| refuse(error.to_string()))?;
    Ok((process, warnings))
}

/// Takes out what must not end a start: capabilities that this program does not know. "The runtime
/// [...] SHOULD log a warning" (Configuration, `capabilities`).
fn ease_process(process: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    // What is written in Go leaves out what is nothing but zeroes.
    if let Some(fields) = process.as_object_mut() {
        let user = fields
            .entry("user")
            .or_insert_with(|| serde_json::json!({}));
        for id in ["uid", "gid"] {
            if let Some(user) = user.as_object_mut() {
                user.entry(id).or_insert_with(|| 0.into());
            }
        }
    }
    let flags = process.pointer_mut("/scheduler/flags");
    for flag in flags.and_then(Value::as_array_mut).into_iter().flatten() {
        // The crate's names of these two are not the specification's.
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
            _ => {}
        }
    }
    let sets = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()) {
        let Some(names) = set.as_array_mut() else {
            continue;
        };
        names.retain(|name| {
            let known = serde_json::from_value::<oci_spec::runtime::Capability>(name.clone());
            if known.is_err() {
                unknown.push(name.as_str().unwrap_or_default().to_owned());
            }
            known.is_ok()
        });
    }
    unknown.sort();
    unknown.dedup();
    let unknown = unknown
        .into_iter()
        .map(|name| format!("the capability {name} is unknown here and left out"));
    unknown.chain(without_ground(process)).collect()
}

/// Ambient capabilities that cannot be: those that are not permitted and inheritable, too
/// (capabilities(7)). The words are runc's.
fn without_ground(process: &Value) -> Vec<String> {
    let set = |name: &str| {
        let set = process.pointer(&format!("/capabilities/{name}"));
        let set = set.and_then(Value::as_array).into_iter().flatten();
        set.filter_map(Value::as_str).collect::<Vec<_>>()
    };
    let (permitted, inheritable) = (set("permitted"), set("inheritable"));
    let ambient = set("ambient").into_iter();
    ambient
        .filter(|name| !permitted.contains(name) || !inheritable.contains(name))
        .map(|name| {
            format!("can't raise ambient capability {name}: it is not permitted and inheritable")
        })
        .collect()
}

/// An empty path is none: what is written in Go says so. What earlier versions of the specification had
/// and this one has not is unknown: it is told.
fn ease_linux(json: &mut Value) -> Vec<String> {
    let namespaces = json
        .pointer_mut("/linux/namespaces")
        .and_then(Value::as_array_mut);
    for namespace in namespaces.into_iter().flatten() {
        if let Some(fields) = namespace.as_object_mut()
            && fields.get("path").and_then(Value::as_str) == Some("")
        {
            fields.remove("path");
        }
    }
    let rdt = json.pointer("/linux/intelRdt");
    let asked = |name: &&str| rdt.is_some_and(|rdt| rdt[name] == true);
    let gone = ["enableCMT", "enableMBM"].into_iter().filter(asked);
    gone.map(|name| format!("intelRdt.{name} is passed over: it has become enableMonitoring"))
        .collect()
}

/// The root and relative sources of binds are the bundle's ("Root", "Mounts"), and the default devices
/// may be used whatever the rules say before ("Default Devices"; runc and crun append them).
fn settled(mut spec: Spec, directory: &Path) -> Spec {
    let root = spec.root().as_ref().map(|root| directory.join(root.path()));
    if let (Some(root), Some(own)) = (&root, spec.root_mut()) {
        own.set_path(root.clone());
    }
    for mount in spec.mounts_mut().iter_mut().flatten() {
        // A destination by its place on the host is one in the root, as with runc.
        let below = root.as_deref().filter(|root| *root != Path::new("/"));
        let below = below.and_then(|root| mount.destination().strip_prefix(root).ok());
        if let Some(destination) = below.map(|below| Path::new("/").join(below)) {
            mount.set_destination(destination);
        }
        if let (true, Some(source)) = (is_bind(mount), mount.source().clone()) {
            mount.set_source(Some(directory.join(source)));
        }
    }
    let zero_counts = check::counts_zero_pids(spec.version());
    if let Some(linux) = spec.linux_mut() {
        let mut resources = linux.resources().clone().unwrap_or_default();
        if let Some(pids) = resources.pids_mut().as_mut()
            && pids.limit() == 0
            && !zero_counts
        {
            pids.set_limit(-1);
        }
        // Without a rule none but those are let in; runc and crun take it so, too.
        let given = resources
            .devices()
            .clone()
            .filter(|rules| !rules.is_empty());
        let mut rules = given.unwrap_or_else(|| vec![deny_all()]);
        rules.extend(default_device_rules());
        resources.set_devices(Some(rules));
        linux.set_resources(Some(resources));
    }
    spec
}

fn deny_all() -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(false);
    rule.set_access(Some("rwm".into()));
    rule
}

fn default_device_rules() -> Vec<LinuxDeviceCgroup> {
    let allow = |major: Option<i64>, minor: Option<i64>, kind, access: &str| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true);
        rule.set_typ(Some(kind));
        rule.set_major(major);
        rule.set_minor(minor);
        rule.set_access(Some(access.to_owned()));
        rule
    };
    let nodes = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
    let mut rules = vec![
        allow(None, None, LinuxDeviceType::C, "m"),
        allow(None, None, LinuxDeviceType::B, "m"),
        // unix98 terminals, pts(4).
        allow(Some(136), None, LinuxDeviceType::C, "rwm"),
    ];
    let named =
        nodes.map(|(major, minor)| allow(Some(major), Some(minor), LinuxDeviceType::C, "rwm"));
    rules.extend(named);
    rules
}

/// crun's annotation, by which podman has `--group-add keep-groups` done.
fn keeps_groups(spec: &Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations.is_some_and(|all| all.contains_key("run.oci.keep_original_groups"))
}

fn own_groups() -> Vec<u32> {
    let groups = rustix::process::getgroups().unwrap_or_default();
    groups.into_iter().map(rustix::fs::Gid::as_raw).collect()
}

/// What a process does that is never given a program: it waits, and may do nothing.
fn nothing_to_run() -> Process {
    let mut process = Process::default();
    process
        .set_args(Some(vec!["/".into()]))
        .set_env(None)
        .set_cwd("/".into())
        .set_rlimits(None)
        .set_capabilities(None);
    process
}

/// The plan of a container that has no keeper. Its root, its cgroup and its streams are given to
/// the start apart.
pub(super) fn plan(id: &str, spec: Spec, cgroup: &str, cache: PathBuf) -> LaunchPlan {
    let mut spec = spec;
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(cgroup.into()));
    }
    if spec.process().is_none() {
        spec.set_process(Some(nothing_to_run()));
    }
    let process = spec.process().as_ref();
    let user = process.map(|process| {
        let user = process.user();
        Ids {
            uid: user.uid(),
            gid: user.gid(),
            groups: if keeps_groups(&spec) {
                own_groups()
            } else {
                user.additional_gids().clone().unwrap_or_default()
            },
        }
    });
    let terminal = match process {
        Some(process) if process.terminal() == Some(true) => {
            let size = process.console_size();
            let short = |n: u64| u16::try_from(n).unwrap_or(0);
            Terminal::Pty {
                rows: size.map_or(0, |size| short(size.height())),
                columns: size.map_or(0, |size| short(size.width())),
            }
        }
        _ => Terminal::None,
    };
    let seccomp = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.seccomp().clone());
    LaunchPlan {
        version: LaunchPlan::VERSION,
        id: id.to_owned(),
        name: id.to_owned(),
        image: String::new(),
        level: Level::Container,
        user: UserPlan {
            user: String::new(),
            groups: Vec::new(),
            exact: Some(user.unwrap_or_default()),
        },
        joins: Vec::new(),
        root: RootPlan {
            lower: Vec::new(),
            upper: PathBuf::new(),
            work: PathBuf::new(),
            durability: gamut_plan::launch::Durability::Durable,
        },
        network: NetworkPlan::Host,
        seccomp: match seccomp {
            Some(section) => SeccompPlan::Oci(Box::new(section)),
            None => SeccompPlan::Unconfined,
        },
        files: FilesPlan {
            cache,
            ..FilesPlan::default()
        },
        streams: StreamsPlan {
            stdin: Stdin::Open,
            terminal,
        },
        log: LogPlan::None,
        herald: None,
        stop: StopPlan {
            signal: gamut_plan::signal::TERM,
            timeout_s: None,
        },
        removal: Removal::Keep,
        restart: RestartPolicy::No,
        pod_to_end: None,
        health: None,
        groups: Groups::All,
        grouping: Grouping::Own,
        secrets: Vec::new(),
        trace: Trace::Off,
        machine: None,
        spec,
    }
}
