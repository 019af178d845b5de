//! The root of a container: what containerd says is to be mounted on `rootfs` in the bundle, and undone when
//! the container is deleted. `core/mount` of containerd has the meaning of the options.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};

use crate::error::ShimError;
use crate::idmap::{self, Maps};
use crate::message::task::Mount;

/// mount(2) reads a page of data, the NUL included.
const MAX_DATA_BYTES: usize = 4095;

/// Mounts all, one over the other; when one fails, none stays.
///
/// # Errors
/// [`ShimError::Mount`].
pub fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), ShimError> {
    if mounts.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(rootfs).map_err(|source| ShimError::file(rootfs, source))?;
    for mount in mounts {
        let mounted = target(rootfs, &mount.target).and_then(|target| {
            mount_one(mount, &target).map_err(|source| ShimError::Mount {
                source_name: mount.source.clone(),
                target,
                source,
            })
        });
        if let Err(error) = mounted {
            unmount_all(rootfs);
            return Err(error);
        }
    }
    Ok(())
}

/// A target below the root comes from the snapshotter, which has no business elsewhere.
fn target(rootfs: &Path, below: &str) -> Result<PathBuf, ShimError> {
    let below = Path::new(below.trim_start_matches('/'));
    if below.components().any(|part| part == Component::ParentDir) {
        return Err(ShimError::Usage(format!(
            "`{}` climbs out of the root",
            below.display()
        )));
    }
    Ok(if below.as_os_str().is_empty() {
        rootfs.to_owned()
    } else {
        rootfs.join(below)
    })
}

/// Options that are flags; the others are the file system's own.
#[derive(Debug, PartialEq)]
struct Options<'a> {
    flags: MountFlags,
    bind: Option<Bind>,
    propagation: Option<MountPropagationFlags>,
    /// Both or none, as containerd has it.
    maps: Option<Maps<'a>>,
    data: Vec<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bind {
    One,
    Tree,
}

fn parse(options: &[String]) -> Options<'_> {
    let mut parsed = Options {
        flags: MountFlags::empty(),
        bind: None,
        propagation: None,
        maps: None,
        data: Vec::new(),
    };
    let (mut uids, mut gids) = (None, None);
    for option in options {
        match option.as_str() {
            "bind" => parsed.bind = Some(Bind::One),
            "rbind" => parsed.bind = Some(Bind::Tree),
            "ro" => parsed.flags |= MountFlags::RDONLY,
            "nosuid" => parsed.flags |= MountFlags::NOSUID,
            "nodev" => parsed.flags |= MountFlags::NODEV,
            "noexec" => parsed.flags |= MountFlags::NOEXEC,
            "noatime" => parsed.flags |= MountFlags::NOATIME,
            "nodiratime" => parsed.flags |= MountFlags::NODIRATIME,
            "relatime" => parsed.flags |= MountFlags::RELATIME,
            "strictatime" => parsed.flags |= MountFlags::STRICTATIME,
            "sync" => parsed.flags |= MountFlags::SYNCHRONOUS,
            "dirsync" => parsed.flags |= MountFlags::DIRSYNC,
            "private" | "rprivate" => parsed.propagation = Some(MountPropagationFlags::PRIVATE),
            "slave" | "rslave" => parsed.propagation = Some(MountPropagationFlags::DOWNSTREAM),
            "shared" | "rshared" => parsed.propagation = Some(MountPropagationFlags::SHARED),
            "rw" | "suid" | "dev" | "exec" | "atime" | "diratime" | "async" | "defaults" => {}
            data => match data.split_once('=') {
                Some(("uidmap", map)) => uids = Some(map),
                Some(("gidmap", map)) => gids = Some(map),
                _ => parsed.data.push(data),
            },
        }
    }
    parsed.maps = uids.zip(gids).map(|(uids, gids)| Maps { uids, gids });
    parsed
}

