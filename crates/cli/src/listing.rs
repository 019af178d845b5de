//! `ps`: what the engine knows of a container → a line, and which containers its filters mean.

use std::net::IpAddr;

use gamut_engine::summary::Summary;
use gamut_engine::{Engine, View};
use gamut_plan::Phase;
use gamut_plan::launch::{NetworkPlan, Protocol};
use gamut_plan::request::{MountSource, Transport};
use gamut_spec::digest::Digest;

use crate::convert::{ArgumentError, Filters, parse_expose};
use crate::error::Failure;
use crate::pattern;
use crate::view::containers::{Life, Line};
use crate::view::ports::Port;

/// The line of a container; its size is left out.
pub fn line(view: &View, summary: &Summary) -> Line {
    let (mounts, volumes) = mounts(summary);
    let platform = summary.config.as_ref().map(|config| {
        let platform = config.platform();
        let variant = platform.variant.map(|variant| format!("/{variant}"));
        format!(
            "{}/{}{}",
            platform.os,
            platform.architecture,
            variant.unwrap_or_default()
        )
    });
    Line {
        id: view.row.id.clone(),
        name: view.row.name.clone(),
        image: view.row.image_ref.clone(),
        platform: platform.unwrap_or_default(),
        command: summary.command.clone(),
        created_ns: view.row.created_ns,
        life: life(view),
        ports: ports(view, summary),
        labels: view.row.labels.clone(),
        mounts,
        volumes,
        networks: summary.networks(),
        isolation: view.row.level.clone(),
        pod: view.row.pod.clone(),
        size_bytes: None,
    }
}

/// Docker's view of a container's life: one that never came to run is still just made.
pub fn life(view: &View) -> Life {
    let status = &view.status;
    let ns = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    match status.phase {
        Phase::Created | Phase::Starting | Phase::Failed => Life::Created,
        Phase::Running => Life::Running {
            since_ns: ns(status.started_at_ns),
            health: status.health,
        },
        Phase::Paused => Life::Paused {
            since_ns: ns(status.started_at_ns),
        },
        Phase::Restarting => Life::Restarting {
            status: status.exit_code,
            at_ns: ns(status.finished_at_ns),
        },
        Phase::Exited => Life::Exited {
            status: status.exit_code,
            at_ns: ns(status.finished_at_ns),
        },
    }
}

/// Volumes first: their names, then the host's directories.
fn mounts(summary: &Summary) -> (Vec<String>, usize) {
    let mut volumes = Vec::new();
    let mut directories = Vec::new();
    for mount in summary.request.iter().flat_map(|r| &r.storage.mounts) {
        match &mount.source {
            MountSource::Volume {
                name: Some(name), ..
            } => volumes.push(name.clone()),
            MountSource::Bind { path, .. } => directories.push(path.display().to_string()),
            MountSource::Volume { name: None, .. } => {
                volumes.push(mount.target.display().to_string());
            }
            MountSource::Tmpfs(_) => {}
        }
    }
    let count = volumes.len();
    volumes.append(&mut directories);
    (volumes, count)
}

/// The published ports, and what is only exposed, of a container that runs.
fn ports(view: &View, summary: &Summary) -> Vec<Port> {
    if !matches!(view.status.phase, Phase::Running | Phase::Paused) {
        return Vec::new();
    }
    let transport = |protocol| match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    };
    let mut ports: Vec<Port> = view
        .status
        .ports
        .iter()
        .map(|port| Port {
            protocol: transport(port.protocol),
            host: Some((port.host.ip(), port.host.port())),
            container: port.container_port,
        })
        .collect();
    let bridged = matches!(&summary.network, Some(NetworkPlan::Bridge(_)));
    let published = ports.clone();
    for (container, protocol) in summary.exposed() {
        let protocol = transport(protocol);
        let known = |port: &Port| port.container == container && port.protocol == protocol;
        if bridged && !published.iter().any(known) {
            ports.push(Port {
                protocol,
                host: None,
                container,
            });
        }
    }
    ports
}

/// Docker's words for `--filter status=`.
const STATES: [&str; 7] = [
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];

/// And for `--filter health=`.
const HEALTHS: [&str; 4] = ["starting", "healthy", "unhealthy", "none"];

