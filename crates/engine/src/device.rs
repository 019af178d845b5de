//! Devices of the host that a request names: looked up, so that the drawing need not.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use gamut_plan::draw::{DeviceKind, DeviceNode};
use gamut_plan::request::RunRequest;

use crate::error::EngineError;

/// Looks at a path of the host that the user named.
pub(crate) fn stat(path: &Path) -> Result<std::fs::Metadata, EngineError> {
    std::fs::metadata(path).map_err(|source| EngineError::HostPath {
        path: path.display().to_string(),
        source,
    })
}

/// The nodes behind `--device`; a directory stands for all the devices in it. With `--privileged`
/// all devices of the host.
pub(crate) fn devices(request: &RunRequest) -> Result<Vec<DeviceNode>, EngineError> {
    let mut nodes = Vec::new();
    if request.security.privileged {
        collect_devices(Path::new("/dev"), Path::new("/dev"), "rwm", &mut nodes);
        const OURS: [&str; 7] = [
            "null", "zero", "full", "random", "urandom", "tty", "console",
        ];
        nodes.retain(|n| {
            let name = n.path.strip_prefix("/dev").unwrap_or(&n.path);
            !name.starts_with("pts")
                && !OURS.iter().any(|own| name == Path::new(own))
                && name != Path::new("ptmx")
        });
    }
    for device in &request.security.devices {
        let access = &device.access;
        let letters: String = [(access.read, 'r'), (access.write, 'w'), (access.mknod, 'm')]
            .into_iter()
            .filter_map(|(given, letter)| given.then_some(letter))
            .collect();
        let metadata = stat(&device.source)?;
        if metadata.is_dir() {
            collect_devices(&device.source, &device.target, &letters, &mut nodes);
        } else {
            let node = device_node(&metadata, (&device.source, &device.target), &letters)
                .ok_or_else(|| EngineError::NotDevice {
                    path: device.source.display().to_string(),
                    what: "a device",
                })?;
            nodes.push(node);
        }
    }
    Ok(nodes)
}

fn collect_devices(source: &Path, target: &Path, access: &str, nodes: &mut Vec<DeviceNode>) {
    let Ok(entries) = std::fs::read_dir(source) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let inside = target.join(entry.file_name());
        if metadata.is_dir() {
            collect_devices(&entry.path(), &inside, access, nodes);
        } else {
            nodes.extend(device_node(&metadata, (&entry.path(), &inside), access));
        }
    }
}

fn device_node(
    metadata: &std::fs::Metadata,
    (source, inside): (&Path, &Path),
    access: &str,
) -> Option<DeviceNode> {
    let kind = metadata.file_type();
    let kind = if kind.is_block_device() {
        DeviceKind::Block
    } else if kind.is_char_device() {
        DeviceKind::Character
    } else {
        return None;
    };
    Some(DeviceNode {
        source: source.to_owned(),
        path: inside.to_owned(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    })
}

/// Numbers of the devices that are throttled or weighed.
pub(crate) fn block_devices(request: &RunRequest) -> Result<Vec<(PathBuf, u32, u32)>, EngineError> {
    let limits = &request.limits;
    let throttled = limits.blkio_throttles.iter().map(|t| &t.device);
    let weighed = limits.blkio_weight_devices.iter().map(|w| &w.device);
    throttled
        .chain(weighed)
        .map(|path| {
            let metadata = stat(path)?;
            if !metadata.file_type().is_block_device() {
                return Err(EngineError::NotDevice {
                    path: path.display().to_string(),
                    what: "a block device",
                });
            }
            let number = metadata.rdev();
            Ok((
                path.clone(),
                rustix::fs::major(number),
                rustix::fs::minor(number),
            ))
        })
        .collect()
}
