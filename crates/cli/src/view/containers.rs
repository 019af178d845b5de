//! The rows of `ps`.

use std::collections::BTreeMap;

use super::{Width, local_time, ports};
use gamut_engine::pods::InPod;
use gamut_plan::health::Verdict;

use crate::format::Row;
use crate::human;

/// `ps`'s own table; with `--size` another column follows.
pub const TABLE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
/// What `--size` adds.
pub const SIZE_COLUMN: &str = "\t{{.Size}}";
/// What `--pod` adds.
pub const POD_COLUMNS: &str = "\t{{.Pod}}\t{{.PodName}}";
/// What `-q` prints.
pub const QUIET: &str = "{{.ID}}";

/// `(template name, heading)`, Docker's and then ours.
pub const TITLES: [(&str, &str); 20] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Platform", "PLATFORM"),
    ("HealthStatus", "HEALTH"),
    ("Isolation", "ISOLATION"),
    ("Pod", "POD ID"),
    ("PodName", "PODNAME"),
    ("IsInfra", "IS INFRA"),
];

/// Filters of `ps`.
pub const FILTERS: [&str; 17] = [
    "restart-policy",
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "pod",
    "publish",
    "since",
    "status",
    "volume",
];

/// Where a container is in its life, with what `STATUS` says about it. Times are nanoseconds
/// since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Created,
    Running {
        since_ns: i64,
        /// What its health checks say.
        health: Option<Verdict>,
    },
    Paused {
        since_ns: i64,
    },
    /// Ended, and about to be started again.
    Restarting {
        status: i32,
        at_ns: i64,
    },
    Exited {
        status: i32,
        at_ns: i64,
    },
    Removing,
    /// Its keeper is gone, or its removal failed.
    Dead,
}

/// A container as `ps` knows it.
#[derive(Debug, Clone)]
pub struct Line {
    pub id: String,
    pub name: String,
    /// As the user wrote it.
    pub image: String,
    pub platform: String,
    pub command: Vec<String>,
    pub created_ns: i64,
    pub life: Life,
    pub ports: Vec<ports::Port>,
    pub labels: BTreeMap<String, String>,
    /// Volume names and host paths.
    pub mounts: Vec<String>,
    /// How many of `mounts` are volumes.
    pub volumes: usize,
    pub networks: Vec<String>,
    pub isolation: String,
    /// The pod it is in.
    pub pod: Option<InPod>,
    /// Bytes of the container's own layer, and with the image; only with `--size`.
    pub size_bytes: Option<(u64, u64)>,
}

impl Life {
    /// Docker's word for `State` and `--filter status=`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::Restarting { .. } => "restarting",
            Self::Exited { .. } => "exited",
            Self::Removing => "removing",
            Self::Dead => "dead",
        }
    }

    /// Docker's word for `--filter health=`.
    pub fn health(self) -> &'static str {
        match self {
            Self::Running {
                health: Some(verdict),
                ..
            } => verdict.word(),
            _ => "none",
        }
    }

    /// `Up 3 minutes`, `Exited (0) 2 hours ago`.
    pub fn status(self, now_ns: i64) -> String {
        let since = |then_ns| human::duration(human::seconds_between(then_ns, now_ns));
        match self {
            Self::Created => "Created".to_owned(),
            Self::Running { since_ns, health } => {
                let up = format!("Up {}", since(since_ns));
                match health {
                    None => up,
                    Some(Verdict::Starting) => format!("{up} (health: starting)"),
                    Some(verdict) => format!("{up} ({})", verdict.word()),
                }
            }
            Self::Paused { since_ns } => format!("Up {} (Paused)", since(since_ns)),
            Self::Restarting { status, at_ns } => {
                format!("Restarting ({status}) {} ago", since(at_ns))
            }
            Self::Exited { status, at_ns } => format!("Exited ({status}) {} ago", since(at_ns)),
            Self::Removing => "Removal In Progress".to_owned(),
            Self::Dead => "Dead".to_owned(),
        }
    }
}

