//! A container, as `inspect` prints it.

use std::collections::BTreeMap;
use std::path::Path;

use gamut_engine::details::Details;
use gamut_engine::dirs;
use gamut_engine::storage::Driver;
use gamut_engine::{Engine, View};
use gamut_plan::Phase;
use gamut_plan::health;
use gamut_plan::launch::LogPlan;
use serde::Serialize;

use super::config::Config;
use super::host_config::HostConfig;
use super::mounts::{self, Mount};
use super::network::NetworkSettings;
use super::{GraphDriver, joined_paths, time};
use crate::listing;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    id: String,
    created: String,
    path: String,
    args: Vec<String>,
    state: State,
    image: String,
    resolv_conf_path: String,
    hostname_path: String,
    hosts_path: String,
    log_path: String,
    name: String,
    restart_count: u32,
    /// Podman's: the id of the pod it is in, and whether it holds what is shared there.
    pod: String,
    is_infra: bool,
    /// Podman's: the ids of those that are started before.
    dependencies: Vec<String>,
    driver: &'static str,
    platform: String,
    mount_label: &'static str,
    process_label: &'static str,
    app_armor_profile: &'static str,
    #[serde(rename = "ExecIDs")]
    exec_ids: Option<Vec<String>>,
    host_config: HostConfig,
    graph_driver: GraphDriver,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_rw: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_root_fs: Option<u64>,
    mounts: Vec<Mount>,
    config: Config,
    network_settings: NetworkSettings,
    /// Ours: the process that keeps the container; 0 when none does.
    keeper_pid: i32,
    /// Ours: what the user was told at the start.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: &'static str,
    running: bool,
    paused: bool,
    restarting: bool,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    dead: bool,
    pid: i32,
    exit_code: i32,
    error: String,
    started_at: String,
    finished_at: String,
    /// Not left out where it is not, as Docker does: templates ask whether it is there.
    health: Option<Health>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: &'static str,
    failing_streak: u32,
    log: Vec<CheckResult>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckResult {
    start: String,
    end: String,
    exit_code: i32,
    output: String,
}

/// Whether `SizeRw` and `SizeRootFs` are measured (`--size`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    No,
    Measured,
}

impl Container {
    #[must_use]
    pub fn of(engine: &Engine, view: &View, sizes: Sizes) -> Self {
        let details = engine.details(view);
        let dirs = engine.container_dirs(&view.row.id);
        let mut words = details.summary.command.clone().into_iter();
        let own = match sizes {
            Sizes::No => None,
            Sizes::Measured => engine.changes_bytes(&view.row.id).ok(),
        };
        let image_bytes = details
            .summary
            .image
            .as_ref()
            .map_or(0, |image| image.size_bytes);
        let image_id = view.row.image_id.as_ref();
        let pod = view.row.pod.as_ref();
        Self {
            id: view.row.id.clone(),
            created: time(u64::try_from(view.row.created_ns).unwrap_or(0)),
            path: words.next().unwrap_or_default(),
            args: words.collect(),
            state: State::of(engine, view),
            image: image_id.map_or_else(String::new, ToString::to_string),
            resolv_conf_path: file(&dirs, "resolv.conf"),
            hostname_path: file(&dirs, "hostname"),
            hosts_path: file(&dirs, "hosts"),
            log_path: log_path(&details),
            name: format!("/{}", view.row.name),
            restart_count: view.status.restarts,
            pod: pod.map_or_else(String::new, |pod| pod.id.clone()),
            is_infra: pod.is_some_and(|pod| pod.is_infra),
            dependencies: details
                .summary
                .request
                .as_ref()
                .map(|request| request.requires.clone())
                .unwrap_or_default(),
            driver: driver(&details),
            platform: details
                .summary
                .config
                .as_ref()
                .map_or_else(|| "linux".to_owned(), |config| config.os.clone()),
            mount_label: "",
            process_label: "",
            app_armor_profile: "",
            exec_ids: None,
            host_config: HostConfig::of(engine, view, &details),
            graph_driver: graph_driver(&details),
            size_rw: own,
            size_root_fs: own.map(|own| own + image_bytes),
            mounts: mounts::of(engine, &details),
            config: Config::of_container(view, &details),
            network_settings: NetworkSettings::of(view, &details),
            keeper_pid: match view.status.is_live() {
                true => view.status.keeper_pid,
                false => 0,
            },
            warnings: view.status.warnings.clone(),
        }
    }
}

impl State {
    fn of(engine: &Engine, view: &View) -> Self {
        let status = &view.status;
        Self {
            status: listing::life(view).word(),
            running: matches!(
                status.phase,
                Phase::Running | Phase::Paused | Phase::Restarting
            ),
            paused: status.phase == Phase::Paused,
            restarting: status.phase == Phase::Restarting,
            oom_killed: status.oom_killed,
            dead: false,
            pid: status.pid,
            exit_code: status.exit_code,
            error: status.error.clone(),
            started_at: time(status.started_at_ns),
            finished_at: time(status.finished_at_ns),
            health: engine.health(view).map(Health::of),
        }
    }
}

impl Health {
    fn of(health: health::Health) -> Self {
        let shown = |result: health::CheckResult| CheckResult {
            start: time(result.began_ns),
            end: time(result.ended_ns),
            exit_code: result.exit_code,
            output: result.output,
        };
        Self {
            status: health.verdict.word(),
            failing_streak: health.streak,
            log: health.results.into_iter().map(shown).collect(),
        }
    }
}

/// The path of one of the files that gamut writes for a container; empty where it has none.
fn file(dirs: &dirs::Container, name: &str) -> String {
    existing(&dirs.directory.join(name))
}

fn existing(path: &Path) -> String {
    match path.exists() {
        true => path.display().to_string(),
        false => String::new(),
    }
}

fn log_path(details: &Details) -> String {
    match details.plan.as_ref().map(|plan| &plan.log) {
        Some(LogPlan::JsonFile { path, .. }) => path.display().to_string(),
        _ => String::new(),
    }
}

fn graph_driver(details: &Details) -> GraphDriver {
    let mut data = BTreeMap::new();
    if let Some(plan) = &details.plan {
        data.insert("LowerDir", joined_paths(&plan.root.lower));
        data.insert("UpperDir", plan.root.upper.display().to_string());
        data.insert("WorkDir", plan.root.work.display().to_string());
    }
    GraphDriver {
        data,
        name: driver(details),
    }
}

/// What its root is made by.
fn driver(details: &Details) -> &'static str {
    let driver = details.driver.unwrap_or(Driver::Overlay);
    driver.name()
}
