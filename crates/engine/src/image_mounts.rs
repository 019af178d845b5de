//! EROFS images of layers, mounted: each of them once per boot, by whoever needs it first, at
//! `images/<name>` in the run directory. So a second container of an image costs no mount, and shares
//! the first one's page cache.
//!
//! - A mount is made whole and then put into its place; one that is in its place is right, because its
//!   name says what is in it.
//! - It stays until no image in the database has it. Then it is taken out of its place; a container
//!   that has it below its root keeps it until it ends.
//! - `images/` is a mount of its own, private, so that nothing below it spreads into other mount
//!   namespaces.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_container::erofs::{self, Checked, HashTree};
use gamut_store::db::Image;
use gamut_store::layer::{Form, LayerRecord};
use gamut_store::seal::{Part, Seals};
use gamut_store::snapshot::{Driver, ErofsImage, Lower, RootAttributes, merged_name};
use gamut_sys::device_mapper;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};

use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::start::View;
use crate::{filler, names, record};

/// The merged image of all layers of an image, mounted.
#[derive(Debug, Clone)]
pub(crate) struct MergedMount {
    pub(crate) at: PathBuf,
    /// What its root directory is like, which is what the layers say of it.
    pub(crate) root: RootAttributes,
}

impl Engine {
    /// The mount of an image's merged layers, if it is there: found by its name, however many layers
    /// there are. As long as some layer is not whole, each is asked.
    pub(crate) fn merged_mount(&self, image: &Image) -> Result<Option<MergedMount>, EngineError> {
        let has_one = image.layers.len() < 2;
        if has_one || self.driver()? == Driver::Copy || filler::client::is_busy(&self.dirs) {
            return Ok(None);
        }
        let at = self.dirs.images().join(merged_name(&image.layers));
        Ok(mounted_root(&at).map(|root| MergedMount { at, root }))
    }

    /// The directories that a root of these layers is stacked from. Images among them that are not
    /// mounted are.
    pub(crate) fn directories(
        &self,
        lower: &[Lower],
        layers: &[LayerRecord],
    ) -> Result<Vec<PathBuf>, EngineError> {
        if layers.iter().any(|layer| layer.form == Form::Lazy) {
            self.guard_layers()?;
        }
        let of = |lower: &Lower| match lower {
            Lower::Directory(path) => Ok(path.clone()),
            Lower::Image(image) => self.mounted(image, layers),
        };
        lower.iter().map(of).collect()
    }

    /// Mounts what the root of a container that was made earlier is stacked from: a restart of the
    /// machine, has taken it away.
    ///
    /// # Errors
    /// When an image cannot be mounted.
    pub fn remount(&self, container: &View) -> Result<(), EngineError> {
        self.remount_volumes(&container.row)?;
        // A root that is a copy is stacked from nothing.
        let plan = record::read_plan(&self.dirs.container(&container.row.id));
        if plan.is_ok_and(|plan| plan.root.lower.is_empty()) {
            return Ok(());
        }
        let db = self.store.db();
        if let Some(id) = &container.row.image_id
            && let Some(image) = db.image(id)?
        {
            let layers = self.store.image_layers(&image)?;
            self.directories(&self.store.stack(&layers), &layers)?;
        }
        Ok(())
    }