/// Which containers the filters of `ps` mean.
#[derive(Debug)]
pub struct Selection<'a> {
    filters: &'a Filters,
    /// Made earlier than this, later than that: nanoseconds since the epoch.
    before_ns: Option<i64>,
    since_ns: Option<i64>,
    /// `ancestor`: the ids of the images, with their layers.
    ancestors: Vec<(Digest, Vec<Digest>)>,
    published: Vec<(u16, u16, &'static str)>,
    exposed: Vec<(u16, u16, &'static str)>,
}

impl<'a> Selection<'a> {
    /// Checks the values; `before` and `since` name one of `views`.
    pub fn new(engine: &Engine, views: &[View], filters: &'a Filters) -> Result<Self, Failure> {
        let wrong = |key: &str, value: &str| {
            Failure::engine(ArgumentError::Filter {
                text: format!("{key}={value}"),
            })
        };
        for value in filters.values("status") {
            if !STATES.contains(&value.as_str()) {
                return Err(wrong("status", value));
            }
        }
        for value in filters.values("health") {
            if !HEALTHS.contains(&value.as_str()) {
                return Err(wrong("health", value));
            }
        }
        for value in filters.values("exited") {
            if value.parse::<i32>().is_err() {
                return Err(wrong("exited", value));
            }
        }
        let created = |key: &str| -> Result<Vec<i64>, Failure> {
            filters
                .values(key)
                .iter()
                .map(|named| Ok(find(engine, views, named)?.row.created_ns))
                .collect()
        };
        let ports = |key: &str| -> Result<Vec<_>, Failure> {
            filters
                .values(key)
                .iter()
                .map(|value| {
                    let port = parse_expose(value).map_err(|_| wrong(key, value))?;
                    Ok((port.ports.first, port.ports.last, port.protocol.name()))
                })
                .collect()
        };
        let ancestors = filters
            .values("ancestor")
            .iter()
            // No such image: no container has it.
            .filter_map(|named| engine.find_image(named).ok())
            .map(|image| (image.id, image.layers))
            .collect();
        Ok(Self {
            filters,
            before_ns: created("before")?.into_iter().min(),
            since_ns: created("since")?.into_iter().max(),
            ancestors,
            published: ports("publish")?,
            exposed: ports("expose")?,
        })
    }

    /// Whether a container is meant.
    pub fn takes(&self, view: &View, summary: &Summary, line: &Line) -> bool {
        let filters = self.filters;
        let row = &view.row;
        let word = line.life.word();
        let exited = matches!(line.life, Life::Exited { .. });
        let code = view.status.exit_code.to_string();
        filters.any("id", |value| row.id.starts_with(value))
            && filters.any("name", |value| pattern::name(value, &row.name))
            && filters.labels(&row.labels)
            && filters.any("status", |value| value == word)
            && filters.any("exited", |value| exited && value == code)
            && filters.any("health", |value| value == line.life.health())
            && filters.any("isolation", |value| value == row.level)
            && filters.any("pod", |value| {
                row.pod
                    .as_ref()
                    .is_some_and(|pod| pod.name == value || pod.id.starts_with(value))
            })
            && filters.any("restart-policy", |value| {
                let request = summary.request.as_ref();
                request.is_some_and(|request| request.restart.name() == value)
            })
            && filters.any("network", |value| {
                line.networks.iter().any(|network| network == value)
            })
            && filters.any("volume", |value| {
                line.mounts.iter().any(|mount| mount == value) || has_target(summary, value)
            })
            && self.before_ns.is_none_or(|before| row.created_ns < before)
            && self.since_ns.is_none_or(|since| row.created_ns > since)
            && self.descends(view, summary)
            && self.takes_ports(line)
    }

    fn descends(&self, view: &View, summary: &Summary) -> bool {
        if self.filters.values("ancestor").is_empty() {
            return true;
        }
        let layers = summary.image.as_ref().map(|image| image.layers.as_slice());
        let by_name = self
            .filters
            .any("ancestor", |value| value == view.row.image_ref);
        by_name
            || self.ancestors.iter().any(|(id, ancestor)| {
                let built_on = layers.is_some_and(|layers| layers.starts_with(ancestor));
                view.row.image_id.as_ref() == Some(id) || (!ancestor.is_empty() && built_on)
            })
    }

    /// Docker's: `publish` means ports of the host, `expose` those of the container.
    fn takes_ports(&self, line: &Line) -> bool {
        if self.published.is_empty() && self.exposed.is_empty() {
            return true;
        }
        let among = |wanted: &[(u16, u16, &str)], number: u16, protocol: &str| {
            wanted
                .iter()
                .any(|(first, last, of)| (*first..=*last).contains(&number) && *of == protocol)
        };
        line.ports.iter().any(|port| {
            let protocol = port.protocol.name();
            let host: Option<(IpAddr, u16)> = port.host;
            host.is_some_and(|(_, number)| among(&self.published, number, protocol))
                || among(&self.exposed, port.container, protocol)
        })
    }
}

fn has_target(summary: &Summary, path: &str) -> bool {
    summary
        .request
        .iter()
        .flat_map(|request| &request.storage.mounts)
        .any(|mount| mount.target.as_os_str() == path)
}

/// The container among `views` that the engine finds by this name.
fn find<'v>(engine: &Engine, views: &'v [View], named: &str) -> Result<&'v View, Failure> {
    let id = engine.container_id(named).map_err(Failure::engine)?;
    views
        .iter()
        .find(|view| view.row.id == id)
        .ok_or_else(|| Failure::engine(gamut_engine::EngineError::NoContainer(named.to_owned())))
}