fn mount_one(mount: &Mount, target: &Path) -> Result<(), Errno> {
    let options = parse(&mount.options);
    let users = options.maps.map(|maps| maps.namespace()).transpose()?;
    match &users {
        Some(users) if mount.kind == "overlay" => {
            let lower = options
                .data
                .iter()
                .filter_map(|data| data.strip_prefix("lowerdir="));
            let lower = lower.flat_map(|layers| layers.split(':'));
            let make = || mount_new(mount, &options, target);
            idmap::over_layers(lower, users.as_fd(), target, make)?;
        }
        Some(users) => {
            mount_plain(mount, &options, target)?;
            idmap::cover(target, users.as_fd())?;
        }
        None => mount_plain(mount, &options, target)?,
    }
    if let Some(propagation) = options.propagation {
        rustix::mount::mount_change(target, propagation | MountPropagationFlags::REC)?;
    }
    Ok(())
}

fn mount_plain(mount: &Mount, options: &Options<'_>, target: &Path) -> Result<(), Errno> {
    if options.bind.is_some() || mount.kind == "bind" {
        bind(mount, options, target)
    } else {
        mount_new(mount, options, target)
    }
}

fn mount_new(mount: &Mount, options: &Options<'_>, target: &Path) -> Result<(), Errno> {
    let data = options.data.join(",");
    if data.len() > MAX_DATA_BYTES {
        return mount_by_parts(mount, options, target);
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(
        &*mount.source,
        target,
        &*mount.kind,
        options.flags,
        data.as_c_str(),
    )
}

fn bind(mount: &Mount, options: &Options<'_>, target: &Path) -> Result<(), Errno> {
    match options.bind {
        Some(Bind::One) => rustix::mount::mount_bind(&*mount.source, target)?,
        Some(Bind::Tree) | None => rustix::mount::mount_bind_recursive(&*mount.source, target)?,
    }
    if options.flags.is_empty() {
        return Ok(());
    }
    // The kernel ignores flags at the bind itself (mount(2)).
    rustix::mount::mount_remount(target, MountFlags::BIND | options.flags, c"")
}

/// An overlay of more layers than a page can name: each is named by itself (Linux 6.5; a string may have
/// 255 bytes).
fn mount_by_parts(mount: &Mount, options: &Options<'_>, target: &Path) -> Result<(), Errno> {
    let context = rustix::mount::fsopen(&*mount.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    for option in &options.data {
        match option.split_once('=') {
            Some(("lowerdir", layers)) if mount.kind == "overlay" => {
                for layer in layers.split(':') {
                    rustix::mount::fsconfig_set_string(context, "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => rustix::mount::fsconfig_set_string(context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(context, *option)?,
        }
    }
    rustix::mount::fsconfig_create(context)?;
    let mut attributes = MountAttrFlags::empty();
    for (flag, attribute) in [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ] {
        if options.flags.contains(flag) {
            attributes |= attribute;
        }
    }
    let mounted = rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    rustix::mount::move_mount(
        mounted,
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Unmounts everything on `rootfs` and below it. What is not there is done.
pub fn unmount_all(rootfs: &Path) {
    for _ in 0..64 {
        // Detached, the mounts below go with it; in use, it goes when it is used no more.
        let flags = UnmountFlags::NOFOLLOW;
        let unmounted = match rustix::mount::unmount(rootfs, flags) {
            Err(Errno::BUSY) => rustix::mount::unmount(rootfs, flags | UnmountFlags::DETACH),
            other => other,
        };
        // EINVAL: nothing is mounted here (any more).
        if unmounted.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_data_are_told_apart() {
        let words = ["ro", "index=off", "nosuid", "lowerdir=/a:/b", "rw"];
        let options = words.map(str::to_owned);
        let parsed = parse(&options);
        assert_eq!(parsed.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!(parsed.data, ["index=off", "lowerdir=/a:/b"]);
        assert_eq!((parsed.bind, parsed.maps), (None, None));
        let options = ["uidmap=0:1:2", "gidmap=3:4:5"].map(str::to_owned);
        let parsed = parse(&options);
        let (uids, gids) = ("0:1:2", "3:4:5");
        assert_eq!(parsed.maps, Some(Maps { uids, gids }));
        assert!(parsed.data.is_empty());
    }

    /// In a mount namespace of this thread's own.
    #[test]
    fn an_overlay_of_many_layers_is_mounted_and_gone_again() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root may mount");
        }
        gamut_sys::process::unshare(gamut_sys::process::namespace::MOUNT).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        // Whatever the temporary directory is on, an overlay may write here.
        let none = MountFlags::empty();
        rustix::mount::mount("tmpfs", home, "tmpfs", none, c"").unwrap();
        let layer = |number: usize| home.join(format!("layer-with-a-long-name-{number:0>100}"));
        let layers: Vec<String> = (0..50)
            .map(|number| {
                std::fs::create_dir(layer(number)).unwrap();
                std::fs::write(layer(number).join(format!("f{number}")), "").unwrap();
                layer(number).to_str().unwrap().to_owned()
            })
            .collect();
        for directory in ["upper", "work", "root"] {
            std::fs::create_dir(home.join(directory)).unwrap();
        }
        let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
        let root = home.join("root");
        for lower in [&layers[..2], &layers[..]] {
            let overlay = Mount {
                kind: "overlay".to_owned(),
                source: "overlay".to_owned(),
                target: String::new(),
                options: vec![
                    "index=off".to_owned(),
                    format!("lowerdir={}", lower.join(":")),
                    format!("upperdir={}", path("upper")),
                    format!("workdir={}", path("work")),
                ],
            };
            mount_all(&[overlay], &root).unwrap();
            let last = format!("f{}", lower.len() - 1);
            assert!(root.join(&last).exists(), "the lowest layer of {last}");
            std::fs::write(root.join("new"), "").unwrap();
            unmount_all(&root);
            assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
            assert!(home.join("upper/new").exists());
        }
        let missing = Mount {
            kind: "bind".to_owned(),
            source: path("none"),
            ..Mount::default()
        };
        let error = mount_all(&[missing], &root).unwrap_err().to_string();
        assert!(
            error.contains("cannot mount") && error.contains("none"),
            "{error}"
        );
        rustix::mount::unmount(home, UnmountFlags::DETACH).unwrap();
    }

    /// In a mount namespace of this thread's own.
    #[test]
    fn the_users_of_an_overlay_and_of_a_bind_are_mapped() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root may mount");
        }
        gamut_sys::process::unshare(gamut_sys::process::namespace::MOUNT).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let home = home.path();
        let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
        for directory in ["one", "two", "upper", "work", "root"] {
            std::fs::create_dir(home.join(directory)).unwrap();
        }
        std::fs::write(home.join("one/file"), "").unwrap();
        let maps = ["uidmap=0:100000:10", "gidmap=0:200000:10"].map(str::to_owned);
        let own = [
            format!("lowerdir={}:{}", path("one"), path("two")),
            format!("upperdir={}", path("upper")),
            format!("workdir={}", path("work")),
        ];
        let overlay = Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: [&maps[..], &own].concat(),
        };
        let bind = Mount {
            kind: "bind".to_owned(),
            source: path("one"),
            target: String::new(),
            options: [&maps[..], &["rbind".to_owned()]].concat(),
        };
        let root = home.join("root");
        for mount in [overlay, bind] {
            match mount_all(&[mount], &root) {
                Ok(()) => {}
                Err(ShimError::Mount { source, .. }) if source == Errno::INVAL => {
                    return eprintln!("skipped: this file system cannot be mapped");
                }
                Err(error) => panic!("{error}"),
            }
            let file = rustix::fs::stat(root.join("file")).unwrap();
            assert_eq!((file.st_uid, file.st_gid), (100_000, 200_000));
            let layer = rustix::fs::stat(home.join("one/file")).unwrap();
            assert_eq!(layer.st_uid, 0, "for everybody else it is as it was");
            unmount_all(&root);
            assert!(!root.join("file").exists());
        }
    }

    #[test]
    fn a_target_stays_below_the_root() {
        let root = Path::new("/r");
        assert_eq!(target(root, "").unwrap(), root);
        assert_eq!(target(root, "/etc").unwrap(), Path::new("/r/etc"));
        assert!(target(root, "a/../../b").is_err());
    }
}
