//! /etc/hosts, /etc/hostname and /etc/resolv.conf: written by gamut into the container's
//! directory on the host, bound over the image's.

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;

use super::mounts::{self, Op};

pub(crate) fn write(plan: &LaunchPlan) -> Result<Vec<Op>, StartError> {
    let files = &plan.files;
    let listed = [
        ("hosts", c"/etc/hosts", &files.hosts),
        ("hostname", c"/etc/hostname", &files.hostname),
        ("resolv.conf", c"/etc/resolv.conf", &files.resolv_conf),
    ];
    let mut ops = Vec::new();
    for (name, destination, contents) in listed {
        let Some(contents) = contents else { continue };
        // A mount of the user's own goes before ours.
        let taken =
            |m: &oci_spec::runtime::Mount| m.destination().to_str() == destination.to_str().ok();
        if plan
            .spec
            .mounts()
            .as_deref()
            .unwrap_or_default()
            .iter()
            .any(taken)
        {
            continue;
        }
        let path = files.directory.join(name);
        std::fs::write(&path, contents).map_err(|error| StartError::Step {
            step: format!("write {}", path.display()),
            reason: error.to_string(),
            hint: (error.kind() == std::io::ErrorKind::StorageFull)
                .then(|| "free some disk space".to_owned()),
        })?;
        ops.push(mounts::bind_file(&path, destination)?);
    }
    Ok(ops)
}
