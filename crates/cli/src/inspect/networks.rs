//! A network, as `network inspect` prints it.

use std::collections::BTreeMap;
use std::fmt::Display;

use gamut_engine::network::list::{Member, NetworkView};
use gamut_engine::{Engine, EngineError};
use serde::Serialize;

use super::time;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    name: String,
    id: String,
    created: String,
    scope: &'static str,
    driver: &'static str,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Ipam,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_from: ConfigFrom,
    config_only: bool,
    containers: BTreeMap<String, Attached>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigFrom {
    network: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    driver: &'static str,
    options: BTreeMap<String, String>,
    config: Vec<Subnet>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Subnet {
    subnet: String,
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    ip_range: String,
    gateway: String,
    #[serde(
        rename = "AuxiliaryAddresses",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    reserved: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attached {
    name: String,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    mac_address: String,
    #[serde(rename = "IPv4Address")]
    ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    ipv6_address: String,
}

impl Network {
    /// What is known of it now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn of(engine: &Engine, network: &NetworkView) -> Result<Self, EngineError> {
        let row = network.row.as_ref();
        let members = match row {
            Some(row) => engine.members(row)?,
            None => Vec::new(),
        };
        let running = members.into_iter().filter(|member| member.is_running);
        let options = row.map(|row| &row.options);
        let created_ns = u64::try_from(network.created_ns()).unwrap_or(0);
        Ok(Self {
            name: network.name.clone(),
            id: network.id.clone(),
            created: time(created_ns),
            scope: "local",
            driver: network.driver,
            enable_ipv4: true,
            enable_ipv6: row.is_some_and(|row| row.subnet6.is_some()),
            ipam: Ipam {
                driver: "default",
                options: BTreeMap::new(),
                config: subnets(network),
            },
            internal: options.is_some_and(|options| options.internal),
            attachable: options.is_some_and(|options| options.attachable),
            ingress: false,
            config_from: ConfigFrom { network: "" },
            config_only: false,
            containers: running
                .map(|member| (member.container_id.clone(), Attached::of(member, network)))
                .collect(),
            options: options
                .map(|options| options.driver.clone())
                .unwrap_or_default(),
            labels: network.labels(),
        })
    }
}

impl Attached {
    fn of(member: Member, network: &NetworkView) -> Self {
        fn prefixed<A: Display>(place: Option<(A, u8)>) -> String {
            place.map_or_else(String::new, |(address, bits)| format!("{address}/{bits}"))
        }
        let halves = [&network.id, &member.container_id].map(|id| id.get(..32).unwrap_or_default());
        Self {
            name: member.container_name,
            endpoint_id: halves.concat(),
            mac_address: member.mac,
            ipv4_address: prefixed(member.ipv4),
            ipv6_address: prefixed(member.ipv6),
        }
    }
}

fn subnets(network: &NetworkView) -> Vec<Subnet> {
    let Some(row) = &network.row else {
        return Vec::new();
    };
    let options = &row.options;
    let mut subnets = Vec::new();
    let text = |address: Option<String>| address.unwrap_or_default();
    let reserved = |is_ipv4: bool| {
        let of_family = options.reserved.iter();
        let of_family = of_family.filter(|(_, address)| address.is_ipv4() == is_ipv4);
        of_family
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect()
    };
    subnets.extend(row.subnet4.map(|subnet| {
        Subnet {
            subnet: subnet.to_string(),
            ip_range: text(
                options
                    .range4
                    .map(|(range, bits)| format!("{range}/{bits}")),
            ),
            gateway: text(row.gateway4.map(|gateway| gateway.to_string())),
            reserved: reserved(true),
        }
    }));
    subnets.extend(row.subnet6.map(|subnet| {
        Subnet {
            subnet: subnet.to_string(),
            ip_range: text(
                options
                    .range6
                    .map(|(range, bits)| format!("{range}/{bits}")),
            ),
            gateway: text(row.gateway6.map(|gateway| gateway.to_string())),
            reserved: reserved(false),
        }
    }));
    subnets
}
