//! The isolation levels, by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How strongly a workload is kept apart from its host; ordered, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// One shared kernel; namespaces, cgroups, seccomp, capabilities.
    Container,
    /// A user-space kernel of our own between the workload and the host's.
    Sandbox,
    /// A guest kernel of its own on a minimal machine.
    Microvm,
    /// A whole machine.
    Vm,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::Container, Level::Sandbox, Level::Microvm, Level::Vm];

    /// Whether a workload shares no kernel with the host.
    #[must_use]
    pub fn has_own_kernel(self) -> bool {
        matches!(self, Level::Microvm | Level::Vm)
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Container => "container",
            Level::Sandbox => "sandbox",
            Level::Microvm => "microvm",
            Level::Vm => "vm",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown isolation level `{0}`")]
pub struct UnknownLevel(pub String);

impl gamut_spec::Fault for UnknownLevel {
    fn kind(&self) -> gamut_spec::Kind {
        gamut_spec::Kind::Invalid
    }
    fn hint(&self) -> Option<String> {
        Some("use container, sandbox, microvm, vm or auto".into())
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    /// Docker's Windows values `default` and `process` mean a container.
    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text {
            "container" | "default" | "process" => Ok(Level::Container),
            "sandbox" => Ok(Level::Sandbox),
            "microvm" => Ok(Level::Microvm),
            "vm" => Ok(Level::Vm),
            other => Err(UnknownLevel(other.into())),
        }
    }
}
