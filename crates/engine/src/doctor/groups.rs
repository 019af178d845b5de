//! Control groups: how the host shares them out, and each controller.

use gamut_container::cgroup::{Controller, Hierarchies, Mode, Version};
use gamut_plan::host::HostFacts;

use super::{Area, Feature, State};

/// Those that a flag of `run` needs.
const CONTROLLERS: [(Controller, &str); 7] = [
    (Controller::Memory, "`--memory`"),
    (Controller::Cpu, "`--cpus` and `--cpu-shares`"),
    (Controller::Cpuset, "`--cpuset-cpus`"),
    (Controller::Pids, "`--pids-limit`"),
    (
        Controller::Block,
        "`--blkio-weight` and `--device-read-bps`",
    ),
    (Controller::Devices, "`--device`"),
    (Controller::Freezer, "pausing"),
];

pub(super) fn features(_host: &HostFacts) -> Vec<Feature> {
    let hierarchies = match Hierarchies::discover() {
        Ok(hierarchies) => hierarchies,
        Err(error) => {
            return vec![
                Feature::new(Area::Limits, "cgroups", State::No, error.to_string())
                    .or("mount cgroup2 on /sys/fs/cgroup"),
            ];
        }
    };
    let mode = match hierarchies.mode {
        Mode::V1 => "version 1 only",
        Mode::Hybrid => "hybrid: controllers of version 1, and version 2 beside them",
        Mode::V2 => "version 2 only",
    };
    let mut list = vec![Feature::new(Area::Limits, "cgroups", State::Yes, mode)];
    for (controller, flags) in CONTROLLERS {
        list.push(feature(&hierarchies, controller, flags));
    }
    list
}

fn feature(hierarchies: &Hierarchies, controller: Controller, flags: &str) -> Feature {
    let name = controller.v2_name().unwrap_or(controller.v1_name());
    let title = format!("cgroup {name}");
    match hierarchies.find(controller) {
        Some(at) => {
            let version = match at.version {
                Version::V1 => 1,
                Version::V2 => 2,
            };
            let detail = format!("{flags}; version {version}, {}", at.mount_point);
            Feature::new(Area::Limits, &title, State::Yes, detail)
        }
        None => Feature::new(Area::Limits, &title, State::No, flags).or(&format!(
            "enable the controller `{name}` in the kernel's configuration or command line"
        )),
    }
}
