//! `/mmds/config`: the metadata service that a guest finds at an address of its network.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// How it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmdsConfig {
    #[serde(default)]
    pub version: MmdsVersion,
    /// The network interfaces on which it is.
    pub network_interfaces: Vec<String>,
    pub ipv4_address: Option<Ipv4Addr>,
    /// Answers have EC2's form, whatever the guest accepts.
    #[serde(default)]
    pub imds_compat: bool,
}

impl MmdsConfig {
    /// Where it is found if nothing is said.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
}

/// With V2, nothing is read without a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MmdsVersion {
    #[default]
    V1,
    V2,
}
