//! `/machine-config`.

use serde::{Deserialize, Serialize};

/// The most processors.
pub const VCPUS_MAX: u8 = 32;
const DEFAULT_MEMORY_MIB: u32 = 128;

/// Processors and memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub vcpu_count: u8,
    pub mem_size_mib: u32,
    #[serde(default)]
    pub smt: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<CpuTemplate>,
    #[serde(default)]
    pub track_dirty_pages: bool,
    #[serde(default)]
    pub huge_pages: HugePages,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            vcpu_count: 1,
            mem_size_mib: DEFAULT_MEMORY_MIB,
            smt: false,
            cpu_template: None,
            track_dirty_pages: false,
            huge_pages: HugePages::None,
        }
    }
}

/// What the guest's memory is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HugePages {
    #[default]
    None,
    Transparent,
    #[serde(rename = "2M")]
    Huge,
}

/// Templates with a name; deprecated by Firecracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuTemplate {
    C3,
    T2,
    T2S,
    T2CL,
    T2A,
    V1N1,
    None,
}

/// `PATCH /machine-config`, and what becomes of a `PUT`: what is not said stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineUpdate {
    pub vcpu_count: Option<u8>,
    pub mem_size_mib: Option<u32>,
    pub smt: Option<bool>,
    pub cpu_template: Option<CpuTemplate>,
    pub track_dirty_pages: Option<bool>,
    pub huge_pages: Option<HugePages>,
}

impl From<Machine> for MachineUpdate {
    fn from(machine: Machine) -> Self {
        Self {
            vcpu_count: Some(machine.vcpu_count),
            mem_size_mib: Some(machine.mem_size_mib),
            smt: Some(machine.smt),
            cpu_template: machine.cpu_template,
            track_dirty_pages: Some(machine.track_dirty_pages),
            huge_pages: Some(machine.huge_pages),
        }
    }
}
