//! The rows of `system df`.

use std::collections::BTreeMap;

use gamut_engine::usage::{
    CacheUsage, ContainerUsage, DiskUsage, ImageUsage, Owner, Piece, VolumeUsage,
};
use gamut_spec::reference::Reference;

use super::containers::Life;
use super::local_time;
use crate::format::Row;
use crate::human;

/// The summary.
pub const TABLE: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
pub const TITLES: [(&str, &str); 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// `--verbose`.
pub const IMAGES: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t\
                          {{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}\t{{.Compression}}";
pub const CONTAINERS: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t\
                              {{.RunningFor}}\t{{.Status}}\t{{.Names}}";
pub const VOLUMES: &str = "{{.Name}}\t{{.Links}}\t{{.Size}}";
pub const CACHE: &str = "{{.Name}}\t{{.Kind}}\t{{.Size}}\t{{.InUse}}";
/// `--explain`.
pub const PIECES: &str = "{{.Size}}\t{{.Kind}}\t{{.Name}}\t{{.BelongsTo}}";

/// Headings of all the tables but the summary's.
pub const DETAIL_TITLES: [(&str, &str); 20] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
    ("Compression", "COMPRESSION"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
    ("Name", "NAME"),
    ("Links", "LINKS"),
    ("Kind", "KIND"),
    ("InUse", "IN USE"),
];
/// What `--explain` adds to them.
pub const BELONGS_TO: (&str, &str) = ("BelongsTo", "BELONGS TO");

fn row(fields: impl IntoIterator<Item = (&'static str, String)>) -> Row {
    Row::new(fields, BTreeMap::new())
}

/// Docker's four lines.
pub fn summary(usage: &DiskUsage) -> Vec<Row> {
    let line = |kind: &str, total: usize, active: usize, bytes: u64, unused: u64| {
        let reclaimable = match (unused * 100).checked_div(bytes) {
            Some(percent) => format!("{} ({percent}%)", human::precise_size(unused)),
            None => human::precise_size(unused),
        };
        row([
            ("Type", kind.to_owned()),
            ("TotalCount", total.to_string()),
            ("Active", active.to_string()),
            ("Size", human::precise_size(bytes)),
            ("Reclaimable", reclaimable),
        ])
    };
    let images = &usage.images;
    let (containers, volumes, cache) = (&usage.containers, &usage.volumes, &usage.cache);
    let runs = |container: &&ContainerUsage| container.view.status.is_live();
    let bytes = |list: &mut dyn Iterator<Item = u64>| list.sum();
    vec![
        line(
            "Images",
            images.len(),
            images.iter().filter(|image| image.containers > 0).count(),
            usage.image_bytes,
            usage.unused_image_bytes,
        ),
        line(
            "Containers",
            containers.len(),
            containers.iter().filter(runs).count(),
            bytes(&mut containers.iter().map(|container| container.bytes)),
            bytes(
                &mut containers
                    .iter()
                    .filter(|container| !runs(container))
                    .map(|container| container.bytes),
            ),
        ),
        line(
            "Local Volumes",
            volumes.len(),
            volumes.iter().filter(|volume| volume.links > 0).count(),
            bytes(&mut volumes.iter().map(|volume| volume.bytes)),
            bytes(
                &mut volumes
                    .iter()
                    .filter(|volume| volume.links == 0)
                    .map(|volume| volume.bytes),
            ),
        ),
        line(
            "Cache",
            cache.len(),
            cache.iter().filter(|one| one.in_use).count(),
            bytes(&mut cache.iter().map(|one| one.bytes)),
            bytes(&mut cache.iter().filter(|one| !one.in_use).map(|one| one.bytes)),
        ),
    ]
}

/// A line of `Images space usage`.
pub fn image(usage: &ImageUsage, now_ns: i64) -> Row {
    let names = &usage.view;
    let reference = names.tags.first().or(names.digests.first());
    let reference = reference.and_then(|name| name.parse::<Reference>().ok());
    let none = || "<none>".to_owned();
    let created_ns = names.image.created_ns;
    let known = |text: String| match created_ns {
        0 => "N/A".to_owned(),
        _ => text,
    };
    row([
        (
            "Repository",
            reference
                .as_ref()
                .map_or_else(none, Reference::familiar_name),
        ),
        (
            "Tag",
            reference
                .as_ref()
                .and_then(Reference::tag)
                .map_or_else(none, str::to_owned),
        ),
        (
            "ID",
            human::short_id(&names.image.id.to_string()).to_owned(),
        ),
        ("CreatedSince", known(human::ago(created_ns, now_ns))),
        ("CreatedAt", known(local_time(created_ns))),
        (
            "Size",
            human::precise_size(usage.shared_bytes + usage.unique_bytes),
        ),
        ("SharedSize", human::precise_size(usage.shared_bytes)),
        ("UniqueSize", human::precise_size(usage.unique_bytes)),
        (
            "Compression",
            match usage.compression[..] {
                [] => "none".to_owned(),
                _ => usage.compression.join(", "),
            },
        ),
        ("Containers", usage.containers.to_string()),
    ])
}

/// A line of `Containers space usage`.
pub fn container(usage: &ContainerUsage, command: &[String], life: Life, now_ns: i64) -> Row {
    let view = &usage.view.row;
    row([
        ("ID", human::short_id(&view.id).to_owned()),
        ("Image", view.image_ref.clone()),
        (
            "Command",
            format!("{:?}", human::ellipsis(&command.join(" "), 20)),
        ),
        ("LocalVolumes", usage.volumes.to_string()),
        ("Size", human::precise_size(usage.bytes)),
        ("RunningFor", human::ago(view.created_ns, now_ns)),
        ("Status", life.status(now_ns)),
        ("Names", view.name.clone()),
    ])
}

/// A line of `Local Volumes space usage`.
pub fn volume(usage: &VolumeUsage) -> Row {
    row([
        ("Name", usage.name.clone()),
        ("Links", usage.links.to_string()),
        ("Size", human::precise_size(usage.bytes)),
    ])
}

/// A line of `Cache usage`.
pub fn cache(usage: &CacheUsage) -> Row {
    row([
        ("Name", name(&usage.owner)),
        ("Kind", kind(&usage.owner).to_owned()),
        ("Size", human::precise_size(usage.bytes)),
        ("InUse", usage.in_use.to_string()),
    ])
}

/// A line of `--explain`.
pub fn piece(piece: &Piece) -> Row {
    row([
        ("Size", human::precise_size(piece.usage.allotted_bytes)),
        ("Bytes", piece.usage.allotted_bytes.to_string()),
        ("Files", piece.usage.inodes.to_string()),
        ("Kind", kind(&piece.owner).to_owned()),
        ("Name", name(&piece.owner)),
        ("BelongsTo", piece.belongs_to.join(", ")),
    ])
}

/// The line below those of `--explain`.
pub fn total(pieces: &[Piece]) -> String {
    let bytes: u64 = pieces.iter().map(|piece| piece.usage.allotted_bytes).sum();
    let files: u64 = pieces.iter().map(|piece| piece.usage.inodes).sum();
    format!(
        "Total: {} in {files} files and directories, {bytes} bytes on disk",
        human::precise_size(bytes)
    )
}

fn kind(owner: &Owner) -> &'static str {
    match owner {
        Owner::Layer(_) => "layer",
        Owner::Merged(_) => "layers merged",
        Owner::Blob(_) => "manifest or configuration",
        Owner::Changes(_) => "changes of a container",
        Owner::Log(_) => "log of a container",
        Owner::Record(_) => "record of a container",
        Owner::Volume(_) => "volume",
        Owner::Download(_) => "download that goes on",
        Owner::Temporary(_) => "in the making, or left over",
        Owner::Database => "database",
        Owner::Kernel(_) => "guest kernel",
        Owner::Filters => "compiled filters and initramfs",
        Owner::Events => "log of events",
        Owner::Frame => "directories and mount points",
        Owner::Foreign(_) => "not gamut's",
    }
}

fn name(owner: &Owner) -> String {
    match owner {
        Owner::Layer(name)
        | Owner::Merged(name)
        | Owner::Blob(name)
        | Owner::Kernel(name)
        | Owner::Download(name) => human::short_id(name).to_owned(),
        Owner::Changes(id) | Owner::Log(id) | Owner::Record(id) => human::short_id(id).to_owned(),
        Owner::Volume(name) | Owner::Temporary(name) | Owner::Foreign(name) => name.clone(),
        Owner::Database | Owner::Filters | Owner::Events | Owner::Frame => String::new(),
    }
}
