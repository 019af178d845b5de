//! The mounts: what every container has, then the user's.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::{DrawError, Drawing};
use crate::request::{self, IpcNamespace, MountSource, Propagation, TmpfsOptions};

const DEFAULT_SHM_BYTES: u64 = 64 * 1024 * 1024;

fn mount(destination: &str, kind: &str, options: &[&str]) -> Result<Mount, DrawError> {
    let built = MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(kind)
        .options(options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
        .build()?;
    Ok(built)
}

fn own(
    destination: &Path,
    kind: &str,
    source: PathBuf,
    options: Vec<String>,
) -> Result<Mount, DrawError> {
    Ok(MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options)
        .build()?)
}

pub(super) fn draw(drawing: &Drawing<'_>) -> Result<Vec<Mount>, DrawError> {
    let request = drawing.request;
    let writable = request.security.privileged;
    let access = if writable { "rw" } else { "ro" };
    let mut list = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"])?,
        dev()?,
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        )?,
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access])?,
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", access],
        )?,
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
    ];
    list.extend(shared_memory(drawing)?);
    // What lies deeper goes on top of what lies above it, in whatever order it was given.
    let mut given = Vec::new();
    for (asked, source) in request.storage.mounts.iter().zip(&drawing.mount_sources) {
        given.push(asked_mount(asked, source.as_deref())?);
    }
    for (inside, outside) in &drawing.image_volumes {
        given.push(own(
            inside,
            "bind",
            outside.clone(),
            vec!["rbind".into(), "rprivate".into()],
        )?);
    }
    given.sort_by_key(|m| m.destination().components().count());
    // The user's mount takes the place of ours.
    list.retain(|ours| {
        !given
            .iter()
            .any(|theirs| theirs.destination() == ours.destination())
    });
    list.extend(given);
    Ok(list)
}

/// /dev as every container has it unless its user says otherwise.
///
/// # Errors
/// None: what is given is whole.
pub fn dev() -> Result<Mount, DrawError> {
    mount(
        "/dev",
        "tmpfs",
        &["nosuid", "strictatime", "mode=755", "size=65536k"],
    )
}

fn shared_memory(drawing: &Drawing<'_>) -> Result<Option<Mount>, DrawError> {
    match drawing.request.namespaces.ipc {
        Some(IpcNamespace::None) => Ok(None),
        Some(IpcNamespace::Host) => own(
            Path::new("/dev/shm"),
            "bind",
            "/dev/shm".into(),
            vec!["rbind".into()],
        )
        .map(Some),
        _ => {
            let bytes = drawing
                .request
                .storage
                .shm_size_bytes
                .unwrap_or(DEFAULT_SHM_BYTES);
            let size = format!("size={bytes}");
            mount(
                "/dev/shm",
                "tmpfs",
                &["nosuid", "noexec", "nodev", "mode=1777", &size],
            )
            .map(Some)
        }
    }
}

fn asked_mount(asked: &request::Mount, source: Option<&Path>) -> Result<Mount, DrawError> {
    match &asked.source {
        MountSource::Bind {
            recursive,
            propagation,
            ..
        } => {
            let mut options = vec![if *recursive {
                "rbind".to_owned()
            } else {
                "bind".to_owned()
            }];
            options.push(propagation_name(*propagation).into());
            if asked.read_only {
                // Docker's default since 25: read-only all the way down.
                options.push(if *recursive {
                    "rro".into()
                } else {
                    "ro".into()
                });
            }
            own(
                &asked.target,
                "bind",
                source.unwrap_or(Path::new("")).to_owned(),
                options,
            )
        }
        MountSource::Volume { .. } => {
            let mut options = vec!["rbind".to_owned(), "rprivate".to_owned()];
            if asked.read_only {
                options.push("ro".into());
            }
            own(
                &asked.target,
                "bind",
                source.unwrap_or(Path::new("")).to_owned(),
                options,
            )
        }
        MountSource::Tmpfs(options) => own(
            &asked.target,
            "tmpfs",
            "tmpfs".into(),
            tmpfs(options, asked.read_only),
        ),
    }
}

fn propagation_name(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::Rprivate => "rprivate",
        Propagation::Slave => "slave",
        Propagation::Rslave => "rslave",
        Propagation::Shared => "shared",
        Propagation::Rshared => "rshared",
    }
}

fn tmpfs(options: &TmpfsOptions, read_only: bool) -> Vec<String> {
    let mut list = Vec::new();
    let either = |given: Option<bool>, yes: &str, no: &str| {
        if given == Some(true) {
            yes.into()
        } else {
            no.into()
        }
    };
    list.push(either(options.suid, "suid", "nosuid"));
    list.push(either(options.dev, "dev", "nodev"));
    list.push(either(options.exec, "exec", "noexec"));
    if read_only {
        list.push("ro".into());
    }
    if options.noatime {
        list.push("noatime".into());
    }
    list.push(format!("mode={:o}", options.mode.unwrap_or(0o1777)));
    for (key, value) in [
        ("size", options.size_bytes),
        ("nr_inodes", options.max_inodes),
        ("uid", options.uid.map(u64::from)),
        ("gid", options.gid.map(u64::from)),
    ] {
        if let Some(value) = value {
            list.push(format!("{key}={value}"));
        }
    }
    list
}