    fn mounted(&self, image: &ErofsImage, layers: &[LayerRecord]) -> Result<PathBuf, EngineError> {
        let at = self.dirs.images().join(&image.name);
        if is_mounted(&at) {
            return Ok(at);
        }
        let _lock = self.lock_images()?;
        if is_mounted(&at) {
            return Ok(at);
        }
        self.separate()?;
        let failed = |errno| EngineError::ImageMount {
            file: image.file.clone(),
            errno,
        };
        let seals = self.store.check_seals(layers)?;
        let tree = match seals.is_empty() {
            true => self.mount_open(image, layers)?,
            false => self.mount_sealed(image, layers, &seals)?,
        };
        match rustix::fs::mkdir(&at, Mode::RWXU) {
            // An unmount was cut short.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(tree.as_fd(), c"", CWD, &at, flags).map_err(failed)?;
        Ok(at)
    }

    /// Mounts an image, detached.
    fn mount_open(
        &self,
        image: &ErofsImage,
        layers: &[LayerRecord],
    ) -> Result<OwnedFd, EngineError> {
        let failed = |errno| EngineError::ImageMount {
            file: image.file.clone(),
            errno,
        };
        self.store.merge(layers)?;
        let tree = match erofs::mount(&image.file, &image.devices) {
            // A power cut may have torn it. Its layers are another matter.
            Err(Errno::INVAL | Errno::UCLEAN | Errno::NODATA | Errno::IO)
                if !image.devices.is_empty() =>
            {
                rustix::fs::unlink(&image.file).map_err(failed)?;
                self.store.merge(layers)?;
                erofs::mount(&image.file, &image.devices)
            }
            other => other,
        };
        let (tree, _) = tree.map_err(failed)?;
        Ok(tree)
    }

    /// The same for one with layers that are sealed.
    fn mount_sealed(
        &self,
        image: &ErofsImage,
        layers: &[LayerRecord],
        seals: &Seals,
    ) -> Result<OwnedFd, EngineError> {
        let parts = self.store.sealed_parts(image, layers, seals)?;
        let tree = match seals.need_devices() {
            true => erofs::mount_checked(&checked(&parts), || self.device_name()),
            false => erofs::mount(&image.file, &image.devices).map(|(tree, _)| tree),
        };
        tree.map_err(|errno| EngineError::ImageMount {
            file: image.file.clone(),
            errno,
        })
    }

    /// A new name for a device under dm-verity.
    fn device_name(&self) -> String {
        format!("{}{}", self.device_prefix(), &names::container_id()[..16])
    }

    /// What such names of this engine begin with.
    fn device_prefix(&self) -> String {
        format!("{}-verity-", self.instance().bridge)
    }

    /// One process at a time changes what is mounted.
    fn lock_images(&self) -> Result<OwnedFd, EngineError> {
        let path = self.dirs.images();
        let failed = |errno: Errno| EngineError::HostPath {
            path: path.display().to_string(),
            source: errno.into(),
        };
        std::fs::create_dir_all(&self.dirs.run_root)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        loop {
            match rustix::fs::mkdir(&path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            if let Some(lock) = lock(&path).map_err(failed)? {
                return Ok(lock);
            }
        }
    }

    /// Makes `images/` a mount of its own that shares nothing. What was cut short in between is done
    /// again.
    fn separate(&self) -> Result<(), EngineError> {
        let path = self.dirs.images();
        let bound = match is_mounted(&path) {
            true => Ok(()),
            false => rustix::mount::mount_bind(&path, &path),
        };
        bound
            .and_then(|()| rustix::mount::mount_change(&path, MountPropagationFlags::PRIVATE))
            .map_err(|errno| EngineError::HostPath {
                path: path.display().to_string(),
                source: errno.into(),
            })
    }

    /// Takes the mounts of images away that have layers which are not whole. Containers do not come to
    /// harm: they have them below their roots.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn release_unfilled(&self) -> Result<(), EngineError> {
        if !self.dirs.images().exists() {
            return Ok(());
        }
        let _lock = self.lock_images()?;
        for image in self.store.db().images()? {
            let layers = self.store.image_layers(&image)?;
            if layers.iter().all(|layer| layer.form != Form::Lazy) {
                continue;
            }
            for lower in self.store.stack(&layers) {
                if let Lower::Image(image) = lower {
                    release(&self.dirs.images().join(image.name));
                }
            }
        }
        Ok(())
    }

    /// Takes mounts away that no image needs any more; returns where they were.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn release_images(&self) -> Result<Vec<PathBuf>, EngineError> {
        let path = self.dirs.images();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let _lock = self.lock_images()?;
        // After the lock: who mounts an image has found it in the database.
        let needed: HashSet<String> = self.store.image_names()?;
        let mut released = Vec::new();
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let known = entry.file_name().into_string();
            if !known.is_ok_and(|name| needed.contains(&name)) && release(&entry.path()) {
                released.push(entry.path());
            }
        }
        // What a process has left that was killed while it made a device; without a device mapper, nothing.
        let _ = device_mapper::remove_unused(&self.device_prefix());
        if std::fs::read_dir(&path).is_ok_and(|mut rest| rest.next().is_none()) {
            release(&path);
        }
        Ok(released)
    }
}

/// Parts of an image as they are mounted.
pub(crate) fn checked(parts: &[Part]) -> Vec<Checked<'_>> {
    let checked = parts.iter().map(|part| Checked {
        file: &part.file,
        tree: part.tree.as_ref().map(|tree| HashTree {
            file: tree.file.as_fd(),
            root: &tree.root,
            blocks: tree.blocks,
        }),
    });
    checked.collect()
}

/// Takes all mounts away, for who removes the run directory.
pub(crate) fn release_all(dirs: &Dirs) {
    let path = dirs.images();
    for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
        release(&entry.path());
    }
    release(&path);
}

