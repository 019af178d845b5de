//! The mounts: what every container has, then the user's.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::process::INIT;
use super::{DrawError, Drawing, system};
use crate::launch::{Grouping, NetworkPlan};
use crate::request::{
    self, IpcNamespace, MountSource, Propagation, Sharing, TmpfsOptions, UserNamespace,
};

const DEFAULT_SHM_BYTES: u64 = 64 * 1024 * 1024;

pub(super) fn mount(destination: &str, kind: &str, options: &[&str]) -> Result<Mount, DrawError> {
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

pub(super) fn draw(drawing: &Drawing<'_>, is_systemd: bool) -> Result<Vec<Mount>, DrawError> {
    let request = drawing.request;
    let writable = request.security.privileged || system::owns_itself(drawing);
    let access = |writable| if writable { "rw" } else { "ro" };
    let (access, groups) = (access(writable), access(writable || is_systemd));
    let mut list = vec![
        processes(drawing)?,
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
        system_files(drawing, access)?,
        control_groups(drawing, groups)?,
    ];
    list.extend(queues(drawing)?);
    list.extend(shared_memory(drawing)?);
    if is_systemd {
        list.extend(system::directories()?);
    }
    // What lies deeper goes on top of what lies above it, in whatever order it was given.
    let mut given = Vec::new();
    // A volume's files have the ids that they have inside.
    let of_users = matches!(request.namespaces.user, Some(UserNamespace::Auto)).then_some("idmap");
    for (asked, source) in request.storage.mounts.iter().zip(&drawing.mount_sources) {
        given.push(asked_mount(asked, source.as_deref(), of_users)?);
    }
    for (inside, outside) in &drawing.image_volumes {
        given.push(own(
            inside,
            "bind",
            outside.clone(),
            ["rbind", "rprivate"]
                .into_iter()
                .chain(of_users)
                .map(str::to_owned)
                .collect(),
        )?);
    }
    for secret in &drawing.secrets.0 {
        let options = ["bind", "ro", "rprivate", "nosuid", "nodev", "noexec"];
        let options = options.into_iter().chain(of_users).map(str::to_owned);
        let file = secret.file.clone();
        given.push(own(&secret.inside, "bind", file, options.collect())?);
    }
    if drawing.host.home.is_some() {
        for device in &drawing.devices {
            let options = ["bind", "nosuid", "noexec"].map(str::to_owned).to_vec();
            given.push(own(&device.path, "bind", device.source.clone(), options)?);
        }
    }
    given.sort_by_key(|m| m.destination().components().count());
    // The user's mount takes the place of ours.
    list.retain(|ours| {
        !given
            .iter()
            .any(|theirs| theirs.destination() == ours.destination())
    });
    if request.process.init {
        // Its program would be made in what is mounted there.
        if given
            .iter()
            .any(|theirs| theirs.destination() == Path::new("/dev"))
        {
            return Err(DrawError::Contradiction {
                flag: "--init",
                what: "a mount at /dev",
            });
        }
    }
    list.extend(given);
    if request.process.init {
        let options = ["bind", "ro", "nosuid", "nodev"]
            .map(str::to_owned)
            .to_vec();
        list.push(own(
            Path::new(INIT),
            "bind",
            drawing.own_program.to_owned(),
            options,
        )?);
    }
    Ok(list)
}

/// /sys: in a home a network namespace of the host's own shows nobody but the host's root its files; they
/// are the host's then.
fn system_files(drawing: &Drawing<'_>, access: &str) -> Result<Mount, DrawError> {
    match (&drawing.host.home, &drawing.network) {
        (Some(_), NetworkPlan::Host) => hosts("/sys", "rro"),
        _ => mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
    }
}

/// /proc: as with /sys, of a pid namespace of the host's own.
fn processes(drawing: &Drawing<'_>) -> Result<Mount, DrawError> {
    match (&drawing.host.home, &drawing.request.namespaces.pid) {
        (Some(_), Some(Sharing::Host)) => hosts("/proc", "rw"),
        _ => mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
    }
}

/// /dev/mqueue: the host's own would be nobody's but the host's root's.
fn queues(drawing: &Drawing<'_>) -> Result<Option<Mount>, DrawError> {
    match (&drawing.host.home, &drawing.request.namespaces.ipc) {
        (Some(_), Some(IpcNamespace::Host)) => Ok(None),
        _ => mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]).map(Some),
    }
}

/// The host's own files at the same place.
fn hosts(path: &str, access: &str) -> Result<Mount, DrawError> {
    let options = ["rbind", "rprivate", "nosuid", "noexec", "nodev", access];
    let options = options.map(str::to_owned).to_vec();
    own(Path::new(path), "bind", path.into(), options)
}

/// Who has no group of its own is shown none: those that there are would be the host's.
fn control_groups(drawing: &Drawing<'_>, access: &str) -> Result<Mount, DrawError> {
    let options = ["nosuid", "noexec", "nodev", access];
    match drawing.host.grouping() {
        Grouping::None => mount(
            "/sys/fs/cgroup",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "ro", "mode=755"],
        ),
        Grouping::Own | Grouping::Systemd => mount("/sys/fs/cgroup", "cgroup", &options),
    }
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
        // Where that is, is known at the start only.
        Some(IpcNamespace::Container(ref id)) => own(
            Path::new("/dev/shm"),
            "bind",
            PathBuf::from(shared_memory_of(id)),
            vec![
                "bind".into(),
                "nosuid".into(),
                "noexec".into(),
                "nodev".into(),
            ],
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

/// What stands in a plan for the shared memory of another container.
#[must_use]
pub fn shared_memory_of(container: &str) -> String {
    format!("container:{container}/dev/shm")
}

fn asked_mount(
    asked: &request::Mount,
    source: Option<&Path>,
    of_users: Option<&str>,
) -> Result<Mount, DrawError> {
    match &asked.source {
        MountSource::Bind {
            recursive,
            below_writable,
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
                options.push(if *recursive && !below_writable {
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
        MountSource::Volume { subpath, .. } => {
            let mut options = vec!["rbind".to_owned(), "rprivate".to_owned()];
            options.extend(of_users.map(str::to_owned));
            // mount(8)'s word.
            let part = subpath.as_ref();
            options.extend(part.map(|path| format!("X-mount.subdir={}", path.display())));
            if asked.read_only {
                options.push("rro".into());
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
