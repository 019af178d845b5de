//! `HostConfig`: what was asked of the host, in Docker's words.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gamut_engine::details::Details;
use gamut_engine::{Engine, View};
use gamut_plan::egress::EgressPolicy;
use gamut_plan::launch::LaunchPlan;
use gamut_plan::request::{
    self, AfterExit, Bound, Capability, HostAddress, Identity, IpcNamespace, Limits, MountSource,
    Operation, RunRequest, Seccomp, Sharing, SystemPaths, ThrottleUnit, UserNamespace,
};
use serde::Serialize;

use super::mounts::propagation_name;
use super::network::{Ports, bindings};

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostConfig {
    binds: Option<Vec<String>>,
    #[serde(rename = "ContainerIDFile")]
    container_id_file: &'static str,
    log_config: LogConfig,
    network_mode: String,
    port_bindings: Ports,
    restart_policy: RestartPolicy,
    auto_remove: bool,
    volume_driver: &'static str,
    volumes_from: Option<Vec<String>>,
    annotations: BTreeMap<String, String>,
    cap_add: Option<Vec<String>>,
    cap_drop: Option<Vec<String>>,
    cgroupns_mode: String,
    dns: Vec<String>,
    dns_options: Vec<String>,
    dns_search: Vec<String>,
    extra_hosts: Option<Vec<String>>,
    /// Ours: the words of `--egress`; `null`: everything may be reached.
    egress: Option<Vec<String>>,
    group_add: Option<Vec<String>>,
    ipc_mode: String,
    cgroup: &'static str,
    links: Option<Vec<String>>,
    oom_score_adj: i16,
    pid_mode: String,
    privileged: bool,
    publish_all_ports: bool,
    readonly_rootfs: bool,
    security_opt: Option<Vec<String>>,
    #[serde(rename = "UTSMode")]
    uts_mode: String,
    userns_mode: String,
    shm_size: u64,
    sysctls: BTreeMap<String, String>,
    tmpfs: BTreeMap<String, String>,
    /// The isolation level.
    runtime: String,
    isolation: String,
    #[serde(flatten)]
    limits: LimitsConfig,
    devices: Vec<Device>,
    device_cgroup_rules: Option<Vec<String>>,
    device_requests: Option<Vec<String>>,
    cgroup_parent: String,
    masked_paths: Vec<String>,
    readonly_paths: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LogConfig {
    r#type: &'static str,
    config: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: &'static str,
    maximum_retry_count: u32,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            name: "no",
            maximum_retry_count: 0,
        }
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct LimitsConfig {
    cpu_shares: u64,
    memory: u64,
    nano_cpus: u64,
    blkio_weight: u16,
    blkio_weight_device: Vec<WeightDevice>,
    blkio_device_read_bps: Vec<RateDevice>,
    blkio_device_write_bps: Vec<RateDevice>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    blkio_device_read_iops: Vec<RateDevice>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    blkio_device_write_iops: Vec<RateDevice>,
    cpu_period: u64,
    cpu_quota: u64,
    cpuset_cpus: String,
    cpuset_mems: String,
    memory_reservation: u64,
    /// −1: no limit.
    memory_swap: i64,
    memory_swappiness: Option<i64>,
    oom_kill_disable: Option<bool>,
    pids_limit: Option<i64>,
    ulimits: Vec<UlimitConfig>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct WeightDevice {
    path: PathBuf,
    weight: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RateDevice {
    path: PathBuf,
    rate: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UlimitConfig {
    name: String,
    hard: i64,
    soft: i64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Device {
    path_on_host: PathBuf,
    path_in_container: PathBuf,
    cgroup_permissions: String,
}

/// What the container's own group is below.
fn parent_group(details: &Details) -> Option<String> {
    let linux = details.plan.as_ref()?.spec.linux().as_ref()?;
    let parent = linux.cgroups_path().as_ref()?.parent()?;
    Some(parent.display().to_string())
}

impl HostConfig {
    pub(super) fn of(engine: &Engine, view: &View, details: &Details) -> Self {
        let mut config = Self {
            network_mode: details.summary.network_mode(),
            runtime: view.row.level.clone(),
            isolation: view.row.level.clone(),
            cgroup_parent: parent_group(details).unwrap_or(engine.instance().cgroup),
            ..Self::default()
        };
        if let Some(request) = &details.summary.request {
            config.take_request(request);
        }
        if let Some(plan) = &details.plan {
            config.take_plan(plan);
        }
        config
    }

    fn take_request(&mut self, request: &RunRequest) {
        self.auto_remove = request.after_exit == AfterExit::Remove;
        self.restart_policy = RestartPolicy {
            name: request.restart.name(),
            maximum_retry_count: match request.restart {
                request::RestartPolicy::OnFailure { at_most }
                | request::RestartPolicy::OnUnhealthy { at_most } => at_most.unwrap_or(0),
                _ => 0,
            },
        };
        self.log_config = LogConfig {
            r#type: request.logs.driver(),
            config: request
                .logs
                .more()
                .map(|more| more.given.clone())
                .unwrap_or_default(),
        };
        self.annotations = request.annotations.clone();
        self.limits = LimitsConfig::of(&request.limits);
        self.oom_score_adj = request.limits.oom_score_adj.unwrap_or(0);
        self.take_network(&request.network);
        self.take_security(request);
        self.take_namespaces(&request.namespaces);
        self.take_storage(&request.storage);
        let groups = &request.process.additional_groups;
        self.group_add = listed(groups.iter().map(identity));
    }

    fn take_network(&mut self, network: &request::Network) {
        self.publish_all_ports = network.publish_all;
        self.dns = network
            .dns_servers
            .iter()
            .map(ToString::to_string)
            .collect();
        self.dns_options = network.dns_options.clone();
        self.dns_search = network.dns_search.clone();
        self.extra_hosts = listed(network.extra_hosts.iter().map(|extra| match extra.address {
            HostAddress::Ip(address) => format!("{}:{address}", extra.name),
            HostAddress::HostGateway => format!("{}:host-gateway", extra.name),
        }));
        self.egress = network.egress.as_ref().map(EgressPolicy::words);
        self.port_bindings = bindings(network);
    }

    fn take_security(&mut self, request: &RunRequest) {
        let security = &request.security;
        self.privileged = security.privileged;
        self.cap_add = listed(security.capabilities_add.iter().map(capability));
        self.cap_drop = listed(security.capabilities_drop.iter().map(capability));
        let mut options = Vec::new();
        if security.no_new_privileges {
            options.push("no-new-privileges".to_owned());
        }
        match &security.seccomp {
            Seccomp::Default => {}
            Seccomp::Unconfined => options.push("seccomp=unconfined".to_owned()),
            Seccomp::Profile { json } => options.push(format!("seccomp={json}")),
        }
        if security.system_paths == SystemPaths::Unconfined {
            options.push("systempaths=unconfined".to_owned());
        }
        for (word, paths) in [("mask", &security.masked), ("unmask", &security.unmasked)] {
            if !paths.is_empty() {
                options.push(format!("{word}={}", paths.join(":")));
            }
        }
        self.security_opt = listed(options);
        self.device_cgroup_rules = listed(security.device_rules.iter().map(device_rule));
        self.devices = security
            .devices
            .iter()
            .map(|device| Device {
                path_on_host: device.source.clone(),
                path_in_container: device.target.clone(),
                cgroup_permissions: [
                    (device.access.read, 'r'),
                    (device.access.write, 'w'),
                    (device.access.mknod, 'm'),
                ]
                .into_iter()
                .filter_map(|(given, letter)| given.then_some(letter))
                .collect(),
            })
            .collect();
    }

    fn take_namespaces(&mut self, namespaces: &request::Namespaces) {
        let sharing = |sharing: &Option<Sharing>, private: &str| match sharing {
            None => private.to_owned(),
            Some(Sharing::Private) => "private".to_owned(),
            Some(Sharing::Host) => "host".to_owned(),
            Some(Sharing::Container(named)) => format!("container:{named}"),
            Some(Sharing::Namespace(path)) => format!("ns:{}", path.display()),
        };
        self.pid_mode = sharing(&namespaces.pid, "");
        self.uts_mode = sharing(&namespaces.uts, "");
        self.cgroupns_mode = sharing(&namespaces.cgroup, "private");
        self.ipc_mode = match &namespaces.ipc {
            None | Some(IpcNamespace::Private) => "private".to_owned(),
            Some(IpcNamespace::None) => "none".to_owned(),
            Some(IpcNamespace::Shareable) => "shareable".to_owned(),
            Some(IpcNamespace::Host) => "host".to_owned(),
            Some(IpcNamespace::Container(named)) => format!("container:{named}"),
            Some(IpcNamespace::Namespace(path)) => format!("ns:{}", path.display()),
        };
        self.userns_mode = match namespaces.user {
            None => "",
            Some(UserNamespace::Host) => "host",
            Some(UserNamespace::Auto) => "auto",
            Some(UserNamespace::Private) => "private",
        }
        .to_owned();
        self.sysctls = namespaces.sysctls.clone();
    }

    fn take_storage(&mut self, storage: &request::Storage) {
        const DEFAULT_SHM_BYTES: u64 = 64 * 1024 * 1024;
        self.readonly_rootfs = storage.read_only_root;
        self.shm_size = storage.shm_size_bytes.unwrap_or(DEFAULT_SHM_BYTES);
        self.binds = listed(storage.mounts.iter().filter_map(bind));
        self.tmpfs = storage
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Tmpfs(options) => {
                    Some((mount.target.display().to_string(), tmpfs(options)))
                }
                _ => None,
            })
            .collect();
    }

    fn take_plan(&mut self, plan: &LaunchPlan) {
        let linux = plan.spec.linux().as_ref();
        self.masked_paths = linux
            .and_then(|l| l.masked_paths().clone())
            .unwrap_or_default();
        self.readonly_paths = linux
            .and_then(|l| l.readonly_paths().clone())
            .unwrap_or_default();
    }
}

impl LimitsConfig {
    fn of(limits: &Limits) -> Self {
        let rates = |operation: Operation, unit: ThrottleUnit| {
            limits
                .blkio_throttles
                .iter()
                .filter(|throttle| throttle.operation == operation && throttle.unit == unit)
                .map(|throttle| RateDevice {
                    path: throttle.device.clone(),
                    rate: throttle.rate,
                })
                .collect()
        };
        let memory = limits.memory_bytes.unwrap_or(0);
        Self {
            cpu_shares: limits.cpu_shares.unwrap_or(0),
            memory,
            nano_cpus: nano_cpus(limits),
            blkio_weight: limits.blkio_weight.unwrap_or(0),
            blkio_weight_device: limits
                .blkio_weight_devices
                .iter()
                .map(|device| WeightDevice {
                    path: device.device.clone(),
                    weight: device.weight,
                })
                .collect(),
            blkio_device_read_bps: rates(Operation::Read, ThrottleUnit::Bytes),
            blkio_device_write_bps: rates(Operation::Write, ThrottleUnit::Bytes),
            blkio_device_read_iops: rates(Operation::Read, ThrottleUnit::Operations),
            blkio_device_write_iops: rates(Operation::Write, ThrottleUnit::Operations),
            cpu_period: limits.cpu_period_us.unwrap_or(0),
            cpu_quota: limits.cpu_quota_us.unwrap_or(0),
            cpuset_cpus: numbers(&limits.cpuset_cpus),
            cpuset_mems: numbers(&limits.cpuset_mems),
            memory_reservation: limits.memory_reservation_bytes.unwrap_or(0),
            memory_swap: match limits.memory_and_swap_bytes {
                Some(bound) => number(bound),
                // As much swap as memory.
                None => i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX),
            },
            memory_swappiness: None,
            oom_kill_disable: limits.oom_kill_disable.then_some(true),
            pids_limit: limits.pids.map(number),
            ulimits: limits
                .ulimits
                .iter()
                .map(|ulimit| UlimitConfig {
                    name: format!("{:?}", ulimit.resource).to_lowercase(),
                    hard: number(ulimit.hard),
                    soft: number(ulimit.soft),
                })
                .collect(),
        }
    }
}

/// `--cpus`, which the request has as quota and period (cgroup v1's default is 100 ms).
fn nano_cpus(limits: &Limits) -> u64 {
    const DEFAULT_PERIOD_US: u64 = 100_000;
    let period = limits.cpu_period_us.unwrap_or(DEFAULT_PERIOD_US).max(1);
    let quota = u128::from(limits.cpu_quota_us.unwrap_or(0));
    u64::try_from(quota * 1_000_000_000 / u128::from(period)).unwrap_or(u64::MAX)
}

fn number(bound: Bound) -> i64 {
    match bound {
        Bound::Unlimited => -1,
        Bound::At(count) => i64::try_from(count).unwrap_or(i64::MAX),
    }
}

fn numbers<'a>(set: impl IntoIterator<Item = &'a u32>) -> String {
    let texts: Vec<String> = set.into_iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// Docker's `null` for an empty list.
fn listed(items: impl IntoIterator<Item = String>) -> Option<Vec<String>> {
    let list: Vec<String> = items.into_iter().collect();
    (!list.is_empty()).then_some(list)
}

fn identity(identity: &Identity) -> String {
    match identity {
        Identity::Id(id) => id.to_string(),
        Identity::Name(name) => name.clone(),
    }
}

fn capability(capability: &Capability) -> String {
    match capability {
        Capability::All => "ALL".to_owned(),
        Capability::Named(name) => name.clone(),
    }
}

/// As in `--device-cgroup-rule`.
fn device_rule(rule: &request::DeviceRule) -> String {
    let kind = match rule.kind {
        request::DeviceRuleKind::All => 'a',
        request::DeviceRuleKind::Block => 'b',
        request::DeviceRuleKind::Character => 'c',
    };
    let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
    let (major, minor) = (number(rule.major), number(rule.minor));
    format!("{kind} {major}:{minor} {}", rule.access.letters())
}

/// `-v`'s own form.
fn bind(mount: &request::Mount) -> Option<String> {
    let target = mount.target.display();
    let mut options = Vec::new();
    if mount.read_only {
        options.push("ro");
    }
    let source = match &mount.source {
        MountSource::Bind {
            path, propagation, ..
        } => {
            if *propagation != request::Propagation::default() {
                options.push(propagation_name(*propagation));
            }
            path.display().to_string()
        }
        MountSource::Volume {
            name: Some(name), ..
        } => name.clone(),
        MountSource::Volume { name: None, .. } | MountSource::Tmpfs(_) => return None,
    };
    let options = match options.is_empty() {
        true => String::new(),
        false => format!(":{}", options.join(",")),
    };
    Some(format!("{source}:{target}{options}"))
}

fn tmpfs(options: &request::TmpfsOptions) -> String {
    let mut words = Vec::new();
    words.extend(options.size_bytes.map(|bytes| format!("size={bytes}")));
    words.extend(options.mode.map(|mode| format!("mode={mode:o}")));
    words.extend(options.uid.map(|uid| format!("uid={uid}")));
    words.extend(options.gid.map(|gid| format!("gid={gid}")));
    for (given, name) in [
        (options.exec, "exec"),
        (options.suid, "suid"),
        (options.dev, "dev"),
    ] {
        words.extend(given.map(|on| match on {
            true => name.to_owned(),
            false => format!("no{name}"),
        }));
    }
    words.join(",")
}