/// Locks the directory at `path`; `None`: it has gone meanwhile.
fn lock(path: &Path) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let exclusive = FlockOperation::LockExclusive;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&directory, exclusive))?;
    let open = rustix::fs::fstat(&directory)?;
    match rustix::fs::stat(path) {
        Ok(named) if (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino) => {
            Ok(Some(directory))
        }
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Unmounts what is at `path`, however often, and removes the directory; false: it is still there.
fn release(path: &Path) -> bool {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    while is_mounted(path) && rustix::mount::unmount(path, flags).is_ok() {}
    rustix::fs::rmdir(path).is_ok()
}

fn is_mounted(path: &Path) -> bool {
    mounted_root(path).is_some()
}

/// The root directory of the mount that has its root there, if one has: statx(2), Linux 5.8.
fn mounted_root(path: &Path) -> Option<RootAttributes> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::MODE | StatxFlags::UID | StatxFlags::GID;
    let found = rustix::fs::statx(CWD, path, flags, wanted).ok()?;
    let is_root = found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    is_root.then(|| RootAttributes {
        mode: u32::from(found.stx_mode) & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use gamut_sys::process::{self, namespace};

    use super::*;

    /// Runs `act` with an engine in a directory of its own below `place`, in a mount namespace that ends
    /// with it.
    fn with_engine(place: &str, act: impl FnOnce(&Engine, ErofsImage) + Send) {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                process::unshare(namespace::MOUNT).expect("a mount namespace");
                let shared = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
                rustix::mount::mount_change("/", shared).expect("apart from the host");
                let shared = MountPropagationFlags::REC | MountPropagationFlags::SHARED;
                rustix::mount::mount_change("/", shared).expect("as hosts have it");
                let scratch = tempfile::tempdir_in(place).expect("a directory");
                let dirs = Dirs::new(scratch.path().join("root"), scratch.path().join("run"));
                let engine = Engine::open(dirs).expect("an engine");
                let (merged, layer) = (scratch.path().join("merged"), scratch.path().join("layer"));
                let make = |path: &Path| {
                    let mut options = File::options();
                    let new = options.read(true).write(true).create_new(true);
                    new.open(path).expect("a file")
                };
                gamut_store::erofs::empty::write(&make(&merged), &make(&layer))
                    .expect("written")
                    .expect("an image");
                let image = ErofsImage {
                    name: "name".into(),
                    file: merged,
                    devices: vec![layer],
                };
                act(&engine, image);
            });
        });
    }

    /// Lines of this thread's mounts that have to do with the engine's images.
    fn mounts(engine: &Engine) -> Vec<String> {
        let text = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("proc");
        let images = engine.dirs.images().display().to_string();
        let ours = text.lines().filter(|line| line.contains(&images));
        ours.map(str::to_owned).collect()
    }

    fn mount_once_and_release(engine: &Engine, image: ErofsImage) -> Vec<String> {
        let lower = [Lower::Image(image)];
        let first = engine.directories(&lower, &[]).expect("mounted");
        assert_eq!(engine.directories(&lower, &[]).expect("there"), first);
        let mounted = mounts(engine);
        // `images` itself, and the image.
        assert_eq!(mounted.len(), 2, "{mounted:#?}");
        assert!(
            !mounted.iter().any(|line| line.contains("shared:")),
            "{mounted:#?}"
        );
        // No image in the database has it.
        engine.release_images().expect("released");
        assert_eq!(mounts(engine), [""; 0]);
        assert!(!engine.dirs.images().exists());
        mounted
    }

    #[test]
    fn an_image_is_mounted_once_and_taken_away() {
        with_engine("/var/tmp", |engine, image| {
            mount_once_and_release(engine, image);
        });
    }

    /// A file on tmpfs cannot be mounted.
    #[test]
    fn where_a_file_cannot_be_mounted_a_loop_device_is() {
        with_engine("/dev/shm", |engine, image| {
            if !Path::new("/dev/loop-control").exists() {
                eprintln!("skipped: no loop devices here");
                return;
            }
            let mounted = mount_once_and_release(engine, image);
            let device = mounted
                .iter()
                .filter_map(|line| line.split(" - erofs ").nth(1)?.split(' ').next())
                .find_map(|source| source.strip_prefix("/dev/"))
                .expect("mounted from a loop device");
            let backing = format!("/sys/block/{device}/loop/backing_file");
            assert!(!Path::new(&backing).exists(), "{device} is still in use");
        });
    }

    #[test]
    fn what_was_cut_short_is_finished() {
        with_engine("/var/tmp", |engine, image| {
            // Killed between making the directory and mounting on it, twice.
            std::fs::create_dir_all(engine.dirs.images().join("name")).expect("made");
            std::fs::create_dir_all(engine.dirs.images().join("other")).expect("made");
            rustix::mount::mount_bind(engine.dirs.images(), engine.dirs.images()).expect("bound");
            mount_once_and_release(engine, image);
        });
    }
}
