//! All of it in one document: `--config-file`, and `GET /vm/config`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Balloon, BootSource, CpuConfig, Drive, Entropy, Logger, Machine, MemoryHotplug, Metrics,
    MmdsConfig, Network, Pmem, Vsock,
};

/// A whole machine. As with Firecracker, fields that are not known are ignored on this level, and only
/// here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FullConfig {
    pub balloon: Option<Balloon>,
    pub drives: Vec<Drive>,
    pub boot_source: BootSource,
    pub cpu_config: Option<CpuConfigOrPath>,
    pub logger: Option<Logger>,
    pub machine_config: Option<Machine>,
    pub metrics: Option<Metrics>,
    pub mmds_config: Option<MmdsConfig>,
    #[serde(default)]
    pub network_interfaces: Vec<Network>,
    pub vsock: Option<Vsock>,
    pub entropy: Option<Entropy>,
    #[serde(default)]
    pub pmem: Vec<Pmem>,
    pub memory_hotplug: Option<MemoryHotplug>,
}

/// A template of processors, or the file that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CpuConfigOrPath {
    Path(PathBuf),
    Template(CpuConfig),
}
