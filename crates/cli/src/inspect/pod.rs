//! A pod, as `pod inspect` prints it: podman's names.

use std::collections::BTreeMap;

use gamut_engine::Engine;
use gamut_engine::pods::PodView;
use gamut_plan::request::{HostAddress, Limits, NetworkMode, RunRequest};
use serde::Serialize;

use super::network::{Ports, bindings};
use crate::listing;
use crate::view::{local_rfc3339, pods};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pod {
    id: String,
    name: String,
    created: String,
    create_command: Vec<String>,
    exit_policy: &'static str,
    state: &'static str,
    hostname: String,
    labels: BTreeMap<String, String>,
    create_cgroup: bool,
    cgroup_parent: String,
    cgroup_path: String,
    create_infra: bool,
    #[serde(rename = "InfraContainerID")]
    infra_container_id: String,
    infra_config: Option<InfraConfig>,
    shared_namespaces: Vec<&'static str>,
    restart_policy: &'static str,
    #[serde(flatten)]
    limits: PodLimits,
    num_containers: usize,
    containers: Vec<Contained>,
}

/// What its infra container was made with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InfraConfig {
    port_bindings: Ports,
    host_network: bool,
    #[serde(rename = "StaticIP")]
    static_ip: String,
    #[serde(rename = "StaticMAC")]
    static_mac: String,
    #[serde(rename = "DNSServer")]
    dns_server: Vec<String>,
    #[serde(rename = "DNSSearch")]
    dns_search: Vec<String>,
    #[serde(rename = "DNSOption")]
    dns_option: Vec<String>,
    host_add: Vec<String>,
    networks: Vec<String>,
}

/// As podman has it, what is not limited is not there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
struct PodLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_quota: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_shares: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_limit: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Contained {
    id: String,
    name: String,
    state: &'static str,
}

impl Pod {
    #[must_use]
    pub fn of(engine: &Engine, pod: &PodView) -> Self {
        let infra = pod.infra_request();
        let path = match pod.request.share_parent {
            true => engine.pod_group(&pod.row.id),
            false => String::new(),
        };
        let hostname = infra.as_ref().and_then(|i| i.namespaces.hostname.clone());
        Self {
            id: pod.row.id.clone(),
            name: pod.row.name.clone(),
            created: local_rfc3339(u64::try_from(pod.row.created_ns).unwrap_or(0)),
            create_command: pod.request.command.clone(),
            exit_policy: pod.request.exit_policy.name(),
            state: pod.state().word(),
            hostname: hostname.unwrap_or_default(),
            labels: pod.row.labels.clone(),
            create_cgroup: pod.request.share_parent,
            cgroup_parent: engine.instance().cgroup,
            cgroup_path: path,
            create_infra: pod.request.infra,
            infra_container_id: pod
                .infra()
                .map_or_else(String::new, |one| one.row.id.clone()),
            infra_config: infra.as_ref().map(|infra| InfraConfig::of(pod, infra)),
            shared_namespaces: pods::namespaces(pod),
            restart_policy: pod.request.restart.name(),
            limits: PodLimits::of(&pod.request.limits),
            num_containers: pod.containers.len(),
            containers: pod
                .containers
                .iter()
                .map(|one| Contained {
                    id: one.row.id.clone(),
                    name: one.row.name.clone(),
                    state: listing::life(one).word(),
                })
                .collect(),
        }
    }
}

impl InfraConfig {
    fn of(pod: &PodView, infra: &RunRequest) -> Self {
        let network = &infra.network;
        let mac = network.mac_address.map(|mac| {
            let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
            bytes.join(":")
        });
        let extra = network.extra_hosts.iter();
        Self {
            port_bindings: bindings(network),
            host_network: network.mode == NetworkMode::Host,
            static_ip: network.ipv4.map_or_else(String::new, |ip| ip.to_string()),
            static_mac: mac.unwrap_or_default(),
            dns_server: network
                .dns_servers
                .iter()
                .map(ToString::to_string)
                .collect(),
            dns_search: network.dns_search.clone(),
            dns_option: network.dns_options.clone(),
            host_add: extra
                .map(|extra| match extra.address {
                    HostAddress::Ip(address) => format!("{}:{address}", extra.name),
                    HostAddress::HostGateway => format!("{}:host-gateway", extra.name),
                })
                .collect(),
            networks: pods::networks(pod),
        }
    }
}

impl PodLimits {
    fn of(limits: &Limits) -> Self {
        Self {
            cpu_period: limits.cpu_period_us,
            cpu_quota: limits.cpu_quota_us,
            cpu_shares: limits.cpu_shares,
            memory_limit: limits.memory_bytes,
        }
    }
}