impl Line {
    /// The row, as of now.
    pub fn row(&self, now_ns: i64, width: Width) -> Row {
        let mut command = self.command.join(" ");
        let mut mounts = self.mounts.clone();
        if width == Width::Cut {
            command = human::ellipsis(&command, 20);
            mounts = mounts
                .iter()
                .map(|mount| human::ellipsis(mount, 15))
                .collect();
        }
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let volumes = self.volumes;
        let pod = self.pod.as_ref();
        let size = match self.size_bytes {
            Some((own, whole)) => format!(
                "{} (virtual {})",
                human::decimal_size(own),
                human::decimal_size(whole)
            ),
            None => String::new(),
        };
        Row::new(
            [
                ("ID", width.id(&self.id)),
                ("Image", self.image.clone()),
                ("Command", format!("{command:?}")),
                ("CreatedAt", local_time(self.created_ns)),
                ("RunningFor", human::ago(self.created_ns, now_ns)),
                ("Status", self.life.status(now_ns)),
                ("State", self.life.word().to_owned()),
                ("Ports", ports::cell(&self.ports)),
                ("Names", self.name.clone()),
                ("Size", size),
                ("Labels", labels.join(",")),
                ("Mounts", mounts.join(",")),
                ("Networks", self.networks.join(",")),
                ("LocalVolumes", volumes.to_string()),
                ("Platform", self.platform.clone()),
                ("HealthStatus", self.life.health().to_owned()),
                ("Isolation", self.isolation.clone()),
                ("Pod", pod.map_or_else(String::new, |pod| width.id(&pod.id))),
                (
                    "PodName",
                    pod.map_or_else(String::new, |pod| pod.name.clone()),
                ),
                ("IsInfra", pod.is_some_and(|pod| pod.is_infra).to_string()),
            ],
            self.labels.clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ListFormat;

    const SECOND: i64 = 1_000_000_000;

    fn line() -> Line {
        Line {
            id: "0123456789abcdef".to_owned(),
            name: "web".to_owned(),
            image: "nginx".to_owned(),
            platform: "linux/amd64".to_owned(),
            command: ["/docker-entrypoint.sh", "nginx", "-g"]
                .map(str::to_owned)
                .to_vec(),
            created_ns: 0,
            life: Life::Running {
                since_ns: 10 * SECOND,
                health: None,
            },
            ports: Vec::new(),
            labels: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            mounts: Vec::new(),
            volumes: 0,
            networks: vec!["bridge".to_owned()],
            isolation: "container".to_owned(),
            pod: None,
            size_bytes: Some((2_000, 133_000_000)),
        }
    }

    #[test]
    fn the_table_is_dockers() {
        let rows = [line().row(190 * SECOND, Width::Cut)];
        let mut output = Vec::new();
        ListFormat::parse(None, TABLE, &TITLES)
            .unwrap()
            .write(&rows, &mut output)
            .unwrap();
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS     NAMES\n\
             0123456789ab   nginx     \"/docker-entrypoint.…\"   3 minutes ago   Up 3 minutes             web\n"
        );
    }

    #[test]
    fn every_title_has_its_field_and_the_reverse() {
        let row = line().row(0, Width::Full);
        for (name, _) in TITLES {
            let template = crate::format::Template::parse(&format!("{{{{.{name}}}}}")).unwrap();
            template.render_row(&row).unwrap();
        }
        let template =
            crate::format::Template::parse("{{.Size}}|{{.Label \"a\"}}|{{.ID}}").unwrap();
        assert_eq!(
            template.render_row(&row).unwrap(),
            "2kB (virtual 133MB)|1|0123456789abcdef"
        );
    }

    #[test]
    fn life_has_words() {
        let exited = Life::Exited {
            status: 137,
            at_ns: 0,
        };
        assert_eq!(exited.status(7200 * SECOND), "Exited (137) 2 hours ago");
        assert_eq!(exited.word(), "exited");
        assert_eq!(
            Life::Paused { since_ns: 0 }.status(SECOND),
            "Up 1 second (Paused)"
        );
    }
}
