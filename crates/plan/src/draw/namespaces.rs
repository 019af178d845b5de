//! Which namespaces are new, which are others', and what is set in them.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceBuilder,
    LinuxNamespaceType, LinuxTimeOffset, LinuxTimeOffsetBuilder,
};

use super::{DrawError, Drawing, security};
use crate::launch::{Join, NetworkPlan};
use crate::request::{IpcNamespace, Sharing, Systemd, TimeOffsets, UserNamespace};
use crate::sysctl::namespace_of;

pub(super) struct Namespaces {
    pub(super) create: Vec<LinuxNamespace>,
    pub(super) joins: Vec<Join>,
    pub(super) maps: Option<Vec<LinuxIdMapping>>,
    pub(super) time_offsets: Option<HashMap<String, LinuxTimeOffset>>,
    pub(super) hostname: Option<String>,
    pub(super) sysctls: HashMap<String, String>,
}

pub(super) fn draw(drawing: &Drawing<'_>) -> Result<Namespaces, DrawError> {
    let asked = &drawing.request.namespaces;
    let mut kinds = vec![LinuxNamespaceType::Mount];
    let mut joins = Vec::new();
    let mut paths = Vec::new();
    let mut share = |kind: LinuxNamespaceType, sharing: Option<&Sharing>| match sharing {
        None | Some(Sharing::Private) => kinds.push(kind),
        Some(Sharing::Host) => {}
        Some(Sharing::Container(id)) => joins.push(Join {
            namespace: kind,
            container: id.clone(),
        }),
        Some(Sharing::Namespace(path)) => paths.push((kind, path.clone())),
    };
    share(LinuxNamespaceType::Pid, asked.pid.as_ref());
    share(LinuxNamespaceType::Uts, uts(drawing).as_ref());
    share(LinuxNamespaceType::Cgroup, cgroup(drawing).as_ref());
    let ipc = match &asked.ipc {
        None | Some(IpcNamespace::Private | IpcNamespace::Shareable | IpcNamespace::None) => {
            Sharing::Private
        }
        Some(IpcNamespace::Host) => Sharing::Host,
        Some(IpcNamespace::Container(id)) => Sharing::Container(id.clone()),
        Some(IpcNamespace::Namespace(path)) => Sharing::Namespace(path.clone()),
    };
    share(LinuxNamespaceType::Ipc, Some(&ipc));
    let network = match &drawing.network {
        NetworkPlan::Host => Sharing::Host,
        NetworkPlan::Namespace(path) => Sharing::Namespace(path.clone()),
        NetworkPlan::Container(id) => Sharing::Container(id.clone()),
        NetworkPlan::None | NetworkPlan::Bridge(_) | NetworkPlan::Pasta(_) => Sharing::Private,
    };
    share(LinuxNamespaceType::Network, Some(&network));
    if security::own_users(drawing) {
        kinds.push(LinuxNamespaceType::User);
    }
    let time_offsets = asked.time.as_ref().map(offsets).transpose()?;
    if time_offsets.is_some() {
        kinds.push(LinuxNamespaceType::Time);
    }
    let own_network = network == Sharing::Private;
    let mut create = kinds
        .into_iter()
        .map(|k| LinuxNamespaceBuilder::default().typ(k).build())
        .collect::<Result<Vec<_>, _>>()?;
    for (kind, path) in paths {
        let namespace = LinuxNamespaceBuilder::default().typ(kind).path(path);
        create.push(namespace.build()?);
    }
    Ok(Namespaces {
        create,
        joins,
        maps: maps(drawing)?,
        time_offsets,
        hostname: hostname(drawing),
        sysctls: sysctls(drawing, own_network, ipc == Sharing::Private)?,
    })
}

/// `--network host` shares the host's name too, unless one was given.
fn uts(drawing: &Drawing<'_>) -> Option<Sharing> {
    drawing.request.namespaces.uts.clone()
}

/// A privileged container on v1 sees the host's tree, as in Docker; on its own otherwise.
fn cgroup(drawing: &Drawing<'_>) -> Option<Sharing> {
    drawing.request.namespaces.cgroup.clone()
}

/// What the container is called; `None` where it shares another's name.
pub(super) fn hostname(drawing: &Drawing<'_>) -> Option<String> {
    match drawing.request.namespaces.uts {
        Some(Sharing::Host | Sharing::Container(_) | Sharing::Namespace(_)) => None,
        _ => Some(drawing.hostname.to_owned()),
    }
}

fn maps(drawing: &Drawing<'_>) -> Result<Option<Vec<LinuxIdMapping>>, DrawError> {
    let (host, size) = match drawing.request.namespaces.user {
        Some(UserNamespace::Auto) if drawing.host.home.is_some() => {
            let flag = match drawing.request.process.systemd {
                Systemd::System => "--system",
                _ => "--userns auto",
            };
            return Err(DrawError::NeedsRoot(flag));
        }
        Some(UserNamespace::Auto) => drawing.user_range.unwrap_or((0, u32::MAX)),
        // All ids that there are; the last means "no id".
        Some(UserNamespace::Private) => (0, drawing.host.groups),
        Some(UserNamespace::Host) | None => return Ok(None),
    };
    let map = LinuxIdMappingBuilder::default()
        .container_id(0u32)
        .host_id(host)
        .size(size)
        .build()?;
    Ok(Some(vec![map]))
}

fn offsets(asked: &TimeOffsets) -> Result<HashMap<String, LinuxTimeOffset>, DrawError> {
    let split = |ns: i64| {
        LinuxTimeOffsetBuilder::default()
            .secs(ns.div_euclid(1_000_000_000))
            .nanosecs(ns.rem_euclid(1_000_000_000) as u32)
            .build()
    };
    Ok(HashMap::from([
        ("monotonic".to_owned(), split(asked.monotonic_ns)?),
        ("boottime".to_owned(), split(asked.boottime_ns)?),
    ]))
}

/// Which namespace keeps a setting; sysctl(8) names with dots.
fn sysctls(
    drawing: &Drawing<'_>,
    own_network: bool,
    own_ipc: bool,
) -> Result<HashMap<String, String>, DrawError> {
    let mut list = HashMap::new();
    if own_network && !security::own_users(drawing) {
        // Docker's: a container's port 80 needs no privilege, nor does its ping.
        list.insert(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "0".to_owned(),
        );
        list.insert(
            "net.ipv4.ping_group_range".to_owned(),
            // All that there are, and no more than the kernel takes.
            format!(
                "0 {}",
                drawing.host.groups.saturating_sub(1).min(i32::MAX as u32)
            ),
        );
    }
    for (name, value) in &drawing.request.namespaces.sysctls {
        let shared = |namespace| DrawError::SharedSysctl {
            name: name.clone(),
            namespace,
        };
        match namespace_of(name) {
            Some(LinuxNamespaceType::Network) if !own_network => {
                return Err(shared("the network namespace"));
            }
            Some(LinuxNamespaceType::Ipc) if !own_ipc => return Err(shared("the ipc namespace")),
            Some(_) => {}
            None => return Err(DrawError::HostSysctl(name.clone())),
        }
        list.insert(name.clone(), value.clone());
    }
    Ok(list)
}
