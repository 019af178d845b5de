//! `info`: the engine's state and its host, under Docker's names where Docker has one.

use gamut_container::cgroup::{Hierarchies, Mode};
use gamut_plan::{Level, Phase};
use gamut_store::snapshot::Driver;
use serde::Serialize;

use crate::cells;
use crate::engine::Engine;
use crate::error::EngineError;

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    pub containers: usize,
    pub containers_running: usize,
    pub containers_paused: usize,
    pub containers_stopped: usize,
    pub images: usize,
    pub driver: &'static str,
    /// Names and values about the driver: Docker's form.
    pub driver_status: Vec<(&'static str, String)>,
    pub docker_root_dir: String,
    pub run_root: String,
    pub logging_driver: &'static str,
    pub cgroup_driver: &'static str,
    /// `1` or `2`: what controls memory and CPUs.
    pub cgroup_version: &'static str,
    pub cgroup_mode: &'static str,
    /// Parent of the containers' groups.
    pub cgroup_parent: String,
    /// The default network's bridge, and the nftables table.
    pub bridge: String,
    pub kernel_version: String,
    pub operating_system: String,
    #[serde(rename = "OSType")]
    pub os_type: &'static str,
    pub architecture: String,
    #[serde(rename = "NCPU")]
    pub cpus: usize,
    /// Bytes.
    pub mem_total: u64,
    pub name: String,
    pub server_version: &'static str,
    pub default_runtime: &'static str,
    pub levels: Vec<LevelState>,
    pub security_options: Vec<String>,
}

/// An isolation level, and whether it can be had.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LevelState {
    pub name: &'static str,
    pub ready: bool,
}

impl Engine {
    /// # Errors
    /// When the database cannot be read.
    pub fn info(&mut self) -> Result<Info, EngineError> {
        let views = self.containers()?;
        let count = |phases: &[Phase]| {
            let of_these = views.iter().filter(|v| phases.contains(&v.status.phase));
            of_these.count()
        };
        let running = count(&[Phase::Running, Phase::Starting]);
        let paused = count(&[Phase::Paused]);
        let (cgroup_version, cgroup_mode) = match Hierarchies::discover().map(|h| h.mode) {
            Ok(Mode::V1) => ("1", "v1"),
            Ok(Mode::Hybrid) => ("1", "hybrid"),
            Ok(Mode::V2) => ("2", "v2"),
            Err(_) => ("", "none"),
        };
        let instance = self.instance();
        let host = self.host();
        let memory = rustix::system::sysinfo();
        Ok(Info {
            containers: views.len(),
            containers_running: running,
            containers_paused: paused,
            containers_stopped: views.len() - running - paused,
            images: self.store.db().images()?.len(),
            driver: self.driver()?.name(),
            driver_status: self.driver_status()?,
            docker_root_dir: self.dirs.root.display().to_string(),
            run_root: self.dirs.run_root.display().to_string(),
            logging_driver: "json-file",
            cgroup_driver: "cgroupfs",
            cgroup_version,
            cgroup_mode,
            cgroup_parent: instance.cgroup,
            bridge: instance.bridge,
            kernel_version: host.kernel.clone(),
            operating_system: operating_system(),
            os_type: "linux",
            architecture: host.machine.clone(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            mem_total: memory.totalram.saturating_mul(u64::from(memory.mem_unit)),
            name: host.hostname.clone(),
            server_version: env!("CARGO_PKG_VERSION"),
            default_runtime: Level::Container.name(),
            levels: Level::ALL
                .into_iter()
                .map(|level| LevelState {
                    name: level.name(),
                    ready: cells::lack(level, host).is_none(),
                })
                .collect(),
            security_options: security_options(cgroup_mode),
        })
    }
}

impl Engine {
    /// What the driver works with, and what keeps better ones away.
    fn driver_status(&self) -> Result<Vec<(&'static str, String)>, EngineError> {
        let storage = self.storage()?;
        let extras = self.image_extras()?;
        let mut status = Vec::new();
        let directory = rustix::fs::statfs(&self.dirs.root);
        if let Ok(found) = directory {
            status.push(("Backing Filesystem", filesystem_name(found.f_type)));
        }
        if self.driver()? == Driver::Erofs {
            let compression = self.compression().map(|found| found.to_string());
            let text = compression.unwrap_or_else(|error| error.to_string());
            status.push(("Compression", text));
        }
        if storage.no_erofs.is_none() {
            let from = match storage.loop_devices {
                true => "loop devices",
                false => "files",
            };
            status.push(("EROFS Images", format!("mounted from {from}")));
            let kinds = [("fs", &extras.no_fs_verity), ("dm", &extras.no_dm_verity)];
            for (kind, lack) in kinds {
                let found = lack.as_deref().unwrap_or("can be had");
                status.push(("Verity", format!("{kind}: {found}")));
            }
        }
        for driver in Driver::ALL {
            if let Some(lack) = storage.lack(driver) {
                status.push(("Not Available", format!("{}: {lack}", driver.name())));
            }
        }
        if storage.no_erofs.is_none() {
            for (algorithm, lack) in &extras.no_compression {
                status.push((
                    "Not Available",
                    format!("compression with {algorithm}: {lack}"),
                ));
            }
        }
        Ok(status)
    }
}

/// Docker's words for what lies below a store; the number of any other. linux/magic.h.
fn filesystem_name(magic: rustix::fs::FsWord) -> String {
    match magic {
        0xef53 => "extfs".to_owned(),
        0x5846_5342 => "xfs".to_owned(),
        0x9123_683e => "btrfs".to_owned(),
        0xf2f5_2010 => "f2fs".to_owned(),
        0x0102_1994 => "tmpfs".to_owned(),
        0x794c_7630 => "overlayfs".to_owned(),
        0x2fc1_2fc1 => "zfs".to_owned(),
        other => format!("0x{other:x}"),
    }
}

/// Docker's form: `name=…,key=value`.
fn security_options(cgroup_mode: &str) -> Vec<String> {
    let mut options = vec!["name=seccomp,profile=builtin".to_owned()];
    if cgroup_mode != "none" {
        options.push("name=cgroupns".to_owned());
    }
    options
}

/// `PRETTY_NAME` of os-release(5).
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Linux".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}
