//! `doctor`: what this host can do, found out by asking it. Each isolation level with what it
//! lacks, and each kernel feature with what to do about it.

mod devices;
mod groups;
mod kernel;
mod network;

use gamut_plan::Level;
use gamut_plan::host::{HostFacts, Missing};
use serde::Serialize;

use crate::cells;
use crate::image_extras::ImageExtras;
use crate::storage::Storage;

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub host: HostFacts,
    /// The weakest first.
    pub levels: Vec<LevelReport>,
    pub features: Vec<Feature>,
}

/// One isolation level.
#[derive(Debug, Clone, Serialize)]
pub struct LevelReport {
    pub level: Level,
    /// Workloads run at this level.
    pub ready: bool,
    pub missing: Vec<Missing>,
    /// What this host has for a level that is not built yet.
    pub prospects: Vec<String>,
}

/// One thing that a kernel has, or has not.
#[derive(Debug, Clone, Serialize)]
pub struct Feature {
    pub area: Area,
    pub name: String,
    pub state: State,
    /// What exactly was seen.
    pub detail: String,
    /// What to do where it is missing, as one sentence.
    pub remedy: Option<String>,
}

/// What a feature is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    Files,
    Processes,
    Limits,
    Filters,
    Network,
    Machines,
}

impl Area {
    pub const ALL: [Area; 6] = [
        Area::Files,
        Area::Processes,
        Area::Limits,
        Area::Filters,
        Area::Network,
        Area::Machines,
    ];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Area::Files => "File systems and mounts",
            Area::Processes => "Namespaces and processes",
            Area::Limits => "Limits",
            Area::Filters => "Filters and privileges",
            Area::Network => "Network",
            Area::Machines => "Virtual machines",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Yes,
    No,
    /// It could not be found out.
    Unknown,
}

impl From<bool> for State {
    fn from(there: bool) -> Self {
        if there { State::Yes } else { State::No }
    }
}

impl Feature {
    fn new(area: Area, name: &str, state: impl Into<State>, detail: impl Into<String>) -> Self {
        Feature {
            area,
            name: name.to_owned(),
            state: state.into(),
            detail: detail.into(),
            remedy: None,
        }
    }

    /// What to do unless it is there.
    fn or(mut self, remedy: &str) -> Self {
        if self.state != State::Yes {
            self.remedy = Some(remedy.to_owned());
        }
        self
    }
}

/// Looks at this host. Nothing of it is changed: what must be tried is tried in a network
/// namespace that ends with the trial. `tried`: what was tried with the store, if there is one.
#[must_use]
pub fn examine(tried: Option<&(Storage, ImageExtras)>) -> Report {
    let host = crate::host::facts();
    let levels = Level::ALL
        .into_iter()
        .map(|level| {
            let missing = cells::probe(level, &host);
            LevelReport {
                level,
                ready: cells::lack(level, &host).is_none(),
                missing,
                prospects: devices::prospects(level),
            }
        })
        .collect();
    let mut features = kernel::features(&host, tried);
    features.extend(groups::features(&host));
    features.extend(network::features());
    features.extend(devices::features());
    Report {
        host,
        levels,
        features,
    }
}

impl Report {
    /// Whether workloads can be run at `level`.
    #[must_use]
    pub fn is_ready(&self, level: Level) -> bool {
        self.levels.iter().any(|l| l.level == level && l.ready)
    }
}

/// A small file's content without the newline at its end; `None`: it cannot be read.
fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim_end().to_owned())
}

/// Whether the kernel knows this file system now, or has a module for it.
fn filesystem(area: Area, name: &str, title: &str) -> Feature {
    let known = read("/proc/filesystems").unwrap_or_default();
    let there = known
        .lines()
        .any(|line| line.split_whitespace().next_back() == Some(name));
    let (state, detail) = match (there, has_module(name)) {
        (true, _) => (State::Yes, "registered with the kernel"),
        (false, true) => (State::Yes, "a module, loaded by the first mount"),
        (false, false) => (State::No, "neither registered nor among the modules"),
    };
    let remedy = format!("install its module for this kernel and `modprobe {name}`");
    Feature::new(area, title, state, detail).or(&remedy)
}

/// Whether there is a module of this name for the running kernel.
fn has_module(name: &str) -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let list = read(&format!("/lib/modules/{release}/modules.dep")).unwrap_or_default();
    let file = format!("/{name}.ko");
    list.lines()
        .filter_map(|line| line.split(':').next())
        .any(|path| path.contains(&file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_area_and_level_is_looked_at() {
        let report = examine(None);
        assert_eq!(report.levels.len(), Level::ALL.len());
        for area in Area::ALL {
            assert!(
                report.features.iter().any(|f| f.area == area),
                "{area:?} has no feature"
            );
        }
        for feature in &report.features {
            let tells = feature.state == State::Yes || feature.remedy.is_some();
            assert!(tells, "{} is missing without a remedy", feature.name);
        }
        assert!(!report.is_ready(Level::Vm));
    }
}
