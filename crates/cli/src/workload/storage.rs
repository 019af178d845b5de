//! Mounts and the root.

use crate::convert::{
    MountArg, SourceArg, parse_mount, parse_size, parse_timezone, parse_tmpfs, parse_volume,
    parse_volumes_from,
};
use crate::error::Failure;
use crate::workload::Surroundings;
use gamut_plan::request::{Mount, MountSource, Propagation, Storage, VolumesFrom};
use std::path::PathBuf;

/// Flags about files.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Storage")]
pub struct StorageArgs {
    /// Mount a host path or a volume, as [SOURCE:]TARGET[:ro]
    #[arg(short, long = "volume", value_name = "VOLUME", value_parser = parse_volume)]
    pub volumes: Vec<MountArg>,

    /// Mount, as type=bind,source=/host,target=/inside; also volume and tmpfs
    #[arg(long = "mount", value_name = "MOUNT", value_parser = parse_mount)]
    pub mounts: Vec<MountArg>,

    /// Mount what another container has mounted, as CONTAINER[:ro]
    #[arg(long = "volumes-from", value_name = "CONTAINER", value_parser = parse_volumes_from)]
    pub volumes_from: Vec<VolumesFrom>,

    /// Mount an empty directory in memory, as TARGET[:size=64m]
    #[arg(long = "tmpfs", value_name = "TARGET", value_parser = parse_tmpfs)]
    pub tmpfs: Vec<MountArg>,

    /// Time zone, as Europe/Rome; local: the host's
    #[arg(long = "tz", visible_alias = "timezone", value_name = "ZONE", value_parser = parse_timezone)]
    pub timezone: Option<PathBuf>,

    /// Make the container's root read-only
    #[arg(long = "read-only")]
    pub read_only: bool,

    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub shm_size: Option<u64>,
}

impl StorageArgs {
    pub(super) fn request(&self, surroundings: &Surroundings) -> Result<Storage, Failure> {
        let args = self.volumes.iter().chain(&self.mounts).chain(&self.tmpfs);
        let mut mounts: Vec<Mount> = args
            .map(|arg| mount(arg, surroundings))
            .collect::<Result<_, _>>()?;
        // The zone's file, where C libraries look for it.
        mounts.extend(self.timezone.as_ref().map(|file| Mount {
            target: PathBuf::from("/etc/localtime"),
            read_only: true,
            source: MountSource::Bind {
                path: file.clone(),
                create: false,
                recursive: false,
                below_writable: false,
                propagation: Propagation::Rprivate,
                relabel: None,
            },
        }));
        Ok(Storage {
            mounts,
            volumes_from: self.volumes_from.clone(),
            read_only_root: self.read_only,
            shm_size_bytes: self.shm_size.filter(|size| *size != 0),
        })
    }
}

pub(crate) fn mount(arg: &MountArg, surroundings: &Surroundings) -> Result<Mount, Failure> {
    let source = match arg.source.clone() {
        SourceArg::Bind {
            path,
            create,
            recursive,
            below_writable,
            propagation,
            relabel,
        } => MountSource::Bind {
            path: surroundings.absolute(&path)?,
            create,
            recursive,
            below_writable,
            propagation,
            relabel,
        },
        SourceArg::Volume {
            name,
            copy_image_content,
            subpath,
        } => MountSource::Volume {
            name,
            copy_image_content,
            subpath,
        },
        SourceArg::Tmpfs(options) => MountSource::Tmpfs(options),
    };
    Ok(Mount {
        target: arg.target.clone(),
        read_only: arg.read_only,
        source,
    })
}
