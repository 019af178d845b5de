//! `Mounts`: what the user and the image have put into the tree.

use std::path::Path;

use gamut_engine::Engine;
use gamut_engine::details::Details;
use gamut_plan::request::{self, MountSource, Propagation};
use serde::Serialize;

/// Empty fields are there, too: a template may ask for them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mount {
    r#type: &'static str,
    name: String,
    source: String,
    destination: String,
    driver: &'static str,
    mode: &'static str,
    #[serde(rename = "RW")]
    rw: bool,
    propagation: &'static str,
}

pub(super) fn of(engine: &Engine, details: &Details) -> Vec<Mount> {
    let volumes = engine.dirs().volumes();
    let asked = details
        .summary
        .request
        .as_ref()
        .map_or(&[][..], |request| &request.storage.mounts);
    let mut mounts: Vec<Mount> = asked
        .iter()
        .map(|mount| of_request(mount, details, &volumes))
        .collect();
    for target in details
        .summary
        .config
        .iter()
        .flat_map(|c| &c.config.volumes)
    {
        let target = Path::new(target);
        if !asked.iter().any(|mount| mount.target == target)
            && let Some(source) = source_of(details, target)
        {
            mounts.push(volume(&source, target, &volumes, Access::Write));
        }
    }
    mounts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn of_request(mount: &request::Mount, details: &Details, volumes: &Path) -> Mount {
    let access = match mount.read_only {
        true => Access::Read,
        false => Access::Write,
    };
    match &mount.source {
        MountSource::Bind {
            path, propagation, ..
        } => Mount {
            r#type: "bind",
            name: String::new(),
            source: path.display().to_string(),
            destination: mount.target.display().to_string(),
            driver: "",
            mode: mode(access),
            rw: access == Access::Write,
            propagation: propagation_name(*propagation),
        },
        MountSource::Volume { name, .. } => {
            let source = match (source_of(details, &mount.target), name) {
                (Some(source), _) => source,
                (None, Some(name)) => volumes.join(name).join("_data").display().to_string(),
                (None, None) => String::new(),
            };
            volume(&source, &mount.target, volumes, access)
        }
        MountSource::Tmpfs(_) => Mount {
            r#type: "tmpfs",
            name: String::new(),
            source: String::new(),
            destination: mount.target.display().to_string(),
            driver: "",
            mode: mode(access),
            rw: access == Access::Write,
            propagation: "",
        },
    }
}

/// A volume's name is its place among the volumes.
fn volume(source: &str, target: &Path, volumes: &Path, access: Access) -> Mount {
    let name = Path::new(source)
        .strip_prefix(volumes)
        .ok()
        .and_then(Path::parent)
        .map_or_else(String::new, |name| name.display().to_string());
    Mount {
        r#type: "volume",
        name,
        source: source.to_owned(),
        destination: target.display().to_string(),
        driver: "local",
        mode: mode(access),
        rw: access == Access::Write,
        propagation: "",
    }
}

fn mode(access: Access) -> &'static str {
    match access {
        Access::Read => "ro",
        Access::Write => "",
    }
}

/// Where the plan takes what is at `target`.
fn source_of(details: &Details, target: &Path) -> Option<String> {
    let mounts = details.plan.as_ref()?.spec.mounts().as_ref()?;
    let mount = mounts.iter().find(|mount| mount.destination() == target)?;
    Some(mount.source().as_ref()?.display().to_string())
}

pub(super) fn propagation_name(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::Rprivate => "rprivate",
        Propagation::Slave => "slave",
        Propagation::Rslave => "rslave",
        Propagation::Shared => "shared",
        Propagation::Rshared => "rshared",
    }
}
