//! The rows of `pod ps`, and its objects.

use std::collections::BTreeMap;

use gamut_engine::View;
use gamut_engine::pods::PodView;
use gamut_plan::request::PodNamespace;
use serde::Serialize;

use super::{Width, local_rfc3339};
use crate::format::Row;
use crate::human;
use crate::listing;

/// The table of `pod ps`, but for the last column.
pub const TABLE: &str = "{{.Id}}\t{{.Name}}\t{{.Status}}\t{{.Created}}\t{{.InfraId}}";
/// That column, and those that `--ns`, `--ctr-ids`, `--ctr-names` and `--ctr-status` add.
pub const COUNT_COLUMN: &str = "\t{{.NumberOfContainers}}";
pub const NAMESPACES_COLUMN: &str = "\t{{.Namespaces}}";
pub const IDS_COLUMN: &str = "\t{{.ContainerIds}}";
pub const NAMES_COLUMN: &str = "\t{{.ContainerNames}}";
pub const STATES_COLUMN: &str = "\t{{.ContainerStatuses}}";
/// What `-q` prints.
pub const QUIET: &str = "{{.Id}}";

/// `(template name, heading)`.
pub const TITLES: [(&str, &str); 15] = [
    ("Id", "POD ID"),
    ("ID", "POD ID"),
    ("Name", "NAME"),
    ("Status", "STATUS"),
    ("Created", "CREATED"),
    ("InfraId", "INFRA ID"),
    ("InfraID", "INFRA ID"),
    ("NumberOfContainers", "# OF CONTAINERS"),
    ("Namespaces", "NAMESPACES"),
    ("ContainerIds", "IDS"),
    ("ContainerNames", "NAMES"),
    ("ContainerStatuses", "STATUS"),
    ("Networks", "NETWORKS"),
    ("Labels", "LABELS"),
    ("Restarts", "RESTARTS"),
];

/// The row of a pod, as of now.
pub fn row(pod: &PodView, now_ns: i64, width: Width) -> Row {
    let id = width.id(&pod.row.id);
    let infra = pod
        .infra()
        .map_or_else(String::new, |one| width.id(&one.row.id));
    let of_each = |what: fn(&View) -> String| -> String {
        let all: Vec<String> = pod.containers.iter().map(what).collect();
        all.join(",")
    };
    let labels: Vec<String> = pod
        .row
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let ids: Vec<String> = pod
        .containers
        .iter()
        .map(|one| width.id(&one.row.id))
        .collect();
    let restarts: u32 = pod.containers.iter().map(|one| one.status.restarts).sum();
    Row::new(
        [
            ("Id", id.clone()),
            ("ID", id),
            ("Name", pod.row.name.clone()),
            ("Status", pod.state().word().to_owned()),
            ("Created", human::ago(pod.row.created_ns, now_ns)),
            ("InfraId", infra.clone()),
            ("InfraID", infra),
            ("NumberOfContainers", pod.containers.len().to_string()),
            ("Namespaces", namespaces(pod).join(",")),
            ("ContainerIds", ids.join(",")),
            ("ContainerNames", of_each(|one| one.row.name.clone())),
            (
                "ContainerStatuses",
                of_each(|one| listing::life(one).word().to_owned()),
            ),
            ("Networks", networks(pod).join(",")),
            ("Labels", labels.join(",")),
            ("Restarts", restarts.to_string()),
        ],
        pod.row.labels.clone(),
    )
}

/// The names of the shared namespaces.
pub fn namespaces(pod: &PodView) -> Vec<&'static str> {
    let shared = pod.request.share.iter();
    shared.copied().map(PodNamespace::name).collect()
}

/// The networks that a pod is on.
pub fn networks(pod: &PodView) -> Vec<String> {
    let request = pod.infra_request().map(|infra| infra.network);
    let Some(network) = request else {
        return Vec::new();
    };
    let first = network.first().into_iter();
    let all = first.chain(network.further);
    all.map(|attachment| attachment.network).collect()
}

/// Podman's form in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Object {
    cgroup: String,
    containers: Vec<Contained>,
    created: String,
    id: String,
    infra_id: String,
    name: String,
    namespace: &'static str,
    networks: Vec<String>,
    status: &'static str,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Contained {
    id: String,
    names: String,
    status: &'static str,
    restart_count: u32,
}

impl Object {
    #[must_use]
    pub fn of(pod: &PodView) -> Self {
        let contained = |one: &View| Contained {
            id: one.row.id.clone(),
            names: one.row.name.clone(),
            status: listing::life(one).word(),
            restart_count: one.status.restarts,
        };
        Self {
            cgroup: String::new(),
            containers: pod.containers.iter().map(contained).collect(),
            created: local_rfc3339(u64::try_from(pod.row.created_ns).unwrap_or(0)),
            id: pod.row.id.clone(),
            infra_id: pod
                .infra()
                .map_or_else(String::new, |one| one.row.id.clone()),
            name: pod.row.name.clone(),
            namespace: "",
            networks: networks(pod),
            status: pod.state().word(),
            labels: pod.row.labels.clone(),
        }
    }
}
